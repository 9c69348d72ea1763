"""Partitions belong to their parent, whichever script made them."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from apps import Workshop

MODELS = """
import sqlalchemy as sa
metadata = sa.MetaData()
sa.Table("event", metadata, sa.Column("id", sa.Integer, primary_key=True),
         sa.Column("day", sa.Date, primary_key=True), sa.Column("note", sa.String(20)),
         sa.Index("ix_note", "note"), postgresql_partition_by="RANGE (day)")
sa.Table("base", metadata, sa.Column("id", sa.Integer, primary_key=True))
"""

FIRST = "CREATE TABLE {} PARTITION OF event FOR VALUES FROM ('{}-01-01') TO ('{}-01-01')"


@pytest.mark.parametrize("form", ["text", "operation"])
def test_partitions_that_the_packages_scripts_made_stay(
    workshop: Workshop, postgresql_url: str, form: str
) -> None:
    models = workshop.package("shop", MODELS, metadata="shop.models.metadata")
    service = workshop.service(postgresql_url)
    service.revision("one", autogenerate=True)
    (script,) = service.revision("partitions")
    path = Path(script.path)
    statements = [FIRST.format("event_2020", 2020, 2021), "CREATE TABLE sub () INHERITS (base)"]
    lines = "".join(f"    op.execute({one!r})\n" for one in statements)
    if form == "operation":
        lines += (
            "    op.create_table('event_2019', sa.Column('id', sa.Integer(), nullable=False),"
            " sa.Column('day', sa.Date(), nullable=False), sa.Column('note', sa.String(20)))\n"
            '    op.execute("ALTER TABLE event ATTACH PARTITION event_2019 FOR VALUES'
            " FROM ('2019-01-01') TO ('2020-01-01')\")\n"
        )
    source = path.read_text()
    path.write_text(source.replace("    pass\n", lines, 1))
    service.upgrade()
    engine = sa.create_engine(postgresql_url)
    with engine.begin() as connection:
        # And one that an operator made.
        connection.exec_driver_sql(FIRST.format("event_2021", 2021, 2022))
        connection.exec_driver_sql("INSERT INTO event VALUES (1, '2020-05-05', 'a')")
    assert [one for one in service.check().problems if one.fatal] == []
    assert service.revision("two", autogenerate=True) == ()
    # A change of the parent is a change of the parent alone.
    workshop.forget()
    (models / "models.py").write_text(MODELS.replace("String(20)", "String(40)"))
    service = workshop.service(postgresql_url)
    (script,) = service.revision("two", autogenerate=True)
    upgrade = Path(script.path).read_text().split("def downgrade")[0]
    assert "drop_table" not in upgrade and "event_20" not in upgrade
    service.upgrade()
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM event_2020").scalar() == 1
    service.downgrade("-1")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT note FROM event_2020").scalar() == "a"
    engine.dispose()
