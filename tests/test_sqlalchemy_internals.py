"""What websauna_migrate takes from SQLAlchemy below its public API is still there.

A failure here means that an upstream release changed it: adapt ``sqlalchemy_internals.py``.
"""

import pytest
import sqlalchemy as sa
from sqlalchemy import event, orm
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.declarative import DeferredReflection

from websauna_migrate.models.sqlalchemy_internals import (
    declared_classes,
    has_condition,
    is_created,
    keys_as_they_are,
    link_foreign_key,
    rewrites_statements,
    types_of_metadata,
)


def declared_of(base):
    return {
        cls.__name__: mapper
        for cls, mapper in declared_classes()
        if getattr(cls, "metadata", None) is base.metadata
    }


def test_every_declared_class_is_found_with_its_mapper():
    base = orm.declarative_base()

    class Offer(base):
        __tablename__ = "offers"
        id = sa.Column(sa.Integer, primary_key=True)

    assert declared_of(base) == {"Offer": sa.inspect(Offer)}


def test_classes_of_registries_that_share_a_metadata_are_all_found():
    metadata = sa.MetaData()
    first, second = (orm.declarative_base(metadata=metadata) for _ in range(2))

    class One(first):
        __tablename__ = "one"
        id = sa.Column(sa.Integer, primary_key=True)

    class Two(second):
        __tablename__ = "two"
        id = sa.Column(sa.Integer, primary_key=True)

    assert declared_of(first) == {"One": sa.inspect(One), "Two": sa.inspect(Two)}


def test_looking_at_classes_configures_no_mapper():
    base = orm.declarative_base()

    class Broken(base):
        __tablename__ = "broken"
        id = sa.Column(sa.Integer, primary_key=True)
        others = orm.relationship("NoSuchClass")

    declared_of(base)

    assert not sa.inspect(Broken).configured
    base.registry.dispose()


def test_a_class_that_waits_for_reflection_has_no_mapper_yet():
    base = orm.declarative_base()

    class Waiting(DeferredReflection, base):
        __tablename__ = "waiting"

    assert declared_of(base) == {"Waiting": None}
    # The public way fails here, which is why it is not used.
    with pytest.raises(orm.exc.UnmappedClassError):
        _ = base.registry.mappers


def test_a_class_whose_mapping_failed_does_no_harm():
    base = orm.declarative_base()
    with pytest.raises(ArgumentError) as failure:

        class NoKey(base):
            __tablename__ = "no_key"
            name = sa.Column(sa.String)

    assert set(declared_of(base)) <= {"NoKey"}
    del failure


def test_a_foreign_key_is_linked_to_a_table_of_another_metadata():
    target = sa.Table("users", sa.MetaData(), sa.Column("id", sa.BigInteger, primary_key=True))
    metadata = sa.MetaData()
    table = sa.Table("profiles", metadata, sa.Column("user_id", sa.ForeignKey("users.id")))
    (key,) = table.foreign_keys
    link_foreign_key(key, target)
    assert key.column is target.c.id
    assert isinstance(table.c.user_id.type, sa.BigInteger)
    assert key.constraint.referred_table is target
    assert metadata.sorted_tables == [table]
    assert table.join(target).onclause.compare(table.c.user_id == target.c.id)


def test_listeners_that_change_statements_are_known():
    def look(*words):
        return words[2:4]

    def everywhere(*words):
        return words[2:4]

    plain, looks, changes = (sa.create_engine("sqlite://") for _ in range(3))
    event.listen(looks, "before_cursor_execute", look)
    event.listen(looks, "before_execute", look)
    event.listen(changes, "before_cursor_execute", look, retval=True)
    event.listen(sa.Engine, "before_cursor_execute", everywhere, retval=True)
    try:
        with plain.connect() as one, looks.connect() as two, changes.connect() as three:
            found = [rewrites_statements(connection, one) for connection in (one, two, three)]
    finally:
        event.remove(sa.Engine, "before_cursor_execute", everywhere)
    assert found == [False, False, True]


def test_what_a_database_gets_of_a_table_is_known():
    never = sa.CheckConstraint("a > 0", name="never", _create_rule=lambda compiler: False)
    apart = sa.CheckConstraint("a > 1", name="apart")
    parts = [
        never,
        apart,
        sa.CheckConstraint("a > 2", name="there").ddl_if(dialect="sqlite"),
        sa.UniqueConstraint("a", name="elsewhere").ddl_if(dialect="postgresql"),
        sa.Index("asked", "a").ddl_if(callable_=lambda ddl, target, *_, **__: target.unique),
        sa.Index("everywhere", "a"),
    ]
    sa.Table("parts", sa.MetaData(), sa.Column("a", sa.Integer), *parts)
    sa.schema.AddConstraint(apart)
    dialect = sa.create_engine("sqlite://").dialect
    found = [part.name for part in parts if is_created(part, dialect)]
    assert found == ["apart", "there", "everywhere"]
    assert [part.name for part in parts if has_condition(part)] == ["there", "elsewhere", "asked"]


def test_what_is_noted_of_a_key_is_taken_back():
    metadata = sa.MetaData()
    ids = [sa.Column("id", sa.Integer, primary_key=True) for _ in range(2)]
    keys = [sa.Column("key", sa.ForeignKey(f"{one}.id")) for one in "ba"]
    tables = [
        sa.Table(name, metadata, *parts) for name, *parts in zip("ab", ids, keys, strict=True)
    ]
    engine = sa.create_mock_engine("postgresql://", lambda *given, **more: None)
    dialect = sa.create_engine("sqlite://").dialect

    def made():
        return [str(sa.schema.CreateTable(one).compile(dialect=dialect)) for one in tables]

    before = made()
    with keys_as_they_are(tables):
        metadata.create_all(engine, checkfirst=False)
        assert made() != before
    assert made() == before


def test_types_that_a_metadata_has_are_found():
    metadata = sa.MetaData()
    alone = sa.Enum("a", name="alone", metadata=metadata)
    sa.Table("parts", metadata, sa.Column("a", sa.Enum("b", name="of_column")))
    assert types_of_metadata(metadata) == [alone]
