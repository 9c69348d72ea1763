"""CHECK constraints that stand with a column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from apps import Workshop
from runs import execute

MODELS = """
import sqlalchemy as sa
metadata = sa.MetaData({convention})
sa.Table("t", metadata, sa.Column("id", sa.Integer, primary_key=True),
         sa.Column("a", sa.Integer, sa.CheckConstraint("a > 0"{name})){more})
"""

MORE = ', sa.Column("b", sa.Integer, sa.CheckConstraint("b > 0", name="ck_b"))'

CONVENTION = 'naming_convention={"ck": "ck_%(table_name)s_%(constraint_name)s"}'


def refused(url: str, statement: str) -> bool:
    """Tell whether the database refuses a statement."""
    engine = sa.create_engine(url)
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(statement)
    except sa.exc.DBAPIError:
        return True
    finally:
        engine.dispose()
    return False


#: By the package: the convention of its names, and the name of the constraint.
NAMES = {
    "named": ("", ', name="ck_a"'),
    "unnamed": ("", ""),
    "by_convention": (CONVENTION, ', name="positive"'),
}


def test_a_columns_own_check_is_in_the_script(workshop: Workshop, database_url: str) -> None:
    def service(more: str) -> Any:
        for package, (convention, name) in NAMES.items():
            source = MODELS.format(convention=convention, name=name, more=more)
            source = source.replace('"t"', f'"t_{package}"')
            if (workshop.root / package).exists():
                (workshop.root / package / "models.py").write_text(source)
            else:
                workshop.package(package, source, metadata=f"{package}.models.metadata")
        workshop.forget()
        return workshop.service(database_url)

    def refuses(into: str) -> dict[str, bool]:
        return {one: refused(database_url, f"INSERT INTO t_{one} {into}") for one in NAMES}

    everywhere, nowhere = dict.fromkeys(NAMES, True), dict.fromkeys(NAMES, False)
    first = service("")
    assert len(first.revision("one", autogenerate=True)) == len(NAMES)
    first.upgrade()
    assert refuses("(id, a) VALUES (1, -1)") == everywhere
    assert first.check().problems == ()
    # One comes with a column, and goes with it.
    second = service(MORE)
    assert len(second.revision("two", autogenerate=True)) == len(NAMES)
    second.upgrade()
    assert refuses("(id, a, b) VALUES (1, 1, -1)") == everywhere
    assert refuses("(id, a, b) VALUES (1, -1, 1)") == everywhere
    assert second.check().problems == ()
    second.downgrade([f"{package}@-1" for package in NAMES])
    assert refuses("(id, a) VALUES (1, -1)") == everywhere
    assert refuses("(id, a) VALUES (1, 1)") == nowhere


def test_one_of_a_database_that_create_all_made_is_no_difference(
    workshop: Workshop, transactional_database_url: str
) -> None:
    url = transactional_database_url
    source = MODELS.format(convention="", name=', name="ck_a"', more=MORE)
    names: dict[str, Any] = {}
    exec(source, names)
    workshop.package("shop", source, metadata="shop.models.metadata")
    service = workshop.service(url)
    service.revision("one", autogenerate=True)
    service.stamp("heads")
    engine = sa.create_engine(url)
    names["metadata"].create_all(engine)
    engine.dispose()
    assert service.check().problems == ()


def test_alembics_own_comparison_of_checks_adds_nothing(
    workshop: Workshop, sqlite_url: str
) -> None:
    """1.19.0 has it always, later ones where ``env.py`` names its plugin."""
    name = "alembic.ext.checkconstraint_byname"
    plugins = pytest.importorskip("alembic.runtime.plugins")
    if name not in plugins._all_plugins:
        pytest.skip("this Alembic has no such plugin")
    workshop.package(
        "shop",
        MODELS.format(convention="", name=', name="ck_a"', more=""),
        metadata="shop.models.metadata",
    )
    service = workshop.service(sqlite_url)
    service.revision("one", autogenerate=True)
    service.upgrade()
    (workshop.root / "shop" / "alembic" / "env.py").write_text(
        "from websauna_migrate.environment import run_migrations\n"
        f"run_migrations(autogenerate_plugins=['alembic.autogenerate.*', {name!r}])\n"
    )
    models = workshop.root / "shop" / "models.py"
    models.write_text(
        models.read_text() + 'sa.CheckConstraint(metadata.tables["t"].c.id > 0, name="ck_id")\n'
    )
    workshop.forget()
    service = workshop.service(sqlite_url)
    (script,) = service.revision("two", autogenerate=True)
    text = Path(script.path).read_text()
    assert text.count("create_check_constraint(") == 1 and text.count("drop_constraint(") == 1
    service.upgrade()
    assert service.check().problems == ()


def test_checks_by_operators_of_an_extension_are_written_as_the_models_have_them(
    workshop: Workshop, postgresql_url: str
) -> None:
    columns = 'sa.Column("a", sa.Text), sa.Column("b", sa.Text)'
    source = "import sqlalchemy as sa\nmetadata = sa.MetaData()\n"
    source += f'sa.Table("t", metadata, {columns}'
    workshop.package("shop", f"{source})", metadata="shop.models.metadata")
    # As CITEXT's own, whose schema PostgreSQL tells with them.
    execute(
        postgresql_url,
        "CREATE OPERATOR =% (LEFTARG = text, RIGHTARG = text, FUNCTION = textregexeq)",
    )
    service = workshop.service(postgresql_url)
    service.revision("one", autogenerate=True)
    service.upgrade()
    checks = """sa.CheckConstraint("a =% '^a'"), sa.CheckConstraint("b =% '^b'")"""
    (workshop.root / "shop" / "models.py").write_text(f"{source}, {checks})")
    workshop.forget()
    service = workshop.service(postgresql_url)
    (script,) = service.revision("two", autogenerate=True)
    written = Path(script.path).read_text()
    assert "create_check_constraint" in written and "a =% '^a'" in written
    assert "OPERATOR" not in written and "op.execute" not in written
    service.upgrade()
    assert service.check().ok
