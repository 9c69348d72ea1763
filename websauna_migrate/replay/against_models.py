"""A database that scripts made, or changed, against the models."""

from __future__ import annotations

import re
from collections.abc import Collection

from sqlalchemy.engine import Connection

from websauna_migrate.config.settings import Settings
from websauna_migrate.database.history_tables import HISTORY_PREFIX
from websauna_migrate.facts.catalogue import read_facts
from websauna_migrate.facts.differences import Difference
from websauna_migrate.facts.fact import Fact, Facts
from websauna_migrate.facts.models import Models
from websauna_migrate.facts.scratch_models import scratch_models
from websauna_migrate.facts.standstill import settled_differences
from websauna_migrate.models.ownership import Ownership

__all__ = ["OWN_TABLES", "AgainstModels"]

#: What scripts may make besides the models: it counts where the models say it, and is a note else.
BESIDES = frozenset(
    {
        *("view", "materialized view", "foreign table", "function", "procedure", "aggregate"),
        *("window function", "trigger", "rule", "policy", "event", "statistics", "sequence"),
        *("enum type", "domain type", "range type", "composite type"),
    }
)

#: Tables of the service's own.
OWN_TABLES = re.compile(rf"{HISTORY_PREFIX}.*|websauna_migrate_.*", re.IGNORECASE | re.DOTALL)


class AgainstModels:
    """Compares a database with the models.

    :ivar facts: the database's
    :ivar besides: what the database has and no model says, once it was compared
    """

    def __init__(
        self,
        models: Models,
        settings: Settings,
        connection: Connection,
        ownership: Ownership,
        facts: Facts | None = None,
    ) -> None:
        """Keep both sides.

        :param settings: they say where the models are tried
        :param facts: of the database, read now if they are not given
        """
        self.models = models
        self.settings = settings
        self.connection = connection
        self.ownership = ownership
        self.facts = read_facts(connection) if facts is None else facts
        self.besides: tuple[Fact, ...] = ()
        self.owners = {
            (schema or self.facts.default_schema, name): owner
            for (schema, name), owner in ownership.owners.items()
        }

    def differences(self) -> list[tuple[Difference, str | None]]:
        """Return what differs, each with its package, as far as there is one."""
        with scratch_models(self.models, self.settings, self.connection) as scratch:
            scratch.facts = scratch.facts.only(lambda one: one.kind not in ("schema", "extension"))
            said = {one.key for one in scratch.facts.objects}
            wholes = {(one.schema, one.name) for one in scratch.facts.objects if not one.table}
            treatment = {one: self.treatment(one, said, wholes) for one in self.facts.objects}
            compared = self.facts.only(lambda one: treatment[one] == "compare")
            found = settled_differences(compared, scratch)
        self.besides = tuple(fact for fact, kind in treatment.items() if kind == "note")
        return [(one, self.owner_of(one.fact)) for one in found]

    def treatment(
        self, fact: Fact, said: Collection[object], wholes: Collection[tuple[str, str]]
    ) -> str:
        """Return what to do with a fact of the scratch database.

        :param said: the keys of what the models say
        :param wholes: the tables, views and types among them
        :returns: ``compare``; ``note`` for what no model says; ``leave`` for what is no package's,
            and for parts of what is
        """
        if fact.kind in ("schema", "extension"):
            return "leave"
        whole = (fact.schema, fact.table or fact.name)
        if whole in self.owners:
            besides = fact.kind in BESIDES and (fact.kind != "sequence" or fact.table is None)
            return "note" if besides and fact.key not in said else "compare"
        if fact.key in said or whole in wholes:
            return "compare"
        if fact.table is not None:
            return "leave"
        own = fact.kind == "table" and OWN_TABLES.fullmatch(fact.name)
        return "leave" if own or fact.get("partition of") else "note"

    def owner_of(self, fact: Fact) -> str | None:
        """Return the package of a fact, as far as there is one."""
        owner = self.owners.get((fact.schema, fact.table or fact.name))
        if owner is not None:
            return owner
        default = self.facts.default_schema
        schema = None if fact.schema == default else fact.schema
        return self.ownership.enum_owner(schema, fact.name) or self.ownership.sequence_owner(
            schema, fact.name
        )
