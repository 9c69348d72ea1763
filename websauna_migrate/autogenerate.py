"""New revision scripts: comparing one package's models with the database, and writing the file."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from alembic.autogenerate import RevisionContext
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from alembic.script.base import Script
from alembic.util.exc import CommandError
from sqlalchemy import ForeignKeyConstraint, inspect
from sqlalchemy.engine import Connection
from sqlalchemy.types import TypeDecorator

from websauna_migrate.alembic_internals import render_type
from websauna_migrate.environment import PackageEnvironment
from websauna_migrate.errors import MigrationError
from websauna_migrate.ownership import Ownership
from websauna_migrate.packages import MigrationPackage
from websauna_migrate.results import CreatedScript
from websauna_migrate.snapshot import Snapshot
from websauna_migrate.template import create_script_directory

__all__ = [
    "NotUpToDate",
    "OwnedObjects",
    "RevisionFailed",
    "ScriptWriter",
    "TableNotCreated",
    "compare_options",
    "find_changes",
]

Key = tuple[str | None, str]


class RevisionFailed(MigrationError, ValueError):
    """A revision script could not be made."""

    def __init__(self, package: str, problem: str) -> None:
        self.package = package
        super().__init__(
            f'No revision of package "{package}" was written: {one_sentence(problem)}'
        )


def one_sentence(text: str) -> str:
    """Return a text that ends in a full stop."""
    return text if text.endswith((".", "!", "?")) else text + "."


class OwnedObjects:
    """What of the models and of the database belongs to one package.

    A table of the models belongs to its owner. A table that only the database has belongs to the
    package whose scripts created it; what no package created is nobody's.
    """

    def __init__(self, package: str, ownership: Ownership, snapshot: Snapshot) -> None:
        self.package = package
        self.ownership = ownership
        self.snapshot = snapshot

    def owns(self, schema: str | None, name: str) -> bool:
        """Tell whether a table is the package's."""
        owner = self.ownership.owners.get((schema, name))
        if owner is None:
            origin = self.snapshot.created.table_origin(schema, name)
            owner = origin[0] if origin else None
        return owner == self.package

    @property
    def schemas(self) -> frozenset[str | None]:
        """The schemas in which the package has tables, in models or scripts."""
        return frozenset(
            schema
            for (schema, _), owner in [
                *self.ownership.owners.items(),
                *((key, origin[0]) for key, origin in self.snapshot.created.tables.items()),
            ]
            if owner == self.package
        )

    def include_name(
        self, name: str | None, type_: str, parent_names: Mapping[str, str | None]
    ) -> bool:
        """Alembic's ``include_name``: nothing else is reflected at all."""
        if type_ == "schema":
            return name in self.schemas
        if type_ == "table" and name is not None:
            return self.owns(parent_names.get("schema_name"), name)
        return True

    def include_object(
        self, object_: Any, name: str | None, type_: str, reflected: bool, compare_to: Any
    ) -> bool:
        """Alembic's ``include_object``: of a shared ``MetaData`` only the package's tables."""
        if type_ == "table" and not reflected:
            return self.owns(object_.schema, object_.name)
        return True


def compare_options(owned: OwnedObjects, dialect: str) -> dict[str, Any]:
    """Return the options of ``context.configure`` for a comparison of one package."""
    return {
        "include_name": owned.include_name,
        "include_object": owned.include_object,
        "include_schemas": bool(owned.schemas - {None}),
        "compare_type": True,
        "compare_server_default": True,
        "render_as_batch": dialect == "sqlite",
        "render_item": render_item,
    }


def render_item(kind: str, item: Any, autogen_context: Any) -> str | bool:
    """Render a custom type as what it stores, so that old scripts do not need later code."""
    if (
        kind == "type"
        and isinstance(item, TypeDecorator)
        and not type(item).__module__.startswith("sqlalchemy.")
    ):
        return render_type(item.impl_instance, autogen_context)
    return False


def find_changes(
    environment: PackageEnvironment,
    owned: OwnedObjects,
    connection: Connection,
    rows: tuple[str, ...],
) -> list[Any]:
    """Return what autogenerate would write for a package, as Alembic's operation objects."""
    context = RevisionContext(environment.config, environment.scripts, command_arguments())
    run_comparison(context, environment, owned, connection, rows)
    return [
        operation
        for script in context.generated_revisions
        for container in script.upgrade_ops_list
        for operation in container.ops
    ]


def run_comparison(
    context: RevisionContext,
    environment: PackageEnvironment,
    owned: OwnedObjects,
    connection: Connection,
    rows: tuple[str, ...],
    finish: Callable[[Any, Any, list[Any]], None] | None = None,
) -> None:
    """Run a package's environment with the comparison as its work."""

    def compare(rev: Any, migration_context: MigrationContext) -> Sequence[Any]:
        context.run_autogenerate(rev, migration_context)
        return ()

    insisted = compare_options(owned, connection.dialect.name)
    if finish is not None:
        insisted["process_revision_directives"] = finish
    environment.run(
        compare,
        connection=connection,
        rows=rows,
        configure=insisted,
        dont_mutate=True,
        template_args=context.template_args,
        revision_context=context,
    )


def command_arguments(**given: Any) -> dict[str, Any]:
    """Return the arguments that Alembic's ``revision`` command hands to its context."""
    return {
        "message": None,
        "autogenerate": True,
        "sql": False,
        "head": "head",
        "splice": False,
        "branch_label": None,
        "version_path": None,
        "rev_id": None,
        "depends_on": None,
        **given,
    }


class NotUpToDate(MigrationError, ValueError):
    """A package cannot be compared while revisions of it are not applied."""

    def __init__(self, package: str, pending: Sequence[str]) -> None:
        self.package = package
        self.pending = tuple(pending)
        super().__init__(
            f'The database is not up to date for package "{package}": {len(pending)} of its '
            f'revisions are not applied, the next one is "{pending[0]}". Nothing was written. Run '
            f"first: ws-alembic -x packages={package} upgrade"
        )


class TableNotCreated(MigrationError, LookupError):
    """A model refers to another package's table that no revision creates yet."""

    def __init__(self, package: str, table: str, owner: str) -> None:
        self.package = package
        self.table = table
        self.owner = owner
        super().__init__(
            f'A model of package "{package}" has a foreign key to table "{table}" of package '
            f'"{owner}", but no revision of "{owner}" creates it. Nothing was written. Write that '
            f"revision first, or both at once: ws-alembic -x packages={owner},{package} revision "
            "--autogenerate"
        )


class ScriptWriter:
    """Writes the new revisions of some packages, all of them or none."""

    def __init__(
        self,
        *,
        packages: Sequence[MigrationPackage],
        ownership: Ownership,
        take_snapshot: Callable[[], Snapshot],
        requires: Sequence[str],
        arguments: Mapping[str, Any],
    ) -> None:
        """Keep what every package's revision is made from.

        :param take_snapshot: reads the scripts; called again after each new one, so that the next
            package's script can require it
        :param requires: requirements besides those that are inferred
        :param arguments: those of Alembic's ``revision`` command
        """
        self.packages = {package.name: package for package in packages}
        self.ownership = ownership
        self.take_snapshot = take_snapshot
        self.requires = tuple(requires)
        self.arguments = dict(arguments)
        self.made_directories: list[Path] = []
        self.written: list[CreatedScript] = []

    def write(
        self,
        connection: Connection | None,
        applied: Mapping[str, tuple[str, ...]],
    ) -> tuple[CreatedScript, ...]:
        """Write the scripts.

        :param connection: the database to compare with; ``None`` for empty scripts
        :param applied: the rows of each package's history table
        """
        try:
            for name in self.ordered() if connection is not None else sorted(self.packages):
                if create_script_directory(self.packages[name]):
                    self.made_directories.append(self.packages[name].script_directory)
                self.written += self.write_one(name, connection, applied.get(name, ()))
        except BaseException:
            self.undo()
            raise
        for directory in self.made_directories:
            # A directory that was made for a script that turned out empty is not wanted.
            if not any(Path(one.path).is_relative_to(directory) for one in self.written):
                shutil.rmtree(directory)
        return tuple(self.written)

    def undo(self) -> None:
        """Remove what was written so far."""
        for script in self.written:
            Path(script.path).unlink(missing_ok=True)
        for directory in self.made_directories:
            shutil.rmtree(directory, ignore_errors=True)

    def ordered(self) -> list[str]:
        """Return the packages so that one whose tables are referred to comes before the others."""
        needs: dict[str, set[str]] = {name: set() for name in self.packages}
        for name in self.packages:
            for table in self.ownership.tables_of(name):
                for constraint in table.foreign_key_constraints:
                    key = referred_key(constraint)
                    owner = self.ownership.owners.get(key) if key else None
                    if owner in needs and owner != name:
                        needs[name].add(owner)
        ordered: list[str] = []
        waiting = sorted(self.packages)
        while waiting:
            ready = [name for name in waiting if needs[name] <= set(ordered)]
            # Packages that refer to each other cannot both come first: then the names decide.
            chosen = ready[0] if ready else waiting[0]
            ordered.append(chosen)
            waiting.remove(chosen)
        return ordered

    def write_one(
        self, name: str, connection: Connection | None, rows: tuple[str, ...]
    ) -> list[CreatedScript]:
        """Write one package's script, or none if nothing changed."""
        snapshot = self.take_snapshot()
        environment = snapshot.environments[name]
        owned = OwnedObjects(name, self.ownership, snapshot)
        if connection is not None:
            require_up_to_date(snapshot, name, rows)
        context = RevisionContext(
            environment.config,
            environment.scripts,
            command_arguments(**{**self.arguments, "autogenerate": connection is not None}),
        )
        context.template_args["requires"] = self.requires

        def finish(migration_context: Any, revision: Any, directives: list[Any]) -> None:
            drop_empty_scripts(directives)
            context.template_args["requires"] = tuple(
                dict.fromkeys([*self.requires, *Inference(owned, connection).requires(directives)])
            )

        before = set(environment.scripts.list_files())
        try:
            if connection is not None:
                run_comparison(context, environment, owned, connection, rows, finish=finish)
                connection.rollback()
            scripts = [script for script in context.generate_scripts() if script is not None]
            for script in scripts:
                ensure_requires(script, context.template_args["requires"])
        except BaseException as exc:
            for path in set(environment.scripts.list_files()) - before:
                path.unlink(missing_ok=True)
            if isinstance(exc, CommandError):
                raise RevisionFailed(name, str(exc)) from exc
            raise
        return [created(name, script) for script in scripts]


def require_up_to_date(snapshot: Snapshot, name: str, rows: tuple[str, ...]) -> None:
    """Refuse to compare a package while revisions of it are not applied.

    :raises NotUpToDate: naming the next one
    """
    lineage = snapshot.lineages[name]
    applied = lineage.applied([row for row in rows if row in lineage])
    waiting = [one.id for one in snapshot.graph.timeline([name]) if one.id not in applied]
    if waiting:
        raise NotUpToDate(name, waiting)


def drop_empty_scripts(directives: list[Any]) -> None:
    """Remove scripts without an operation, after the package's own hook had its say."""
    directives[:] = [
        script
        for script in directives
        if not isinstance(script, ops.MigrationScript)
        or not all(container.is_empty() for container in script.upgrade_ops_list)
    ]


class Inference:
    """Finds what a new script requires of other packages."""

    def __init__(self, owned: OwnedObjects, connection: Connection | None) -> None:
        self.owned = owned
        self.connection = connection

    def requires(self, directives: Sequence[Any]) -> list[str]:
        """Return the requirements of all foreign keys into other packages, sorted."""
        found: set[str] = set()
        for script in directives:
            for container in script.upgrade_ops_list:
                for schema, table, columns in referred_by(container):
                    origin = self.origin(schema, table, columns)
                    if origin is not None:
                        found.add(origin)
        return sorted(found)

    def origin(self, schema: str | None, table: str, columns: Sequence[str]) -> str | None:
        """Return the revision that introduced another package's table or its newest column."""
        snapshot = self.owned.snapshot
        owner = self.owned.ownership.owners.get((schema, table))
        origins = {
            origin
            for column in columns
            if (origin := snapshot.created.column_origin(schema, table, column)) is not None
        } or {origin for origin in [snapshot.created.table_origin(schema, table)] if origin}
        foreign = sorted(
            (package, revision) for package, revision in origins if package != self.owned.package
        )
        if foreign:
            nodes = [snapshot.graph.find(package, revision) for package, revision in foreign]
            newest = max(nodes, key=lambda node: snapshot.graph.places[node])
            return str(snapshot.graph.revisions[newest])
        if (
            not origins
            and owner not in (None, self.owned.package)
            and self.connection is not None
            and not inspect(self.connection).has_table(table, schema=schema)
        ):
            assert owner is not None
            raise TableNotCreated(self.owned.package, table, owner)
        return None


def referred_by(operation: Any) -> Iterator[tuple[str | None, str, tuple[str, ...]]]:
    """Yield schema, table and columns of each foreign key that an operation creates."""
    if isinstance(operation, (ops.UpgradeOps, ops.ModifyTableOps)):
        for inner in operation.ops:
            yield from referred_by(inner)
    elif isinstance(operation, ops.CreateTableOp):
        for constraint in operation.to_table().foreign_key_constraints:
            key = referred_key(constraint)
            if key is not None:
                columns = tuple(e.target_fullname.rpartition(".")[2] for e in constraint.elements)
                yield (*key, columns)
    elif isinstance(operation, ops.AddColumnOp):
        for foreign_key in operation.column.foreign_keys:
            parts = foreign_key.target_fullname.split(".")
            yield (".".join(parts[:-2]) or None, parts[-2], (parts[-1],))
    elif isinstance(operation, ops.CreateForeignKeyOp):
        yield (
            operation.kw.get("referent_schema"),
            operation.referent_table,
            tuple(operation.remote_cols),
        )


def referred_key(constraint: ForeignKeyConstraint) -> Key | None:
    """Return schema and name of the table that a foreign key points at."""
    for element in constraint.elements:
        parts = element.target_fullname.split(".")
        return ".".join(parts[:-2]) or None, parts[-2]
    return None


def ensure_requires(script: Script, requires: Sequence[str]) -> None:
    """Put the ``requires`` line into a script whose own template does not know of it."""
    if not requires or getattr(script.module, "requires", None) is not None:
        return
    path = Path(script.path)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    names = ("depends_on", "branch_labels", "down_revision")
    place = next(
        (
            number
            for name in names
            for number, line in enumerate(lines, start=1)
            if line.startswith(name)
        ),
        None,
    )
    if place is None:
        raise CommandError(
            f"{path} has no down_revision line to put its requirements behind; "
            "mend the package's script.py.mako"
        )
    lines.insert(place, f"requires = {tuple(requires)!r}\n")
    path.write_text("".join(lines), encoding="utf-8")


def created(package: str, script: Script) -> CreatedScript:
    """Return a written script as data."""
    return CreatedScript(
        package=package,
        revision=script.revision,
        message=script.doc,
        path=str(Path(script.path).resolve()),
    )
