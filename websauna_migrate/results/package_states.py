"""Where packages stand: their states, histories and graph."""

from __future__ import annotations

from dataclasses import dataclass

from websauna_migrate.planning.revisions import Revision


@dataclass(frozen=True, slots=True)
class PackageState:
    """Where one package stands.

    :ivar installed: false for a package that is not registered, and known from its history table
        alone
    :ivar rows: the history table's rows, sorted; empty if there is no table
    :ivar applied: the revisions of ``rows``, those that scripts define
    :ivar unknown: the rows that no script defines
    :ivar implied: applied revisions that Alembic's ``current`` prints beside the rows
    :ivar heads: the newest revisions that the scripts define
    :ivar pending: how many of the package's revisions are not applied
    :ivar adopts: squashes that the next upgrade takes as applied: the rows have what they replace
    :ivar elsewhere: other version tables that have its revisions, while its own has none
    :ivar half_done: its revisions with a step that ended half done
    :ivar running: its revision with the step that a run is at work on now
    :ivar importable: of a package that is not registered: true if it is installed all the same,
        and the application does not include it
    """

    package: str
    installed: bool
    history_table: str
    rows: tuple[str, ...] = ()
    applied: tuple[Revision, ...] = ()
    unknown: tuple[str, ...] = ()
    implied: tuple[Revision, ...] = ()
    heads: tuple[Revision, ...] = ()
    pending: int = 0
    adopts: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    half_done: tuple[str, ...] = ()
    running: str | None = None
    importable: bool = False


@dataclass(frozen=True, slots=True)
class GraphNode:
    """A revision in a picture of the graph, or a chain of them that is drawn as one.

    :ivar revisions: the identifiers, oldest first
    :ivar message: the revision's; of a chain those of its ends
    :ivar state: ``applied``, ``pending``, ``running`` or ``half done``
    :ivar is_head: true if no revision of the package comes after it
    :ivar touches: true if its script touches the table that was asked for
    """

    package: str
    revisions: tuple[str, ...]
    message: str
    state: str
    is_head: bool = False
    is_merge: bool = False
    touches: bool = False


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """An edge between two nodes of a picture.

    :ivar earlier: index of the node that comes first; of a race the one that the plan has first
    :ivar later: index of the node that comes after it
    :ivar kind: ``down_revision``, ``depends_on``, ``requires``, ``run_before``, ``package``,
        ``authors`` for the authors' order, or ``race``, which puts neither first
    """

    earlier: int
    later: int
    kind: str


@dataclass(frozen=True, slots=True)
class GraphView:
    """What a picture of the graph shows.

    :ivar packages: dotted names, sorted
    :ivar nodes: in the order of the plan
    :ivar table: the table that was asked for
    :ivar hidden_orders: how many of the authors' orders are about revisions inside of folded chains
    """

    packages: tuple[str, ...]
    nodes: tuple[GraphNode, ...]
    edges: tuple[GraphEdge, ...]
    table: str | None = None
    hidden_orders: int = 0


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A revision with what Alembic's listings say of it.

    :ivar labels: branch labels, inherited ones included
    :ivar children: the package's revisions that name it as their parent
    :ivar is_head: no revision of the package has it as its parent
    :ivar is_effective_head: and none depends on it (Alembic's "real" head)
    :ivar requires: resolved requirements on other packages, ``package@id`` each, those that other
        packages' ``run_before`` put on it included
    """

    revision: Revision
    labels: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    is_head: bool = False
    is_effective_head: bool = False
    is_branch_point: bool = False
    is_merge_point: bool = False
    requires: tuple[str, ...] = ()
