"""Security from end to end: passwords, rights, and scripts that others may change."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from apps import Workshop
from fuzz import forms_of, named, shown
from runs import exit_status, forked, table, tables, wait_for
from test_run_commands import FACTORY, Site
from websauna_migrate.config.trust import distrusted, others
from websauna_migrate.errors import MigrationError

SECRET = "s3/cr%:t@Zq7Xv9"


@pytest.fixture
def foo(workshop: Workshop) -> Workshop:
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", **table("f1"))
    workshop.script("fooapp", "f200", "f100", **table("f2"))
    return workshop


@pytest.fixture
def site(foo: Workshop, tmp_path: Path, run: Any) -> Site:
    (foo.root / "fooapp" / "__init__.py").write_text(FACTORY)
    return Site(foo, tmp_path / "site.ini", run)


def execute(url: str, *statements: str) -> None:
    engine = sa.create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def hidden(password: str, text: str) -> None:
    for form in forms_of(password):
        assert form not in text


# Passwords


@pytest.fixture
def poor_postgresql(postgresql_url: str) -> Iterator[str]:
    """A role that may do nothing but work in one schema of its database."""
    url = make_url(postgresql_url)
    role = f"poor_{url.database}"
    execute(
        postgresql_url,
        f"CREATE ROLE {role} LOGIN PASSWORD '{SECRET.replace('%', '%%')}'",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        f"REVOKE ALL ON DATABASE {url.database} FROM PUBLIC",
        f"GRANT CONNECT ON DATABASE {url.database} TO {role}",
        f"GRANT USAGE, CREATE ON SCHEMA public TO {role}",
    )
    yield url.set(username=role, password=SECRET).render_as_string(hide_password=False)
    execute(postgresql_url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@pytest.fixture
def poor_mariadb(mariadb_url: str) -> Iterator[str]:
    """A user who may do nothing but work in one database."""
    url = make_url(mariadb_url)
    user = "'poor'@'%%'"
    execute(
        mariadb_url,
        f"CREATE OR REPLACE USER {user} IDENTIFIED BY '{SECRET.replace('%', '%%')}'",
        "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES "
        f"ON {url.database}.* TO {user}",
    )
    yield url.set(username="poor", password=SECRET).render_as_string(hide_password=False)
    execute(mariadb_url, f"DROP USER {user}")


@pytest.fixture(params=["postgresql", "mariadb"])
def poor_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"poor_{request.param}"))


def test_the_rights_of_the_migrations_are_enough(foo: Workshop, poor_url: str) -> None:
    service = foo.service(poor_url)
    assert len(service.upgrade().steps) == 2
    assert service.current()[0].rows == ("f200",)
    service.check()
    assert service.repair() == ()
    service.downgrade("f100")
    mark = "UPDATE websauna_migrate_ledger SET outcome = 'running' WHERE direction = 'downgrade'"
    execute(poor_url, mark)
    assert isinstance(named(service.upgrade), MigrationError)
    (step,) = service.repair("done")
    assert step.name == "fooapp@f200"
    service.upgrade()
    service.stamp("f100")
    service.stamp("f200")
    service.ensure_version()
    service.uninstall("fooapp")


def test_another_run_is_waited_for_and_named(foo: Workshop, poor_url: str) -> None:
    foo.script("fooapp", "f300", "f200", upgrade="import time; time.sleep(2.5)")
    first = foo.service(poor_url)
    with forked(lambda: 0 if first.upgrade().steps else 1) as pid:
        wait_for(lambda: {"f1", "f2"} <= tables(poor_url))
        second = foo.service(poor_url)
        found = named(lambda: second.upgrade(lock_wait=0))
        assert isinstance(found, MigrationError)
        assert f"{pid}" in str(found), found
        assert exit_status(pid) == 0
    assert second.upgrade().steps == ()


def test_a_lock_of_a_table_is_waited_for_and_named(foo: Workshop, poor_url: str) -> None:
    service = foo.service(poor_url)
    service.upgrade()
    foo.script(
        "fooapp", "f300", "f200", upgrade='op.execute("ALTER TABLE f1 ADD COLUMN x INTEGER")'
    )
    engine = sa.create_engine(poor_url, poolclass=NullPool)
    with engine.connect() as holder:
        holder.execute(sa.text("SELECT * FROM f1")).all()
        again = foo.service(poor_url)
        found = named(lambda: again.upgrade(lock_timeout_ms=50, lock_budget=1))
        assert isinstance(found, MigrationError)
        hidden(SECRET, shown(found))
        holder.rollback()
    assert len(foo.service(poor_url).upgrade().steps) == 1


def test_no_password_in_what_a_failing_run_leaves(
    foo: Workshop,
    poor_url: str,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    # The handler that echo adds writes to the captured stream of the test before.
    for name in ("sqlalchemy", "sqlalchemy.engine", "sqlalchemy.engine.Engine", "sqlalchemy.pool"):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])
    bodies = {
        "f300": "raise RuntimeError(str(op.get_bind().engine.url.password))",
        "f301": 'op.execute("SELECT nonsense FROM nowhere")',
    }
    for name, body in bodies.items():
        path = foo.script("fooapp", name, "f200", upgrade=body)
        service = foo.service(poor_url)
        service.settings.engine_options["sqlalchemy.echo"] = "debug"
        found = named(service.upgrade)
        assert isinstance(found, MigrationError)
        hidden(SECRET, str(found) + repr(service) + repr(service.settings))
        path.unlink()
    hidden(SECRET, caplog.text + "".join(capsys.readouterr()))
    engine = sa.create_engine(poor_url, poolclass=NullPool)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM websauna_migrate_ledger").all()
    assert rows
    hidden(SECRET, str(rows))


@pytest.mark.parametrize(
    "change", [{"password": SECRET + "x"}, {"port": 1}, {"database": "nowhere"}]
)
def test_no_password_when_the_database_cannot_be_had(
    site: Site, postgresql_url: str, change: dict[str, Any]
) -> None:
    url = make_url(postgresql_url).set(**change)
    site.configure(url.render_as_string(hide_password=False))
    done = site("upgrade")
    assert done.returncode == 5
    assert done.stderr.startswith("Cannot use the database ")
    hidden(str(url.password), done.stdout + done.stderr)
    assert "Traceback" not in done.stderr


def test_an_application_that_does_not_start_tells_no_password(site: Site, sqlite_url: str) -> None:
    url = "postgresql://u:Zq7Xv9@h/db?sslpassword=Wk3"
    site.configure(url)
    (site.workshop.root / "fooapp" / "__init__.py").write_text(
        "def main(global_config, **settings):\n"
        "    raise ValueError(f\"cannot use {settings['sqlalchemy.url']}\")\n"
    )
    done = site("status")
    assert done.returncode == 2
    assert "ValueError: cannot use" in done.stderr
    assert "Zq7Xv9" not in done.stderr
    assert "Wk3" not in done.stderr


def test_verbose_output_shows_no_password_of_the_query(site: Site, sqlite_url: str) -> None:
    site.configure(sqlite_url + "?uri=true&password=Zq7Xv9")
    assert "Zq7Xv9" not in site("current", "--verbose").stdout


def test_no_process_list_shows_it(site: Site, poor_postgresql: str) -> None:
    site.configure(poor_postgresql)
    site.workshop.script("fooapp", "f300", "f200", upgrade="import time; time.sleep(1.5)")
    words = [str(Path(sys.executable).parent / "ws-alembic"), "-c", str(site.ini), "upgrade"]
    environment = {**os.environ, "PYTHONPATH": str(site.workshop.root)}
    seen = ""
    with subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as child:
        while child.poll() is None:
            seen += Path(f"/proc/{child.pid}/cmdline").read_text(errors="replace")
            time.sleep(0.1)
        assert child.stdout is not None
        seen += child.stdout.read().decode()
    assert child.returncode == 0, seen
    hidden(SECRET, seen)


# Scripts that others may change


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    folder = tmp_path / "app" / "alembic" / "versions"
    folder.mkdir(parents=True)
    (folder / "f100.py").touch()
    return folder


def warnings_of(scripts: Path) -> list[str]:
    return list(distrusted("app", [scripts.parent, scripts, scripts / "f100.py"]))


def test_nothing_is_said_of_what_is_fine(scripts: Path) -> None:
    assert warnings_of(scripts) == []


@pytest.mark.parametrize("which", [".", "..", "f100.py"])
def test_what_everybody_may_write_to_is_named(scripts: Path, which: str) -> None:
    path = (scripts / which).resolve()
    path.chmod(0o777)
    (warning,) = warnings_of(scripts)
    assert f'"{path}", every user of this machine may write to it' in warning


def test_a_folder_above_counts_unless_it_is_sticky(scripts: Path) -> None:
    above = scripts.parent.parent
    above.chmod(0o777)
    assert f'"{above}"' in warnings_of(scripts)[0]
    above.chmod(0o1777)
    assert warnings_of(scripts) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_another_owner_and_another_group(scripts: Path) -> None:
    script = scripts / "f100.py"
    os.chown(script, 4321, 4321)
    assert "it belongs to another user (uid 4321)" in warnings_of(scripts)[0]
    os.chown(script, 0, 4321)
    script.chmod(0o664)
    assert "the group 4321 may write to it" in warnings_of(scripts)[0]
    # Each user's private group is nobody else.
    os.chown(script, 0, 0)
    assert others(script) == ""


def test_the_command_reports_it_and_goes_on(site: Site, sqlite_url: str) -> None:
    site.configure(sqlite_url)
    folder = site.workshop.root / "fooapp" / "alembic"
    folder.chmod(0o777)
    done = site("upgrade")
    assert done.returncode == 0
    assert "may be changed by others" in done.stderr
    assert f'"{folder.relative_to(site.ini.parent)}"' in done.stderr


def test_a_cache_folder_that_the_ini_names_is_reported(site: Site, sqlite_url: str) -> None:
    folder = site.ini.parent / "cache"
    folder.mkdir()
    folder.chmod(0o777)
    site.configure(sqlite_url, cache=str(folder))
    done = site("upgrade")
    assert done.returncode == 0
    assert 'The folder "cache" of the setting websauna_migrate.cache may be' in done.stderr
    assert list(folder.iterdir()) == []


# Names in SQL

#: Where a statement is put together from words, what is put in, and why that is safe.
SAFE = re.compile(
    r"self\.name|self\._name|quote\(|prefix|number|where|kinds|owner|entry|DONE|RUNNING|statement|"
    r"lock_ms|milliseconds|CHECK_INTERVAL|settings|found\[0\]|int\(|COMMENTS|NAME|qualified|"
    r"literal\(|quoted\(|quoted_key\(|quote_name\(|table_name|re\.escape\(|self\._insert_sql|"
    r"self\.ledger\b|self\.history\b|\bgiven\b|\bnames\b|\bmove\b|"
    # Types and collations as the server writes them.
    r"\bTYPES\b|\bstart\b|\bcolumns\b|\bpragma\b"
)

#: The same where a word is safe in one module: scratch names that it makes itself, and
#: what the server has said of its own catalogue.
SAFE_IN = {
    # What SQLite says of a version table.
    "adopting.py": r"\bdefinition\b",
    "apart.py": r"\b(?:marks|listed|database)\b",
    # Statements of scripts: quoted names, and what the server says of its own catalogue.
    "attributes.py": r"\b(?:table|part)\b|join\(changes\)|clause\.format|value|\bwhat\b"
    r"|fact\.get|\b(?:definition|words|name)\b",
    "numbering.py": r"quote_name\(|\btable\b|sequence|\b(?:name|column)\b|options|identity"
    r"|change|default|\blow\b|\bhigh\b|inside|widest",
    "server_statements.py": r"\b(?:table|change|name)\b",
    "change_log.py": r"\btable\b",
    # What domains and keys of enums are, as the server writes it.
    "domains.py": r"\b(?:alter|domain|name|new)\b",
    # A variable that env.py sets, and whether it is for one transaction.
    "bound_environment.py": r"\blocal\b",
    "engines.py": r"\b(?:name|place)\b",
    "enums.py": r"\bquoted\b|definition\[1\]|key\.replace\(",
    "fresh.py": r"quote_name\(|\bquoted\b",
    "history_tables.py": r"\b(?:name|role|kind)\b",
    "ledger.py": r"ESSENTIAL|sql_of\(|join\(values\)|\bchange\b|\bended\b|\btold\b|name_of\("
    r"|\btable\b",
    "ledger_table.py": r"name_of\(|column\.type\.compile|\bdefault\b|\bname\b",
    "losses.py": r"\b(?:EACH|name|value|old)\b",
    # An UPDATE that a person is told, or that a script has.
    "advice.py": r"join\(table\)|\b(?:name|new|place)\b",
    # A query of this module, and literals that it quotes.
    "mysql_numbering.py": r"^found$",
    "postgresql.py": r"\bquery\b|SELDOM",
    "postgresql_catalogue.py": r"IN_EXTENSION|INDEX_COLUMNS|OF_TABLE",
    "postgresql_looks.py": r"PARTS|FIRST|\b(?:name|condition)\b",
    "prove.py": r"\blisted\b",
    "reflected_tables.py": r"\bquoted\b",
    "scratch_databases.py": r"\bforce\b|\bname\b|postgresql_locale|row\[[01]\]",
    "scratch_models.py": r"\bbefore\b|\bname\b",
    # Types of columns and constants as SQLite has them, run in memory.
    "sqlite.py": r"\btype_\b|\bdefault\b",
    "sqlite_batches.py": r"self\.(?:database|master)",
    # A query of this module, and literals that it quotes.
    "unnamed_offline.py": r"^(?:found|begin|wanted)$",
    "sqlite_foreign_keys.py": r"\bdatabase\b",
    "standstill.py": r"fact\.|\b(?:command|name|schema|table|text|what|word)\b",
    "statement_log.py": r"name_of\(|\btold\b",
}

WORDS = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|DROP|ALTER|CREATE|KILL|SET)\b")


def test_statements_are_put_together_from_quoted_names_alone() -> None:
    import ast

    import websauna_migrate

    package = Path(str(websauna_migrate.__file__)).parent
    found = []
    for path in sorted(package.rglob("*.py")):
        if path.parent.name == "mending":
            # Printed for a person, not run: the server's own words, and quoted names.
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.JoinedStr):
                continue
            text = "".join(p.value for p in node.values if isinstance(p, ast.Constant))
            parts = [ast.unparse(p.value) for p in node.values if isinstance(p, ast.FormattedValue)]
            if re.match(
                r"\s*(WITH |SELECT|INSERT|UPDATE|DELETE|DROP|ALTER|CREATE|KILL|SET)\b", text
            ):
                here = re.compile(SAFE_IN.get(path.name, r"(?!)"))
                found += [
                    (path.name, part)
                    for part in parts
                    if not SAFE.search(part) and not here.search(part)
                ]
    assert found == []


def test_a_role_gets_no_more_rights_than_it_needs(
    workshop: Workshop, postgresql_url: str, tmp_path: Path
) -> None:
    """What looks alone needs SELECT; who may write could change the scripts that are kept."""
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", **table("f1"))
    url = sa.make_url(postgresql_url)
    role = f"{url.database}_weak"
    execute(postgresql_url, f"CREATE ROLE {role} LOGIN PASSWORD 'weak'")
    weak = url.set(username=role, password="weak").render_as_string(hide_password=False)
    ini = workshop.application("fooapp", tmp_path / "weak.ini", weak)

    def grant(*words: str, status: int) -> str:
        """Type a command that is refused, and return the statement that it names."""
        refused = workshop.ws(ini, *words)
        assert refused.status == status, refused
        return refused.err.partition("owner run: ")[2].partition(";")[0]

    try:
        create = f"GRANT USAGE, CREATE ON SCHEMA public TO {role}"
        assert grant("upgrade", status=1) == create
        workshop.service(postgresql_url).upgrade()
        statement = grant("repair", status=1)
        assert statement == grant("log", status=1)
        assert statement == f"GRANT SELECT ON websauna_migrate_ledger TO {role}"
        other = grant("status", status=2)
        assert other == f"GRANT SELECT ON alembic_history_fooapp TO {role}"
        execute(postgresql_url, statement, other)
        assert workshop.ws(ini, "status").status == workshop.ws(ini, "repair").status == 0
        assert workshop.ws(ini, "log").status == 0
        workshop.script("fooapp", "f200", "f100", **table("f2"))
        for name in ("websauna_migrate_ledger", "alembic_history_fooapp"):
            rights = f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO {role}"
            if name.endswith("ledger"):
                assert grant("upgrade", status=1) == rights
            execute(postgresql_url, rights)
        assert grant("upgrade", status=6) == create
        execute(postgresql_url, create)
        assert workshop.ws(ini, "upgrade").status == 0
    finally:
        execute(postgresql_url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")
