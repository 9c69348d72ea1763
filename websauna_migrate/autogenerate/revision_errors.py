"""Why a revision script could not be made, in words."""

from __future__ import annotations

from collections.abc import Sequence

from websauna_migrate.base_errors import MigrationError


class RevisionFailed(MigrationError, ValueError):
    """A revision script could not be made.

    :ivar package: the one that it was for
    :ivar kind: ``drops``: the script would drop most of the package's tables; ``cannot-render``:
        something of a model cannot be written into a script so that it works there;
        ``not-created``: a model refers to another package's table or enum type that no
        revision creates yet; ``circle``: new scripts of several packages would wait for each other;
        ``key-in-use``: a key or table goes that another package's foreign key leans on;
        ``move``: a table cannot be given to another package; ``pending``: revisions of the package
        are not applied; ``failed`` for all else, what Alembic or the database refused
    :ivar place: for ``cannot-render`` model, table and column in words, for ``move`` the table
    """

    def __init__(
        self, package: str, problem: str, *, kind: str = "failed", place: str | None = None
    ) -> None:
        self.package = package
        self.problem = problem
        self.kind = kind
        self.place = place
        words = problem
        if kind not in ("move", "pending"):
            words = f'No revision of package "{package}" was written: {one_sentence(problem)}'
        super().__init__(words)


def cannot_render(package: str, place: str, problem: str, remedy: str) -> RevisionFailed:
    """Return the error of something that cannot be written into a script.

    :param place: model, table and column in words, the sentence's subject
    """
    return RevisionFailed(
        package, f"{place} {one_sentence(problem)} {remedy}", kind="cannot-render", place=place
    )


def not_created(
    package: str, used: str, owner: str, together: Sequence[str], *, tried: bool
) -> RevisionFailed:
    """Return the error of a model that uses what no revision of another package creates.

    :param used: what the model has and names, ``a foreign key to table "t"``
    :param together: the packages that need each other, or else the two
    :param tried: the other package gets its script by the same command already
    """
    if tried:
        remedy = (
            "The packages use each other's types, so make them in two steps: leave that column out "
            "of the model, make and apply the revisions of both packages, then put it in and make "
            "the next revision"
        )
    else:
        remedy = (
            "Write their revisions at once: ws-alembic -x "
            f"packages={','.join(together)} revision --autogenerate"
        )
    return RevisionFailed(
        package,
        f'a model has {used} of package "{owner}", but no revision of "{owner}" creates '
        f"it. {remedy}",
        kind="not-created",
    )


def key_in_use(
    package: str, table: str, columns: Sequence[str], other: str, user: str, name: str | None
) -> RevisionFailed:
    """Return the error of a key or table that goes while another package's foreign key leans on it.

    :param table: the one with the key, on ``columns``; it goes itself where there are none
    :param other: the other package, with the foreign key ``name`` of its table ``user``
    """
    going = (
        f'the key on ({", ".join(columns)}) of table "{table}"' if columns else f'table "{table}"'
    )
    back = " and puts it back behind" if columns else ""
    key = f'the foreign key "{name}"' if name else "a foreign key"
    return RevisionFailed(
        package,
        f'{going} goes, and {key} of table "{user}" of package "{other}" leans on it. Write the '
        f"revisions of both at once, which takes the foreign key away before{back}: ws-alembic -x "
        f"packages={','.join(sorted((package, other)))} revision --autogenerate",
        kind="key-in-use",
    )


def revisions_in_circle(packages: Sequence[str]) -> RevisionFailed:
    """Return the error of new scripts of several packages that would wait for each other."""
    listed = ", ".join(f'"{name}"' for name in packages)
    return RevisionFailed(
        packages[0],
        f"the changes of the packages {listed} depend on each other in a circle: one drops what "
        "another still refers to, and has something new that the other needs. Make the changes in "
        "two steps: keep the models that are to go, make and apply the revisions, then remove the "
        "models and make the revisions for that",
        kind="circle",
    )


def one_sentence(text: str) -> str:
    """Return a text that ends in a full stop, or in a command as it is typed."""
    is_command = text.rpartition(" ")[2].startswith("--") or text.endswith(" rebase")
    return text if is_command or text.endswith((".", "!", "?")) else text + "."
