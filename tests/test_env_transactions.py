"""An env.py or a script that ends transactions by itself, where a run is one transaction."""

from __future__ import annotations

from typing import Any

import pytest

from apps import Workshop
from runs import ledger, rows, steps, table, tables
from websauna_migrate.errors import EnvironmentFailure, NotAtomic, StepFailed

CONFIGURE = "context.configure(connection=connection, target_metadata=Base.metadata)"
MIGRATE = """
with context.begin_transaction():
    context.run_migrations()
"""

#: What comes behind the import of ``context`` and of ``Base``.
ENVIRONMENTS = {
    "commits behind its migrations, on a connection of its own": f"""
from sqlalchemy import create_engine, pool
url = context.config.get_main_option("sqlalchemy.url")
with create_engine(url, poolclass=pool.NullPool).connect() as connection:
    {CONFIGURE}
    with context.begin_transaction():
        context.run_migrations()
        context.get_bind().commit()
""",
    "commits the shared connection": f"""
connection = context.config.attributes["connection"]
{CONFIGURE}
{MIGRATE}
connection.commit()
""",
    "begins on the shared connection": f"""
connection = context.config.attributes["connection"]
with connection.begin():
    {CONFIGURE}
    context.run_migrations()
""",
    "keeps its transaction": f"""
connection = context.config.attributes["connection"]
transaction = connection.begin()
{CONFIGURE}
context.run_migrations()
transaction.commit()
""",
    "rolls back before its migrations": f"""
connection = context.config.attributes["connection"]
connection.rollback()
{CONFIGURE}
{MIGRATE}
""",
    "closes the shared connection": f"""
connection = context.config.attributes["connection"]
{CONFIGURE}
try:
    context.run_migrations()
finally:
    connection.close()
""",
}

MODELS = """
    import sqlalchemy as sa
    from sqlalchemy.orm import DeclarativeBase

    class Base(DeclarativeBase):
        pass

    for name in ("a", "b", "c"):
        sa.Table(name, Base.metadata, sa.Column("id", sa.Integer, primary_key=True))
"""


@pytest.mark.parametrize("env", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_env_py_ends_no_transaction_of_a_run(
    workshop: Workshop, transactional_database_url: str, env: str
) -> None:
    url = transactional_database_url
    folder = workshop.package("app", MODELS) / "alembic"
    workshop.script("app", "a100", **table("a"))
    workshop.script("app", "a200", "a100", **table("b"))
    head = "from alembic import context\nfrom app.models import Base\n"
    (folder / "env.py").write_text(head + env)
    service = workshop.service(url)
    assert len(service.upgrade(dry_run=True).steps) == 2
    assert tables(url) <= {"websauna_migrate_ledger"}
    assert len(service.upgrade(atomic=True).steps) == 2
    assert service.revision("c", autogenerate=True)
    # The proof was rolled back.
    assert service.current()[0].rows == ("a200",) and "c" not in tables(url)
    assert len(service.upgrade().steps) == 1
    assert service.check().ok
    assert len(service.downgrade("base").steps) == 3


def test_env_py_that_rolls_its_migrations_back_is_refused(
    workshop: Workshop, transactional_database_url: str
) -> None:
    url = transactional_database_url
    folder = workshop.package("app", MODELS) / "alembic"
    workshop.script("app", "a100", **table("a"))
    env = ENVIRONMENTS["keeps its transaction"].replace(
        "transaction.commit", "transaction.rollback"
    )
    head = "from alembic import context\nfrom app.models import Base\n"
    (folder / "env.py").write_text(head + env)
    with pytest.raises(EnvironmentFailure, match="plain alembic would apply nothing"):
        workshop.service(url).upgrade()
    assert "a" not in tables(url)
    # Where it does so behind an error alone, it is as ever.
    env = env.replace("context.run", "try:\n    context.run")
    env = env.replace(
        "transaction.rollback()", "except Exception:\n    transaction.rollback()\n    raise"
    )
    (folder / "env.py").write_text(head + env)
    assert steps(workshop.service(url).upgrade()) == ["app@a100"]


SCRIPTS = {
    "op.get_bind().commit()": 'line 14): "commit()" would end the transaction',
    "op.get_bind().get_transaction().commit()": 'line 14): "commit()" would end the transaction',
    "op.get_bind().connection.commit()": "committed by the driver's connection",
}


@pytest.mark.parametrize("option", ["atomic", "dry_run"])
@pytest.mark.parametrize("commit", SCRIPTS)
def test_a_script_that_commits_is_told(
    workshop: Workshop, transactional_database_url: str, commit: str, option: str
) -> None:
    url = transactional_database_url
    workshop.package("app")
    made: dict[str, Any] = table("b")
    workshop.script("app", "a100", **table("a"))
    workshop.script("app", "a200", "a100", upgrade=f"{commit}\n{made['upgrade']}")
    service = workshop.service(url)
    service.upgrade("a100")
    with pytest.raises((StepFailed, NotAtomic)) as caught:
        service.upgrade(**{option: True})
    said = str(caught.value)
    assert SCRIPTS[commit] in said
    if "driver" in SCRIPTS[commit]:
        # What is said of it is what is found there.
        if url.startswith("sqlite"):
            assert "It and the steps before it are applied" in said
            assert {"a", "b"} <= tables(url) and not service.upgrade().steps
        else:
            assert "ws-alembic repair" in said and "b" not in tables(url)
            assert [entry[3] for entry in ledger(url)] == ["done", "running"]
        return
    assert "Nothing of it was applied." in str(caught.value)
    assert "b" not in tables(url)
    # Where each step is a transaction, a script may end its own.
    assert steps(service.upgrade()) == ["app@a200"]


def test_a_step_that_committed_in_the_middle_is_half_done(
    workshop: Workshop, transactional_database_url: str
) -> None:
    url = transactional_database_url
    workshop.package("app")
    made = table("a")["upgrade"]
    broken = f"{made}\nop.get_bind().commit()\nop.execute('SELECT nonsense FROM nowhere')"
    workshop.script("app", "a100", upgrade=broken)
    with pytest.raises(StepFailed, match="ws-alembic repair"):
        workshop.service(url).upgrade()
    assert "a" in tables(url) and not rows(url, "SELECT * FROM alembic_history_app")
    # Half done.
    assert [entry[3] for entry in ledger(url)] == ["running"]
