"""A package's MetaData as ``context.configure`` gets it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import MetaData

__all__ = ["target_metadata"]


class SeveralMetaData(list[MetaData]):
    """Several MetaData that name their constraints alike.

    Alembic looks for ``naming_convention`` on what it is given, and finds none on a plain list:
    ``op.create_unique_constraint(None, ...)`` would be named by the database then.
    """

    def __init__(self, metadata: Sequence[MetaData], naming_convention: Any) -> None:
        super().__init__(metadata)
        self.naming_convention = naming_convention


def target_metadata(metadata: Sequence[MetaData]) -> MetaData | list[MetaData]:
    """Return the one MetaData, or all of them with the naming convention on which they agree."""
    if len(metadata) == 1:
        return metadata[0]
    conventions = [dict(one.naming_convention) for one in metadata]
    if not conventions or any(one != conventions[0] for one in conventions):
        return list(metadata)
    return SeveralMetaData(metadata, metadata[0].naming_convention)
