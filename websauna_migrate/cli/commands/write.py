"""Commands that write revision scripts."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from websauna_migrate.base_errors import MigrationError, UsageError
from websauna_migrate.cli.commands.call import Call
from websauna_migrate.cli.render.runs import render_created
from websauna_migrate.cli.render.text import shown
from websauna_migrate.interfaces import Question
from websauna_migrate.reports.table_problems import first_script_missing
from websauna_migrate.results import CreatedScript


def edit(call: Call) -> None:
    """Open the scripts of the revisions that a symbol stands for in an editor."""
    from alembic.util import open_in_editor

    entries = call.service.show(call.options.rev, packages=call.packages)
    if not entries:
        of = f" of package {', '.join(call.packages)}" if call.packages else ""
        raise MigrationError(
            f'"{call.options.rev}" indicates no revision{of}. "ws-alembic history" lists what '
            "there is."
        )
    for entry in entries:
        with call.output.lent():
            open_in_editor(entry.revision.path)


def init(call: Call) -> None:
    """Make the script directories of packages, as their first revision would."""
    if call.options.template or call.options.package:
        raise UsageError("Name the folder too: ws-alembic init --template TEMPLATE FOLDER.")
    made = call.service.init(packages=call.packages)
    call.output.done(made or ["Nothing to do: each script directory has all its files."])


def merge(call: Call) -> None:
    """Write a script that joins heads."""
    options = call.options
    created = call.service.merge(
        options.revisions,
        packages=call.packages,
        message=options.message,
        branch_label=options.branch_label,
        rev_id=options.rev_id,
        splice=options.splice,
    )
    write_created(call, created)


def move_table(call: Call) -> None:
    """Write the two scripts that hand a table over, and say what is left to do."""
    options = call.options
    created = call.service.move_table(options.table, options.source, options.target)
    write_created(call, created)
    warn_of(created)
    schema, _, name = options.table.rpartition(".")
    for package in call.service.packages:
        for metadata in package.metadata:
            for table in metadata.tables.values():
                if (table.schema or "", table.name) != (schema, name) or call.options.quiet:
                    continue
                if call.service.owner_of(table) != options.target:
                    print(
                        f'The models have table "{options.table}" in "{options.source}". Move its '
                        f'class to "{options.target}", or name the owner there: Table(..., '
                        f'info={{"package": "{options.target}"}}), in a class __table_args__ = '
                        f'{{"info": {{"package": "{options.target}"}}}}.',
                        file=sys.stderr,
                    )
                    return


def revision(call: Call) -> None:
    """Write new revision scripts."""
    options = call.options
    if options.sql:
        raise UsageError(
            '"revision --sql" has no meaning: a revision is a Python script. Use "upgrade --sql" '
            "for the SQL of revisions that are there."
        )
    created = call.service.revision(
        options.message,
        packages=call.packages,
        autogenerate=options.autogenerate,
        head=options.head or "head",
        splice=options.splice,
        branch_label=options.branch_label,
        version_path=options.version_path,
        rev_id=options.rev_id,
        depends_on=options.depends_on,
        requires=tuple(options.requires or ()),
        rename_tables=tuple(options.rename_table or ()),
        rename_columns=tuple(options.rename_column or ()),
        allow_drops=options.allow_drops,
        ask=ask_author if sys.stdin.isatty() and sys.stderr.isatty() else None,
        prove=options.prove,
        keep=options.keep,
    )
    if created and created[0].proof is not None and not options.quiet:
        print(created[0].proof, file=sys.stderr)
    write_created(call, created)
    if options.autogenerate and not created:
        for name in call.service.without_scripts(packages=call.packages):
            print(shown(first_script_missing(name)), file=sys.stderr)
    warn_of(created)
    if created and options.autogenerate:
        call.warn_of_races()
    if options.autogenerate:
        call.tell_pending_elsewhere()


def ask_author(asked: Question) -> bool:
    """Ask the author of the models on the terminal.

    :raises MigrationError: if the input ends there
    """
    while True:
        print(f"{shown(asked.question)} [y/n] ", end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
        if not answer:
            raise MigrationError("Nothing was written: the question has no answer.")
        if answer.strip().lower() in ("y", "yes", "n", "no"):
            return answer.strip().lower().startswith("y")


def warn_of(created: Iterable[CreatedScript]) -> None:
    """Print what the authors of new scripts should look at."""
    for script in created:
        for warning in script.warnings:
            print(f"WARNING: {shown(warning)}", file=sys.stderr)


def write_created(call: Call, created: Iterable[CreatedScript]) -> None:
    """Print the paths of new scripts."""
    call.output.done(render_created(created))
