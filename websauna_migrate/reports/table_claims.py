"""Tables that more than one package, or one package twice, says to own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from websauna_migrate.results import CheckProblem

__all__ = ["claimed_by_schema_and_without"]


def claimed_by_schema_and_without(
    owners: Mapping[tuple[str | None, str], str], default_schema: str | None
) -> Iterator[CheckProblem]:
    """Find tables that the models define with the default schema's name and without it.

    :param owners: the owner of each table of the models, by schema and name
    :param default_schema: the one in which a table without a schema is
    """
    for (schema, name), owner in owners.items():
        other = owners.get((None, name))
        if default_schema is None or schema != default_schema or other is None:
            continue
        both = f'package "{owner}"' if owner == other else f'packages "{other}" and "{owner}"'
        yield CheckProblem(
            "claimed-twice",
            owner,
            f'The models of {both} define the table "{name}" twice: without a schema, and in '
            f'"{schema}", which is the same place. Leave one of the definitions out.',
            details=(schema, name),
        )
