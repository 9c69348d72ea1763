"""Which package owns which table, enum type and sequence of the models."""

import enum
import itertools
from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from pyramid.exceptions import ConfigurationError
from sqlalchemy import orm
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.associationproxy import association_proxy
from sqlalchemy.ext.declarative import AbstractConcreteBase, DeferredReflection

from websauna_migrate.errors import MigrationError, OwnershipError
from websauna_migrate.models.declared_classes import package_of_module
from websauna_migrate.models.ownership import Ownership
from websauna_migrate.models.ownership_errors import Claim


@dataclass(frozen=True)
class Package:
    """A registered package, as far as ownership asks."""

    name: str
    metadata: tuple[sa.MetaData, ...] = ()
    depends_on: tuple[str, ...] = ()
    history_table: str = ""


def make_ownership(**packages):
    """Return the ownership of packages by name; ``__`` in a name stands for a dot."""
    return Ownership(
        Package(name.replace("__", "."), given if isinstance(given, tuple) else (given,))
        for name, given in packages.items()
    )


def make_base(metadata=None):
    return orm.declarative_base(metadata=metadata)


def model(base, dotted, table=None, **attributes):
    """Return a mapped class that looks as if it were defined in the module that its name says."""
    module, _, name = dotted.rpartition(".")
    body = {"__module__": module, "__qualname__": name, **attributes}
    if table is not None:
        body.setdefault("__tablename__", table)
        body.setdefault("id", sa.Column(sa.Integer, primary_key=True))
    return kept(type(base)(name, (base,), body))


def kept(cls):
    """Keep a class alive as long as its tables, as its module would."""
    cls.metadata.info.setdefault("classes", []).append(cls)
    return cls


def association(metadata, name="offer_tags", left="offers.id", right="tags.id", **options):
    return sa.Table(
        name,
        metadata,
        sa.Column("left_id", sa.ForeignKey(left), primary_key=True),
        sa.Column("right_id", sa.ForeignKey(right), primary_key=True),
        **options,
    )


def plain(metadata, name, *columns, **options):
    return sa.Table(
        name, metadata, sa.Column("id", sa.Integer, primary_key=True), *columns, **options
    )


# The class rule


def test_tables_of_a_shared_metadata_belong_to_the_packages_of_their_classes():
    base = make_base()
    model(base, "fooapp.models.Offer", "offers")
    model(base, "websauna.user.models.User", "users")
    ownership = make_ownership(fooapp=base.metadata, websauna__user=base.metadata)
    assert ownership.owners == {(None, "offers"): "fooapp", (None, "users"): "websauna.user"}
    assert ownership.owner_of(base.metadata.tables["users"]) == "websauna.user"
    assert ownership.claim_of(base.metadata.tables["offers"]) == Claim(
        "fooapp", "class", 'class "fooapp.models.Offer"'
    )


def test_a_package_does_not_take_what_only_begins_with_its_name():
    base = make_base()
    model(base, "company.app.models.Invoice", "invoices")
    model(base, "company.app_extra.models.Report", "reports")
    ownership = make_ownership(company__app=base.metadata, company__app_extra=base.metadata)
    assert ownership.owners == {
        (None, "invoices"): "company.app",
        (None, "reports"): "company.app_extra",
    }


def test_the_longest_package_name_wins():
    base = make_base()
    model(base, "company.app.models.Invoice", "invoices")
    model(base, "company.app.shop.models.Cart", "carts")
    ownership = make_ownership(company__app=base.metadata, company__app__shop=base.metadata)
    assert ownership.owners == {
        (None, "carts"): "company.app.shop",
        (None, "invoices"): "company.app",
    }


def test_two_packages_may_have_a_class_of_one_name():
    base = make_base()
    model(base, "fooapp.models.Item", "foo_items")
    model(base, "barapp.models.Item", "bar_items")
    ownership = make_ownership(fooapp=base.metadata, barapp=base.metadata)
    assert ownership.owners == {(None, "bar_items"): "barapp", (None, "foo_items"): "fooapp"}


def test_tables_of_one_name_in_two_schemas_are_two_tables():
    base = make_base()
    model(base, "fooapp.models.Item", "items", __table_args__={"schema": "foo"})
    model(base, "barapp.models.Item", "items")
    ownership = make_ownership(fooapp=base.metadata, barapp=base.metadata)
    assert ownership.owners == {("foo", "items"): "fooapp", (None, "items"): "barapp"}


def test_the_schema_of_the_metadata_counts():
    base = make_base(sa.MetaData(schema="shop"))
    model(base, "fooapp.models.Item", "items")
    assert make_ownership(fooapp=base.metadata).owners == {("shop", "items"): "fooapp"}


def test_a_single_table_subclass_in_another_package_changes_nothing():
    base = make_base()
    person = model(
        base,
        "websauna.user.models.Person",
        "people",
        kind=sa.Column(sa.String),
        __mapper_args__={"polymorphic_on": "kind", "polymorphic_identity": "person"},
    )
    customer = model(
        person,
        "fooapp.models.Customer",
        __mapper_args__={"polymorphic_identity": "customer"},
        credit=sa.Column(sa.Integer),
    )
    model(customer, "barapp.models.Vip", __mapper_args__={"polymorphic_identity": "vip"})
    ownership = make_ownership(
        fooapp=base.metadata, barapp=base.metadata, websauna__user=base.metadata
    )
    assert ownership.owners == {(None, "people"): "websauna.user"}


def test_a_joined_subclass_owns_its_own_table_only():
    base = make_base()
    person = model(
        base,
        "websauna.user.models.Person",
        "people",
        kind=sa.Column(sa.String),
        __mapper_args__={"polymorphic_on": "kind", "polymorphic_identity": "person"},
    )
    model(
        person,
        "fooapp.models.Customer",
        "customers",
        id=sa.Column(sa.ForeignKey("people.id"), primary_key=True),
        __mapper_args__={"polymorphic_identity": "customer"},
    )
    ownership = make_ownership(fooapp=base.metadata, websauna__user=base.metadata)
    assert ownership.owners == {(None, "people"): "websauna.user", (None, "customers"): "fooapp"}


def test_an_abstract_base_of_another_package_owns_nothing():
    base = make_base()
    stamped = type(base)(
        "Stamped",
        (base,),
        {
            "__module__": "websauna.core.models",
            "__abstract__": True,
            "created_at": sa.Column(sa.DateTime),
        },
    )
    model(stamped, "fooapp.models.Offer", "offers")
    ownership = make_ownership(fooapp=base.metadata, websauna__core=base.metadata)
    assert ownership.owners == {(None, "offers"): "fooapp"}


def test_concrete_subclasses_own_their_tables():
    base = make_base()
    shape = type(base)(
        "Shape", (AbstractConcreteBase, base), {"__module__": "websauna.core.models"}
    )
    circle = model(
        shape,
        "fooapp.models.Circle",
        "circles",
        __mapper_args__={"concrete": True, "polymorphic_identity": "circle"},
    )
    model(
        circle,
        "barapp.models.Ring",
        "rings",
        __mapper_args__={"concrete": True, "polymorphic_identity": "ring"},
    )
    orm.configure_mappers()
    ownership = make_ownership(
        websauna__core=base.metadata, fooapp=base.metadata, barapp=base.metadata
    )
    assert ownership.owners == {(None, "circles"): "fooapp", (None, "rings"): "barapp"}


def test_an_imperatively_mapped_table_belongs_to_the_package_of_the_class():
    registry = orm.registry()
    offers = plain(registry.metadata, "offers")
    offer = type("Offer", (), {"__module__": "fooapp.domain", "__qualname__": "Offer"})
    registry.map_imperatively(offer, offers)
    ownership = make_ownership(fooapp=registry.metadata, barapp=registry.metadata)
    assert ownership.owner_of(offers) == "fooapp"


def test_a_table_of_one_package_mapped_by_a_class_of_another_belongs_to_the_class():
    tables, base = sa.MetaData(), make_base()
    offers = plain(tables, "offers")
    model(base, "fooapp.models.Offer", __table__=offers)
    ownership = make_ownership(fooapp=base.metadata, barapp=tables)
    assert ownership.owners == {(None, "offers"): "fooapp"}


def test_classes_of_several_registries_on_one_metadata_are_all_seen():
    metadata = sa.MetaData()
    model(make_base(metadata), "fooapp.models.Offer", "offers")
    model(make_base(metadata), "barapp.models.Order", "orders")
    ownership = make_ownership(fooapp=metadata, barapp=metadata)
    assert ownership.owners == {(None, "offers"): "fooapp", (None, "orders"): "barapp"}


def test_a_dataclass_and_a_declarative_base_class_are_mapped_classes_like_others():
    class Base(orm.MappedAsDataclass, orm.DeclarativeBase):
        pass

    class Offer(Base):
        __module__ = "fooapp.models"
        __tablename__ = "offers"
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)

    ownership = make_ownership(fooapp=Base.metadata, barapp=Base.metadata)
    assert ownership.owners == {(None, "offers"): "fooapp"}


def test_a_class_that_waits_for_reflection_owns_its_table_already():
    base = make_base()
    waiting = {"__module__": "fooapp.models", "__tablename__": "offers"}
    kept(type(base)("Offer", (DeferredReflection, base), waiting))
    ownership = make_ownership(fooapp=base.metadata, barapp=base.metadata)
    assert ownership.owners == {(None, "offers"): "fooapp"}


def test_a_class_mapped_to_a_join_or_a_select_claims_no_table():
    base = make_base()
    user = model(base, "websauna.user.models.User", "users")
    model(base, "fooapp.models.Address", "addresses", user_id=sa.Column(sa.ForeignKey("users.id")))
    users, addresses = (base.metadata.tables[name] for name in ("users", "addresses"))
    model(
        base,
        "barapp.models.UserAddress",
        __table__=sa.join(users, addresses),
        id=orm.column_property(users.c.id, addresses.c.user_id),
        address_id=addresses.c.id,
    )
    model(base, "barapp.models.UserView", __table__=sa.select(user.id).subquery())
    ownership = make_ownership(
        fooapp=base.metadata, barapp=base.metadata, websauna__user=base.metadata
    )
    assert ownership.owners == {(None, "users"): "websauna.user", (None, "addresses"): "fooapp"}


def test_a_class_in_no_registered_package_leaves_the_table_to_the_next_rules():
    base = make_base()
    audit = model(base, "helperlib.audit.Entry", "audit")
    ownership = make_ownership(fooapp=base.metadata)
    assert ownership.claim_of(audit.__table__) == Claim(
        "fooapp", "metadata", "registered its MetaData"
    )


@given(
    st.lists(
        st.lists(st.sampled_from(["a", "ab", "a_b", "b"]), min_size=1, max_size=4),
        min_size=1,
        max_size=8,
    ),
    st.lists(st.sampled_from(["a", "ab", "a_b", "b", "models"]), min_size=1, max_size=5),
)
def test_a_module_lies_in_a_package_only_on_a_dot_boundary(packages, module):
    found = package_of_module(".".join(module), {".".join(parts) for parts in packages})
    containing = [parts for parts in packages if module[: len(parts)] == parts]
    assert found == (".".join(max(containing, key=len)) if containing else None)


# info


def test_info_wins_over_the_class():
    base = make_base()
    model(base, "fooapp.models.Offer", "offers", __table_args__={"info": {"package": "barapp"}})
    ownership = make_ownership(fooapp=base.metadata, barapp=base.metadata)
    assert ownership.claim_of(base.metadata.tables["offers"]) == Claim(
        "barapp", "info", 'info={"package": "barapp"}'
    )


@pytest.mark.parametrize("name", ["fooap", 7, ["fooapp"]])
def test_info_that_names_no_registered_package_is_an_error_with_the_known_ones(name):
    metadata = sa.MetaData(schema="shop")
    offers = plain(metadata, "offers", info={"package": name})
    with pytest.raises(OwnershipError) as failure:
        make_ownership(fooapp=metadata, barapp=metadata).owner_of(offers)
    assert failure.value.kind == "not registered"
    assert str(failure.value) == (
        f'Table "shop.offers" names its owner by info={{"package": {name!r}}}, but no such package '
        "is registered for migrations. Correct the name or register the package. "
        "Registered: barapp, fooapp."
    )
    assert isinstance(failure.value, (MigrationError, ConfigurationError))


# metadata


def test_a_table_without_a_class_belongs_to_the_only_package_of_its_metadata():
    foo, bar = sa.MetaData(), sa.MetaData()
    plain(foo, "rates")
    plain(bar, "zones", schema="geo")
    ownership = make_ownership(fooapp=(foo,), barapp=(bar,))
    assert ownership.owners == {(None, "rates"): "fooapp", ("geo", "zones"): "barapp"}


def test_a_metadata_registered_twice_by_one_package_has_one_registrant():
    metadata = sa.MetaData()
    plain(metadata, "rates")
    assert make_ownership(fooapp=(metadata, metadata)).owners == {(None, "rates"): "fooapp"}


# secondary


def test_an_association_table_belongs_to_the_class_that_uses_it_as_secondary():
    base = make_base()
    tags = association(base.metadata)
    model(base, "websauna.tagging.models.Tag", "tags")
    model(base, "fooapp.models.Offer", "offers", tags=orm.relationship("Tag", secondary=tags))
    ownership = make_ownership(fooapp=base.metadata, websauna__tagging=base.metadata)
    assert ownership.claim_of(tags) == Claim(
        "fooapp", "secondary", 'relationship "fooapp.models.Offer.tags"'
    )


@pytest.mark.parametrize("late", ["string", "callable"])
def test_secondary_may_be_a_string_or_a_callable(late):
    base = make_base()
    model(base, "websauna.tagging.models.Tag", "tags")
    secondary = "offer_tags" if late == "string" else lambda: base.metadata.tables["offer_tags"]
    model(base, "fooapp.models.Offer", "offers", tags=orm.relationship("Tag", secondary=secondary))
    tags = association(base.metadata)
    ownership = make_ownership(fooapp=base.metadata, websauna__tagging=base.metadata)
    assert ownership.owner_of(tags) == "fooapp"


@pytest.mark.parametrize("backref", ["offers", ("offers", {"lazy": "select"})])
def test_the_other_end_of_a_backref_is_not_a_user(backref):
    base = make_base()
    tags = association(base.metadata)
    model(base, "websauna.tagging.models.Tag", "tags")
    model(
        base,
        "fooapp.models.Offer",
        "offers",
        tags=orm.relationship("Tag", secondary=tags, backref=orm.backref(backref[0], **backref[1]))
        if isinstance(backref, tuple)
        else orm.relationship("Tag", secondary=tags, backref=backref),
    )
    ownership = make_ownership(fooapp=base.metadata, websauna__tagging=base.metadata)
    assert ownership.owner_of(tags) == "fooapp"


def test_a_viewonly_relationship_counts_only_if_there_is_no_other():
    base = make_base()
    tags, marks = association(base.metadata), association(base.metadata, "offer_marks")
    offers = orm.relationship("Offer", secondary=tags, viewonly=True)
    model(base, "websauna.tagging.models.Tag", "tags", offers=offers)
    model(
        base,
        "fooapp.models.Offer",
        "offers",
        tags=orm.relationship("Tag", secondary=tags),
        marks=orm.relationship("Tag", secondary=marks, viewonly=True),
        mark_ids=association_proxy("marks", "id"),
    )
    ownership = make_ownership(fooapp=base.metadata, websauna__tagging=base.metadata)
    assert ownership.owner_of(tags) == "fooapp"
    assert ownership.owner_of(marks) == "fooapp"


def test_a_relationship_of_a_single_table_subclass_counts_for_the_subclass():
    base = make_base()
    tags = association(base.metadata, left="people.id")
    model(base, "websauna.tagging.models.Tag", "tags")
    person = model(base, "websauna.user.models.Person", "people")
    model(person, "fooapp.models.Customer", tags=orm.relationship("Tag", secondary=tags))
    ownership = make_ownership(
        fooapp=base.metadata, websauna__user=base.metadata, websauna__tagging=base.metadata
    )
    assert ownership.owner_of(tags) == "fooapp"


def test_an_inherited_relationship_counts_for_the_class_that_declared_it():
    base = make_base()
    tags = association(base.metadata, left="people.id")
    model(base, "websauna.tagging.models.Tag", "tags")
    person = model(
        base,
        "websauna.user.models.Person",
        "people",
        tags=orm.relationship("Tag", secondary=tags),
    )
    customer_id = sa.Column(sa.ForeignKey("people.id"), primary_key=True)
    model(person, "fooapp.models.Customer", "customers", id=customer_id)
    ownership = make_ownership(
        fooapp=base.metadata, websauna__user=base.metadata, websauna__tagging=base.metadata
    )
    assert ownership.owner_of(tags) == "websauna.user"


def test_an_association_object_belongs_to_its_class_whoever_uses_it_as_secondary():
    base = make_base()
    model(base, "websauna.tagging.models.Tag", "tags")
    tagging = model(
        base,
        "websauna.tagging.models.Tagging",
        "taggings",
        offer_id=sa.Column(sa.ForeignKey("offers.id")),
        tag_id=sa.Column(sa.ForeignKey("tags.id")),
    )
    uses = orm.relationship("Tag", secondary="taggings", viewonly=True)
    model(base, "fooapp.models.Offer", "offers", tags=uses)
    ownership = make_ownership(fooapp=base.metadata, websauna__tagging=base.metadata)
    assert ownership.owner_of(tagging.__table__) == "websauna.tagging"


def test_mappers_stay_unconfigured_while_no_association_table_asks():
    base = make_base()
    offer = model(base, "fooapp.models.Offer", "offers", others=orm.relationship("NoSuchClass"))
    ownership = make_ownership(fooapp=base.metadata, barapp=base.metadata)
    assert ownership.owners == {(None, "offers"): "fooapp"}
    assert not sa.inspect(offer).configured
    base.registry.dispose()


def test_relationships_that_cannot_be_set_up_are_a_clear_error():
    base = make_base()
    tags = association(base.metadata)
    model(base, "websauna.tagging.models.Tag", "tags")
    model(base, "fooapp.models.Offer", "offers", tags=orm.relationship("NoSuchTag", secondary=tags))
    ownership = make_ownership(fooapp=base.metadata, websauna__tagging=base.metadata)
    with pytest.raises(OwnershipError) as failure:
        _ = ownership.owners
    assert failure.value.kind == "relationships"
    message = str(failure.value)
    assert message.startswith(
        "The relationships of the models cannot be set up, and only they can tell who owns the "
        "association tables. SQLAlchemy says: InvalidRequestError: "
    )
    assert "'NoSuchTag'" in message
    assert message.endswith("\nCorrect the model that this names.")
    assert isinstance(failure.value.__cause__, sa.exc.InvalidRequestError)
    # A table that needs no relationship has its owner all the same.
    assert ownership.owner_of(base.metadata.tables["offers"]) == "fooapp"
    base.registry.dispose()


# What no rule settles


def test_tables_that_no_rule_settles_are_named_with_their_candidates_and_what_to_write():
    base = make_base()
    rates = plain(base.metadata, "rates", schema="shop")
    association(base.metadata)
    model(
        base,
        "websauna.tagging.models.Tag",
        "tags",
        offers=orm.relationship("Offer", secondary="offer_tags", back_populates="tags"),
    )
    model(
        base,
        "fooapp.models.Offer",
        "offers",
        tags=orm.relationship("Tag", secondary="offer_tags", back_populates="offers"),
    )
    model(base, "helperlib.Audit", "audit")
    ownership = make_ownership(websauna__tagging=base.metadata, fooapp=base.metadata)
    with pytest.raises(OwnershipError) as failure:
        _ = ownership.owners
    both = '"fooapp", "websauna.tagging" (registered its MetaData)'
    said = " Where it is not yours to change, say it in the application: metadata.tables"
    assert str(failure.value) == (
        "No rule settles which package owns these tables; the candidates are:\n"
        '  "audit", mapped by class "helperlib.Audit" outside of all packages\n'
        '  "shop.rates"\n'
        f"    {both}\n"
        '  "offer_tags"\n'
        '    "fooapp" (relationship "fooapp.models.Offer.tags"), '
        '"websauna.tagging" (relationship "websauna.tagging.models.Tag.offers")\n'
        'Name the owner where the table is defined: Table("audit", ..., '
        'info={"package": "fooapp"}), or __table_args__ = {"info": {...}} in its class.'
        f'{said}["audit"].info["package"] = "fooapp".'
    )
    assert [one.table.name for one in failure.value.unsettled] == ["audit", "rates", "offer_tags"]
    with pytest.raises(OwnershipError) as failure:
        ownership.owner_of(rates)
    assert str(failure.value) == (
        "No rule settles which package owns these tables; the candidates are:\n"
        f'  "shop.rates"\n    {both}\n'
        'Name the owner where the table is defined: Table("rates", ..., '
        f'info={{"package": "fooapp"}}).{said}["shop.rates"].info["package"] = "fooapp".'
    )


def test_a_table_of_no_registered_metadata_is_found_by_name_or_unknown():
    base = make_base()
    model(base, "fooapp.models.Offer", "offers", __table_args__={"schema": "shop"})
    ownership = make_ownership(fooapp=base.metadata, barapp=base.metadata)
    reflected = sa.MetaData()
    assert ownership.owner_of(plain(reflected, "offers", schema="shop")) == "fooapp"
    with pytest.raises(OwnershipError) as failure:
        ownership.owner_of(plain(reflected, "offers"))
    assert str(failure.value) == (
        "No rule settles which package owns these tables; the candidates are:\n"
        '  "offers"\n    no package registered its MetaData\n'
        'Name the owner where the table is defined: Table("offers", ..., info={"package": "..."}). '
        "Where it is not yours to change, say it in the application: "
        'metadata.tables["offers"].info["package"] = "...".'
    )


# What two packages claim


def test_a_table_mapped_by_classes_of_two_packages_is_a_conflict_that_names_both():
    base = make_base()
    user = model(base, "websauna.user.models.User", "users")
    model(base, "fooapp.models.Account", __table__=user.__table__)
    ownership = make_ownership(fooapp=base.metadata, websauna__user=base.metadata)
    with pytest.raises(OwnershipError) as failure:
        _ = ownership.owners
    assert failure.value.kind == "conflict"
    assert str(failure.value) == (
        'Table "users" is claimed by more than one package:\n'
        '  "fooapp": class "fooapp.models.Account"\n'
        '  "websauna.user": class "websauna.user.models.User"\n'
        'Name its owner: Table(..., info={"package": "fooapp"}), '
        'or __table_args__ = {"info": {...}} in its class.'
    )
    assert isinstance(failure.value, (MigrationError, ConfigurationError))


def test_info_settles_what_two_classes_claim():
    base = make_base()
    info = {"info": {"package": "websauna.user"}}
    user = model(base, "websauna.user.models.User", "users", __table_args__=info)
    model(base, "fooapp.models.Account", __table__=user.__table__)
    ownership = make_ownership(fooapp=base.metadata, websauna__user=base.metadata)
    assert ownership.owners == {(None, "users"): "websauna.user"}


def test_two_classes_of_one_package_on_one_table_agree():
    base = make_base()
    user = model(base, "fooapp.models.User", "users")
    model(base, "fooapp.views.Account", __table__=user.__table__)
    ownership = make_ownership(fooapp=base.metadata, barapp=base.metadata)
    assert ownership.claim_of(user.__table__).place == 'class "fooapp.models.User"'


def test_one_table_defined_in_the_metadata_of_two_packages_is_a_conflict():
    foo, bar = make_base(), sa.MetaData()
    model(foo, "fooapp.models.User", "users", __table_args__={"schema": "auth"})
    plain(bar, "users", schema="auth")
    ownership = make_ownership(fooapp=foo.metadata, barapp=bar)
    with pytest.raises(OwnershipError) as failure:
        ownership.owner_of(foo.metadata.tables["auth.users"])
    assert failure.value.kind == "conflict"
    assert str(failure.value) == (
        'Table "auth.users" is claimed by more than one package:\n'
        '  "barapp": registered its MetaData\n'
        '  "fooapp": class "fooapp.models.User"\n'
        "Rename one of the tables; one that only describes the other is marked by "
        'info={"package": "barapp"}.'
    )


def test_a_description_of_another_packages_table_is_marked_by_info():
    foo, bar = make_base(), sa.MetaData()
    user = model(foo, "fooapp.models.User", "users")
    stub = plain(bar, "users", info={"package": "fooapp"})
    visits = plain(bar, "visits", sa.Column("user_id", sa.ForeignKey("users.id")))
    ownership = make_ownership(fooapp=foo.metadata, barapp=bar)
    assert ownership.tables_of("fooapp") == (user.__table__,)
    assert ownership.tables_of("barapp") == (visits,)
    assert ownership.owner_of(stub) == "fooapp"
    assert ownership.owners == {(None, "users"): "fooapp", (None, "visits"): "barapp"}


def test_the_definition_with_a_class_counts_where_packages_share_all_metadata():
    foo, bar = make_base(), sa.MetaData()
    user = model(foo, "fooapp.models.User", "users")
    plain(bar, "users", info={"package": "fooapp"})
    ownership = make_ownership(fooapp=(foo.metadata, bar), barapp=(bar, foo.metadata))
    assert ownership.tables_of("fooapp") == (user.__table__,)


def test_a_table_defined_twice_in_one_package_is_an_error():
    one, two = sa.MetaData(), sa.MetaData()
    plain(one, "rates")
    plain(two, "rates")
    with pytest.raises(OwnershipError) as failure:
        _ = make_ownership(fooapp=(one, two)).owners
    assert failure.value.kind == "conflict"
    assert str(failure.value) == (
        'Table "rates" of package "fooapp" is defined more than once:\n'
        '  "fooapp": registered its MetaData\n'
        '  "fooapp": registered its MetaData\n'
        "Keep one definition."
    )


# The order of tables


def linked(metadata, name, *targets, **options):
    columns = [sa.Column(f"{t}_id", sa.ForeignKey(f"{t}.id")) for t in targets]
    return plain(metadata, name, *columns, **options)


def test_tables_come_in_the_order_of_sorted_tables():
    metadata = sa.MetaData()
    for name, *targets in (["a", "z"], ["b", "a", "b"], ["c"], ["z", "y"], ["y"], ["d", "c", "b"]):
        linked(metadata, name, *targets)
    ownership = make_ownership(fooapp=metadata)
    assert ownership.tables_of("fooapp") == tuple(metadata.sorted_tables)
    assert list(ownership.owners) == [(None, name) for name in "cyzabd"]
    assert ownership.tables_of("unknown") == ()


def test_circles_of_foreign_keys_keep_everything_else_in_order_without_a_warning():
    metadata = sa.MetaData()
    for name, *targets in (["a", "b"], ["b", "c"], ["c", "b"], ["d", "a"], ["e"], ["b2", "e"]):
        linked(metadata, name, *targets)
    names = [table.name for table in make_ownership(fooapp=metadata).tables_of("fooapp")]
    assert names == ["c", "e", "b", "b2", "a", "d"]


def test_a_foreign_key_by_name_reaches_a_table_of_another_metadata():
    one, two = sa.MetaData(), sa.MetaData()
    linked(one, "a_visits", "users", "nowhere")
    plain(one, "a_rates", sa.Column("zone_id", sa.ForeignKey("geo.zones.id")))
    plain(two, "users")
    plain(two, "zones", schema="geo")
    ownership = make_ownership(fooapp=one, barapp=two)
    assert list(ownership.owners) == [
        ("geo", "zones"),
        (None, "users"),
        (None, "a_rates"),
        (None, "a_visits"),
    ]


def test_answers_do_not_depend_on_the_order_of_registration():
    base = make_base()
    model(base, "fooapp.models.Offer", "offers", kind=sa.Column(sa.Enum("a", name="kind")))
    model(base, "barapp.models.Order", "orders", kind=sa.Column(sa.Enum("a", name="kind")))
    other = sa.MetaData()
    plain(other, "rates")
    packages = [
        Package("fooapp", (base.metadata,)),
        Package("barapp", (base.metadata,)),
        Package("ratings", (other,)),
    ]
    answers = {
        (tuple(ownership.owners.items()), tuple(ownership.enum_owners.items()))
        for ownership in map(Ownership, itertools.permutations(packages))
    }
    assert len(answers) == 1


def test_a_chain_of_thousands_of_tables_is_no_trouble():
    metadata = sa.MetaData()
    for number in range(3000):
        linked(metadata, f"t{number:04}", *([f"t{number + 1:04}"] if number < 2999 else []))
    tables = make_ownership(fooapp=metadata).tables_of("fooapp")
    assert [table.name for table in tables] == [f"t{number:04}" for number in reversed(range(3000))]


# Enum types and sequences


class Color(enum.Enum):
    RED = 1


Color.__module__ = "websauna.core.enums"


class ColorType(sa.TypeDecorator):
    impl = sa.Enum(Color, name="color")
    cache_ok = True


class ByDialect(sa.TypeDecorator):
    impl = sa.String
    cache_ok = True

    def load_dialect_impl(self, dialect):
        return dialect.type_descriptor(
            postgresql.ENUM("a", name="mood") if dialect.name == "postgresql" else sa.String()
        )


class OnlyMySQL(sa.TypeDecorator):
    impl = sa.String
    cache_ok = True

    def load_dialect_impl(self, dialect):
        raise NotImplementedError


def owners_of_types(*types, **options):
    metadata = sa.MetaData(**options)
    for number, kind in enumerate(types):
        plain(metadata, f"t{number}", sa.Column("kind", kind))
    return dict(make_ownership(fooapp=metadata).enum_owners)


@pytest.mark.parametrize(
    ("declared", "found"),
    [
        (sa.Enum("a", name="kind"), {(None, "kind")}),
        (sa.Enum(Color), {(None, "color")}),
        (sa.Enum("a", name="kind", schema="shop"), {("shop", "kind")}),
        (sa.ARRAY(sa.Enum("a", name="kind", schema="shop")), {("shop", "kind")}),
        (postgresql.ARRAY(ColorType()), {(None, "color")}),
        (ColorType(), {(None, "color")}),
        (ByDialect(), {(None, "mood")}),
        (sa.String().with_variant(sa.Enum("a", name="kind"), "postgresql"), {(None, "kind")}),
        (sa.Enum("a", name="kind").with_variant(sa.String(), "mysql"), {(None, "kind")}),
        (sa.Enum("a", name="kind").with_variant(sa.String(), "postgresql"), set()),
        (postgresql.ENUM("a", name="kind"), {(None, "kind")}),
        (
            postgresql.DOMAIN("paint", sa.Enum("a", name="kind")),
            {(None, "paint"), (None, "kind")},
        ),
        (sa.Enum("a", name="kind", native_enum=False), set()),
        (sa.Enum("a"), set()),
        (OnlyMySQL(), set()),
        (sa.Integer(), set()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_named_type_is_found_wherever_a_column_holds_it(declared, found):
    assert owners_of_types(declared) == dict.fromkeys(found, "fooapp")


def test_a_type_has_the_schema_in_which_sqlalchemy_creates_it():
    kind = sa.Enum("a", name="kind")
    owners = owners_of_types(kind, schema="shop")
    # SQLAlchemy 2.1 takes the schema of the MetaData, 2.0 takes the default schema.
    assert owners == {(kind.schema, "kind"): "fooapp"}


def shared_enum(users, enum_type=None, **depends_on):
    """Return the ownership of packages that each have a table with one enum type."""
    packages = []
    for name in users:
        metadata = sa.MetaData()
        plain(metadata, f"{name}_items", sa.Column("kind", enum_type or sa.Enum("a", name="kind")))
        packages.append(Package(name, (metadata,), tuple(depends_on.get(name, ()))))
    return packages


def test_a_type_of_one_package_belongs_to_it_wherever_its_class_is():
    packages = [*shared_enum(["fooapp"], sa.Enum(Color)), Package("websauna.core")]
    assert Ownership(packages).enum_owner(None, "color") == "fooapp"


def test_a_shared_type_belongs_to_the_using_package_that_has_its_class():
    metadata = sa.MetaData()
    plain(metadata, "core_items", sa.Column("color", sa.Enum(Color)))
    packages = [*shared_enum(["aaa"], sa.Enum(Color)), Package("websauna.core", (metadata,))]
    assert Ownership(packages).enum_owner(None, "color") == "websauna.core"


def test_a_shared_type_belongs_to_the_package_that_the_others_depend_on():
    packages = shared_enum(["aaa", "bbb", "ccc"], aaa=["bbb@37e1cb6de47"], bbb=["ccc"])
    assert Ownership(packages).enum_owner(None, "kind") == "ccc"


def test_a_foreign_key_is_a_dependency_too():
    packages = shared_enum(["aaa", "bbb"])
    extra = sa.MetaData()
    linked(extra, "aaa_extra", "bbb_items")
    packages[0] = Package("aaa", (*packages[0].metadata, extra))
    assert Ownership(packages).enum_owner(None, "kind") == "bbb"


def test_a_shared_type_of_unrelated_packages_belongs_to_the_first_by_name():
    assert Ownership(shared_enum(["bbb", "aaa"])).enum_owner(None, "kind") == "aaa"


def test_a_type_that_no_table_uses_has_no_owner():
    assert Ownership(shared_enum(["aaa"])).enum_owner(None, "other") is None


def test_a_sequence_belongs_to_the_package_whose_column_draws_from_it():
    metadata = sa.MetaData()
    numbers = sa.Sequence("invoice_numbers", schema="shop", metadata=metadata)
    plain(metadata, "invoices", sa.Column("number", sa.Integer, numbers))
    ownership = make_ownership(fooapp=metadata)
    assert ownership.sequence_owner("shop", "invoice_numbers") == "fooapp"
    assert ownership.sequence_owner(None, "invoice_numbers") is None


def test_every_failure_is_a_configuration_error_and_a_migration_error():
    assert issubclass(OwnershipError, MigrationError)
    assert issubclass(OwnershipError, ConfigurationError)
