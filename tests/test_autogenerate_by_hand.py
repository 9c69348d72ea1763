"""What models say and no script that is written makes: a check and the proof name it."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from apps import Workshop
from websauna_migrate.errors import NotProven

MODELS = """
import sqlalchemy as sa
metadata = sa.MetaData()
base = sa.Table("base", metadata, sa.Column("a", sa.Integer))
things = sa.Table("things", metadata, sa.Column("id", sa.Integer, primary_key=True),
                  sa.Column("d", sa.Integer, primary_key=True), sa.Column("a", sa.Integer),
                  sa.Index("ix_a", "a"), {})
def then(statement):
    sa.event.listen(things, "after_create", sa.DDL(statement))
{}
"""

UPDATE = "ON things FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()"
RANGE = 'postgresql_partition_by="RANGE (d)"'

#: What the models have at first and then, and what undoes and does it.
POSTGRESQL = {
    "becomes partitioned": ("", RANGE, "", "partitioned by"),
    "partitioned no longer": (RANGE, "", "", "partitioned by"),
    "otherwise": (RANGE, 'postgresql_partition_by="LIST (d)"', "", "partitioned by"),
    "inherits": ("", 'postgresql_inherits="base"', "", "inherits"),
    "trigger": ("", "", f"CREATE TRIGGER tr BEFORE UPDATE {UPDATE}", 'trigger "tr"'),
    "policy": ("", "", "CREATE POLICY po ON things USING (a > 1)", 'policy "po"'),
    "rule": ("", "", "CREATE RULE ru AS ON DELETE TO things DO INSTEAD NOTHING", 'rule "ru"'),
    "statistics": ("", "", "CREATE STATISTICS st ON a, d FROM things", 'statistics "st"'),
    "cluster": ("", "", "ALTER TABLE things CLUSTER ON ix_a", "clustered"),
}
TRIGGER = "CREATE TRIGGER tr AFTER INSERT ON things {}"
OTHERS = {
    "sqlite": TRIGGER.format("BEGIN DELETE FROM base; END"),
    "mariadb": TRIGGER.format("FOR EACH ROW DELETE FROM base"),
}


def check_named(workshop: Workshop, url: str, first: str, then: str, sql: str, words: str) -> None:
    models = workshop.package("shop", MODELS.format(first, ""), metadata="shop.models.metadata")
    service = workshop.service(url)
    service.revision("one", autogenerate=True)
    service.upgrade()
    assert service.check().problems == ()
    (models / "models.py").write_text(MODELS.format(then, f"then({sql!r})" if sql else ""))
    workshop.forget()
    service = workshop.service(url)
    (problem,) = service.check().problems
    assert problem.kind == "drift" and problem.fatal and words in problem.message
    scripts = models / "alembic" / "versions"
    before = {*scripts.iterdir()}
    with pytest.raises(NotProven) as caught:
        service.revision("two", autogenerate=True)
    assert words in str(caught.value) and {*scripts.iterdir()} == before
    (script,) = service.revision("two", autogenerate=True, keep=True)
    path = Path(script.path)
    assert "pass  # Write this by hand: table" in path.read_text()
    if "partitioned" in words:
        more = f", {then}" if then else ""
        columns = ", ".join(
            f"sa.Column({name!r}, sa.Integer, primary_key={key})"
            for name, key in [("id", True), ("d", True), ("a", False)]
        )
        sql = (
            f"op.drop_table('things')\n    op.create_table('things', {columns}{more})\n"
            "    op.create_index('ix_a', 'things', ['a'])"
        )
    elif "inherits" in words:
        sql = "op.execute('ALTER TABLE things INHERIT base')"
    else:
        sql = f"op.execute({sql!r})"
    path.write_text(path.read_text().replace("    pass  #", f"    {sql}  #", 1))
    service.upgrade()
    assert service.check().problems == ()


@pytest.mark.parametrize("change", POSTGRESQL)
def test_on_postgresql(workshop: Workshop, postgresql_url: str, change: str) -> None:
    check_named(workshop, postgresql_url, *POSTGRESQL[change])


@pytest.mark.parametrize("product", OTHERS)
def test_a_listeners_trigger(
    workshop: Workshop, request: pytest.FixtureRequest, product: str
) -> None:
    url = str(request.getfixturevalue(f"{product}_url"))
    check_named(workshop, url, "", "", OTHERS[product], 'trigger "tr"')


def test_a_listeners_view(workshop: Workshop, database_url: str) -> None:
    models = workshop.package("shop", MODELS.format("", ""), metadata="shop.models.metadata")
    service = workshop.service(database_url)
    service.revision("one", autogenerate=True)
    service.upgrade()
    view = "CREATE VIEW seen AS SELECT a FROM things"
    (models / "models.py").write_text(MODELS.format("", f"then({view!r})"))
    workshop.forget()
    service = workshop.service(database_url)
    (problem,) = service.check().problems
    assert problem.kind == "drift" and problem.fatal and 'view "seen"' in problem.message
    engine = sa.create_engine(database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql(view)
    engine.dispose()
    assert [one for one in service.check().problems if one.kind == "drift"] == []
