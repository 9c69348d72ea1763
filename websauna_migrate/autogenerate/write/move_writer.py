"""Moving tables to another package: the two revision scripts, both or neither."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

from alembic.util import rev_id as new_revision_id
from alembic.util.exc import CommandError

from websauna_migrate.alembic_adapter.loaded_scripts import LoadedScripts
from websauna_migrate.autogenerate.revision_errors import RevisionFailed
from websauna_migrate.autogenerate.write.revision_files import created, ensure_line, insert
from websauna_migrate.config.packages import MigrationPackage
from websauna_migrate.config.template import (
    create_script_directory,
    ensure_template,
    require_editable,
)
from websauna_migrate.models.named_types import named_types, type_key
from websauna_migrate.models.ownership import Ownership
from websauna_migrate.planning.accesses import Key, full_name, split_name
from websauna_migrate.planning.edges import RevisionCycle
from websauna_migrate.results import CreatedScript

COMMENT = (
    "# For websauna_migrate: {tables} {verb} package\n"
    '# "{package}", with their rows. They stay where they are, so there is nothing to do below.\n'
)

ADDON_NEEDS_APPLICATION = (
    'Package "{addon}" now requires "{application}", which is the application, so no other '
    'application can use it. If one should, let revision "{taken}" make the table where it is not '
    'there, without requires, and write run_before = ("{addon}@{taken}",) into revision "{given}".'
)


@dataclass(eq=False)
class MoveWriter:
    """Writes the two revisions that hand tables over.

    :ivar tables: ``schema.name`` of each, or the name alone; one at least
    :ivar take_snapshot: reads the scripts of all packages
    """

    tables: Sequence[str]
    source: MigrationPackage
    target: MigrationPackage
    ownership: Ownership
    take_snapshot: Callable[[], LoadedScripts]
    written: list[Path] = field(default_factory=list)
    made_directory: Path | None = None

    def write(self, application: str | None = None) -> tuple[CreatedScript, CreatedScript]:
        """Write both scripts and see that they run.

        :param application: the application's own package, of which no add-on should need anything
        :raises RevisionFailed: saying why; then no file is left
        """
        snapshot = self.take_snapshot()
        self.validate(snapshot)
        types = self.types(snapshot)
        words = ("table " if len(self.tables) == 1 else "tables ") + ", ".join(self.tables)
        quoted = words.replace(", ", '", "').replace(" ", ' "', 1) + '"'
        goes, comes = ("goes", "comes") if len(self.tables) == 1 else ("go", "come")
        try:
            if create_script_directory(self.target):
                self.made_directory = self.target.script_directory
            given = self.write_one(
                self.source,
                f"Moving {words} to {self.target.name}",
                (),
                COMMENT.format(tables=quoted, verb=f"{goes} to", package=self.target.name),
                gives_tables=dict.fromkeys(self.tables, self.target.name),
                gives_types=dict.fromkeys(types, self.target.name),
            )
            taken = self.write_one(
                self.target,
                f"Taking over {words} from {self.source.name}",
                (f"{self.source.name}@{given.revision}",),
                COMMENT.format(tables=quoted, verb=f"{comes} from", package=self.source.name),
                takes_tables=dict.fromkeys(self.tables, self.source.name),
                takes_types=dict.fromkeys(types, self.source.name),
            )
            self.require_runnable()
        except BaseException:
            self.undo()
            raise
        if self.source.name == application:
            warning = ADDON_NEEDS_APPLICATION.format(
                addon=self.target.name,
                application=application,
                taken=taken.revision,
                given=given.revision,
            )
            taken = replace(taken, warnings=(warning,))
        return given, taken

    def undo(self) -> None:
        """Remove what was written so far."""
        for path in self.written:
            path.unlink(missing_ok=True)
        if self.made_directory is not None:
            shutil.rmtree(self.made_directory, ignore_errors=True)

    def refused(self, problem: str, remedy: str, table: str = "") -> RevisionFailed:
        """Return the error of tables that cannot be moved.

        :param table: the one of them that is in the way, default the first
        """
        table = table or self.tables[0]
        words = f'Table "{table}" was not moved: {problem}. {remedy}'
        return RevisionFailed(self.target.name, words, kind="move", place=f'table "{table}"')

    def validate(self, snapshot: LoadedScripts) -> None:
        """Refuse what cannot be moved.

        :raises RevisionFailed: naming the owner, or the table that may be meant
        :raises ScriptDirectoryError: if a script would be written to a read-only place
        """
        if self.source.name == self.target.name:
            raise self.refused(
                f'"{self.source.name}" would give it to itself',
                "Name two packages: ws-alembic move-table TABLE FROM TO",
            )
        for package in (self.source, self.target):
            require_editable(package)
            ensure_template(package)
        for table in self.tables:
            self.validate_owner(snapshot, table)
        for package in (self.source, self.target):
            heads = snapshot.histories[package.name].heads
            if len(heads) > 1:
                raise self.refused(
                    f'package "{package.name}" has several heads: {", ".join(sorted(heads))}',
                    f'Merge them first: ws-alembic -x packages={package.name} merge -m "..." heads',
                )

    def validate_owner(self, snapshot: LoadedScripts, table: str) -> None:
        """Refuse a table that is not the source's to give.

        :raises RevisionFailed: naming the owner, or the table that may be meant
        """
        source, target = self.source.name, self.target.name
        created, key = snapshot.created, split_name(table)
        origin = created.table_origin(*key)
        if origin is None:
            former = created.packages_of_table(*key)
            if former:
                problem = f'the scripts of "{former[-1]}" dropped it or gave it away already'
                remedy = "Nothing of it is left to move."
            else:
                problem = f'no revision of "{source}" creates it'
                remedy = self.suggestion(table, created.tables)
            raise self.refused(problem, remedy, table)
        if origin[0] != source:
            revision = snapshot.histories[origin[0]].revisions[origin[1]]
            raise self.refused(
                f'it belongs to package "{origin[0]}" since revision "{revision.id}" '
                f'("{revision.path}")',
                "Its scripts are there already."
                if origin[0] == target
                else f"Move it from there: ws-alembic move-table {table} {origin[0]} {target}",
                table,
            )

    def suggestion(self, table: str, tables: Mapping[Key, tuple[str, str]]) -> str:
        """Return which tables there are in place of one that is not there."""
        mine = sorted(
            full_name(*key) for key, (name, _) in tables.items() if name == self.source.name
        )
        close = get_close_matches(table, mine, n=1) or [
            one for one in mine if split_name(one)[1] == split_name(table)[1]
        ]
        hint = f'Did you mean "{close[0]}"? ' if close else ""
        return f"{hint}Its tables: {', '.join(mine) or 'none that a script creates'}."

    def types(self, snapshot: LoadedScripts) -> tuple[str, ...]:
        """Return the named types that the tables alone use, by the models, and FROM created."""
        moved = {split_name(table) for table in self.tables}
        users: dict[Key, set[Key]] = {}
        for table in self.ownership.tables:
            for column in table.columns:
                for named in named_types(column.type):
                    users.setdefault(type_key(named), set()).add((table.schema, table.name))
        created = snapshot.created.types
        return tuple(
            sorted(
                full_name(*key)
                for key, tables in users.items()
                if tables <= moved and created.get(key, ("", ""))[0] == self.source.name
            )
        )

    def write_one(
        self,
        package: MigrationPackage,
        message: str,
        requires: Sequence[str],
        comment: str,
        **attributes: Mapping[str, str],
    ) -> CreatedScript:
        """Write the script of one package."""
        snapshot = self.take_snapshot()
        environment = snapshot.environments[package.name]
        against = snapshot.graph.written_against(package.name, requires, known=True)
        before = set(environment.scripts.list_files())
        try:
            script = environment.scripts.generate_revision(
                new_revision_id(),
                message,
                refresh=True,
                config=environment.config,
                requires=tuple(requires),
                written_against=against,
            )
        except CommandError as exc:
            raise self.refused(
                f'the revision of "{package.name}" cannot be written: {exc}', ""
            ) from exc
        finally:
            self.written += set(environment.scripts.list_files()) - before
        assert script is not None
        ensure_line(script, "requires", requires)
        ensure_line(script, "written_against", against)
        lines = [f"{name} = {value!r}\n" for name, value in attributes.items() if value]
        insert(Path(script.path), "".join([comment, *lines]))
        return created(package.name, script)

    def require_runnable(self) -> None:
        """Refuse a move that the other requirements do not allow.

        :raises RevisionFailed: if the packages' requirements would form a circle
        """
        try:
            _ = self.take_snapshot().graph
        except RevisionCycle as exc:
            edges = "".join(f"\n  {edge.describe()}" for edge in exc.edges)
            raise self.refused(
                f'"{self.target.name}" would have to wait for "{self.source.name}", which waits '
                f"for it:{edges}\nNo file was written",
                "Where a head or a whole package is required, require the one revision that is "
                "needed.",
            ) from exc
