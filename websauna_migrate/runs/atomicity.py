"""Which steps cannot be part of one transaction for a whole run, as told by their scripts."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from sqlalchemy.engine import Connection

from websauna_migrate.alembic_adapter.package_environment import PackageEnvironment
from websauna_migrate.database.engines import driver_of
from websauna_migrate.database.servers import Server
from websauna_migrate.planning.steps import Step, is_transactional
from websauna_migrate.revision_scripts.script_error import ScriptRefused
from websauna_migrate.revision_scripts.script_names import Names
from websauna_migrate.revision_scripts.script_runs import dialects_of
from websauna_migrate.runs.failures import NotAtomic
from websauna_migrate.runs.sqlite_statements import BEGINS, ENDS

#: What PostgreSQL and SQLite refuse inside of a transaction, or what ends one.
NEEDS_AUTOCOMMIT = re.compile(
    r"^\s*(?:COMMIT|ROLLBACK(?!\s+TO)|VACUUM|(?:CREATE|DROP)\s+(?:DATABASE|TABLESPACE)|"
    r"ALTER\s+DATABASE(?=.*\bTABLESPACE\b)|ALTER\s+SYSTEM|REINDEX\s+DATABASE)\b",
    re.IGNORECASE | re.DOTALL,
)

#: PostgreSQL's alone: SQLite does not know the word.
CONCURRENTLY = re.compile(r"\bCONCURRENTLY\b", re.IGNORECASE)


#: What there is in place of one transaction, and of a dry run.
MARKED = "Run without it: each step is marked, and a half done one is found by the next run."
SHOWN = (
    "See what would run by ws-alembic plan, and its SQL by ws-alembic plan --sql; ws-alembic check "
    "--fresh runs the scripts in a scratch database."
)


def require_atomic(
    server: Server,
    steps: Iterable[Step],
    environments: Mapping[str, PackageEnvironment],
    what: str,
    without: str = "without it",
    instead: str = MARKED,
) -> None:
    """Refuse a run as one transaction where that is impossible; nothing was changed then.

    :param what: the run in words, such as ``--atomic``
    :param without: how to run these steps otherwise, in words
    :param instead: what to do on a database that cannot run any steps so
    :raises NotAtomic: naming every step that is in the way, or the database
    """
    if not server.transactional:
        raise NotAtomic(
            f"{what} is impossible on this database: it commits at each change of the schema. "
            "Nothing was changed.",
            {},
            instead,
        )
    reasons = {}
    for step in steps:
        script = environments[step.package].scripts.get_revision(step.revision.id)
        if not is_transactional(script.module):
            reasons[f"{step.package}@{step.revision.id}"] = "its script says transactional = False"
            continue
        for reason in obstacles(Path(step.revision.path), step.direction, server):
            reasons[f"{step.package}@{step.revision.id}"] = reason
            break
    if reasons:
        raise NotAtomic(
            f"{what} is impossible: the whole run cannot be one transaction. Nothing was changed.",
            reasons,
            f"Upgrade to the last of these {without}; the rest may be one transaction.",
        )


def transaction_of(connection: Connection) -> object:
    """Return what the open transaction is known by: another begins behind a commit by the driver.

    It costs PostgreSQL a query; SQLite has none open then.
    """
    if connection.dialect.name == "sqlite":
        return driver_of(connection).in_transaction
    return connection.exec_driver_sql("SELECT txid_current()").scalar_one()


def require_same(connection: Connection, transaction: object) -> None:
    """Make sure, behind a step, that the run's transaction is still open.

    :param transaction: as :func:`transaction_of` knew it
    :raises ScriptRefused: if the step ended it past SQLAlchemy
    """
    if transaction_of(connection) != transaction:
        raise ScriptRefused(
            "committed",
            "it committed by the driver's connection, and with it all that the run had done.",
        )


def obstacles(path: Path, direction: str, server: Server) -> Iterator[str]:
    """Yield what in a script's source does not go with an open transaction.

    What stands under a condition for other databases does not matter.

    :param direction: the function that is going to run; the other one's body does not matter
    :param server: on SQLite, what ends a transaction that the script begins is a savepoint's end
    """
    other = "downgrade" if direction == "upgrade" else "upgrade"
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    body = [
        one for one in tree.body if not (isinstance(one, ast.FunctionDef) and one.name == other)
    ]
    nodes = [*nodes_on(server.kind, body, Names(tree.body))]
    # A docstring, or any text that is a statement by itself.
    unused = {node.value for node in nodes if isinstance(node, ast.Expr)}
    texts = [
        (node, node.value)
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in unused
    ]
    begun = server.kind == "sqlite" and any(BEGINS.fullmatch(text) for _, text in texts)
    for node in nodes:
        if isinstance(node, ast.Attribute) and node.attr == "autocommit_block":
            yield f"line {node.lineno} uses autocommit_block()"
        elif (
            isinstance(node, ast.keyword)
            and node.arg == "postgresql_concurrently"
            and server.kind == "postgresql"
            and not (isinstance(node.value, ast.Constant) and not node.value.value)
        ):
            yield f"line {node.value.lineno} works CONCURRENTLY"
    for constant, text in texts:
        match = NEEDS_AUTOCOMMIT.search(text)
        if match is None and server.kind == "postgresql":
            match = CONCURRENTLY.search(text)
        if match and not (begun and ENDS.fullmatch(text)):
            yield f"line {constant.lineno} has {' '.join(match.group().upper().split())}"


def nodes_on(database: str, body: Iterable[ast.AST], names: Names) -> Iterator[ast.AST]:
    """Yield the nodes of statements, without what surely does not run on a database.

    :param names: those of the script, or of a function in it
    """
    for node in body:
        test = dialects_of(node.test, names) if isinstance(node, ast.If) else None
        if isinstance(node, ast.If) and test is not None:
            taken = node.body if (database in test[0]) is test[1] else node.orelse
            yield from nodes_on(database, taken, names)
            if taken and isinstance(taken[-1], ast.Return):
                return
        else:
            yield node
            inner = Names(node.body, names) if isinstance(node, ast.FunctionDef) else names
            for _, value in ast.iter_fields(node):
                parts = value if isinstance(value, list) else [value]
                inside = (one for one in parts if isinstance(one, ast.AST))
                yield from nodes_on(database, inside, inner)
