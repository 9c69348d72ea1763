"""NOT NULL on tables with rows: warned of, with a recipe that works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from apps import Workshop
from websauna_migrate.errors import NotProven

BEFORE = """
import sqlalchemy as sa
from sqlalchemy.orm import declarative_base
Base = declarative_base()
class Note(Base):
    __tablename__ = "notes"
    id = sa.Column(sa.Integer, primary_key=True)
    text = sa.Column(sa.String(40))
    seen = sa.Column(sa.Boolean)
    key = sa.Column(sa.Uuid)
"""
ADDED = "    author = sa.Column(sa.String(20), nullable=False)\n"
WARNING = (
    'The new column "author" of table "notes" is NOT NULL without a server_default. On a table '
    "with rows PostgreSQL and SQLite refuse it, and MariaDB makes values up: give it one, or "
    "follow the recipe in the script."
)


def upgraded(workshop: Workshop, url: str, **settings: str) -> tuple[Path, Any]:
    """Return the folder of a package whose first script is applied, and the service."""
    folder = workshop.package("shop", BEFORE)
    service = workshop.service(url, **settings)
    service.revision("one", autogenerate=True)
    service.upgrade()
    return folder, service


@pytest.mark.parametrize("product", ["sqlite", "postgresql"])
def test_the_recipe_for_a_new_column_works(
    workshop: Workshop, request: pytest.FixtureRequest, product: str
) -> None:
    url = request.getfixturevalue(f"{product}_url")
    folder, service = upgraded(workshop, url, databases=product)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO notes (id) VALUES (1)")
    (folder / "models.py").write_text(BEFORE + ADDED)
    workshop.forget()
    service = workshop.service(url, databases=product)
    with pytest.raises(NotProven) as told:
        service.revision("two", autogenerate=True)
    assert told.value.remedy == f"{WARNING}\nTo keep the script and edit it by hand: --keep."
    (script,) = service.revision("two", autogenerate=True, keep=True)
    assert WARNING in script.warnings
    path = Path(script.path)
    text = path.read_text()
    head, upgrade, rest = re.split(r"(def upgrade.*?\n\n\n)(?=def downgrade)", text, flags=re.S)
    recipe = "".join(f"    {line}\n" for line in re.findall(r"^    #   (.*)$", upgrade, re.M))
    assert recipe.count("'author'") == 2
    recipe = recipe.replace("= ...", "= 'nobody'")
    path.write_text(f"{head.replace('proven = False', '')}def upgrade():\n{recipe}\n\n{rest}")
    workshop.forget()
    service = workshop.service(url, databases=product)
    service.upgrade()
    assert service.check().problems == ()
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT author FROM notes").scalar() == "nobody"
    engine.dispose()


def test_a_column_that_becomes_not_null_warns(workshop: Workshop, sqlite_url: str) -> None:
    folder, _ = upgraded(workshop, sqlite_url)
    models = BEFORE.replace("String(40))", "String(40), nullable=False)")
    (folder / "models.py").write_text(models + ADDED.replace("False", "False, server_default=''"))
    workshop.forget()
    (script,) = workshop.service(sqlite_url).revision("two", autogenerate=True)
    assert script.warnings == (
        'The column "text" of table "notes" becomes NOT NULL, which fails if a row has NULL in '
        "it: fill such rows before, by the recipe in the script.",
    )
    assert (
        '#   op.execute("UPDATE notes SET text = ... WHERE text IS NULL")'
        in Path(script.path).read_text()
    )


@pytest.mark.parametrize("product", ["sqlite", "postgresql"])
def test_a_column_that_goes_has_a_default_before(
    workshop: Workshop, request: pytest.FixtureRequest, product: str
) -> None:
    url = request.getfixturevalue(f"{product}_url")
    folder = workshop.package("shop", BEFORE + ADDED)

    def revision(models: str, name: str) -> None:
        (folder / "models.py").write_text(models)
        workshop.forget()
        workshop.service(url).revision(name, autogenerate=True, allow_drops=True)
        workshop.service(url).upgrade()

    revision(BEFORE + ADDED, "one")
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO notes (id, author) VALUES (1, 'me')")
    with pytest.raises(NotProven) as told:
        revision(BEFORE, "two")
    assert told.value.remedy == (
        'The column "author" of table "notes" goes, and comes back NOT NULL without a '
        "server_default. On a table with rows PostgreSQL and SQLite refuse that downgrade, and "
        "MariaDB makes values up: give the column one in a revision before.\n"
        "To keep the script and edit it by hand: --keep."
    )
    revision(BEFORE + ADDED.replace("False", "False, server_default='?'"), "two")
    revision(BEFORE, "three")
    (folder / "models.py").write_text(BEFORE + ADDED)
    workshop.forget()
    workshop.service(url).downgrade("-2")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT author FROM notes").scalars().all() == ["?"]
    assert len(workshop.service(url).upgrade().steps) == 2


@pytest.mark.parametrize("product", ["sqlite", "postgresql", "mariadb"])
def test_a_rename_is_asked_for_where_type_and_nullability_are_the_same(
    workshop: Workshop, request: pytest.FixtureRequest, product: str
) -> None:
    url = request.getfixturevalue(f"{product}_url")
    folder, _ = upgraded(workshop, url)
    models = BEFORE.replace("text =", "body =").replace("40))", "41))")
    models = models.replace("seen = sa.Column(sa.Boolean)", "looked = sa.Column(sa.Boolean)")
    models = models.replace("key =", "uid =").replace(
        "sa.Uuid)",
        "sa.Uuid, nullable=False, server_default='12345678-1234-1234-1234-123456789012')",
    )
    (folder / "models.py").write_text(models)
    workshop.forget()
    asked: list[str] = []

    def ask(candidate: object) -> bool:
        asked.append(candidate.question)  # type: ignore[attr-defined]
        return False

    workshop.service(url).revision("two", autogenerate=True, ask=ask, prove=False)
    assert asked == ['Was the column "seen" of table "notes" renamed to "looked"?']


#: Alembic's documentation, "Fine-Grained Autogenerate Generation with Rewriters".
REWRITER = """
from alembic import context
from alembic.autogenerate import rewriter
from alembic.operations import ops
from sqlalchemy import create_engine, pool
from shop.models import Base

writer = rewriter.Rewriter()


@writer.rewrites(ops.AddColumnOp)
def add_column(context, revision, op):
    if op.column.nullable:
        return op
    op.column.nullable = True
    return [op, ops.AlterColumnOp(
        op.table_name, op.column.name, modify_nullable=False,
        existing_type=op.column.type, existing_server_default=op.column.server_default,
    )]


url = context.config.get_main_option("sqlalchemy.url")
with create_engine(url, poolclass=pool.NullPool).connect() as connection:
    context.configure(
        connection=connection, target_metadata=Base.metadata, process_revision_directives=writer
    )
    with context.begin_transaction():
        context.run_migrations()
"""


@pytest.mark.parametrize("product", ["postgresql", "mariadb"])
def test_a_rewriter_changes_the_script_and_not_the_models(
    workshop: Workshop, request: pytest.FixtureRequest, product: str
) -> None:
    url = request.getfixturevalue(f"{product}_url")
    folder, service = upgraded(workshop, url)
    (folder / "models.py").write_text(
        BEFORE + ADDED.replace("nullable", "server_default='',nullable")
    )
    (folder / "alembic" / "env.py").write_text(REWRITER)
    workshop.forget()
    service = workshop.service(url)
    # The comparison calls the hook as well.
    assert [one.kind for one in service.check().problems] == ["drift", "drift"]
    (script,) = service.revision("two", autogenerate=True)
    text = Path(script.path).read_text()
    assert text.index("nullable=True") < text.index("nullable=False")
    service.upgrade()
    assert service.check().ok
    assert not service.revision("three", autogenerate=True)


LISTENED = """
import sqlalchemy as sa
metadata = sa.MetaData()
t = sa.Table("things", metadata, sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("n", sa.Integer))
"""


def test_what_a_listener_makes_not_null_is_seen(workshop: Workshop, postgresql_url: str) -> None:
    folder = workshop.package("shop", LISTENED, metadata="shop.models.metadata")
    service = workshop.service(postgresql_url)
    service.revision("first", autogenerate=True)
    service.upgrade()
    ddl = 'sa.DDL("ALTER TABLE things ALTER COLUMN n SET NOT NULL")'
    source = f"{LISTENED}sa.event.listen(t, 'after_create', {ddl})\n"
    (folder / "models.py").write_text(source)
    workshop.forget()
    service = workshop.service(postgresql_url)
    (problem,) = service.check().problems
    assert problem.message == 'Package "shop": modify nullable of things.n: NULL -> NOT NULL'
    service.revision("second", autogenerate=True)
    service.upgrade()
    assert service.check().problems == ()
