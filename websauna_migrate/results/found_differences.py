"""Where databases differ from what scripts make: locate and drift."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NotReplayed:
    """A step that fails on an empty database, which has no rows and may lack an extension.

    :ivar problem: why, a sentence
    :ivar follows: the revisions that could not be replayed either, ``package@id`` each
    """

    package: str
    revision: str
    problem: str
    follows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundDifference:
    """An object that is not as the scripts make it.

    :ivar package: whose it is
    :ivar kind: ``table``, ``column``, ``index``, ...
    :ivar object: it in words
    :ivar attribute: what differs; ``None`` if one side lacks the whole object
    :ivar text: the difference, a clause
    :ivar made: which revision made it, a clause
    :ivar note: true for what is only worth knowing: a name that the server chose, an order of
        columns
    """

    package: str
    kind: str
    object: str
    attribute: str | None
    text: str
    made: str
    note: bool = False

    def __str__(self) -> str:
        """Return it as a line."""
        return f"{self.text} ({self.made})"


@dataclass(frozen=True, slots=True)
class Located:
    """Where the tables of a package stand.

    :ivar verdict: ``proven``; ``models`` where they equal the models, which is where the heads are;
        ``several`` where they equal those of several revisions, ``recorded`` where the history
        table has one of these; ``ahead`` where a revision is recorded that no script defines, and
        nothing tells what it did; ``nearest`` where they equal none;
        ``unknown`` where no revision could be replayed
    :ivar rows: what the history table has there: of ``several`` and ``nearest`` the newest, of an
        empty one none
    :ivar recorded: what the history table has now
    :ivar candidates: the rows of each revision that it may be, oldest first
    :ivar between: the revisions of which nothing tells whether they are applied, ``package@id``; of
        ``ahead`` those that no script defines
    :ivar asked: what was asked of the scripts' ``verify()``, a clause each
    :ivar differences: from :attr:`rows`; notes in any case
    :ivar proof: by what it is proven, for the ledger
    """

    package: str
    verdict: str
    rows: tuple[str, ...] = ()
    recorded: tuple[str, ...] = ()
    candidates: tuple[tuple[str, ...], ...] = ()
    between: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    differences: tuple[FoundDifference, ...] = ()
    proof: str = ""

    @property
    def is_proven(self) -> bool:
        """True if there is one answer."""
        return self.verdict in ("proven", "models", "recorded")


@dataclass(frozen=True, slots=True)
class Location:
    """Where a database stands.

    :ivar packages: the selected ones, by name
    :ivar not_replayed: the steps that could not be replayed
    :ivar unowned: the objects that no script made, in words
    :ivar scripts: how many scripts ran for it; 0 if what they make was known
    :ivar problems: what could not be asked, a sentence each
    """

    packages: tuple[Located, ...]
    not_replayed: tuple[NotReplayed, ...] = ()
    unowned: tuple[str, ...] = ()
    scripts: int = 0
    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if there is one answer for each package."""
        return all(one.is_proven for one in self.packages)


@dataclass(frozen=True, slots=True)
class Drift:
    """Something that is not as it should be.

    :ivar kind: ``database-changed`` for an object that is not as the applied scripts make it,
        ``models-changed`` for one of the models that no script makes, ``pending``, ``unowned``, or
        ``not-compared`` where nothing tells what the scripts make
    :ivar package: whose it is; ``None`` for what has no owner
    :ivar object: the object in words, or the revisions that are pending
    :ivar text: what is to be said, a sentence without its full stop
    :ivar made: which revision made the object, a clause
    :ivar when: after which run it was changed, a clause; empty if nothing tells
    :ivar accepted: true if a person accepted it as it is
    :ivar sql: the statements that bring the object of a ``database-changed`` back
    :ivar not_written: why there are none, a clause
    :ivar who: the role, program, time and statement that changed it, a clause; empty where no event
        trigger records it
    """

    kind: str
    package: str | None
    object: str
    text: str
    made: str = ""
    when: str = ""
    accepted: bool = False
    sql: tuple[str, ...] = ()
    not_written: str = ""
    who: str = ""

    def __str__(self) -> str:
        """Return it as a line."""
        clauses = (self.made, self.when, self.who)
        return self.text + "".join(f"; {clause}" for clause in clauses if clause)


@dataclass(frozen=True, slots=True)
class DriftReport:
    """How a database, its scripts and the models differ.

    :ivar found: object by object
    :ivar problems: what could not be compared, a sentence each
    :ivar sql: the statements that bring back what was changed by hand and not accepted, in the
        order in which they have to run, without semicolons; for SQLite with their transaction, to
        be run on one connection that is in none
    """

    found: tuple[Drift, ...] = ()
    problems: tuple[str, ...] = ()
    sql: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if all was compared, and what was found is accepted, or has no owner."""
        return not self.problems and all(
            one.accepted or one.kind == "unowned" for one in self.found
        )
