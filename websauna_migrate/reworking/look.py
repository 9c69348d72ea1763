"""Looking at an existing project and its database, before anything of it is taken over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.engine import Connection

from websauna_migrate.alembic_adapter.package_environment import EnvironmentFailure
from websauna_migrate.base_errors import MigrationError, UsageError
from websauna_migrate.config.packages import MigrationPackage, lacks_scripts, project_of
from websauna_migrate.config.settings import PREFIX, Settings, parse_url
from websauna_migrate.config.template import is_editable, template_folder
from websauna_migrate.database.history_tables import list_tables
from websauna_migrate.locating.locate import locate
from websauna_migrate.plain_text import in_quotes
from websauna_migrate.planning.accesses import full_name, split_name
from websauna_migrate.planning.state import State
from websauna_migrate.reports.check import Checker
from websauna_migrate.revision_scripts.old_websauna import MODULE
from websauna_migrate.revision_scripts.script_folders import find_script_folders, version_folders
from websauna_migrate.reworking.env_files import EnvFile, read_env, with_version_table
from websauna_migrate.reworking.findings import EQUAL, Findings, Wanted
from websauna_migrate.reworking.old_imports import mend_imports
from websauna_migrate.runs.base_service import Service
from websauna_migrate.runs.ledger_table import LEDGER_TABLE
from websauna_migrate.runs.other_histories import OtherHistory, find_elsewhere
from websauna_migrate.runs.site import Site

#: Why the files of a package stay as they are.
NOT_OURS = (
    "it is inside an installed package, or not writable. Copy the folder of the scripts, and name "
    f"the copy: {PREFIX}script_location.{{0}} = %(here)s/FOLDER"
)

LATER = "What differs from the models is told once env.py is changed."


def look(
    service: Service,
    selected: tuple[str, ...],
    wanted: Wanted,
    given: Connection | Engine | None,
) -> Findings:
    """Return what there is to take over."""
    found = Findings(service, selected)
    settings = find_url(found) if given is None else service.settings
    packages = {one.name: one for one in service.packages}
    for name, folder in find_folders(found).items():
        packages[name] = replace(packages[name], script_directory=folder)
        found.actions.append(f"{name}: its scripts are in {folder}")
    for name in selected:
        packages[name] = with_version_folders(found, packages[name])
    found.service = service.with_changes(settings, tuple(packages.values()))
    site = found.service.site_anew(given)
    find_histories(found, site, wanted)
    settings = with_schema(found, site, settings)
    found.kept = {
        one.package
        for one in found.taken
        if wanted.keep or not can_name_table(packages[one.package], wanted)
    }
    tables = {one.package: one.table.name for one in found.taken if one.package in found.kept}
    for name, table in tables.items():
        packages[name] = replace(packages[name], history_table=table)
        found.settings[f"{PREFIX}version_table.{name}"] = table.replace("%", "%%")
    settings = replace(settings, version_table={**settings.version_table, **tables})
    found.service = service.with_changes(settings, tuple(packages.values()))
    tell_histories(found, wanted)
    for name in selected:
        if find_env(found, packages[name], wanted):
            # What it says by itself, it says no more.
            packages[name] = replace(packages[name], own_env_py=template_folder() / "env.py")
        find_old_imports(found, packages[name])
    found.service = service.with_changes(settings, tuple(packages.values()))
    ini = service.options.path
    for key, value in found.settings.items():
        shown = " ".join(value.split())
        found.actions.append(f"{Path(ini).name if ini else 'the INI file'}: {key} = {shown}")
    look_at_drift(found, given, before=True)
    return found


def find_url(found: Findings) -> Settings:
    """Return settings with the database's URL, also if it stands under another name.

    :raises SettingError: if there is none
    """
    settings = found.service.settings
    if settings.url is not None:
        return settings
    if len(settings.other_urls) != 1:
        settings.require_url()
    key = settings.other_urls[0]
    for name, section in found.service.options.sections.items():
        if name.startswith("app:") and key in section:
            found.settings[f"{PREFIX}url"] = f"%({key})s"
            return replace(settings, url=parse_url(key, section[key]), other_urls=())
    settings.require_url()
    return settings


def find_folders(found: Findings) -> Mapping[str, Path]:
    """Return script directories of packages that have no script where they are registered."""
    service = found.service
    packages = {one.name: one for one in service.packages}
    ini = service.options.path
    without = [name for name in found.selected if lacks_scripts(packages[name])]
    folders: dict[str, Path] = {}
    known = {one.script_directory.resolve() for one in packages.values()}
    for name in sorted(without, key=lambda one: one != service.application):
        candidates = find_script_folders(project_of(packages[name]), known)
        if len(candidates) > 1:
            shown = in_quotes(candidates)
            raise UsageError(
                f'Several folders may have the scripts of package "{name}": {shown}. Name its '
                f"own in the INI file: {PREFIX}script_location.{name} = %(here)s/FOLDER"
            )
        if candidates:
            folders[name] = candidates[0]
            known.add(candidates[0])
            found.settings[f"{PREFIX}script_location.{name}"] = below(candidates[0], ini)
    return folders


def with_version_folders(found: Findings, package: MigrationPackage) -> MigrationPackage:
    """Return a package with all folders of scripts that Alembic's own configuration names."""
    ini = found.service.options.path
    files = [project_of(package) / "alembic.ini", *([Path(ini)] if ini else [])]
    folders = next(
        filter(None, (version_folders(one.resolve(), package.script_directory) for one in files)),
        (),
    )
    if not folders or package.own_version_locations:
        return package
    lines = "".join(f"\n    {below(one, ini)}" for one in folders)
    found.settings[f"{PREFIX}version_locations.{package.name}"] = lines
    return replace(package, own_version_locations=folders)


def below(folder: Path, ini: str | None) -> str:
    """Return a folder as a setting of an INI file."""
    if ini is not None and folder.is_relative_to(Path(ini).parent.resolve()):
        return f"%(here)s/{folder.relative_to(Path(ini).parent.resolve()).as_posix()}"
    return str(folder).replace("%", "%%")


def find_histories(found: Findings, site: Site, wanted: Wanted) -> None:
    """Find the histories of packages in tables that are not theirs.

    :raises UsageError: if several tables have the revisions of a package, or a table cannot be
        divided so
    """
    with site.reading() as connection:
        if connection is None:
            return
        applied = site.read(connection)[0]
        everything = find_elsewhere(site, connection, applied, site.packages)
    others = [one for one in everything if one.package in found.selected]
    for name in found.selected:
        mine = [one for one in others if one.package == name]
        if wanted.table is not None:
            mine = [one for one in mine if one.table.is_called(wanted.table)]
        if len(mine) > 1:
            shown = ", ".join(str(one.table) for one in mine)
            raise UsageError(
                f'Several tables have revisions of package "{name}": {shown}. Name the one that '
                f"is its history: ws-alembic -x packages={name} adopt --table {mine[0].table}"
            )
        for one in mine:
            refuse_to_divide(found, one, everything, wanted)
            if one.is_implied:
                proof = f"the table {one.table} has what depends on it"
                found.stamped[name] = (one.revisions, proof)
            else:
                found.taken.append(one)
    if wanted.table is not None and not found.taken:
        raise UsageError(
            f'No table "{wanted.table}" has revisions of the packages, with a history table of a '
            "package that is empty."
        )


def refuse_to_divide(
    found: Findings, one: OtherHistory, everything: Sequence[OtherHistory], wanted: Wanted
) -> None:
    """Make sure that a table can be divided as it is asked for.

    :raises UsageError: if it is to be kept by several packages, or others lean on rows that would
        go
    """
    if wanted.keep and len(one.sharing) > 1:
        raise UsageError(
            f'The table "{one.table}" has revisions of several packages: '
            f"{', '.join(one.sharing)}. It cannot be the history of each. Let each have its part, "
            f"without --keep; or register one package, whose {PREFIX}version_locations are the "
            "folders of all scripts."
        )
    left = [
        other.package
        for other in everything
        if other.table == one.table and not {*other.revisions} <= {*one.table.rows}
    ]
    if not {*left} <= {*found.selected}:
        names = ",".join(sorted({*left, *found.selected}))
        raise UsageError(
            f'The table "{one.table}" says what is applied of {in_quotes(sorted(left))} by rows of '
            f"scripts that depend on it. Take them over together: ws-alembic -x packages={names} "
            "adopt"
        )


def with_schema(found: Findings, site: Site, settings: Settings) -> Settings:
    """Return settings with the schema of the version tables, if ``env.py`` files name one.

    Where histories or the ledger are elsewhere already, an ``env.py`` is changed in its place.
    """
    packages = {one.name: one for one in found.service.packages}
    schemas = {
        one.table.schema
        for one in found.taken
        if not one.table.visible and names_schema(packages[one.package])
    }
    if len(schemas) != 1 or settings.version_table_schema is not None or has_records(site):
        return settings
    (schema,) = schemas
    found.settings[f"{PREFIX}version_table_schema"] = schema.replace("%", "%%")
    return replace(settings, version_table_schema=schema)


def names_schema(package: MigrationPackage) -> bool:
    """True if a package's ``env.py`` names the schema of its version table."""
    path = package.script_directory / "env.py"
    text = text_of(path) if path.is_file() else None
    return text is not None and "version_table_schema" in text


def has_records(site: Site) -> bool:
    """True if a history or the ledger is in the database already."""
    with site.reading() as connection:
        tables = () if connection is None else list_tables(connection, site.schema)
    histories = (one.history_table for one in site.packages.values())
    return not {LEDGER_TABLE, *histories}.isdisjoint(tables)


def can_name_table(package: MigrationPackage, wanted: Wanted) -> bool:
    """True if the ``env.py`` of a package can be told another version table."""
    path = package.script_directory / "env.py"
    if not path.is_file():
        return True
    text = text_of(path)
    if text is None:
        return False
    env = read_env(text)
    if env.is_template or not is_editable(package):
        return env.is_template
    replaced = wants_template(env, wanted) and not env.losses
    return replaced or with_version_table(text, "", {}) is not None


def wants_template(env: EnvFile, wanted: Wanted) -> bool:
    """True if the template is to replace an ``env.py``, unless that would lose something."""
    return env.gone == "websauna" or wanted.replace_env


def tell_histories(found: Findings, wanted: Wanted) -> None:
    """Say what becomes of each version table.

    :raises UsageError: if one is to be kept where no setting finds it
    """
    schema = found.service.settings.version_table_schema
    for one in found.taken:
        rows = ", ".join(one.revisions)
        own = f"{schema}.{one.history_table}" if schema else one.history_table
        verb = "stays" if one.package in found.kept else f"becomes {own}"
        if len(one.sharing) > 1:
            verb = f"gives its part to {own}"
        found.actions.append(f"{one.package}: the table {one.table} {verb} ({rows})")
        if one.package in found.kept and not wanted.keep:
            editable = is_editable(found.service.site().packages[one.package])
            reason = "cannot be told another table" if editable else "is not this project's"
            found.notes.append(f"{one.package}: {one.table} stays because its env.py {reason}")
        if one.package in found.kept and not one.table.visible and one.table.schema != schema:
            raise UsageError(
                f'The table "{one.table}" is in a schema of its own. To keep it, set '
                f"{PREFIX}version_table_schema = {one.table.schema}"
            )


def find_env(found: Findings, package: MigrationPackage, wanted: Wanted) -> bool:
    """See what the ``env.py`` of a package says, and what has to change in it.

    :returns: True if the template replaces it
    """
    path = package.script_directory / "env.py"
    if not path.is_file():
        return False
    text = text_of(path)
    if text is None:
        found.notes.append(f"{path} is not in UTF-8, and stays.")
        return False
    env = read_env(text)
    texts = found.files.setdefault(package.name, {})
    if env.is_template:
        return False
    template = (template_folder() / "env.py").read_text(encoding="utf-8")
    if wants_template(env, wanted):
        if not is_editable(package):
            found.problems.append(f"{path} is not replaced: {NOT_OURS.format(package.name)}")
            return False
        if not env.losses:
            texts[path] = template
            found.actions.append(f"{path}: replaced by the template, which loses nothing")
            return True
        found.problems.append(f"{path} is not replaced: see what the template would lose.")
    for loss in env.losses:
        found.notes.append(f"{path}, {loss}: the template would lose it, and the file stays")
    mine = [one for one in found.taken if one.package == package.name]
    if not mine or package.name in found.kept:
        return False
    table, schema = package.history_table, found.service.settings.version_table_schema
    moved = any(one.table.schema != schema for one in mine)
    new = with_version_table(text, table, {"version_table_schema": schema} if moved else {})
    if new is not None and new != text:
        texts[path] = new
        found.actions.append(f'{path}: stays, and names version_table="{table}"')
    return False


def text_of(path: Path) -> str | None:
    """Return the text of a Python file, ``None`` if it has another encoding than UTF-8."""
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return None


def find_old_imports(found: Findings, package: MigrationPackage) -> None:
    """See which scripts import what an older Websauna had."""
    texts = found.files.setdefault(package.name, {})
    scripts = [one for folder in package.version_locations for one in sorted(folder.glob("*.py"))]
    mako = package.script_directory / "script.py.mako"
    for path in [*scripts, *([mako] if mako.is_file() else [])]:
        text = text_of(path)
        new = None if text is None else mend_imports(text)
        if new is None and MODULE.encode() in path.read_bytes():
            found.problems.append(f"{path} is not in UTF-8: write out what it imports of {MODULE}.")
        elif new is not None and new != text and not is_editable(package):
            found.problems.append(f"{path} imports {MODULE}: {NOT_OURS.format(package.name)}")
        elif new is not None and new != text:
            texts[path] = new
            found.actions.append(f"{path}: websauna.system.model.columns is written out")


def look_at_drift(
    found: Findings, given: Connection | Engine | None, *, before: bool = False
) -> None:
    """Compare the database with the models, as it is or as it is going to be recorded.

    :param before: look for packages without a history too, and for tables with another owner
    """
    found.drift.clear()
    site = found.service.site_anew(given)
    applied = dict(site.applied())
    for one in found.taken:
        applied[one.package] = applied[one.package] or one.revisions
    checker = Checker(site, found.service.ownership, found.selected)
    rows = found.recorded(applied)
    if before:
        found.moves = [*tables_of_others(site, found, applied)]
    try:
        with site.reading() as connection:
            problems = [] if connection is None else [*checker.drift(connection, rows, ())]
    except EnvironmentFailure as exc:
        # One that is replaced says nothing of the one that is to be.
        replaced = before and any(
            path.name == "env.py" for one in found.files.values() for path in one
        )
        note = LATER if replaced else f"What differs from the models is not known: {exc}"
        found.notes += [] if note in found.notes else [note]
        return
    if LATER in found.notes:
        found.notes.remove(LATER)
    for problem in problems:
        name = problem.package or ""
        if problem.kind == "drift":
            # What no script is about yet was nowhere before.
            if name and site.loaded.histories[name].ids:
                found.drift.append(problem.message)
        elif before and problem.kind == "unrecorded":
            without_history(found, site, name, problem.details)
        elif before and problem.kind == "no-scripts" and problem.details:
            found.first.append(name)
            found.actions.append(
                f"{name}: its first script is written from the models, and stamped"
            )
    if before:
        keep_what_agrees(found, site, applied)
        without = {one.package for one in problems if one.kind != "drift"}
        without -= found.stamped.keys()
        for name, revisions in State(site.loaded.graph, found.recorded(applied)).pending().items():
            if name in found.selected and name not in without and revisions:
                found.notes.append(
                    f"{name}: {len(revisions)} pending: ws-alembic -x packages={name} upgrade"
                )
        for (source, target), tables in found.moves_together.items():
            listed = f"table{'s' if len(tables) > 1 else ''} {', '.join(tables)}"
            found.actions.append(f"{target}: gets the {listed} from {source}, by two scripts")


def without_history(found: Findings, site: Site, name: str, differences: Sequence[str]) -> None:
    """Find where a database stands that has a package's tables and no history.

    At the newest revision if they equal the models, else where the facts of the replayed scripts
    are those of the database.
    """
    rows, proof = site.loaded.histories[name].effective_heads, EQUAL
    if differences:
        located = located_at(found, site, name)
        if located is None:
            shown = "; ".join(differences[:5])
            found.problems.append(
                f"{name}: the database has its tables without a history, and they differ from the "
                f"models: {shown}. See where they stand: ws-alembic -x packages={name} locate"
            )
            return
        rows, proof = located
    found.stamped[name] = (rows, proof)


def keep_what_agrees(found: Findings, site: Site, applied: Mapping[str, tuple[str, ...]]) -> None:
    """Leave out of what is recorded as applied what requires a revision that is not."""
    while True:
        violations = State(site.loaded.graph, found.recorded(applied)).violations()
        if found.stamped.keys().isdisjoint(one.dependent.package for one in violations):
            break
        for one in violations:
            if found.stamped.pop(one.dependent.package, None):
                found.problems.append(
                    f'{one.dependent.package}: its tables are those of "{one.dependent.id}", which '
                    f'requires "{one.missing[0]}", and that is not applied. Adopt it together with '
                    f'"{one.missing[0].package}", or after it.'
                )
    for name, (stands, proof) in found.stamped.items():
        found.actions.append(f"{name}: {proof}, so it is at {', '.join(stands)}")


def located_at(found: Findings, site: Site, name: str) -> tuple[tuple[str, ...], str] | None:
    """Return the rows at which the replayed scripts made the tables as they are, and the proof."""
    try:
        place = locate(site, found.service, [name]).packages[0]
    except MigrationError as exc:
        found.notes.append(f"{name}: it cannot be located: {exc}")
        return None
    return (place.rows, place.proof) if place.is_proven and place.rows else None


def tables_of_others(
    site: Site, found: Findings, applied: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[str, str, str]]:
    """Yield the tables that the models have in another package than the scripts."""
    created, owners = site.loaded.created, found.service.ownership.owners
    behind = State(site.loaded.graph, applied).pending()
    for key, (source, revision) in created.tables.items():
        owner = owners.get(key)
        if owner is None or owner == source or {owner, source}.isdisjoint(found.selected):
            continue
        table = full_name(*key)
        command = f"ws-alembic move-table {table} {source} {owner}"
        script = site.loaded.histories[source].revisions[revision]
        if key in [split_name(text) for text, _ in script.takes_tables]:
            continue
        if not is_editable(site.packages[source]) or not is_editable(site.packages[owner]):
            # The one gives it by a script, and the other takes it by one. ``check`` has the remedy.
            continue
        if source not in found.selected:
            found.notes.append(
                f"{owner}: the table {table} is of {source} by the scripts. To hand it over: "
                f"{command}"
            )
        elif behind.get(source) or behind.get(owner):
            found.notes.append(
                f"{owner}: the table {table} is of {source} by the scripts. To hand it over once "
                f"nothing is pending: {command}"
            )
        else:
            yield table, source, owner
