"""What ``check`` finds in the scripts alone: heads, requirements, squashes."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from websauna_migrate.alembic_adapter.loaded_scripts import LoadedScripts
from websauna_migrate.plain_text import in_quotes
from websauna_migrate.planning.accesses import DEFAULT_SCHEMAS, Access, full_name
from websauna_migrate.planning.history_errors import JOIN_HEADS
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.results import CheckProblem
from websauna_migrate.revision_scripts.script_files import (
    UNPROVEN,
    digest_of,
    proven_digest,
    write_anew,
)

#: What needs the table of another package, in words.
VERBS = {
    "foreign_key": "has a foreign key to",
    "read_table": "reads",
    "insert_rows": "inserts into",
    "write_table": "writes",
    "create_view": "has a view of",
    "create_index": "makes an index of",
    "add_constraint": "adds a constraint to",
    "add_column": "adds a column to",
    "alter_column": "changes a column of",
    "restrict_column": "changes a column of",
    "rename_column": "renames a column of",
    "drop_column": "drops a column of",
    "drop_table": "drops",
    "rename_table": "renames",
    "use_table": "uses",
    "comment_on": "comments on",
}


def several_heads(loaded: LoadedScripts, selected: Collection[str]) -> Iterator[CheckProblem]:
    """Find packages with heads that no branch labels tell apart."""
    for name in selected:
        history = loaded.histories[name]
        alike: dict[frozenset[str], list[str]] = {}
        for head in history.effective_heads:
            alike.setdefault(history.labels_of(head), []).append(head)
        for heads in alike.values():
            if len(heads) > 1:
                shown = in_quotes(heads)
                yield CheckProblem(
                    "heads",
                    name,
                    f'Package "{name}" has {len(heads)} heads: {shown}. '
                    + JOIN_HEADS.format(package=name),
                    details=tuple(heads),
                )


def missing_requirements(
    loaded: LoadedScripts, selected: Collection[str], missing: set[tuple[str, str, str]]
) -> Iterator[CheckProblem]:
    """Find what scripts use of other packages' tables without a requirement.

    :param missing: gets package, revision and required package of each
    """
    for name in selected:
        for revision in loaded.histories[name]:
            told: set[tuple[Revision, str]] = set()
            for effect in loaded.effects[name, revision.id]:
                found = missing_requirement(loaded, revision, effect)
                if found is None or (effect.kind != "foreign_key" and found in told):
                    continue
                told.add(found)
                target, what = found
                missing.add((name, revision.id, target.package))
                uses = VERBS[effect.kind]
                yield CheckProblem(
                    "requirement",
                    name,
                    f'Revision "{revision.id}" of package "{name}" ("{revision.path}", '
                    f'line {effect.line}) {uses} "{what}", which revision '
                    f'"{target.id}" of package "{target.package}" creates. Add to the script: '
                    f'requires = ("{target}",)',
                    details=str(target),
                )


def missing_requirement(
    loaded: LoadedScripts, revision: Revision, effect: Access
) -> tuple[Revision, str] | None:
    """Return what a foreign key, or a statement about rows, should require and does not.

    :returns: the newest of the revisions that introduced the table and its columns, and which
        of these that is
    """
    if effect.kind not in VERBS:
        return None
    created, graph = loaded.created, loaded.graph
    key, columns = effect.key, effect.columns
    if effect.kind == "foreign_key":
        key = (effect.target_schema, effect.target_table or "")
        columns = effect.target_columns
    missing: dict[int, str] = {}
    for column in (None, *columns):
        origins = created.origins(*key, column)
        for schema in DEFAULT_SCHEMAS if key[0] in DEFAULT_SCHEMAS else ():
            origins = origins or created.origins(schema, key[1], column)
        if revision.package in {package for package, _ in origins}:
            continue
        # The present owner of a table that moved, or a former one: each had the table.
        targets = [loaded.histories[p].revisions[one] for p, one in origins]
        if targets and not any(graph.needs(revision, target) for target in targets):
            what = full_name(*key) if column is None else f"{full_name(*key)}.{column}"
            missing.setdefault(graph.node(targets[0]), what)
    if not missing:
        return None
    newest = max(missing, key=graph.places.__getitem__)
    return graph.revisions[newest], missing[newest]


def changed_squashes(loaded: LoadedScripts, selected: Collection[str]) -> Iterator[CheckProblem]:
    """Find squashes that were changed after their proof, or whose old scripts were."""
    for name in selected:
        replacements = loaded.histories[name].replacements
        written = replacements.written
        for squash in replacements.squashes.values():
            replaced = [written[one] for one in squash.replaces if one in written]
            if len(replaced) < len(squash.replaces):
                continue
            proved = proven_digest(squash)
            if proved not in (None, digest_of(squash, replaced)):
                changed = ", or a script that it replaces, was changed after its proof"
                yield CheckProblem(
                    "squash-changed",
                    name,
                    write_anew(squash, changed if proved else UNPROVEN),
                    fatal=not proved,
                    details=squash.id,
                )
