"""What ``env.py`` and scripts of older Websauna and of Flask-Migrate need, and is not there."""

from __future__ import annotations

#: What to write for the types of ``websauna.system.model.columns``: they make the same columns.
COLUMNS = {
    "UTCDateTime": "sa.DateTime(timezone=True)",
    "JSONB": "postgresql.JSONB(), elsewhere sa.JSON()",
    "INET": "postgresql.INET(), elsewhere sa.Unicode(50)",
    "UUID": "postgresql.UUID(), elsewhere sa.BINARY(16)",
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
    types = "; ".join(f"for {type_}() {text}" for type_, text in COLUMNS.items())
    return (
        "\nIt is of an older Websauna: ws-alembic adopt writes the types of "
        "websauna.system.model.columns out. Else take the import out of the script, and out of "
        "script.py.mako. In place of the types of websauna.system.model.columns write: "
        f"{types} (from sqlalchemy.dialects import postgresql). In place of other functions of "
        "Websauna write what they did."
    )
