"""What an index or constraint is besides its columns: by scripts, and by the models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Constraint, Index, text
from sqlalchemy.sql.elements import ClauseElement

from websauna_migrate.alembic_adapter.written_expressions import (
    DATABASES,
    Spelling,
    by_database,
    key_of,
)
from websauna_migrate.revision_scripts.script_names import UNKNOWN, Call
from websauna_migrate.revision_scripts.written_schema import Part
from websauna_migrate.revision_scripts.written_spellings import expression

#: What SQLAlchemy calls that which a foreign key does, and when a constraint is looked at.
ACTIONS = ("ondelete", "onupdate", "deferrable", "initially", "match")
#: How something is made and not what it is.
TRANSIENT = ("concurrently", "not_valid")
#: What is meant where nothing is said.
DEFAULTS = {"using": "btree", "ondelete": "no action", "onupdate": "no action"}

#: What the names of options begin with, by database; of all without one.
PREFIXES: dict[str | None, tuple[str, ...]] = {
    database: tuple(f"{one}_" for one in dialects) for database, dialects in DATABASES.items()
}
PREFIXES[None] = tuple(one for prefixes in PREFIXES.values() for one in prefixes)


def options_of(
    part: Part | Call | Constraint | Index | None, database: str | None = None
) -> list[str]:
    """Return the names of the options that a part has for a database, by default for any.

    INCLUDE is that of indexes alone: on a table that is there Alembic adds no constraint with it.
    """
    if part is None:
        return []
    found = part.call if isinstance(part, Part) else part
    names = found.keywords if isinstance(found, Call) else found.dialect_kwargs
    kind = part.kind if isinstance(part, Part) else "index" if isinstance(part, Index) else ""
    left_out = TRANSIENT if kind == "index" else (*TRANSIENT, "include")
    return [
        name
        for name in names
        if name.startswith(PREFIXES[database]) and short(name) not in left_out
    ]


def short(option: str) -> str:
    """Return the name of an option without that of its dialect."""
    return option if option in ACTIONS else option.partition("_")[2]


def options_differ(
    part: Part | None, model: Constraint | Index, database: str, spelling: Spelling
) -> bool:
    """Tell whether a part of scripts surely has other options than the model's on a database."""
    if part is None or part.call.open:
        return False
    actions = [] if isinstance(model, Index) or part.kind == "index" else ACTIONS
    for name in {*options_of(part, database), *options_of(model, database), *actions}:
        wanted = getattr(model, name, None) if name in actions else model.dialect_kwargs.get(name)
        if isinstance(wanted, ClauseElement) or name.endswith("_where"):
            there: object = condition(part, name, database)
            wanted = None if wanted is None else words(wanted, database, spelling)
        else:
            columns = [one.name for one in getattr(model, "columns", ())]
            there = plain(option_of(part, name), name, columns)
            wanted = plain(wanted, name, columns)
        unsure = UNKNOWN in (there, wanted) and there is not None
        if there != wanted and not unsure:
            return True
    return False


def option_of(part: Part, name: str) -> object:
    """Return the value of an option by a script; unknown if some of it is."""
    found = part.call.value(None, name)
    inner = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
    return UNKNOWN if UNKNOWN in inner else found


def condition(part: Part, name: str, database: str) -> object:
    """Return the condition of an index by a script, as it is compared."""
    node = part.call.get(None, name)
    if node is None:
        return None
    texts = expression(node, part.call.names)
    found = by_database(texts).get(database) if isinstance(texts, Mapping) else None
    return UNKNOWN if found is None else key_of(found)


def words(value: object, database: str, spelling: Spelling) -> object:
    """Return the condition of a model's index, as it is compared."""
    clause = value if isinstance(value, ClauseElement) else text(str(value))
    found = spelling.texts(clause, is_index=True).get(database)
    return UNKNOWN if found is None else key_of(found)


def plain(value: object, option: str, columns: list[str]) -> object:
    """Return a value of an option, as it is compared: what says the same is equal."""
    if value is UNKNOWN:
        return UNKNOWN
    if value is None or value is False or value in ({}, [], ()):
        return None
    if isinstance(value, Mapping):
        return {str(key): str(one).lower() for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [str(getattr(one, "name", one)) for one in value]
    if short(option) == "length":
        return dict.fromkeys(columns, str(value))
    found = str(value).lower()
    return None if found == DEFAULTS.get(short(option)) else found


def take_options(kw: dict[str, Any], part: Part, own: str) -> None:
    """Let an operation have the options for other databases that a script's has, and no others.

    :param kw: those of the operation
    :param own: the author's database, which tells its own
    """
    found = {name: option_of(part, name) for name in options_of(part)}
    if part.call.open or UNKNOWN in found.values():
        return
    foreign = [one for one in kw if "_" in one and one.partition("_")[0] not in DATABASES[own]]
    for name in foreign:
        del kw[name]
    for name, value in found.items():
        if name not in kw:
            kw[name] = text(str(value)) if name.endswith("_where") else value
