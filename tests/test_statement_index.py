"""What plain scripts give is remembered by their texts, and is what they give."""

from __future__ import annotations

import logging
import os
import py_compile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.operations import Operations, ops
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateTable

from apps import Workshop
from runs import execute, ledger, rows, steps, table, tables
from websauna_migrate import service as service_module
from websauna_migrate.alembic_adapter.internals import LoadedScriptDirectory
from websauna_migrate.planning.revisions import Revision
from websauna_migrate.reading import plain_scripts, revision_reader, statement_index
from websauna_migrate.reading.plain_scripts import is_plain_script, is_repeatable
from websauna_migrate.reading.plain_texts import only_defines
from websauna_migrate.reading.revision_reader import ScriptChanged
from websauna_migrate.runs import pipeline
from websauna_migrate.runs.failures import StepFailed


@pytest.fixture(autouse=True)
def a_few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "MANY_STEPS", 3)


@pytest.fixture
def imports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the scripts that are imported."""
    found: list[str] = []
    original = revision_reader.load_module

    def load(path: str, code: Any = None) -> Any:
        found.append(Path(path).stem)
        return original(path, code)

    def import_script(self: Any, path: Path) -> Any:
        found.append(path.stem)
        return alembics(self, path)

    alembics = LoadedScriptDirectory.import_script
    monkeypatch.setattr(revision_reader, "load_module", load)
    monkeypatch.setattr(LoadedScriptDirectory, "import_script", import_script)
    return found


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """What makes an empty database."""
    made: list[int] = []

    def make() -> str:
        made.append(1)
        return f"sqlite:///{tmp_path}/{len(made)}.sqlite"

    if request.param == "sqlite":
        return make
    create: Callable[[], str] = request.getfixturevalue("postgresql_server").create_database
    return create


def chain(workshop: Workshop, *upgrades: str) -> None:
    """Make a package of revisions ``r1``, ``r2`` ... of which the first makes table ``t1``."""
    workshop.package("fooapp", None)
    workshop.script("fooapp", "r1", None, **table("t1"))
    for number, upgrade in enumerate(upgrades, 2):
        workshop.script(
            "fooapp", f"r{number}", f"r{number - 1}", upgrade, f'op.drop_table("t{number}")'
        )


THREE = tuple(table(f"t{number}")["upgrade"] for number in (2, 3, 4))


def upgrade(workshop: Workshop, url: str, **settings: Any) -> Any:
    workshop.forget()
    return workshop.service(url, **settings).upgrade()


def upgrade_thrice(workshop: Workshop, databases: Callable[[], str], imports: list[str]) -> str:
    """Upgrade three databases, and return the last one."""
    for _ in range(3):
        imports.clear()
        url = databases()
        upgrade(workshop, url)
    return url


# What is remembered


def test_scripts_are_imported_once(
    workshop: Workshop, databases: Callable[[], str], imports: list[str]
) -> None:
    chain(workshop, *THREE)
    urls = [databases() for _ in range(3)]
    first = upgrade(workshop, urls[0])
    assert imports == ["r1", "r2", "r3", "r4"]
    for url in urls[1:]:
        imports.clear()
        assert steps(upgrade(workshop, url)) == steps(first)
        # The first one of a package is run by itself.
        assert imports == ["r1"]
        assert tables(url) == tables(urls[0])
        assert [entry[:-1] for entry in ledger(url)] == [entry[:-1] for entry in ledger(urls[0])]
    sums = [
        rows(url, "SELECT checksum FROM websauna_migrate_ledger ORDER BY number") for url in urls
    ]
    assert sums[0] == sums[1] == sums[2]


def test_downgrades_too(
    workshop: Workshop, databases: Callable[[], str], imports: list[str]
) -> None:
    chain(workshop, *THREE)
    for number in range(3):
        url = databases()
        workshop.forget()
        service = workshop.service(url)
        service.upgrade()
        imports.clear()
        assert len(service.downgrade("base").steps) == 4
        assert len(imports) == (4 if not number else 2)
        assert not tables(url) - {"websauna_migrate_ledger", "alembic_history_fooapp"}


def test_few_steps_are_not_worth_it(
    workshop: Workshop,
    databases: Callable[[], str],
    imports: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service_module, "MANY_STEPS", 5)
    chain(workshop, *THREE)
    upgrade_thrice(workshop, databases, imports)
    assert imports == ["r1", "r2", "r3", "r4"]


@pytest.mark.parametrize("setting", [{"cache": "off"}, {"pipeline": "off"}])
def test_where_nothing_is_remembered(
    workshop: Workshop, databases: Callable[[], str], imports: list[str], setting: dict[str, str]
) -> None:
    chain(workshop, *THREE)
    for _ in range(3):
        imports.clear()
        upgrade(workshop, databases(), **setting)
        assert imports == ["r1", "r2", "r3", "r4"]


def test_what_is_remembered_is_not_needed(
    workshop: Workshop, databases: Callable[[], str], imports: list[str]
) -> None:
    chain(workshop, *THREE)
    upgrade_thrice(workshop, databases, imports)
    imports.clear()
    # Each step is run by itself, and its script imported for that.
    url = databases()
    upgrade(workshop, url, pipeline="off")
    assert imports == ["r1", "r2", "r3", "r4"]
    workshop.forget()
    assert len(workshop.service(databases()).upgrade(dry_run=True).steps) == 4


def test_a_new_text_is_run(
    workshop: Workshop, databases: Callable[[], str], imports: list[str]
) -> None:
    chain(workshop, *THREE)
    upgrade_thrice(workshop, databases, imports)
    workshop.script("fooapp", "r3", "r2", table("other")["upgrade"])
    imports.clear()
    url = databases()
    upgrade(workshop, url)
    assert imports == ["r1", "r3"]
    assert "other" in tables(url) and "t3" not in tables(url)


def test_a_text_that_comes_back_with_other_parents(
    workshop: Workshop, databases: Callable[[], str], imports: list[str]
) -> None:
    chain(workshop, *THREE)
    upgrade_thrice(workshop, databases, imports)
    index = statement_index.StatementIndex(cache_of(workshop), workshop.root / "fooapp/alembic")
    (row,) = (row for name, row in index._rows.items() if name == "upgrade r3")
    revision = Revision("fooapp", "r3", ("r2",))
    assert index.knows(revision, "upgrade", row[0])
    assert not index.knows(Revision("fooapp", "r3", ("r1",)), "upgrade", row[0])
    assert not index.knows(revision, "upgrade", "0" * 64)
    assert not index.knows(revision, "downgrade", row[0])


def cache_of(workshop: Workshop) -> Any:
    from websauna_migrate.database.cache import Cache

    return Cache.of(None)


def test_revisions_that_are_gone_are_forgotten(
    workshop: Workshop, databases: Callable[[], str], imports: list[str]
) -> None:
    chain(workshop, *THREE)
    upgrade_thrice(workshop, databases, imports)
    versions = workshop.root / "fooapp" / "alembic" / "versions"
    (versions / "r4.py").unlink()
    workshop.script("fooapp", "r3", "r2", table("other")["upgrade"])
    upgrade(workshop, databases())
    index = statement_index.StatementIndex(cache_of(workshop), versions.parent)
    assert sorted(index._rows) == ["upgrade r2", "upgrade r3"]


def test_databases_that_write_sql_in_their_own_way(
    workshop: Workshop, sqlite_url: str, postgresql_url: str, imports: list[str]
) -> None:
    chain(workshop, *(f'op.add_column("t1", sa.Column("c{n}", sa.DateTime))' for n in range(3)))
    for _ in range(2):
        for url in (sqlite_url, postgresql_url):
            upgrade(workshop, url)
            execute(url, "DROP TABLE t1", "DROP TABLE alembic_history_fooapp")
    for url in (sqlite_url, postgresql_url):
        imports.clear()
        upgrade(workshop, url)
        assert imports == ["r1"]
    types = {
        url: {str(c["type"]) for c in sa.inspect(sa.create_engine(url)).get_columns("t1")}
        for url in (sqlite_url, postgresql_url)
    }
    assert types == {sqlite_url: {"INTEGER", "DATETIME"}, postgresql_url: {"INTEGER", "TIMESTAMP"}}


# What has a say in it


class Hooks:
    """Ways in which an application has a say in what becomes of operations, and takes it back."""

    def compiler(self) -> Iterator[None]:
        def write(element: Any, compiler: Any, **given: Any) -> str:
            return str(compiler.visit_create_table(element)).replace("t3", "renamed")

        compiles(CreateTable)(write)
        yield
        from sqlalchemy.ext.compiler import deregister

        deregister(CreateTable)

    def table_event(self) -> Iterator[None]:
        def attached(column: Any, parent: Any) -> None:
            if parent.name == "t3":
                parent.name = "renamed"

        sa.event.listen(sa.Column, "after_parent_attach", attached)
        yield
        sa.event.remove(sa.Column, "after_parent_attach", attached)

    def implementation(self) -> Iterator[None]:
        registry = Operations._to_impl._registry
        before = registry[ops.CreateTableOp, "default"]

        def create(operations: Any, operation: Any) -> Any:
            if operation.table_name == "t3":
                operation.table_name = "renamed"
            return before(operations, operation)

        registry[ops.CreateTableOp, "default"] = create
        yield
        registry[ops.CreateTableOp, "default"] = before

    def statement_event(self) -> Iterator[None]:
        def rewrite(conn: Any, cursor: Any, sql: str, *rest: Any) -> tuple[str, Any]:
            return sql.replace("t3", "renamed"), rest[0]

        sa.event.listen(sa.engine.Engine, "before_cursor_execute", rewrite, retval=True)
        yield
        sa.event.remove(sa.engine.Engine, "before_cursor_execute", rewrite)


@pytest.mark.parametrize("hook", ["compiler", "table_event", "implementation", "statement_event"])
def test_an_application_that_has_a_say_in_it(
    workshop: Workshop, databases: Callable[[], str], imports: list[str], hook: str
) -> None:
    chain(workshop, *THREE)
    upgrade_thrice(workshop, databases, imports)
    hooked = getattr(Hooks(), hook)()
    next(hooked)
    try:
        imports.clear()
        url = databases()
        upgrade(workshop, url)
        assert "renamed" in tables(url) and "t3" not in tables(url)
        assert imports == ["r1", "r2", "r3", "r4"]
    finally:
        next(hooked, None)
    imports.clear()
    url = databases()
    upgrade(workshop, url)
    assert "t3" in tables(url) and "renamed" not in tables(url)
    assert imports == ["r1"]


ENV = """
from sqlalchemy import MetaData
from websauna_migrate.environment import run_migrations

run_migrations(target_metadata=MetaData(naming_convention={"pk": "%s_%%(table_name)s"}))
"""


def test_a_naming_convention(
    workshop: Workshop, databases: Callable[[], str], imports: list[str]
) -> None:
    chain(workshop, *THREE)
    env = workshop.root / "fooapp" / "alembic" / "env.py"
    found = []
    for name in ("a", "a", "a", "b"):
        env.write_text(ENV % name)
        url = databases()
        imports.clear()
        upgrade(workshop, url)
        key = sa.inspect(sa.create_engine(url)).get_pk_constraint("t3")
        found.append((key["name"], len(imports)))
    assert found == [("a_t3", 4), ("a_t3", 1), ("a_t3", 1), ("b_t3", 4)]


# Texts and modules


def test_a_stale_module_is_not_run(
    workshop: Workshop, databases: Callable[[], str], imports: list[str]
) -> None:
    chain(workshop, *THREE)
    path = workshop.root / "fooapp" / "alembic" / "versions" / "r3.py"
    py_compile.compile(str(path))
    status, text = path.stat(), path.read_text()
    # Another text with the same size and time: Python takes the module that it has.
    path.write_text(text.replace("t3", "t9"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    module = revision_reader.load_module(str(path))
    assert module is not None and "t3" in module.upgrade.__code__.co_consts
    for _ in range(3):
        url = databases()
        upgrade(workshop, url)
        assert "t9" in tables(url) and "t3" not in tables(url)


def test_a_script_that_changes_while_the_command_runs(
    workshop: Workshop,
    databases: Callable[[], str],
    imports: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chain(workshop, *THREE)
    upgrade_thrice(workshop, databases, imports)
    path = workshop.root / "fooapp" / "alembic" / "versions" / "r3.py"
    original = pipeline.Pipeline._is_plain

    def is_plain(self: Any, attempt: Any) -> bool:
        if attempt.step.revision.id == "r3":
            path.write_text(path.read_text().replace("t3", "t9"))
            return False
        return original(self, attempt)

    monkeypatch.setattr(pipeline.Pipeline, "_is_plain", is_plain)
    url = databases()
    with pytest.raises(ScriptChanged, match="r3"):
        upgrade(workshop, url)
    assert rows(url, "SELECT * FROM alembic_history_fooapp") == [("r2",)]


def test_an_error_is_told_by_the_script_s_line(
    workshop: Workshop, databases: Callable[[], str], imports: list[str]
) -> None:
    chain(workshop, *THREE)
    upgrade_thrice(workshop, databases, imports)
    url = databases()
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t3 (id INTEGER)")
    engine.dispose()
    with pytest.raises(StepFailed, match=r"r3\.py, line 14"):
        upgrade(workshop, url)
    assert rows(url, "SELECT * FROM alembic_history_fooapp") == [("r2",)]


HEAD = """
from alembic import op
import sqlalchemy as sa

revision = "r3"
down_revision = "r2"
"""


def test_a_text_that_does_more_is_run_each_time(
    workshop: Workshop, databases: Callable[[], str], imports: list[str]
) -> None:
    chain(workshop, *THREE)
    versions = workshop.root / "fooapp" / "alembic" / "versions"
    (versions / "r3.py").write_text(f"import os\n{HEAD}\ndef upgrade():\n    {THREE[1]}\n")
    for revision, text in (("r2", "lock_timeout_ms = 50"), ("r4", "transactional = False")):
        path = versions / f"{revision}.py"
        path.write_text(f"{path.read_text()}\n{text}\n")
    url = upgrade_thrice(workshop, databases, imports)
    assert imports == ["r1", "r2", "r3", "r4"]
    assert {"t1", "t2", "t3", "t4"} < tables(url)


def defines(text: str) -> bool:
    code = compile(text, "script.py", "exec", dont_inherit=True)
    module = ModuleType("script")
    exec(code, vars(module))
    return only_defines(code, module)


@pytest.mark.parametrize(
    "text",
    [
        "import os",
        "import os as sa",
        "import os.path",
        "from os import path",
        "print(revision)",
        "print = 1",
        "def print(): pass",
        "NAME = 't3'.upper()",
        "TYPES = sa.String.__subclasses__()",
        "for number in (1, 2): print(number)",
        "NUMBERS = [abs(number) for number in (1, 2)]",
        "NUMBERS = [lambda: 1]",
        "@staticmethod\ndef other(): pass",
        "def other(given=len('a')): pass",
        "class Other: pass",
        "x: print('annotated') = 1",
        "def other() -> print('annotated'): pass",
        "op.name = 1",
        "op.name = 1; del op.name",
        "__name__ = 'other'",
        "__builtins__['x'] = 1",
        "globals()['x'] = 1",
        "sa.event.listen(sa.Table, 'before_create', op.f) if False else None",
        "from sqlalchemy.event import listen",
        "from sqlalchemy.event import listen\nlisten = 1",
        "from sqlalchemy.event import listen\ndel listen",
        "from sqlalchemy import event, Table\nevent.contains(Table, 'before_create', 1)",
        "from typing import get_type_hints",
        "from sqlalchemy import create_engine",
        "import sqlalchemy.event as names",
        "upgrade = 1\ndef upgrade(): pass",
        "if revision:\n    def other(): pass\nelse:\n    def other(): print(1)",
        "exec('x = 1'); exec = 1",
        "def other():\n    print(1)\nother()",
        "def other():\n    import os\n    return os.getcwd()\nNAME = other()",
        "def other(function):\n    return function\n@other\ndef third(): pass",
        "def other():\n    yield print(1)\nNAMES = [*other()]",
        "\n".join(f"name{number} = {number}" for number in range(300)),
    ],
)
def test_texts_that_do_more(text: str) -> None:
    assert not defines(f"{HEAD}{text}\n")


USUAL = '''
    """Message."""

    from __future__ import annotations
    import typing
    from collections.abc import Sequence
    from typing import Union

    from alembic import op
    import sqlalchemy as sa
    from sqlalchemy import Integer, Column
    from sqlalchemy.dialects import postgresql
    from sqlalchemy.dialects.postgresql import JSONB

    revision: str = "r3"
    down_revision: Union[str, None] = "r2"
    branch_labels: str | Sequence[str] | None = None
    depends_on = ("a", "b")
    requires: tuple[str, ...] = ("far@1",)
    gives_tables = {"a": "b"}
    size = -3
    NAME = "t3"

    def upgrade() -> None:
        """Upgrade."""
        op.create_table(NAME, sa.Column("id", postgresql.JSONB()), Column("b", Integer))

    def downgrade() -> None:
        pass
'''


@pytest.mark.parametrize("future", [True, False])
def test_texts_that_only_define(future: bool) -> None:
    text = textwrap.dedent(USUAL)
    assert defines(text if future else text.replace("from __future__ import annotations\n", ""))
    assert defines(HEAD)


@pytest.mark.parametrize(
    "body",
    [
        'op.add_column("a", sa.Column("b", sa.Enum("x", name="y")))',
        'op.add_column("a", sa.Column("b", KIND("x", name="y")))',
        'op.add_column("a", sa.Column("b", postgresql.ENUM("x", name="y")))',
        'op.add_column("a", sa.Column("b", sa.DateTime, server_default=sa.func.now()))',
        'op.add_column("a", sa.Column("b", MADE))',
    ],
)
def test_what_may_give_something_else_the_next_time(body: str) -> None:
    names: dict[str, Any] = {}
    text = (
        "from alembic import op\nimport sqlalchemy as sa\nfrom sqlalchemy import Enum as KIND\n"
        "from sqlalchemy.dialects import postgresql\nMADE = KIND('x', name='y')\n"
        f"def upgrade():\n    {body}\n"
    )
    exec(text, names)
    assert is_plain_script(names["upgrade"]) and not is_repeatable(names["upgrade"])
    exec(text.replace(body, 'op.add_column("a", sa.Column("b", sa.Boolean()))'), names)
    assert is_repeatable(names["upgrade"])


def test_a_type_that_one_script_creates_and_another_uses(
    workshop: Workshop, postgresql_server: Any, imports: list[str]
) -> None:
    kind = 'sa.Enum("x", "y", name="kind")'
    chain(
        workshop,
        f'op.create_table("t2", sa.Column("k", {kind}))',
        f'op.create_table("t3", sa.Column("k", {kind}))',
        THREE[2],
    )
    url = upgrade_thrice(workshop, postgresql_server.create_database, imports)
    assert imports == ["r1", "r2", "r3"]
    assert {"t2", "t3", "t4"} < tables(url)


def test_a_type_of_the_application_s_on_sqlalchemy_s_module(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Mine(sa.types.UserDefinedType[Any]):
        pass

    monkeypatch.setattr(sa, "Mine", Mine, raising=False)
    plain_scripts.vocabulary.cache_clear()
    try:
        names: dict[str, Any] = {}
        text = "from alembic import op\nimport sqlalchemy as sa\ndef upgrade():\n    "
        exec(f'{text}op.add_column("a", sa.Column("b", sa.Mine()))', names)
        assert not is_plain_script(names["upgrade"])
    finally:
        plain_scripts.vocabulary.cache_clear()


def test_a_log_of_each_step_imports_nothing(
    workshop: Workshop,
    databases: Callable[[], str],
    imports: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    chain(workshop, *THREE)
    logged = []
    for _ in range(2):
        imports.clear()
        caplog.clear()
        with caplog.at_level(logging.INFO, "alembic.runtime.migration"):
            upgrade(workshop, databases())
        logged.append([r.getMessage() for r in caplog.records if "Running" in r.getMessage()])
    assert imports == ["r1"]
    assert logged[0] == logged[1]
    assert logged[0][1] == "Running upgrade r1 -> r2, Revision r2"


def test_a_damaged_index_is_read_by_nobody(
    workshop: Workshop, databases: Callable[[], str], imports: list[str], cache_folder: Path
) -> None:
    chain(workshop, *THREE)
    upgrade_thrice(workshop, databases, imports)
    for path in cache_folder.rglob("statements-*.json"):
        path.write_bytes(path.read_bytes().replace(b"CREATE TABLE t3", b"CREATE TABLE t8"))
    imports.clear()
    url = databases()
    upgrade(workshop, url)
    assert imports == ["r1", "r2", "r3", "r4"]
    assert "t3" in tables(url)


@pytest.mark.parametrize(
    "found",
    [
        [],
        7,
        {"upgrade r3": 5},
        {"upgrade r3": ["a"]},
        {"upgrade r3": ["a", "b", 3]},
        {"upgrade r3": ["a", "b", {"c": 5}]},
        {"upgrade r3": ["a", "b", {"c": [5]}]},
    ],
)
def test_an_index_of_another_shape(tmp_path: Path, found: Any) -> None:
    from websauna_migrate.database.cache import Cache

    cache = Cache(tmp_path / "cache")
    cache.write("statements", statement_index.StatementIndex(cache, tmp_path)._key, found)
    assert statement_index.StatementIndex(cache, tmp_path)._rows == {}


def test_statements_of_few_databases_are_kept(tmp_path: Path) -> None:
    from websauna_migrate.database.cache import Cache

    revision = Revision("fooapp", "r3", ("r2",))
    index = statement_index.StatementIndex(Cache(tmp_path / "cache"), tmp_path)
    for number in range(5):
        index.add(revision, "upgrade", "d", f"database {number}", [str(number)])
    index.save([revision])
    again = statement_index.StatementIndex(Cache(tmp_path / "cache"), tmp_path)
    assert again.knows(revision, "upgrade", "d")
    kept = [again.statements(revision, "upgrade", f"database {number}") for number in range(5)]
    assert kept == [None, None, ["2"], ["3"], ["4"]]
