"""Foreign keys into schemas that the search path finds."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from apps import Workshop
from journeys import goes_and_comes

MODELS = """
import sqlalchemy as sa
metadata = sa.MetaData()
sa.Table("groups", metadata, sa.Column("id", sa.Integer, primary_key=True), schema={default!r})
sa.Table("far", metadata, sa.Column("id", sa.Integer, primary_key=True), schema={other!r})
sa.Table("users", metadata, sa.Column("id", sa.Integer, primary_key=True),
         sa.Column("group_id", sa.ForeignKey("{default}.groups.id", ondelete="CASCADE")),
         sa.Column("far_id", sa.ForeignKey("{other}.far.id")), schema={default!r})
sa.Table("bare", metadata, sa.Column("id", sa.Integer, primary_key=True),
         sa.Column("user_id", sa.ForeignKey("{default}.users.id")))
sa.Table("links", metadata,
         sa.Column("user_id", sa.ForeignKey("{default}.users.id"), primary_key=True),
         sa.Column("far_id", sa.ForeignKey("{other}.far.id"), primary_key=True),
         sa.Column("bare_id", sa.ForeignKey("bare.id")), schema={other!r})
"""


@pytest.mark.parametrize("path", ["public", "iris, public", "public, iris"])
def test_foreign_keys_into_written_schemas_are_quiet(
    workshop: Workshop, postgresql_url: str, path: str
) -> None:
    default = path.split(",")[0]
    other = "iris" if default == "public" else "public"
    engine = sa.create_engine(postgresql_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA iris")
        name = sa.make_url(postgresql_url).database
        connection.exec_driver_sql(f'ALTER DATABASE "{name}" SET search_path = {path}')
    engine.dispose()
    source = MODELS.format(default=default, other=other)
    models = workshop.package("shop", source, metadata="shop.models.metadata")
    service = workshop.service(postgresql_url)
    service.revision("one", autogenerate=True)
    service.upgrade()
    assert [str(one) for one in service.check().problems if one.fatal] == []
    assert service.revision("two", autogenerate=True) == ()
    # What differs in more than the spelling is told: another table, another rule.
    workshop.forget()
    changed = source.replace(', ondelete="CASCADE"', "").replace(
        f'ForeignKey("{other}.far.id"), primary', 'ForeignKey("bare.id"), primary'
    )
    (models / "models.py").write_text(changed)
    service = workshop.service(postgresql_url)
    (script,) = service.revision("two", autogenerate=True)
    upgrade = Path(script.path).read_text().split("def downgrade")[0]
    assert upgrade.count("create_foreign_key(") == upgrade.count("type_='foreignkey'") == 2
    service.upgrade()
    assert [str(one) for one in service.check().problems if one.fatal] == []


NAMED = """
import sqlalchemy as sa
metadata = sa.MetaData()
sa.Table("p", metadata, sa.Column("id", sa.Integer, primary_key=True))
sa.Table("q", metadata, sa.Column("id", sa.Integer, primary_key=True))
sa.Table("t", metadata, sa.Column("id", sa.Integer, primary_key=True),
         sa.Column("a", sa.Integer), sa.Column("b", sa.Integer),
         sa.ForeignKeyConstraint(["{column}"], ["{table}.id"], name="k"))
"""


def test_a_foreign_key_gets_another_column_under_its_name(
    workshop: Workshop, database_url: str
) -> None:
    """MariaDB has an index of that name for the former column."""
    models = workshop.package(
        "shop", NAMED.format(column="a", table="p"), metadata="shop.models.metadata"
    )
    service = workshop.service(database_url)
    service.revision("one", autogenerate=True)
    service.upgrade()
    (models / "models.py").write_text(NAMED.format(column="b", table="q"))
    workshop.forget()
    service = workshop.service(database_url)
    service.revision("two", autogenerate=True)
    goes_and_comes(service)
