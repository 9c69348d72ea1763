"""A database against the models: the one place that says what of it is compared."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from websauna_migrate.config.settings import Settings
from websauna_migrate.database.history_tables import HISTORY_PREFIX
from websauna_migrate.facts.differences import Difference
from websauna_migrate.facts.fact import Fact, Facts
from websauna_migrate.facts.models import Models
from websauna_migrate.facts.scratch_models import scratch_models
from websauna_migrate.facts.standstill import settled_differences
from websauna_migrate.models.ownership import Ownership, owner_in

#: What scripts may make besides the models: it counts where the models say it, and is a note else.
BESIDES = frozenset(
    {
        *("view", "materialized view", "foreign table", "function", "procedure", "aggregate"),
        *("window function", "trigger", "rule", "policy", "event", "statistics", "sequence"),
        *("enum type", "domain type", "range type", "composite type"),
    }
)

#: Names of the service's own tables, unless a setting gives a history table another.
OWN_TABLES = re.compile(rf"{HISTORY_PREFIX}.*|websauna_migrate_.*", re.IGNORECASE | re.DOTALL)


def is_own_table(name: str, histories: Collection[str]) -> bool:
    """True if a table is the service's own.

    :param histories: the names of the packages' history tables
    """
    return name in histories or OWN_TABLES.fullmatch(name) is not None


@dataclass(frozen=True)
class ModelComparison:
    """What a database is, and what the models say of it.

    :ivar database: the facts that were compared
    :ivar models: the facts of the models
    :ivar found: what differs, the database on the left; notes among it
    :ivar besides: what the database has and no model says
    :ivar ownership: that of the models
    """

    database: Facts
    models: Facts
    found: tuple[Difference, ...]
    besides: tuple[Fact, ...]
    ownership: Ownership

    def owner_of(self, fact: Fact) -> str | None:
        """Return the package of a fact, as far as there is one."""
        key, default = self.database.key_of(fact), self.database.default_schema
        return (
            owner_in(self.ownership.owners, *key, default)
            # A constraint may be a domain's.
            or self.ownership.enum_owner(*key, default)
            or self.ownership.sequence_owner(key[0], fact.name, default)
        )


def compare_with_models(
    models: Models,
    settings: Settings,
    connection: Connection,
    facts: Facts,
    ownership: Ownership,
) -> ModelComparison:
    """Create the models in a scratch place, and compare a database with them.

    :param settings: they say where the models are tried
    :param facts: of the database
    :param ownership: tells which tables are a package's, whether they are among the models or not
    :raises websauna_migrate.errors.ModelsNotCreated: naming what of the models cannot be
        created
    :raises websauna_migrate.errors.ScratchRefused: if the user may not make a
        scratch place; the message has the grant
    """
    with scratch_models(models, settings, connection) as scratch:
        wanted = scratch.facts.only(lambda one: one.kind not in ("schema", "extension"))
        said = {one.key for one in wanted.objects}
        wholes = {whole_of(one) for one in wanted.objects}
        wholes |= {(schema or facts.default_schema, name) for schema, name in ownership.owners}
        histories = ownership.histories
        treatment = {one: treatment_of(one, said, wholes, histories) for one in facts.objects}
        compared = facts.only(lambda one: treatment[one] == "compare")
        found = settled_differences(compared, scratch.writable(wanted))
        besides = tuple(fact for fact, kind in treatment.items() if kind == "note")
        return ModelComparison(compared, wanted, tuple(found), besides, ownership)


def whole_of(fact: Fact) -> tuple[str, str]:
    """Return the table, view or type that a fact is, or is a part of."""
    return (fact.schema, fact.table or fact.name)


def treatment_of(
    fact: Fact,
    said: Collection[object],
    wholes: Collection[tuple[str, str]],
    histories: Collection[str],
) -> str:
    """Return what to do with a fact of the database.

    :param said: the keys of what the models say
    :param wholes: the tables, views and types of the models and of the packages
    :param histories: the names of the packages' history tables
    :returns: ``compare``; ``note`` for what no model says; ``leave`` for what is no package's,
        and for parts of what is
    """
    if fact.kind in ("schema", "extension"):
        return "leave"
    if fact.key in said:
        return "compare"
    if whole_of(fact) in wholes:
        besides = fact.kind in BESIDES and (fact.kind != "sequence" or fact.table is None)
        return "note" if besides else "compare"
    if fact.table is not None:
        return "leave"
    own = fact.kind == "table" and is_own_table(fact.name, histories)
    return "leave" if own or fact.get("partition of") else "note"
