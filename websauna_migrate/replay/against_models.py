"""A database that scripts made, or changed, against the models: differences with packages."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from websauna_migrate.config.settings import Settings
from websauna_migrate.facts.catalogue import read_facts
from websauna_migrate.facts.differences import Difference
from websauna_migrate.facts.fact import Fact, Facts
from websauna_migrate.facts.model_comparison import compare_with_models
from websauna_migrate.facts.models import Models
from websauna_migrate.models.ownership import Ownership


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
        compared = compare_with_models(
            self.models, self.settings, self.connection, self.facts, self.owners
        )
        self.besides = compared.besides
        return [(one, self.owner_of(one.fact)) for one in compared.found]

    def owner_of(self, fact: Fact) -> str | None:
        """Return the package of a fact, as far as there is one."""
        owner = self.owners.get((fact.schema, fact.table or fact.name))
        if owner is not None:
            return owner
        default = self.facts.default_schema
        schema = None if fact.schema == default else fact.schema
        # A constraint may be a domain's.
        return self.ownership.enum_owner(
            schema, fact.table or fact.name, default
        ) or self.ownership.sequence_owner(schema, fact.name, default)
