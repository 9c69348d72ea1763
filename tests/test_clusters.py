"""Runs where there is more than one server: a pooler before it, a standby behind it, a cluster."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from apps import Workshop
from clusters import GaleraCluster, galera_cluster, pgbouncer, standby_of
from databases import PostgreSQLServer, Unavailable, start_postgresql
from runs import execute, exit_status, fork, forked, ledger, rows, steps, table, tables, wait_for
from websauna_migrate.database.engines import connect
from websauna_migrate.database.servers import examine
from websauna_migrate.errors import (
    DatabaseFailure,
    EnvironmentFailure,
    InterruptedSteps,
    RunBlocked,
)
from websauna_migrate.locks import leases
from websauna_migrate.locks.advisory_locks import TransactionLock

LOCKS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"


@pytest.fixture(scope="module")
def pooled(postgresql_server: PostgreSQLServer) -> Iterator[Callable[[str], str]]:
    try:
        with pgbouncer(postgresql_server) as found:
            yield found
    except Unavailable as exc:
        pytest.skip(str(exc))


def two_packages(workshop: Workshop, script: str) -> None:
    workshop.package("addon")
    workshop.package("fooapp")
    for number in range(1, 9):
        workshop.script(
            "addon" if number <= 4 else "fooapp",
            f"r{number}",
            f"r{number - 1}" if number not in (1, 5) else None,
            upgrade=script.format(n=number),
            requires=["addon@r4"] if number == 5 else [],
        )


SCRIPTS = {
    "ddl": 'op.create_table("t{n}", sa.Column("id", sa.Integer))',
    "data": 'op.execute("INSERT INTO journal VALUES ({n})")',
    "concurrently": """
        with op.get_context().autocommit_block():
            op.execute("CREATE INDEX CONCURRENTLY i{n} ON journal (id)")
        """,
}


def test_a_pooler_is_noticed(
    workshop: Workshop, postgresql_url: str, pooled: Callable[[str], str]
) -> None:
    workshop.package("fooapp")
    for url, expected in ((postgresql_url, False), (pooled(postgresql_url), True)):
        with connect(workshop.service(url).make_engine()) as connection:
            assert examine(connection).pooled is expected


@pytest.mark.parametrize("kind", list(SCRIPTS))
def test_racing_upgraders_behind_a_pooler(
    workshop: Workshop, postgresql_url: str, pooled: Callable[[str], str], kind: str
) -> None:
    execute(postgresql_url, "CREATE TABLE journal (id INTEGER PRIMARY KEY)")
    two_packages(workshop, SCRIPTS[kind])
    service = workshop.service(pooled(postgresql_url), lock_wait="60")
    pids = [fork(lambda: service.upgrade() and 0) for _ in range(8)]
    assert [exit_status(pid) for pid in pids] == [0] * 8
    assert Counter(entry[3] for entry in ledger(postgresql_url)) == {"done": 8}
    assert rows(postgresql_url, LOCKS) == [(0,)]
    settings = rows(
        pooled(postgresql_url),
        "SELECT current_setting('lock_timeout'), current_setting('statement_timeout')",
    )
    assert settings == [("0", "0")]


def test_a_killed_run_behind_a_pooler_leaves_no_lock(
    workshop: Workshop, postgresql_url: str, pooled: Callable[[str], str]
) -> None:
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", upgrade='op.execute("SELECT pg_sleep(4)")')
    workshop.script("fooapp", "f200", "f100", **table("f2"))
    service = workshop.service(pooled(postgresql_url))
    running = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
    with forked(lambda: service.upgrade() and 0) as pid:
        wait_for(lambda: rows(postgresql_url, running))
        with pytest.raises(RunBlocked) as caught:
            workshop.service(pooled(postgresql_url), lock_wait="0").upgrade()
        assert "server process " in str(caught.value)
        os.kill(pid, signal.SIGKILL)
        exit_status(pid)
    workshop.script("fooapp", "f100", **table("f1"))
    run = workshop.service(pooled(postgresql_url), lock_wait="20").upgrade()
    assert steps(run) == ["fooapp@f100", "fooapp@f200"]
    assert rows(postgresql_url, LOCKS) == [(0,)]
    assert not rows(postgresql_url, running)


def test_a_run_that_loses_its_lock_behind_a_pooler_ends(
    workshop: Workshop,
    postgresql_url: str,
    pooled: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workshop.package("fooapp")
    workshop.script(
        "fooapp",
        "f100",
        upgrade="""
        op.create_table("one", sa.Column("id", sa.Integer))
        op.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
            "AND granted AND pid <> pg_backend_pid()"
        )
        """,
    )
    with pytest.raises(Exception) as caught:
        workshop.service(pooled(postgresql_url)).upgrade()
    assert str(caught.value).startswith(
        "The transaction that held the run's lock was ended from outside. The run ends here, so "
        "that no step is applied twice."
    )
    assert "one" not in tables(postgresql_url)


def test_lock_timeouts_and_names_behind_a_pooler(
    workshop: Workshop, postgresql_url: str, pooled: Callable[[str], str]
) -> None:
    from runs import blocking

    execute(postgresql_url, "CREATE TABLE busy (id INTEGER PRIMARY KEY)")
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", upgrade='op.add_column("busy", sa.Column("x", sa.Text))')
    words: list[str] = []
    service = workshop.service(pooled(postgresql_url))
    service.on_wait = words.append
    with blocking(postgresql_url, "SELECT * FROM busy", seconds=1.5):
        assert steps(service.upgrade()) == ["fooapp@f100"]
    assert any("held by process " in word for word in words), words


def test_the_pooled_lock_is_exclusive(
    workshop: Workshop, postgresql_url: str, pooled: Callable[[str], str]
) -> None:
    workshop.package("fooapp")
    make_engine = workshop.service(pooled(postgresql_url)).make_engine
    first, second = TransactionLock(make_engine(), ""), TransactionLock(make_engine(), "")
    assert first.take()
    assert not second.take()
    assert "server process " in second.holder()
    first.check()
    first.release()
    assert second.take()
    second.release()


# A standby


@pytest.fixture
def own_server() -> Iterator[PostgreSQLServer]:
    try:
        server = start_postgresql()
    except Unavailable as exc:
        pytest.skip(str(exc))
    yield server
    server.stop()


def test_a_standby_is_refused_and_a_promoted_one_goes_on(
    workshop: Workshop, own_server: PostgreSQLServer
) -> None:
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", **table("f1"))
    flag = workshop.root / "flag"
    workshop.script(
        "fooapp",
        "f200",
        "f100",
        upgrade=f"""
        op.create_table("f2", sa.Column("id", sa.Integer))
        __import__("pathlib").Path({str(flag)!r}).touch()
        op.execute("SELECT pg_sleep(30)")
        """,
    )
    url = own_server.create_database()
    with standby_of(own_server) as (port, promote):
        there = make_url(url).set(port=port).render_as_string(False)
        both = (
            make_url(url)
            .set(host=None, port=None)
            .update_query_pairs(
                [
                    ("host", f"127.0.0.1:{port}"),
                    ("host", f"127.0.0.1:{own_server.port}"),
                    ("target_session_attrs", "read-write"),
                ]
            )
            .render_as_string(False)
        )
        with pytest.raises(DatabaseFailure) as caught:
            workshop.service(there).upgrade()
        assert str(caught.value).startswith("This database is a standby: ")
        assert steps(workshop.service(both).upgrade("f100")) == ["fooapp@f100"]
        wait_for(lambda: rows(there, "SELECT 1 FROM pg_tables WHERE tablename = 'f1'"))
        service = workshop.service(both)
        with forked(lambda: service.upgrade() and 0) as pid:
            wait_for(flag.exists)
            assert own_server.pid is not None
            os.kill(own_server.pid, signal.SIGQUIT)
            promote()
            assert exit_status(pid) == 5
        workshop.script("fooapp", "f200", "f100", **table("f2"))
        assert steps(workshop.service(both).upgrade()) == ["fooapp@f200"]
        # What the run that was cut off had told of itself may have come to the standby.
        outcomes = [entry[3] for entry in ledger(there)]
        assert [one for one in outcomes if one != "unfinished"] == ["done", "done"]


def env_of_two_engines(workshop: Workshop, mine: str, other: str, statement: str) -> None:
    workshop.package("app")
    workshop.script("app", "app1", None, **table("app"))
    (workshop.root / "app" / "alembic" / "env.py").write_text(
        TWO_ENGINES.format(mine=mine, other=other, statement=statement)
    )


TWO_ENGINES = """
from alembic import context
from sqlalchemy import create_engine, text

with create_engine({other!r}).begin() as connection:
    connection.execute(text({statement!r}))
with create_engine({mine!r}).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""


def test_a_database_of_the_same_name_on_another_server_is_another_one(
    workshop: Workshop,
    postgresql_url: str,
    own_server: PostgreSQLServer,
    pooled: Callable[[str], str],
) -> None:
    name = make_url(postgresql_url).database
    with own_server.connect() as connection:
        connection.exec_driver_sql(f'CREATE DATABASE "{name}"')
    away, address = own_server.url_of(str(name)), f"127.0.0.1:{own_server.port}/{name}"
    makes = "CREATE TABLE IF NOT EXISTS audit (n INTEGER)"
    env_of_two_engines(workshop, postgresql_url, away, makes)
    service = workshop.service(postgresql_url)
    for call in (service.upgrade, service.status):
        with pytest.raises(EnvironmentFailure, match=r"says .CREATE TABLE IF .*another") as caught:
            call()
        assert address in str(caught.value)
    assert not tables(away)
    env = workshop.root / "app" / "alembic" / "env.py"
    env.write_text(TWO_ENGINES.format(mine=away, other=postgresql_url, statement="SELECT 1"))
    for call in (service.upgrade, service.status):
        with pytest.raises(EnvironmentFailure, match="of another server") as caught:
            call()
        assert address in str(caught.value)
    loop = "\nfor url in ({mine!r}, {other!r}):\n    with create_engine(url)"
    text = TWO_ENGINES.replace("\nwith create_engine({mine!r})", loop)
    head, body = text.split(".connect() as connection:\n")
    body = "".join(f"    {line}\n" for line in body.splitlines())
    text = f"{head}.connect() as connection:\n{body}"
    env.write_text(text.format(mine=away, other=postgresql_url, statement="SELECT 1"))
    with pytest.raises(EnvironmentFailure, match="several times: the server is") as caught:
        service.upgrade()
    assert not tables(away) and "app" not in tables(postgresql_url)
    # Another address of the same one.
    env.write_text(
        TWO_ENGINES.format(mine=postgresql_url, other=pooled(postgresql_url), statement=makes)
    )
    assert steps(service.upgrade()) == ["app@app1"]
    assert {"app", "audit"} <= tables(postgresql_url)


# Galera


@pytest.fixture(scope="module")
def cluster() -> Iterator[GaleraCluster]:
    try:
        with galera_cluster() as found:
            yield found
    except Unavailable as exc:
        pytest.skip(str(exc))


def test_racing_upgraders_over_three_nodes(workshop: Workshop, cluster: GaleraCluster) -> None:
    cluster.execute("CREATE DATABASE racing", "CREATE TABLE racing.journal (id INT PRIMARY KEY)")
    two_packages(workshop, SCRIPTS["data"] + '\n{n}; op.execute("SELECT 1")')
    services = [workshop.service(node.url("racing"), lock_wait="90") for node in cluster.nodes]
    pids = [fork(lambda s=services[n % 3]: s.upgrade() and 0) for n in range(6)]
    assert [exit_status(pid, 120) for pid in pids] == [0] * 6
    for node in cluster.nodes:
        url = node.url("racing")
        assert Counter(entry[3] for entry in ledger(url)) == {"done": 8}
        found = rows(url, "SELECT id FROM journal ORDER BY id")
        assert found == [(n,) for n in range(1, 9)]


def test_the_nodes_of_a_cluster_are_one_server(workshop: Workshop, cluster: GaleraCluster) -> None:
    cluster.execute("CREATE DATABASE noded")
    mine, other = (cluster.nodes[n].url("noded") for n in (0, 1))
    makes = "CREATE TABLE IF NOT EXISTS audit (n INTEGER)"
    env_of_two_engines(workshop, other, other, makes)
    assert steps(workshop.service(mine).upgrade()) == ["app@app1"]


@pytest.fixture
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """The holders of these are dead: what the tests wait for is that the lease expires."""
    monkeypatch.setattr(leases, "EXPIRES_AFTER", 6.0)
    monkeypatch.setattr(leases, "HEARTBEAT", 1.0)


@pytest.mark.usefixtures("short_leases")
def test_a_lease_is_taken_over_when_it_expires(workshop: Workshop, cluster: GaleraCluster) -> None:
    cluster.execute("CREATE DATABASE takeover")
    flag = workshop.root / "flag"
    workshop.package("fooapp")
    workshop.script(
        "fooapp",
        "f100",
        upgrade=f"""
        __import__("pathlib").Path({str(flag)!r}).touch()
        import time; time.sleep(60)
        """,
    )
    first = workshop.service(cluster.nodes[0].url("takeover"))
    with forked(lambda: first.upgrade() and 0) as pid:
        wait_for(flag.exists)
        second = workshop.service(cluster.nodes[1].url("takeover"), lock_wait="0")
        with pytest.raises(RunBlocked) as caught:
            second.upgrade()
        assert f"process {pid} on {os.uname().nodename}, since " in str(caught.value)
        os.kill(pid, signal.SIGKILL)
        exit_status(pid)
    workshop.script("fooapp", "f100", **table("f1"))
    began = time.monotonic()
    run = workshop.service(cluster.nodes[1].url("takeover"), lock_wait="60").upgrade()
    assert steps(run) == ["fooapp@f100"]
    assert time.monotonic() - began < 30


@pytest.mark.usefixtures("short_leases")
def test_a_node_that_dies_ends_its_run_and_another_goes_on(
    workshop: Workshop, cluster: GaleraCluster
) -> None:
    """The last test of the cluster: one node less is left behind."""
    cluster.execute("CREATE DATABASE dying")
    flag = workshop.root / "flag"
    workshop.package("fooapp")
    workshop.script("fooapp", "f100", **table("f1"))
    workshop.script(
        "fooapp",
        "f200",
        "f100",
        upgrade=f"""
        op.create_table("f2", sa.Column("id", sa.Integer))
        __import__("pathlib").Path({str(flag)!r}).touch()
        op.execute("SELECT sleep(30)")
        """,
    )
    node: Any = cluster.nodes[2]
    service = workshop.service(node.url("dying"))
    with forked(lambda: service.upgrade() and 0) as pid:
        wait_for(flag.exists)
        node.kill()
        assert exit_status(pid) == 5
    with pytest.raises(InterruptedSteps):
        workshop.service(cluster.nodes[0].url("dying"), lock_wait="60").upgrade()
    execute(cluster.nodes[1].url("dying"), "DROP TABLE f2")
    workshop.script("fooapp", "f200", "f100", **table("f2"))
    other = workshop.service(cluster.nodes[1].url("dying"), lock_wait="60")
    other.repair("rerun")
    assert rows(
        cluster.nodes[0].url("dying"), "SELECT version_num FROM alembic_history_fooapp"
    ) == [("f200",)]
