"""Each class of failure: begin with what is broken, follow the message to the word, end mended."""

from __future__ import annotations

import re
import shlex
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from apps import Typed, Workshop
from runs import execute, rows, table, tables, wait_for
from test_security import poor_mariadb, poor_postgresql, poor_url  # noqa: F401 - fixtures

PAGE = Path(__file__).parent.parent / "docs" / "how-it-is-built.rst"

#: The classes whose remedies were followed, of those that :data:`PAGE` lists.
FOLLOWED: set[str] = set()

MODELS = """
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

class Base(DeclarativeBase):
    pass

class Offer(Base):
    __tablename__ = "offers"
    id = sa.Column(sa.Integer, primary_key=True)
    title = sa.Column(sa.String(20))
"""


class Place:
    """An application ``fooapp`` with an add-on ``addon``, and a database; commands are typed."""

    def __init__(self, workshop: Workshop, ini: Path, url: str) -> None:
        self.workshop = workshop
        self.ini, self.url = ini, url
        self.settings: dict[str, Any] = {}
        workshop.package("addon")
        workshop.package("fooapp")
        self.script = workshop.script
        self.script("addon", "a100", **table("a1"))
        self.script("fooapp", "f100", **table("f1"), requires=("addon@a100",))
        self.script("fooapp", "f200", "f100", **table("f2"))

    def type(self, *words: str) -> Typed:
        self.workshop.application("fooapp", self.ini, self.url, **self.settings)
        self.workshop.forget()
        found: Typed = self.workshop.ws(self.ini, *words)
        assert "Traceback" not in found.err
        # Each command that a message names is for this INI file.
        named = f"ws-alembic -c {self.ini} "
        for text in found[1:]:
            assert len(re.findall(r"ws-alembic (?=-x |[a-z])", text)) == 0
        return Typed(found.status, *(text.replace(named, "ws-alembic ") for text in found[1:]))

    def well(self, *words: str) -> str:
        """Type what has to work, and return what was printed."""
        status, out, err = self.type(*words)
        assert status == 0, out + err
        return out + err

    def broken(self, *words: str, status: int, says: str = "") -> str:
        """Type what has to fail, and return what was said."""
        found = self.type(*words)
        assert found.status == status, found
        assert says in found.out + found.err
        return found.out + found.err

    def follow(self, text: str, number: int = 0, **given: str) -> str:
        """Type a command that a message names, by its number, and return what was printed.

        :param given: what the message leaves to its reader, such as ``REVISION``
        """
        command = commands_in(text)[number]
        for name, value in given.items():
            command = command.replace(name, value)
        words = shlex.split(command)[1:]
        found = self.type(*words)
        if found.status == 2 and (flag := re.search(r"If this is meant, add (--yes)", found.err)):
            return self.well(*words, flag[1])
        assert found.status == 0, found
        return found.out + found.err

    def path(self, package: str, revision: str) -> Path:
        return self.workshop.root / package / "alembic" / "versions" / f"{revision}.py"

    def is_mended(self, *packages: str) -> None:
        """All is applied, and everything agrees."""
        self.well("-x", "packages=all", "upgrade")
        assert self.type("status").status == 0
        self.well("-x", "packages=all", "check")


def commands_in(text: str) -> list[str]:
    """Return the commands that a message names: in backticks, or to the end of a line or clause."""
    found = re.findall(r"""([`"])(ws-alembic [^`"]+)\1|(ws-alembic [^`\n]+)""", text)
    ends = r"[.;,:]?(?: \(|[.;,:] |[.;]?$)"
    return [quoted or re.split(ends, bare)[0] for _, quoted, bare in found]


def of(*classes: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Say the remedies of which classes a test follows."""
    FOLLOWED.update(classes)
    return lambda function: function


@pytest.fixture
def place(workshop: Workshop, tmp_path: Path, sqlite_url: str) -> Place:
    return Place(workshop, tmp_path / "site.ini", sqlite_url)


ALL = ("-x", "packages=all")


# Histories and the ledger


@of("database.history_tables.RecordsBroken")
@pytest.mark.parametrize("name", ["alembic_history_fooapp", "websauna_migrate_ledger"])
def test_a_table_that_may_not_be_read(
    place: Place,
    poor_url: str,  # noqa: F811
    request: pytest.FixtureRequest,
    name: str,
) -> None:
    kind = make_url(poor_url).get_backend_name()
    owner = request.getfixturevalue("postgresql_url" if kind == "postgresql" else "mariadb_url")
    place.url = poor_url
    place.well(*ALL, "upgrade", "f100")
    if kind == "postgresql":
        execute(
            owner, f"ALTER TABLE {name} OWNER TO CURRENT_USER", f"REVOKE ALL ON {name} FROM PUBLIC"
        )
    else:
        rest = sorted(tables(owner) - {name})
        execute(owner, f"REVOKE SELECT ON {make_url(owner).database}.* FROM 'poor'@'%'")
        for other in rest:
            execute(owner, f"GRANT SELECT ON {other} TO 'poor'@'%'")
    said = place.broken(*ALL, "upgrade", status=1, says="cannot be ")
    assert "Restore it" not in said and "another name" not in said
    statement = re.search(r"Let its owner run: (.*);", said)
    assert statement is not None
    execute(owner, statement[1])
    place.is_mended()


@of("database.history_tables.RecordsBroken")
def test_a_history_table_that_is_none(place: Place) -> None:
    execute(place.url, "CREATE TABLE alembic_history_fooapp (id INTEGER)")
    said = place.broken(*ALL, "upgrade", status=1, says="give the package another one")
    setting = re.search(r"websauna_migrate\.(version_table)\.PACKAGE", said)
    assert setting is not None
    place.settings = {f"{setting[1]}.fooapp": "history_of_fooapp"}
    place.is_mended()


@of("database.history_tables.RecordsBroken")
def test_a_table_of_another_origin_in_place_of_the_ledger(place: Place) -> None:
    execute(place.url, "CREATE TABLE websauna_migrate_ledger (id INTEGER)")
    place.broken(*ALL, "upgrade", status=1, says="another name: the ledger is made anew")
    execute(place.url, "ALTER TABLE websauna_migrate_ledger RENAME TO something")
    place.is_mended()


@of("planning.history_errors.HistoryContradicted")
@pytest.mark.parametrize("command", ["upgrade", "check"])
def test_a_script_that_was_deleted_after_it_was_applied(place: Place, command: str) -> None:
    place.well(*ALL, "upgrade")
    script = place.path("fooapp", "f200")
    text = script.read_text()
    script.unlink()
    said = place.broken(*ALL, command, status=1 if command == "upgrade" else 8)
    # The way that fails is not named.
    assert not any(words.endswith(" upgrade") for words in commands_in(said))
    place.follow(said, REVISION="f100")
    place.is_mended()
    # And the first way: the script is back.
    execute(place.url, "UPDATE alembic_history_fooapp SET version_num = 'f200'")
    said = place.broken(*ALL, command, status=1 if command == "upgrade" else 8)
    script.write_text(text)
    place.is_mended()


def test_heads_that_are_gone_are_not_to_be_upgraded(place: Place) -> None:
    place.well(*ALL, "upgrade")
    place.path("fooapp", "f200").unlink()
    said = place.broken(*ALL, "current", "-c", status=7)
    assert not commands_in(said)
    place.script("addon", "a200", "a100")
    said = place.broken(*ALL, "current", "-c", status=7)
    place.follow(said)
    assert rows(place.url, "SELECT version_num FROM alembic_history_addon") == [("a200",)]


@of("planning.history_errors.HistoryContradicted")
@pytest.mark.parametrize("number", [0, 1])
def test_applied_revisions_that_lack_what_they_require(place: Place, number: int) -> None:
    place.well(*ALL, "upgrade")
    execute(place.url, "DELETE FROM alembic_history_addon")
    if number:
        execute(place.url, "DROP TABLE a1", "DELETE FROM websauna_migrate_ledger")
    said = place.broken(*ALL, "upgrade", status=1, says="Applied revisions lack")
    place.follow(said, number)
    place.is_mended()
    assert {"a1", "f1", "f2"} <= tables(place.url)


@of("planning.history_errors.HistoryContradicted")
@pytest.mark.parametrize("number", [0, 1])
def test_a_ledger_that_contradicts_the_history(place: Place, number: int) -> None:
    place.well(*ALL, "upgrade")
    execute(place.url, "UPDATE alembic_history_fooapp SET version_num = 'f100'")
    if number:
        execute(place.url, "DROP TABLE f2")
    said = place.broken(*ALL, "upgrade", status=1, says="contradict each other")
    place.follow(said, number)
    place.is_mended()
    assert "f2" in tables(place.url)


@of("planning.history_errors.HistoryContradicted")
def test_a_history_in_another_table(place: Place) -> None:
    place.well(*ALL, "upgrade")
    execute(
        place.url,
        "ALTER TABLE alembic_history_fooapp RENAME TO alembic_version",
        "DELETE FROM websauna_migrate_ledger",
    )
    said = place.broken(*ALL, "upgrade", status=1, says="To take it over")
    place.follow(said)
    place.is_mended()


# Steps and runs


@of("runs.failures.StepFailed", "revision_scripts.script_error.ScriptError")
@pytest.mark.parametrize("text", ["raise ValueError", "nonsense("])
def test_a_script_that_fails(place: Place, text: str) -> None:
    path = place.script("fooapp", "f300", "f200", text)
    said = place.broken(*ALL, "upgrade", status=6 if text.startswith("raise") else 1)
    # Script and line are named; that is where it is mended.
    assert str(path) in said and "line 14" in said
    place.script("fooapp", "f300", "f200")
    place.is_mended()


HALF = 'op.execute("CREATE TABLE half (id INTEGER)")\nop.execute("COMMIT")\n'


@of("runs.failures.StepFailed", "runs.failures.InterruptedSteps")
@pytest.mark.parametrize("action", ["rerun", "done", "undone"])
def test_a_step_that_ended_half_done(place: Place, action: str) -> None:
    place.script("fooapp", "f300", "f200", HALF + 'op.execute("nonsense")')
    said = place.broken(*ALL, "upgrade", status=3, says="ws-alembic repair")
    again = place.broken(*ALL, "upgrade", status=3, says="ws-alembic repair")
    for message in (said, again):
        command = commands_in(message)[0]
        shown = place.broken(*shlex.split(command)[1:], status=3, says=f"--{action}")
    tell = commands_in(shown)[-1]
    assert f"--{action}" in shown and tell.startswith("ws-alembic repair --rerun")
    place.script("fooapp", "f300", "f200", 'op.execute("CREATE TABLE half (id INTEGER)")')
    if action != "done":
        # As --undone says: what it left is taken back by hand.
        execute(place.url, "DROP TABLE half")
    place.well("repair", f"--{action}")
    place.is_mended()
    assert "half" in tables(place.url)


@of("runs.failures.NotAtomic")
def test_a_run_that_cannot_be_atomic(place: Place) -> None:
    path = place.script("fooapp", "f300", "f200", 'op.execute("CREATE TABLE f3 (id INTEGER)")')
    path.write_text(path.read_text() + "\n\ntransactional = False\n")
    place.broken(*ALL, "upgrade", "--atomic", status=1, says="without it")
    place.is_mended()


@of("locks.run_lock.RunBlocked")
def test_another_run_in_the_way(place: Place) -> None:
    flag = place.ini.with_name("flag")
    place.script(
        "fooapp",
        "f300",
        "f200",
        f"""
        import pathlib, time
        flag = pathlib.Path({str(flag)!r})
        flag.touch()
        while flag.exists():
            time.sleep(0.02)
        """,
    )
    thread = threading.Thread(target=place.workshop.service(place.url).upgrade)
    thread.start()
    wait_for(flag.exists)
    try:
        place.broken(*ALL, "upgrade", "--lock-wait", "0", status=4, says="Try again")
    finally:
        flag.unlink()
        thread.join()
    place.is_mended()


@of("database.stopping.RunStopped")
def test_a_run_that_was_stopped(place: Place) -> None:
    service = place.workshop.service(place.url)
    with pytest.raises(Exception, match="Run the command again to go on"):
        service.upgrade(stop=lambda: True)
    place.is_mended()


@of("database.engines.DatabaseFailure")
def test_a_database_that_is_not_reached(place: Place, postgresql_url: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        place.url = str(
            make_url(postgresql_url)
            .set(port=taken.getsockname()[1])
            .render_as_string(hide_password=False)
        )
        place.broken(*ALL, "upgrade", status=5, says="host, port, user, password and database")
    place.url = postgresql_url
    place.is_mended()


# Plans


@of("planning.order_checks.OrderViolated")
def test_an_upgrade_that_would_change_the_authors_order(place: Place) -> None:
    place.well(*ALL, "upgrade")
    place.script("addon", "a200", "a100", 'op.alter_column("a1", "id", new_column_name="no")')
    path = place.script("fooapp", "f300", "f200", 'op.execute("DELETE FROM a1 WHERE id = 0")')
    path.write_text(f"{path.read_text()}\nwritten_against = {{'addon': 'a200'}}\n")
    said = place.broken("-x", "packages=fooapp", "upgrade", status=1, says="change the order")
    # In that order the later script means what its author wrote it for.
    path.write_text(path.read_text().replace("WHERE id", "WHERE no"))
    place.follow(said)
    assert place.type("status").status == 0


@of("planning.plan.DowngradeRefused")
def test_a_downgrade_that_others_stand_on(place: Place) -> None:
    place.well(*ALL, "upgrade")
    words = ("-x", "packages=addon", "downgrade", "base")
    said = place.broken(*words, status=1)
    flag = re.search(r"Add `(--\w+)`", said)
    assert flag is not None
    place.well(*words, flag[1])
    place.is_mended()


@of("planning.target_errors.TargetError")
def test_a_revision_that_is_not_there(place: Place) -> None:
    said = place.broken("-x", "packages=fooapp", "upgrade", "f999", status=1)
    assert "f200" in place.follow(said)
    place.well("-x", "packages=fooapp", "upgrade", "f200")


@of("planning.target_errors.TargetError")
def test_heads_that_part(place: Place) -> None:
    place.script("fooapp", "f201", "f100")
    said = place.broken("-x", "packages=fooapp", "upgrade", "head", status=1, says="merge heads")
    merge = next(words for words in commands_in(said) if "merge" in words)
    place.well(*shlex.split(merge)[1:])
    place.is_mended()


@of("planning.history_errors.HistoryError")
def test_a_history_with_a_hole(place: Place) -> None:
    path = place.script("fooapp", "f300", "f250")
    place.broken(*ALL, "upgrade", status=1, says="or correct down_revision")
    path.write_text(path.read_text().replace("f250", "f200"))
    place.is_mended()


@of("planning.requirements.RequirementError")
def test_a_requirement_that_means_nothing(place: Place) -> None:
    path = place.script("fooapp", "f300", "f200", requires=("adon@a100",))
    said = place.broken(*ALL, "upgrade", status=1, says="or correct the name")
    assert '"addon"' in said
    path.write_text(path.read_text().replace("adon@", "addon@"))
    place.is_mended()


@of("planning.edges.RevisionCycle")
def test_revisions_that_wait_for_each_other(place: Place) -> None:
    path = place.script("addon", "a100", **table("a1"), requires=("fooapp@f100",))
    said = place.broken(*ALL, "upgrade", status=1, says="wait for each other in a circle")
    assert "fooapp@f100" in said
    path.write_text(path.read_text().replace("requires = ('fooapp@f100',)", "requires = ()"))
    place.is_mended()


# Packages, settings, models


@of("config.selection.UnknownPackage")
def test_a_package_that_is_not_known(place: Place) -> None:
    said = place.broken("-x", "packages=fooap", "upgrade", status=2)
    assert '"fooapp"' in said
    place.well("-x", "packages=fooapp", "upgrade")


@of("config.packages.ScriptDirectoryError", "config.settings.SettingError")
def test_a_setting_that_cannot_be_used(place: Place) -> None:
    place.settings = {"lock_wait": "soon"}
    place.broken(*ALL, "upgrade", status=1, says="websauna_migrate.lock_wait")
    place.settings = {"script_location.fooapp": "/nowhere/at/all"}
    place.broken(*ALL, "upgrade", status=1, says="/nowhere/at/all")
    place.settings = {}
    place.is_mended()


def test_a_remedy_for_production(place: Place) -> None:
    place.well(*ALL, "upgrade")
    place.settings = {"protected": "true"}
    words = ("-x", "packages=fooapp", "downgrade", "f100")
    said = place.broken(*words, status=2)
    flag = re.search(r"add (--[\w-]+)", said)
    assert flag is not None
    place.well(*words, flag[1])
    place.is_mended()


def test_a_run_that_is_not_in_the_ledger(place: Place) -> None:
    place.well(*ALL, "upgrade")
    said = place.broken("log", "zzz", status=2)
    assert "upgrade  done" in place.follow(said)


def test_a_package_that_is_gone(place: Place) -> None:
    execute(place.url, "CREATE TABLE alembic_history_gone (version_num VARCHAR(32))")
    said = place.broken("uninstall", "gone", "--yes", status=1)
    command = commands_in(said)[-1]
    assert "--forget" in command
    place.well(*shlex.split(command)[1:], "--yes")
    assert "alembic_history_gone" not in tables(place.url)


def test_a_loss_that_is_meant(place: Place) -> None:
    place.well(*ALL, "upgrade")
    execute(place.url, "INSERT INTO f1 VALUES (1)")
    path = place.script("fooapp", "f300", "f200", 'op.drop_table("f1")')
    said = place.broken(*ALL, "upgrade", "--max-loss", "0", status=9)
    accepts = re.search(r"loses = \{.*\}", said)
    assert accepts is not None
    path.write_text(f"{path.read_text()}\n{accepts[0].replace('users.nick', 'f1')}\n")
    place.well(*ALL, "upgrade", "--max-loss", "0")


@pytest.fixture
def modelled(workshop: Workshop, tmp_path: Path, sqlite_url: str) -> Iterator[Place]:
    place = Place(workshop, tmp_path / "site.ini", sqlite_url)
    (workshop.root / "fooapp" / "models.py").write_text(MODELS)
    init = workshop.root / "fooapp" / "__init__.py"
    init.write_text(
        'def includeme(config):\n    config.add_migration_package(metadata="fooapp.models.Base")\n'
    )
    for path in (workshop.root / "fooapp" / "alembic" / "versions").iterdir():
        path.unlink()
    yield place


def test_a_rename_is_told_from_a_drop_by_the_command_that_a_warning_names(modelled: Place) -> None:
    place = modelled
    write = ("-x", "packages=fooapp", "revision", "--autogenerate", "-m", "More")
    place.well(*write)
    place.well(*ALL, "upgrade")
    execute(place.url, "INSERT INTO offers VALUES (1, 'kept')")
    models = place.workshop.root / "fooapp" / "models.py"
    models.write_text(MODELS.replace("title", "headline"))
    before = set(place.path("fooapp", "x").parent.glob("*.py"))
    said = place.well(*write)
    (script,) = set(place.path("fooapp", "x").parent.glob("*.py")) - before
    assert "If it was renamed, delete the script and run: ws-alembic -x packages=fooapp" in said
    script.unlink()
    place.follow(said)
    place.is_mended()
    assert rows(place.url, "SELECT headline FROM offers") == [("kept",)]


@of("autogenerate.revision_errors.RevisionFailed")
def test_a_revision_before_the_last_one_is_applied(modelled: Place) -> None:
    write = ("-x", "packages=fooapp", "revision", "--autogenerate", "-m", "More")
    modelled.well(*write)
    said = modelled.broken(*write, status=1)
    modelled.follow(said)
    modelled.well(*write)
    modelled.is_mended()


def test_a_database_that_create_all_made(modelled: Place) -> None:
    write = ("-x", "packages=fooapp", "revision", "--autogenerate", "-m", "More")
    modelled.well(*write)
    execute(
        modelled.url, "CREATE TABLE offers (id INTEGER NOT NULL PRIMARY KEY, title VARCHAR(20))"
    )
    said = modelled.broken("-x", "packages=fooapp", "upgrade", status=6)
    modelled.follow(said, -1)
    modelled.is_mended()


@of("models.ownership_errors.OwnershipError")
def test_a_table_that_nobody_owns(modelled: Place) -> None:
    models = modelled.workshop.root / "fooapp" / "models.py"
    models.write_text(MODELS + '\nsa.Table("loose", Base.metadata, sa.Column("id", sa.Integer))\n')
    addon = modelled.workshop.root / "addon" / "__init__.py"
    addon.write_text(
        addon.read_text().replace(
            "add_migration_package(", 'add_migration_package(metadata="fooapp.models.Base", '
        )
    )
    write = ("-x", "packages=fooapp", "revision", "--autogenerate", "-m", "More")
    said = modelled.broken(*write, status=1, says="loose")
    info = re.search(r'info=\{"package": "[\w.]+"\}', said)
    assert info is not None
    words = info[0].replace("PACKAGE", "fooapp").replace("addon", "fooapp")
    models.write_text(models.read_text().replace("sa.Integer))\n", f"sa.Integer), {words})\n"))
    modelled.well(*write)
    modelled.well(*ALL, "upgrade")
    assert "loose" in tables(modelled.url)


# What is wrong before there is an application


@of("ini.ini_errors.IniError")
def test_an_ini_file_that_is_not_there(place: Place) -> None:
    place.well(*ALL, "upgrade")
    text = f"[includes]\ninclude_ini_files = base.ini\n\n{place.ini.read_text()}"
    place.ini.write_text(text)
    found = place.workshop.ws(place.ini, "status")
    assert found.status != 0
    assert str(place.ini.with_name("base.ini")) in found.err
    place.ini.with_name("base.ini").write_text("[DEFAULT]\n")
    assert place.workshop.ws(place.ini, "status").status == 0


@of("config.packages.RegistrationError")
def test_a_package_that_cannot_be_registered_so(place: Place) -> None:
    init = place.workshop.root / "addon" / "__init__.py"
    right = init.read_text()
    init.write_text(right.replace("()", '(version_table="alembic_history_fooapp")'))
    said = place.broken(*ALL, "upgrade", status=1, says="alembic_history_fooapp")
    assert "version_table" in said
    init.write_text(right)
    place.is_mended()


@of("alembic_adapter.package_environment.EnvironmentFailure")
def test_an_env_py_with_a_history_table_of_its_own(place: Place) -> None:
    env = place.workshop.root / "addon" / "alembic" / "env.py"
    env.write_text(
        "from alembic import context\n"
        'connection = context.config.attributes["connection"]\n'
        'context.configure(connection=connection, version_table="mine")\n'
        "with context.begin_transaction():\n"
        "    context.run_migrations()\n"
    )
    said = place.broken(*ALL, "upgrade", status=1, says="mine")
    setting = re.search(r"websauna_migrate\.(version_table\.addon) = mine", said)
    assert setting is not None, said
    place.settings = {setting[1]: "mine"}
    place.is_mended()


def test_every_class_that_the_page_lists_was_followed() -> None:
    listed = set(re.findall(r"^``([a-z_.]+\.[A-Z]\w+)``", PAGE.read_text("utf-8"), re.MULTILINE))
    assert len(listed) > 20
    # Those need a program that is missing, and unsafe SQL on PostgreSQL: test_clients, test_lint.
    elsewhere = {"cli.clients.client.ClientError", "lint.lint_errors.UnsafeChanges"}
    assert listed - elsewhere == FOLLOWED
