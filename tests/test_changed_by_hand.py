"""One thing is changed by hand in a database: a check names exactly that."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from apps import THING, Workshop
from runs import execute as do
from runs import table as made

MODELS = """
import sqlalchemy as sa
metadata = sa.MetaData()
sa.Table("makers", metadata, sa.Column("id", sa.Integer, primary_key=True))
things = sa.Table(
    "things", metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(20), nullable=False, server_default="new"),
    sa.Column("amount", sa.Numeric(8, 2)),
    sa.Column("kind", sa.Enum("a", "b", name="things_kind")),
    sa.Column("maker", sa.ForeignKey("makers.id", name="fk_maker", ondelete="CASCADE")),
    sa.Column("twice", sa.Numeric(9, 2), sa.Computed("amount * 2", persisted=True)),
    sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now()),
    sa.UniqueConstraint("name", "amount", name="uq_things"),
    sa.CheckConstraint("amount > 0", name="ck_things"),
    sa.Index("ix_things", "kind", "at"),
    {more}
)
"""

ON_POSTGRESQL = """
    sa.Index(
        "ix_lower", sa.text("lower(name) text_pattern_ops"),
        postgresql_where=sa.text("amount > 1"),
    ),
    comment="What there is",
"""

#: What is done, how it is undone, and the word that the check says; ``None`` if it says nothing.
Change = tuple[str, str, str | None]


def table(there: str, back: str, word: str | None = "things") -> Change:
    return f"ALTER TABLE things {there}", f"ALTER TABLE things {back}", word


def column(name: str, there: str, back: str) -> Change:
    return table(f"ALTER {name} {there}", f"ALTER {name} {back}", name)


def modified(name: str, there: str, back: str) -> Change:
    return table(f"MODIFY {name} {there}", f"MODIFY {name} {back}", name)


def constraint(name: str, there: str | None, back: str) -> Change:
    drop = f"DROP CONSTRAINT {name}"
    add = f"ADD CONSTRAINT {name} "
    if there is None:
        return table(drop, add + back, name)
    return table(f"{drop}, {add}{there}", f"{drop}, {add}{back}", name)


def index(name: str, there: str | None, back: str) -> Change:
    drop, create = f"DROP INDEX {name}", f"CREATE INDEX {name} ON things "
    if there is None:
        return drop, create + back, name
    return f"{drop}; {create}{there}", f"{drop}; {create}{back}", name


def comment(what: str, back: str, word: str) -> Change:
    return f"COMMENT ON {what} IS 'else'", f"COMMENT ON {what} IS {back}", word


KEY = "FOREIGN KEY (maker) REFERENCES makers ON DELETE"
TWICE = "ADD twice numeric(9, 2) GENERATED ALWAYS AS"
NAME = "NOT NULL DEFAULT 'new'"

POSTGRESQL = [
    column("name", "DROP NOT NULL", "SET NOT NULL"),
    column("name", "SET DEFAULT 'old'", "SET DEFAULT 'new'"),
    column("name", "TYPE varchar(21)", "TYPE varchar(20)"),
    column("name", 'TYPE varchar(20) COLLATE "C"', 'TYPE varchar(20) COLLATE "default"'),
    column("at", "DROP DEFAULT", "SET DEFAULT now()"),
    column("name", "SET STORAGE plain", "SET STORAGE extended"),
    column("name", "SET STATISTICS 7", "SET STATISTICS -1"),
    column("id", "DROP DEFAULT", "SET DEFAULT nextval('things_id_seq')"),
    table("ADD extra int", "DROP extra", "extra"),
    table(
        f"DROP twice, {TWICE} (amount * 3) STORED",
        f"DROP twice, {TWICE} (amount * 2) STORED",
        "twice",
    ),
    table("RENAME CONSTRAINT things_pkey TO own", "RENAME CONSTRAINT own TO things_pkey", None),
    table("SET (fillfactor = 50)", "RESET (fillfactor)"),
    table("ENABLE ROW LEVEL SECURITY", "DISABLE ROW LEVEL SECURITY"),
    table("SET UNLOGGED", "SET LOGGED"),
    constraint("uq_things", None, "UNIQUE (name, amount)"),
    constraint("uq_things", "UNIQUE (name, amount) DEFERRABLE", "UNIQUE (name, amount)"),
    constraint("ck_things", None, "CHECK (amount > 0)"),
    constraint("ck_things", "CHECK (amount > 0) NOT VALID", "CHECK (amount > 0)"),
    constraint("fk_maker", f"{KEY} SET NULL", f"{KEY} CASCADE"),
    constraint("fk_maker", f"{KEY} CASCADE DEFERRABLE", f"{KEY} CASCADE"),
    index("ix_things", None, "(kind, at)"),
    index("ix_things", "(kind, at DESC)", "(kind, at)"),
    index(
        "ix_lower",
        "(lower(name)) WHERE amount > 1",
        "(lower(name) text_pattern_ops) WHERE amount > 1",
    ),
    index(
        "ix_lower",
        "(lower(name) text_pattern_ops)",
        "(lower(name) text_pattern_ops) WHERE amount > 1",
    ),
    (
        "ALTER INDEX ix_things SET (fillfactor = 50)",
        "ALTER INDEX ix_things RESET (fillfactor)",
        "ix_things",
    ),
    comment("TABLE things", "'What there is'", "things"),
    comment("COLUMN things.name", "NULL", "name"),
    comment("CONSTRAINT ck_things ON things", "NULL", "ck_things"),
    comment("CONSTRAINT things_pkey ON things", "NULL", "PRIMARY KEY (id)"),
    comment("INDEX things_pkey", "NULL", "PRIMARY KEY (id)"),
    table("REPLICA IDENTITY USING INDEX things_pkey", "REPLICA IDENTITY DEFAULT", "PRIMARY KEY"),
    (
        "ALTER TYPE things_kind RENAME VALUE 'b' TO 'c'",
        "ALTER TYPE things_kind RENAME VALUE 'c' TO 'b'",
        "things_kind",
    ),
    (
        "ALTER SEQUENCE things_id_seq INCREMENT 2",
        "ALTER SEQUENCE things_id_seq INCREMENT 1",
        "things_id_seq",
    ),
]

MARIADB = [
    modified("name", "varchar(20) DEFAULT 'new'", f"varchar(20) {NAME}"),
    modified("name", f"varchar(21) {NAME}", f"varchar(20) {NAME}"),
    modified("name", f"varchar(20) COLLATE utf8mb4_bin {NAME}", f"varchar(20) {NAME}"),
    modified("amount", "numeric(8, 2) UNSIGNED", "numeric(8, 2)"),
    modified("kind", "enum('b', 'a')", "enum('a', 'b')"),
    table(
        "DROP KEY ix_things, ADD KEY ix_things (kind)",
        "DROP KEY ix_things, ADD KEY ix_things (kind, at)",
        "ix_things",
    ),
    constraint("ck_things", None, "CHECK (amount > 0)"),
    table("COMMENT 'else'", "COMMENT ''"),
    table("ROW_FORMAT COMPACT", "ROW_FORMAT DEFAULT"),
    modified("id", "int NOT NULL", "int NOT NULL AUTO_INCREMENT"),
    table("ADD extra int", "DROP extra", "extra"),
]

SQLITE = [
    index("ix_things", None, "(kind, at)"),
    index("ix_things", "(kind, at DESC)", "(kind, at)"),
    index("ix_things", "(kind, at) WHERE kind > 'a'", "(kind, at)"),
    index("ix_things", "(kind COLLATE NOCASE, at)", "(kind, at)"),
    table("ADD extra int", "DROP extra", "extra"),
]

MUTATIONS = {"postgresql": POSTGRESQL, "mariadb": MARIADB, "sqlite": SQLITE}


class Sites:
    """An application for each database, migrated once."""

    def __init__(self, request: pytest.FixtureRequest, tmp_path_factory: Any) -> None:
        self.request = request
        self.tmp_path_factory = tmp_path_factory
        self.made: dict[str, tuple[Any, sa.Engine]] = {}
        self.undo: list[Any] = []

    def of(self, product: str) -> tuple[Any, sa.Engine]:
        if product not in self.made:
            root = self.tmp_path_factory.mktemp(f"by_hand_{product}")
            if product == "sqlite":
                url = f"sqlite:///{root}/by_hand.sqlite"
            else:
                server = self.request.getfixturevalue(f"{product}_server")
                url = server.create_database()
                self.undo.append(lambda: server.drop_database(url))
            workshop = Workshop(root)
            sys.path.insert(0, str(root))
            name = f"by_hand_{product}"
            more = ON_POSTGRESQL if product == "postgresql" else ""
            source = MODELS.replace("{more}", more)
            workshop.package(name, source, metadata=f"{name}.models.metadata")
            service = workshop.service(url, name)
            service.revision("first", autogenerate=True, prove="off")
            service.upgrade()
            engine = sa.create_engine(url)
            self.undo += [workshop.forget, engine.dispose]
            self.made[product] = service, engine
        return self.made[product]


@pytest.fixture(scope="module")
def sites(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Sites]:
    before = list(sys.path)
    found = Sites(request, tmp_path_factory)
    yield found
    for undo in reversed(found.undo):
        undo()
    sys.path[:] = before


def said(service: Any) -> list[tuple[str, str]]:
    """Return what a check finds: the object, or the kind of the problem, and the message."""
    found = service.check().problems
    by_hand = {one: one.details[0] for one in found if one.kind == "database-changed"}
    return [(by_hand.get(one, one.kind), one.message) for one in found]


@pytest.mark.parametrize(
    ("product", "change", "back", "word"),
    [
        pytest.param(product, *one, id=f"{product}-{number}")
        for product, several in MUTATIONS.items()
        for number, one in enumerate(several)
    ],
)
def test_exactly_that_is_named(
    sites: Sites, product: str, change: str, back: str, word: str | None
) -> None:
    service, engine = sites.of(product)
    execute(engine, change)
    try:
        found = said(service)
    finally:
        execute(engine, back)
    print(found)
    # A change of what the server named itself is none. Each object is told once: a sequence goes
    # with its table, and no model says so.
    subjects = [subject for subject, _ in found]
    assert len(subjects) == len(set(subjects)) and "drift" not in subjects
    told = [message for _, message in found if "by no run. The models differ: " in message]
    assert len(told) == (0 if word is None else 1) <= len(found) <= len(told) + 1
    assert all(str(word) in message for message in told) and (told or not found)
    assert said(service) == []


def execute(engine: sa.Engine, statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements.split("; "):
            connection.exec_driver_sql(statement)


@pytest.mark.parametrize("server", ["postgresql", "mariadb"])
def test_what_was_applied_by_sql_is_no_change_by_hand(
    workshop: Workshop, tmp_path: Path, request: pytest.FixtureRequest, server: str
) -> None:
    database_url = request.getfixturevalue(f"{server}_url")
    package = workshop.package("shop", THING)
    workshop.package("addon")
    workshop.script("addon", "g1", **made("gears"))
    ini = workshop.application("shop", tmp_path / "app.ini", database_url)

    def check() -> tuple[int, list[str]]:
        typed = workshop.ws(ini, "-x", "packages=all", "check", "--json")
        return typed.status, [one["kind"] for one in json.loads(typed.out)["problems"]]

    def by_sql(*words: str) -> None:
        typed = workshop.ws(ini, "plan", *words, "--sql")
        assert typed.status == 0, typed
        lines = [line for line in typed.out.splitlines() if not line.startswith("--")]
        statements = [one.strip() for one in "\n".join(lines).split(";")]
        do(database_url, *[one for one in statements if one not in ("", "BEGIN", "COMMIT")])

    def more(column: str) -> None:
        path = package / "models.py"
        path.write_text(f"{path.read_text()}    {column} = sa.Column(sa.Integer)\n")
        assert workshop.ws(ini, "revision", "--autogenerate", "-m", column).status == 0

    assert workshop.ws(ini, "revision", "--autogenerate", "-m", "one").status == 0
    assert workshop.ws(ini, "-x", "packages=all", "upgrade").status == 0
    more("a")
    by_sql()
    assert check() == (0, ["history-changed"])
    do(database_url, "ALTER TABLE gears ADD COLUMN by_hand INTEGER")
    # Another package's history is as the run left it.
    assert check() == (8, ["history-changed", "database-changed"])
    do(database_url, "ALTER TABLE gears DROP COLUMN by_hand")
    by_sql("--downgrade", "-1")
    # Both are as the run left them.
    assert check()[1] == ["pending"]
    by_sql()
    more("b")
    assert workshop.ws(ini, "upgrade").status == 0
    assert check() == (0, [])
    do(database_url, "ALTER TABLE thing DROP COLUMN b")
    assert check() == (8, ["database-changed"])
    do(database_url, "ALTER TABLE thing ADD COLUMN b INTEGER")
    # A stamp is the service's own.
    assert workshop.ws(ini, "stamp", "base").status == 0
    assert workshop.ws(ini, "stamp", "heads").status == 0
    assert check() == (0, [])
