"""The named types that a run created, for scripts that create them in passing again.

``op.create_table`` creates the enum types of its columns and does not ask whether they are there.
Under plain Alembic one ``MigrationContext`` runs all revisions and remembers what it created, so a
later script of the same run may name a type once more. Here every step has a context of its own:
this memory makes up for it. Unlike Alembic's it looks whether the type is still there.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection

#: Schema and name of a type.
Key = tuple[str | None, str]


class TypeMemory:
    """What the finished steps of a run created in one package."""

    def __init__(self) -> None:
        self._created: dict[str, frozenset[Key]] = {}

    def attach(self, memo: dict[str, object], connection: Connection | None) -> None:
        """Let a step's DDL know of it.

        :param memo: the ``memo`` of Alembic's ``DefaultImpl``, still empty
        :param connection: where types are looked up; ``None`` in a SQL script
        """
        for kind, keys in self._created.items():
            memo[kind] = StepTypes(keys, connection)

    def keep(self, memo: dict[str, object]) -> None:
        """Remember what a step created, after it went well."""
        for kind, found in memo.items():
            # SQLAlchemy keeps a set of names for each kind of type.
            if isinstance(found, set):
                earlier = self._created.get(kind, frozenset())
                self._created[kind] = earlier | frozenset(found)

    def renew(self, memo: dict[str, object], connection: Connection | None) -> None:
        """Remember what a step created, and let the next one's DDL know of it."""
        if memo or self._created:
            self.keep(memo)
            # Not of what the step said that it created.
            memo.clear()
            self.attach(memo, connection)


class StepTypes(set[Key]):
    """The types that a step created, and with them those of earlier steps that are there."""

    def __init__(self, earlier: frozenset[Key], connection: Connection | None) -> None:
        super().__init__()
        self.earlier = earlier
        self.connection = connection

    def __contains__(self, key: object) -> bool:
        """Tell whether a type need not be created; only a type of an earlier step costs a query."""
        if super().__contains__(key):
            return True
        if not isinstance(key, tuple) or key not in self.earlier:
            return False
        if self.connection is None:
            return True
        schema, name = key
        dialect: Any = self.connection.dialect
        return bool(dialect.has_type(self.connection, name, schema=schema))
