"""What the ``verify()`` of applied revisions says now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from websauna_migrate.interfaces import Packages
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.results import Verification
from websauna_migrate.revision_scripts.script_error import line_of
from websauna_migrate.runs.process_lock import PROCESS_LOCK
from websauna_migrate.runs.script_checks import Check, check_function, read_only, words_of
from websauna_migrate.runs.site import Site


def verify(site: Site, packages: Packages) -> tuple[Verification, ...]:
    """Run the ``verify()`` of each applied revision, in the order of the graph; change nothing."""
    selected = set(site.select(packages))
    with PROCESS_LOCK.held(), site.reading() as connection:
        if connection is None:
            return ()
        rows = site.read(connection)[0]
        connection.rollback()
        applied = {name: site.loaded.histories[name].applied(known) for name, known in rows.items()}
        revisions = [one for one in site.loaded.graph.timeline() if one.id in applied[one.package]]
        return tuple(
            found
            for number, revision in enumerate(revisions)
            if revision.package in selected
            for found in verify_one(site, connection, revision, revisions[number + 1 :])
        )


def verify_one(
    site: Site, connection: Connection, revision: Revision, later: list[Revision]
) -> Iterator[Verification]:
    """Yield what a revision's ``verify()`` says, if its script has one.

    :param later: the applied revisions that come after it
    """
    # Ten thousand scripts are not imported for the few that have one.
    if b"verify" not in Path(revision.path).read_bytes():
        return
    reader = site.loaded.environments[revision.package].reader
    function = check_function(reader.fresh(revision), "verify")
    if function is None:
        return
    check, failure = Check(connection), None
    try:
        with read_only(connection):
            function(check)
    except Exception as exc:
        failure = exc
    outcome, problem = "holds", ""
    if failure is not None:
        outcome, problem = "fails", words_of(failure, connection)
        if isinstance(failure, DBAPIError) and (other := changed_by(site, check.sql, later)):
            outcome, problem = "outdated", f"{other} changes what it asks for: {problem}"
    line = None if failure is None else line_of(failure, revision.path)
    yield Verification(
        revision.package, revision.id, revision.message, revision.path, outcome, line, problem
    )


def changed_by(site: Site, sql: str, later: list[Revision]) -> Revision | None:
    """Return the first later revision that takes or changes a table which a query names."""
    words = sql.lower()
    for revision in later:
        for access in site.loaded.effects[revision.package, revision.id]:
            if access.kind in CHANGES and access.name.lower() in words:
                return revision
    return None


#: What makes a query impossible that was possible before.
CHANGES = frozenset(
    {"drop_table", "rename_table", "drop_column", "rename_column", "alter_column", "drop_schema"}
)
