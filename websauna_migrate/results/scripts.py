"""Scripts that were written, taken over, rebased, squashed or made anew."""

from __future__ import annotations

from dataclasses import dataclass

from websauna_migrate.results.run_results import Run


@dataclass(frozen=True, slots=True)
class Proof:
    """New scripts were run up, down and up again, and what they make was compared.

    :ivar dialect: of the database, such as ``postgresql``
    :ivar scratch: it was done in a scratch database, not in a transaction on the application's own
    :ivar seconds: how long it took
    """

    dialect: str
    scratch: bool
    seconds: float

    def __str__(self) -> str:
        """Return the proof in a sentence."""
        where = (
            f" in a scratch database of {self.dialect}" if self.scratch else f" on {self.dialect}"
        )
        return f"Proved: upgrade, downgrade, upgrade{where} ({self.seconds:.2f} s)"


@dataclass(frozen=True, slots=True)
class CreatedScript:
    """A revision script that was written; ``path`` is absolute.

    :ivar warnings: what its author should look at, each with the remedy
    :ivar proof: that it works, together with the others of the command; ``None`` if it was not
        tried, or kept though it failed
    """

    package: str
    revision: str
    message: str
    path: str
    warnings: tuple[str, ...] = ()
    proof: Proof | None = None


@dataclass(frozen=True, slots=True)
class Adoption:
    """What of an existing project was taken over, or would be.

    :ivar actions: what is done, a line each that begins with the package or the file
    :ivar notes: what is worth knowing: what the template's ``env.py`` would lose, new files
    :ivar drift: how database and models differ, which was so before
    :ivar problems: what is left to a person
    :ivar done: false if nothing was changed, and what is told would be done
    :ivar undone: an adoption was taken back
    """

    actions: tuple[str, ...]
    notes: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    done: bool = False
    undone: bool = False


@dataclass(frozen=True, slots=True)
class Redone:
    """The newest revision of a package, written anew and applied.

    :ivar script: the new script
    :ivar diff: how its text differs from the former one's, lines of a unified diff
    :ivar taken_back: the run that took the former one back; ``None`` if it was not applied
    :ivar applied: the run that applied the new one
    """

    package: str
    revision: str
    script: CreatedScript
    diff: tuple[str, ...]
    taken_back: Run | None
    applied: Run


@dataclass(frozen=True, slots=True)
class RebasedScript:
    """A revision script that was put behind another head: its parents before and after."""

    revision: str
    path: str
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rebased:
    """Revisions of a package that were put behind another head.

    :ivar onto: that head; the only one, or ``None``, if there was nothing to do
    :ivar scripts: those that were rewritten, oldest first
    :ivar taken_back: the run that took back those that were applied; ``None`` if none was
    """

    package: str
    onto: str | None
    scripts: tuple[RebasedScript, ...] = ()
    taken_back: Run | None = None


@dataclass(frozen=True, slots=True)
class KeptStep:
    """A step that a squash has as it was, and why: ``line 12 changes rows of "users"``."""

    revision: str
    why: str


@dataclass(frozen=True, slots=True)
class SquashScript:
    """A script that stands for others.

    :ivar replaces: the identifiers of those, the last one last
    :ivar kept: steps that are in it as they were
    :ivar elided: steps whose changes of rows were left out, for they say ``elidable = True``
    :ivar proved: digest of the texts that were proven
    """

    revision: str
    path: str
    replaces: tuple[str, ...]
    kept: tuple[KeptStep, ...]
    elided: tuple[str, ...]
    proved: str


@dataclass(frozen=True, slots=True)
class Squashed:
    """A range of a package's scripts that became one script, or several.

    :ivar scripts: oldest first; several where other packages come between
    :ivar dialect: of the database on which it was proven
    :ivar seconds: how long all of it took
    """

    package: str
    scripts: tuple[SquashScript, ...]
    dialect: str
    seconds: float
