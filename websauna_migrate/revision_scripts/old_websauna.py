"""What ``env.py`` and scripts of older Websauna and of Flask-Migrate need, and is not there."""

from __future__ import annotations

MODULE = "websauna.system.model.columns"

#: What to write for the column types of the module: on each database the same columns.
TYPES = {
    "UTCDateTime": "sa.DateTime(timezone=True)",
    "JSONB": 'sa.JSON().with_variant(postgresql.JSONB(), "postgresql")',
    "INET": 'sa.Unicode(50).with_variant(postgresql.INET(), "postgresql")',
    "UUID": 'sa.BINARY(16).with_variant(postgresql.UUID(), "postgresql")',
}


def what_to_write(exc: BaseException, *, env: bool = False) -> str:
    """Return what to write where an ``env.py`` or script cannot run under the service.

    :param env: whether an ``env.py`` fails, not a script
    :returns: sentences on a line of their own; empty for every other error
    """
    if env and isinstance(exc, RuntimeError) and "application context" in str(exc):
        return (
            "\nFlask-Migrate's env.py needs Flask's application. Delete the file: the packaged one "
            "takes its place, without the options that Migrate(...) was given."
        )
    if env and "requires an async driver" in str(exc):
        return (
            "\nIt makes an asynchronous engine. Install an asynchronous driver of the database "
            "(aiosqlite, asyncpg or psycopg, aiomysql) and let it take config's sqlalchemy.url. Or "
            "let the two lines of the template be the whole env.py, which need none: from "
            "websauna_migrate.environment import run_migrations; run_migrations()"
        )
    name = getattr(exc, "name", None) or ""
    if not isinstance(exc, ImportError) or name.partition(".")[0] != "websauna":
        return ""
    if env:
        return (
            "\nIt is of an older Websauna: ws-alembic adopt replaces it. The whole env.py is two "
            "lines now: from websauna_migrate.environment import run_migrations; run_migrations()"
        )
    types = "; ".join(f"for {type_}() {text}" for type_, text in TYPES.items())
    return (
        f"\nIt is of an older Websauna: ws-alembic adopt writes the types of {MODULE} out. Else "
        "take the import out of the script, and out of script.py.mako. In place of the types of "
        f"{MODULE} write: {types} (from sqlalchemy.dialects import postgresql). In place of other "
        "functions of Websauna write what they did."
    )
