"""``check --fresh``: the whole plan on an empty scratch database, compared with the models."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from websauna_migrate.alembic_adapter.entities import registry_of_process
from websauna_migrate.alembic_adapter.loaded_scripts import LoadedScripts
from websauna_migrate.base_errors import MigrationError
from websauna_migrate.config.settings import Settings
from websauna_migrate.database.engines import DatabaseFailure, connect, is_missing_file, make_engine
from websauna_migrate.facts.catalogue import read_facts
from websauna_migrate.facts.differences import Difference
from websauna_migrate.facts.model_comparison import ModelComparison, compare_with_models
from websauna_migrate.facts.models import Models
from websauna_migrate.facts.postgresql import quote_name
from websauna_migrate.facts.scratch_databases import (
    ScratchRefused,
    scratch_database,
    scratch_settings,
)
from websauna_migrate.interfaces import Packages
from websauna_migrate.plain_text import in_quotes
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.results import CheckProblem, CheckReport
from websauna_migrate.runs.base_service import Service

if TYPE_CHECKING:
    from alembic_utils.replaceable_entity import ReplaceableEntity


def check_fresh(service: Service, packages: Packages) -> CheckReport:
    """Run all scripts on an empty database, and compare it with the models.

    The database of the settings is only asked which extensions and schemas it has.

    :param packages: those whose differences are told
    :raises ScratchRefused: if the user may not make a scratch database, or the scripts would reach
        beyond it
    """
    settings, ownership = service.settings, service.ownership
    selected = service.site().select(packages)
    tables = ownership.tables
    require_apart(settings, {table.schema for table in tables})
    with scratch_database(settings) as url:
        scratch = service.at(url)
        with scratch.one_look():
            snapshot = scratch.site().loaded
            prepare(settings, url, snapshot.graph.revisions)
            try:
                scratch.upgrade()
            except MigrationError as exc:
                return CheckReport((failure(exc),))
            models = Models(tables, entities_of(snapshot), ownership.owner_of)
            with connect(scratch.make_engine()) as connection:
                # The models are tried inside the scratch database, wherever that is.
                inside = replace(scratch.settings, scratch_url=None)
                facts = read_facts(connection)
                found = compare_with_models(models, inside, connection, facts, ownership)
                return CheckReport(tuple(compare(found, selected)))


def require_apart(settings: Settings, schemas: set[str | None]) -> None:
    """Refuse what would touch real databases: on MariaDB a schema is another database.

    :raises ScratchRefused: naming the schemas
    """
    if scratch_settings(settings).require_url().get_backend_name() not in ("mysql", "mariadb"):
        return
    named = sorted({schema for schema in (*schemas, settings.version_table_schema) if schema})
    if named:
        listed = in_quotes(named)
        raise ScratchRefused(
            "apart",
            f"check --fresh is not possible here: models or settings name the schema {listed}, "
            "which is another database on this server, and the scripts would change "
            "it. Leave out the schema.",
        )


def failure(exc: MigrationError) -> CheckProblem:
    """Return what is to be said of a plan that failed: the step, its script's line, the reason."""
    text = str(exc).partition("\n")[0]
    package = getattr(exc, "package", None)
    return CheckProblem(
        "fresh-failed",
        package,
        f"On an empty database the scripts fail. {text}",
        details=getattr(exc, "revision", None),
    )


def entities_of(snapshot: LoadedScripts) -> list[ReplaceableEntity]:
    """Return alembic-utils' entities, of which modules and ``env.py`` files registered some."""
    registry = registry_of_process()
    found = list(registry.entities()) if registry is not None else []
    for environment in snapshot.environments.values():
        found += environment.entities
    return list({one.identity: one for one in found}.values())


# The empty database


def prepare(settings: Settings, url: URL, revisions: Iterable[Revision] = ()) -> None:
    """Give a scratch database the extensions and schemas that an administrator made by hand.

    :param revisions: what their scripts speak of is left to them
    """
    if url.get_backend_name() != "postgresql" or is_missing_file(settings.require_url()):
        return
    try:
        with connect(make_engine(settings.require_url(), settings.engine_options)) as real:
            rows = real.exec_driver_sql(
                "SELECT e.extname, n.nspname FROM pg_extension e "
                "JOIN pg_namespace n ON n.oid = e.extnamespace UNION ALL "
                "SELECT NULL, nspname FROM pg_namespace "
                "WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY 1 NULLS FIRST"
            ).all()
    except DatabaseFailure:
        if settings.scratch_url is None:
            raise
        return
    scripts = [Path(one.path).read_text(encoding="utf-8", errors="replace") for one in revisions]
    with connect(make_engine(url, settings.engine_options)) as connection:
        for extension, schema in rows:
            what = ("extension", extension) if extension else ("schema", schema)
            if any(speaks_of(text, *what) for text in scripts):
                continue
            statement = f"CREATE SCHEMA IF NOT EXISTS {quote_name(schema)}"
            if extension:
                quoted = '"' + str(extension).replace('"', '""') + '"'
                statement = f"CREATE EXTENSION IF NOT EXISTS {quoted}"
                if not schema.startswith("pg_"):
                    statement += f" SCHEMA {quote_name(schema)}"
            # What may not be made is missing; the step that needs it says so.
            with suppress(DBAPIError), connection.begin():
                connection.exec_driver_sql(statement.replace("%", "%%"))


def speaks_of(script: str, kind: str, name: str) -> bool:
    """True if a script may create an extension or schema: it has the word and the name."""
    lowered = script.lower()
    return re.search(rf"create\s*_?{kind}", lowered) is not None and name.lower() in lowered


# Comparing


def compare(found: ModelComparison, selected: Collection[str]) -> Iterator[CheckProblem]:
    """Yield what differs, and what the scripts made besides."""
    for one in found.found:
        owner = found.owner_of(one.fact)
        if owner is None or owner in selected:
            yield problem(one, owner)
    for fact in found.besides:
        whole = Difference(fact, None, True, False, default_schema=found.database.default_schema)
        yield CheckProblem(
            "fresh-besides",
            None,
            f"The scripts make {whole.object}, of which the models say nothing.",
            fatal=False,
            details=fact.key,
        )


def problem(difference: Difference, owner: str | None) -> CheckProblem:
    """Return a difference as a problem, or as a note."""
    words = difference.describe("in a database made by the scripts", "in the models")
    package = f'Package "{owner}": ' if owner else ""
    return CheckProblem(
        "fresh-differs",
        owner,
        f"{package}{words}.",
        fatal=not difference.note,
        details=(*difference.fact.key, difference.attribute),
    )
