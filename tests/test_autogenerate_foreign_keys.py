"""Foreign keys into schemas that the search path finds, and between packages in a circle."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from apps import Workshop
from websauna_migrate.autogenerate import RevisionFailed

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


MUTUAL = """
import sqlalchemy as sa
from shared import metadata
sa.Table("{table}", metadata, sa.Column("id", sa.Integer, primary_key=True),
         sa.Column("other_id", {other}), info={{"package": "{package}"}})
"""


def test_tables_that_refer_to_each_other_are_made_in_two_steps(
    workshop: Workshop, database_url: str
) -> None:
    (workshop.root / "shared.py").write_text(
        "import sqlalchemy\nmetadata = sqlalchemy.MetaData()\n"
    )
    key = 'sa.ForeignKey("{}.id")'
    contacts = {"table": "contact", "package": "contacts"}
    models = workshop.package(
        "contacts",
        MUTUAL.format(other=key.format("instance"), **contacts),
        metadata="contacts.models.metadata",
    )
    source = MUTUAL.format(table="instance", package="nuntium", other=key.format("contact"))
    workshop.package("nuntium", source, metadata="nuntium.models.metadata")

    def service() -> Any:
        workshop.forget()
        sys.modules.pop("shared", None)
        return workshop.service(database_url)

    with pytest.raises(RevisionFailed, match="refer to each other") as info:
        service().revision("one", autogenerate=True)
    assert info.value.kind == "not-created"
    assert not list(workshop.root.rglob("versions/*.py"))
    # What the message says.
    without = MUTUAL.format(other="sa.Integer", **contacts)
    (models / "models.py").write_text(without)
    assert len(service().revision("one", autogenerate=True)) == 2
    service().upgrade()
    (models / "models.py").write_text(MUTUAL.format(other=key.format("instance"), **contacts))
    (script,) = service().revision("two", autogenerate=True)
    assert "requires" in Path(script.path).read_text()
    service().upgrade()
    assert [str(one) for one in service().check().problems if one.fatal] == []
    service().downgrade("base")
    service().upgrade()
