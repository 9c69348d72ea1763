"""Tables that were made without the scripts: by ``create_all``, a dump, another tool."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from websauna_migrate.results import CheckProblem

#: How many differences are named.
SHOWN = 5


def unrecorded(package: str, rows: Collection[str], differences: Sequence[str]) -> CheckProblem:
    """Return what is said of a package whose tables are there, and which scripts did not make.

    :param rows: of its history; their scripts do nothing
    :param differences: between the database and the models, in words
    """
    reason = "its applied scripts make nothing" if rows else "its history is empty"
    text = (
        f'The database has tables of package "{package}", but {reason}: they were made without its '
        "scripts. "
    )
    if not differences:
        text += (
            "They equal the models, so take the scripts as applied: "
            f"ws-alembic -x packages={package} adopt"
        )
    else:
        shown = "; ".join(differences[:SHOWN])
        more = len(differences) - SHOWN
        text += (
            f"They differ from the models: {shown}{f'; {more} more' if more > 0 else ''}. If they "
            "are those of a revision, that is found by replay, and recorded: "
            f"ws-alembic -x packages={package} adopt"
        )
    return CheckProblem("unrecorded", package, text, details=tuple(differences))


def first_script_missing(package: str) -> str:
    """Return what is said of a package that has no script, whose tables are in the database."""
    return (
        f'Package "{package}" has no script, and the database has its tables already: they were '
        "made without one. Write the first script against an empty scratch database, and take it "
        f"as applied here: ws-alembic -x packages={package} adopt"
    )
