"""Foreign keys between packages that have a declarative base each, named by strings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session, configure_mappers

from apps import Workshop
from runs import execute, rows
from websauna_migrate.errors import OwnershipError

BASE = """
from typing import Optional
from sqlalchemy import BigInteger, Column, ForeignKey, ForeignKeyConstraint, Integer, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    pass

"""

USERS = (
    BASE
    + """
class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column({key}, primary_key=True)
    realm = mapped_column(String(20), unique=True)
"""
)

#: Its key is one into a third package; the type comes through both.
PROFILES = (
    BASE
    + """
class Profile(Base):
    __tablename__ = "profiles"
    id = mapped_column(ForeignKey("users.id"), primary_key=True)
"""
)

PICTURES = (
    BASE
    + """
class Picture(Base):
    __tablename__ = "a_pictures"
    id: Mapped[int] = mapped_column(primary_key=True)
    profile_id = mapped_column(ForeignKey("{target}", ondelete="CASCADE"))
    realm = mapped_column(String(20))
    __table_args__ = (ForeignKeyConstraint(["realm"], ["users.realm"]),)
"""
)


def make(workshop: Workshop, key: str = "BigInteger", target: str = "profiles.id") -> None:
    """Make three packages; the first by name refers to the others."""
    workshop.package("album", PICTURES.format(target=target))
    workshop.package("people", PROFILES)
    workshop.package("users", USERS.format(key=key))


def problems(service: Any) -> list[str]:
    return [str(one) for one in service.check().problems if one.fatal]


def test_tables_of_three_bases_refer_to_each_other(workshop: Workshop, database_url: str) -> None:
    make(workshop)
    service = workshop.service(database_url)
    written = service.revision("one", autogenerate=True)
    texts = {one.package: Path(one.path).read_text() for one in written}
    assert "sa.Column('profile_id', sa.BigInteger()" in texts["album"]
    assert "'people@" in texts["album"] and "'users@" in texts["album"]
    assert "'users@" in texts["people"]
    service.upgrade()
    assert problems(service) == []
    assert service.revision("two", autogenerate=True) == ()
    found = sa.inspect(sa.create_engine(database_url, poolclass=sa.NullPool)).get_foreign_keys(
        "a_pictures"
    )
    assert sorted(key["referred_table"] for key in found) == ["profiles", "users"]
    service.downgrade("base")
    service.upgrade()
    assert problems(service) == []


def test_a_key_that_comes_and_goes(workshop: Workshop, database_url: str) -> None:
    make(workshop)
    models = workshop.root / "album" / "models.py"
    whole = models.read_text()
    models.write_text(whole.replace('ForeignKey("profiles.id", ondelete="CASCADE")', "BigInteger"))
    service = workshop.service(database_url)
    service.revision("one", autogenerate=True)
    service.upgrade()
    for text, operation in ((whole, "create_foreign_key"), (models.read_text(), "drop_constraint")):
        models.write_text(text)
        workshop.forget()
        service = workshop.service(database_url)
        (script,) = service.revision("next", autogenerate=True)
        upgrade = Path(script.path).read_text().split("def downgrade")[0]
        assert f"{operation}(" in upgrade
        service.upgrade()
        assert problems(service) == []


def test_relationships_between_bases(workshop: Workshop, sqlite_url: str) -> None:
    make(workshop)
    models = workshop.root / "people" / "models.py"
    models.write_text(
        f"from users.models import User\n{models.read_text()}    user = relationship(User)\n"
    )
    service = workshop.service(sqlite_url)
    configure_mappers()
    service.revision("one", autogenerate=True)
    service.upgrade()
    people, users = sys.modules["people.models"], sys.modules["users.models"]
    with Session(sa.create_engine(sqlite_url)) as session:
        session.add(people.Profile(user=users.User(id=7)))
        session.commit()
    assert rows(sqlite_url, "SELECT id FROM profiles") == [(7,)]


def test_the_models_as_sql(workshop: Workshop, run: Any) -> None:
    make(workshop)
    ini = workshop.application("shopapp", workshop.root / "site.ini", "sqlite:///shop.sqlite")
    made = run(["ws-create-table", ini], env={"PYTHONPATH": str(workshop.root)})
    assert made.returncode == 0, made.stderr
    order = [made.stdout.index(f"CREATE TABLE {n}") for n in ("users", "profiles", "a_pictures")]
    assert order == sorted(order)
    assert "profile_id BIGINT" in made.stdout


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("profilez.id", 'no registered package has a table "profilez". Did you mean "profiles"?'),
        ("profiles.idd", 'table "profiles" has no column "idd". Did you mean "id"?'),
        ("far.profiles.id", 'no registered package has a table "far.profiles".'),
        # Its own table is near, and is not meant.
        ("pictures.id", 'no registered package has a table "pictures". Correct the name, remove'),
    ],
)
def test_a_target_that_no_package_has_is_named(
    workshop: Workshop, sqlite_url: str, target: str, said: str
) -> None:
    make(workshop, target=target)
    service = workshop.service(sqlite_url)
    with pytest.raises(OwnershipError) as info:
        service.revision("one", autogenerate=True)
    execute(sqlite_url, "CREATE TABLE others (id INTEGER)")
    with pytest.raises(OwnershipError) as checked:
        service.check()
    assert str(checked.value) == str(info.value)
    assert info.value.kind == "no target"
    assert 'column "a_pictures.profile_id" of package "album"' in str(info.value)
    assert said in str(info.value)
    # What needs no models works.
    service.current()
    assert list(service.plan()) == []


def test_the_owners_table_counts_beside_a_description_of_it(
    workshop: Workshop, sqlite_url: str
) -> None:
    """A package may describe another's table in its own MetaData; a third one means the owner's."""
    make(workshop)
    mirror = """
from sqlalchemy import Table
Table("users", Base.metadata, Column("id", BigInteger), info={"package": "users"})
"""
    (workshop.root / "people" / "models.py").write_text(PROFILES + mirror)
    service = workshop.service(sqlite_url)
    users = sys.modules["users.models"].User.__table__
    (key,) = (
        one
        for one in sys.modules["album.models"].Picture.__table__.foreign_keys
        if one.target_fullname == "users.realm"
    )
    assert key.column is users.c.realm
    assert service.owner_of(users) == "users"
