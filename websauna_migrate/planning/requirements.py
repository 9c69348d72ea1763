"""Requirements between packages: what scripts and registrations write, resolved to revisions.

A requirement is written ``package@revision``, split at the first ``@``. The revision may be a full
identifier, the beginning of one, a branch label, or a *floating* symbol: ``head``, ``heads``,
``base``, and these behind ``label@``. What a floating symbol means changes whenever its package
gets a revision. Before a revision has run, it waits for everything that the symbol means today.
Once it has run, the heads of that day are not known any more, and newer ones cannot have been
needed: then it asks only that the package be there, with a base revision of that branch applied.

Scripts of packages that share one version table under plain Alembic name each other's revisions by
``depends_on``, without the package. A name that is not of the script's own package is looked for in
all others.

``requires`` on a package that is not registered is an error. ``run_before`` on one is ignored: an
add-on may run before a package that is not always installed. A package-level requirement stands
for a ``requires`` in each base revision of the package that has none on that package itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple

from websauna_migrate.base_errors import MigrationError
from websauna_migrate.planning.edges import Edge
from websauna_migrate.planning.history_errors import missing_revision
from websauna_migrate.planning.package_history import PackageHistory
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.planning.target_errors import TargetError, quote
from websauna_migrate.planning.targets import find_revision, is_relative, resolve


class RequirementError(MigrationError, LookupError):
    """A requirement cannot be understood.

    :ivar kind: ``malformed``, ``own_package``, ``unknown_package``, ``unknown_revision``,
        or ``ambiguous``
    :ivar revision: the revision whose script says so, ``None`` for a package's registration
    :ivar package: the package that says so
    :ivar attribute: ``requires``, ``depends_on``, ``run_before`` or ``package``
    :ivar text: the requirement as written
    :ivar found: what an ambiguous one may mean
    """

    def __init__(
        self, kind: str, source: Source, problem: str, remedy: str, found: Iterable[str] = ()
    ) -> None:
        self.kind, self.found = kind, tuple(found)
        self.revision, self.package = source.revision, source.package
        self.attribute, self.text = source.kind, source.text
        super().__init__(f"{source.describe()}, but {problem}. {remedy}")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a requirement is written."""

    package: str
    kind: str
    text: str
    revision: Revision | None = None

    def describe(self) -> str:
        """Return the beginning of a sentence that says who requires what."""
        if self.revision is None:
            return f'Package "{self.package}" is registered with depends_on = "{self.text}"'
        return (
            f'Revision "{self.revision.id}" of "{self.package}" ("{self.revision.path}") has '
            f'{self.kind} = "{self.text}"'
        )


@dataclass(frozen=True, slots=True)
class Requirement:
    """What one line asks for one revision.

    :ivar dependent: the revision that must wait
    :ivar kind: ``requires``, ``depends_on``, ``run_before`` or ``package``
    :ivar text: as written
    :ivar required: what it waits for; all heads for ``pkg@head``
    :ivar floating: see the module's docstring
    :ivar bases: of a floating one, the base revisions of which one must be applied once the
        dependent is; empty where it asks nothing then
    """

    dependent: Revision
    kind: str
    text: str
    required: tuple[Revision, ...]
    floating: bool = False
    bases: tuple[Revision, ...] = ()

    def edges(self) -> Iterator[Edge]:
        """Iterate over the edges, one for each required revision."""
        for required in self.required:
            yield Edge(self.dependent, required, self.kind, self.text, self.floating)


class _Resolved(NamedTuple):
    """What a text means: revisions, whether the meaning moves, and its bases if it does."""

    revisions: tuple[Revision, ...]
    floating: bool = False
    bases: tuple[Revision, ...] = ()


def collect_requirements(
    histories: Mapping[str, PackageHistory], package_requires: Mapping[str, Sequence[str]]
) -> list[Requirement]:
    """Resolve all requirements, in an order that depends on names and identifiers alone.

    :param histories: the revisions of each registered package
    :param package_requires: requirements of whole packages; a name without ``@`` means its heads
    :raises RequirementError: for the first one in that order that cannot be understood
    :raises HistoryError: for a name in ``depends_on`` that no package has
    """
    resolver = _Resolver(histories)
    found: list[Requirement] = []
    for package in sorted(histories):
        history = histories[package]
        found.extend(_of_package(resolver, history, sorted(set(package_requires.get(package, ())))))
        for revision in history:
            if revision.requires or revision.run_before:
                found.extend(_of_script(resolver, revision))
        for id_, names in history.others.items():
            for name in names:
                revision = history.revisions[id_]
                found.append(
                    Requirement(revision, "depends_on", name, (resolver.anywhere(revision, name),))
                )
    return found


def _of_script(resolver: _Resolver, revision: Revision) -> Iterator[Requirement]:
    for text in sorted(set(revision.requires)):
        resolved = resolver.resolve(Source(revision.package, "requires", text, revision))
        assert resolved is not None
        yield Requirement(revision, "requires", text, *resolved)
    for text in sorted(set(revision.run_before)):
        resolved = resolver.resolve(Source(revision.package, "run_before", text, revision))
        if resolved is None:
            continue
        # A head that has run already was maybe no head when this script was written, and asks
        # nothing of it. "base" is meant as written: before the first revision.
        floating = resolved.floating and not text.endswith("@base")
        for dependent in resolved.revisions:
            yield Requirement(dependent, "run_before", text, (revision,), floating)


def _of_package(
    resolver: _Resolver, history: PackageHistory, texts: Iterable[str]
) -> Iterator[Requirement]:
    for text in texts:
        resolved = resolver.resolve(Source(history.package, "package", text))
        assert resolved is not None
        required_package = text.partition("@")[0]
        for base in history.bases:
            revision = history.revisions[base]
            own = {written.partition("@")[0] for written in revision.requires}
            if required_package not in own:
                yield Requirement(revision, "package", text, *resolved)


class _Resolver:
    """Resolves texts."""

    def __init__(self, histories: Mapping[str, PackageHistory]) -> None:
        self.histories = histories

    def resolve(self, source: Source) -> _Resolved | None:
        """Return what a requirement means; ``None`` if it is to be ignored."""
        package, at, target = source.text.partition("@")
        if not at and source.kind == "package":
            target = "heads"
        if not package or not target or is_relative(target):
            raise RequirementError(
                "malformed",
                source,
                "a requirement has the form package@revision",
                "The revision is an identifier, a branch label, `head` or `base`.",
            )
        if package == source.package:
            raise RequirementError(
                "own_package",
                source,
                "that is its own package",
                "Between revisions of one package use down_revision or depends_on.",
            )
        history = self.histories.get(package)
        if history is None:
            if source.kind == "run_before":
                return None
            raise self._unknown_package(source, package)
        try:
            return _resolve(history, target)
        except TargetError as exc:
            raise _as_requirement_error(source, history, exc) from exc

    def anywhere(self, revision: Revision, name: str) -> Revision:
        """Return the revision of another package that ``depends_on`` means."""
        found = [
            history.revisions[history.meant_by(name)]
            for _, history in sorted(self.histories.items())
            if history.meant_by(name) in history
        ]
        if not found:
            raise missing_revision(revision, "depends_on", name)
        if len(found) > 1:
            raise RequirementError(
                "ambiguous",
                Source(revision.package, "depends_on", name, revision),
                f"several packages have it: {quote([one.package for one in found])}",
                f'Write requires = ("{found[0].package}@{name}",) in its place, with the package '
                "that is meant.",
                map(str, found),
            )
        return found[0]

    def _unknown_package(self, source: Source, package: str) -> RequirementError:
        known = sorted(self.histories)
        close = get_close_matches(package, known, 1)
        hint = f' (did you mean "{close[0]}"?)' if close else ""
        return RequirementError(
            "unknown_package",
            source,
            f'no package "{package}" is registered{hint}; registered are {quote(known)}',
            f'Include "{package}" in the application so that it registers itself with '
            "config.add_migration_package(), or correct the name. Where that is the application "
            f"itself, give the command its INI file with -c, and -x packages={source.package}.",
        )


def _resolve(history: PackageHistory, target: str) -> _Resolved:
    label, _, symbol = target.rpartition("@")
    if symbol not in ("head", "heads", "base"):
        return _Resolved((history.revisions[resolve(history, target)[0]],))
    branch: Iterable[str] = history.revisions
    heads: Iterable[str] = history.effective_heads
    if label:
        branch = history.history_of(find_revision(history, label))
        heads = [head for head in history.heads if head in branch]
    bases = tuple(history.revisions[base] for base in history.bases if base in branch)
    revisions = tuple(history.revisions[head] for head in heads)
    return _Resolved(bases if symbol == "base" else revisions, floating=True, bases=bases)


def _as_requirement_error(
    source: Source, history: PackageHistory, error: TargetError
) -> RequirementError:
    if error.kind == "ambiguous":
        return RequirementError("ambiguous", source, error.problem, error.remedy, error.found)
    return RequirementError(
        "unknown_revision",
        source,
        error.problem,
        f'Correct it, or install the release of "{history.package}" that has the revision.',
    )
