"""Prove that runs survive: racing upgraders, kills, lost servers, locks: ``make chaos``.

Everything is bounded in count and time, on loopback, with servers of its own. Each line of the
table that is printed says what was demanded and what was seen; the exit status is 1 if a demand was
not met. ``--rounds`` and ``--kills`` make it shorter; names of scenarios choose some of them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import sqlalchemy as sa
from bench import DURABLE
from report import Report, machine
from sqlalchemy.engine import make_url

from apps import Workshop
from clusters import galera_cluster, pgbouncer, standby_of
from databases import Unavailable, start_mariadb, start_postgresql
from runs import blocking, engine_of, execute, exit_status, fork, rows, tables

REPOSITORY = Path(__file__).resolve().parent.parent

Urls = Callable[[], tuple[str, str]]

SCRIPTS = {
    "DDL": 'op.create_table("t{n}", sa.Column("id", sa.Integer))',
    "IF NOT EXISTS": 'op.execute("CREATE TABLE IF NOT EXISTS t{n} (id INTEGER)")',
    "data": 'op.execute("INSERT INTO journal VALUES ({n})")',
    "autocommit": """
        with op.get_context().autocommit_block():
            op.execute("INSERT INTO journal VALUES ({n})")
        """,
    "CONCURRENTLY": """
        with op.get_context().autocommit_block():
            op.execute("CREATE INDEX CONCURRENTLY i{n} ON journal (id)")
        """,
}

STEPS = 20


class Chaos:
    """The scenarios, and what they found."""

    def __init__(self, root: Path, rounds: int, kills: int, racers: int) -> None:
        self.root = root
        self.rounds = rounds
        self.kills = kills
        self.racers = racers
        self.failed = False
        self.lines: list[tuple[str, str, str, str]] = []
        self.stack = contextlib.ExitStack()
        self._made = 0

    def write(self, path: Path) -> None:
        """Write the page of figures."""
        servers = [
            f"{name} {getattr(self, f'_{name.lower()}').version}"
            for name in ("PostgreSQL", "MariaDB")
            if hasattr(self, f"_{name.lower()}")
        ]
        report = Report(
            "Chaos",
            f"Measured by ``make chaos ARGS=--write`` on {machine(*servers)} *Bad* is a history, a "
            "ledger or data in which a revision was not applied exactly once.",
        )
        report.begin()
        report.table(("what", "demanded", "found", ""), self.lines)
        report.end("chaos")
        report.write(path, ["chaos"])

    # Servers, started when they are needed

    def postgresql(self) -> Any:
        if not hasattr(self, "_postgresql"):
            self._postgresql = start_postgresql()
            self.stack.callback(self._postgresql.stop)
        return self._postgresql

    def mariadb(self) -> Any:
        if not hasattr(self, "_mariadb"):
            self._mariadb = start_mariadb()
            self.stack.callback(self._mariadb.stop)
        return self._mariadb

    def pooled(self) -> Callable[[str], str]:
        if not hasattr(self, "_pooled"):
            self._pooled = self.stack.enter_context(pgbouncer(self.postgresql()))
        return self._pooled

    def databases(self) -> dict[str, Urls]:
        """Return for each kind what makes a database: its own URL, and the one for runs."""

        def twice(url: str) -> tuple[str, str]:
            return url, url

        def pooled() -> tuple[str, str]:
            url = self.postgresql().create_database()
            return url, self.pooled()(url)

        return {
            "PostgreSQL": lambda: twice(self.postgresql().create_database()),
            "pgbouncer": pooled,
            "MariaDB": lambda: twice(self.mariadb().create_database()),
            "SQLite": lambda: twice(f"sqlite:///{self.folder() / 'database.sqlite'}"),
        }

    def folder(self) -> Path:
        self._made += 1
        folder = self.root / f"folder{self._made}"
        folder.mkdir()
        return folder

    # Applications

    @contextlib.contextmanager
    def application(
        self, script: str, count: int = STEPS, downgrade: str = "pass"
    ) -> Iterator[Workshop]:
        """Make two packages whose revisions do the same each, the second one after the first."""
        folder = self.folder()
        sys.path.insert(0, str(folder))
        workshop = Workshop(folder)
        half = count // 2
        for name in ("addon", "fooapp"):
            workshop.package(name)
        for n in range(1, count + 1):
            first = n in (1, half + 1)
            workshop.script(
                "addon" if n <= half else "fooapp",
                f"r{n:03}",
                None if first else f"r{n - 1:03}",
                upgrade=script.replace("{n}", str(n)),
                downgrade=downgrade.replace("{n}", str(n)),
                requires=[f"addon@r{half:03}"] if n == half + 1 else [],
            )
        try:
            yield workshop
        finally:
            workshop.forget()
            sys.path.remove(str(folder))

    def line(self, what: str, demanded: str, seen: str, ok: bool) -> None:
        self.failed |= not ok
        self.lines.append((what, demanded, seen, "" if ok else "**missed**"))
        print(f"{'ok  ' if ok else 'BAD '} {what:<58} {demanded:<34} {seen}", flush=True)

    # What was applied, as the database has it

    def wrong(self, url: str, kind: str, count: int = STEPS) -> list[str]:
        """Return what does not agree: the ledger, the histories and the data."""
        try:
            return self._wrong(url, kind, count)
        except sa.exc.DBAPIError as exc:
            return [str(exc.orig).splitlines()[0]]

    def _wrong(self, url: str, kind: str, count: int) -> list[str]:
        found = []
        done = Counter(
            revision
            for revision, outcome in rows(
                url, "SELECT revision, outcome FROM websauna_migrate_ledger"
            )
            if outcome == "done"
        )
        expected = {f"r{n:03}": 1 for n in range(1, count + 1)}
        if done != expected:
            found.append(f"ledger {done - Counter(expected)} {Counter(expected) - done}")
        for package, last in (("addon", count // 2), ("fooapp", count)):
            got = rows(url, f"SELECT version_num FROM alembic_history_{package}")
            if got != [(f"r{last:03}",)]:
                found.append(f"history of {package} {got}")
        numbers = sorted(n for (n,) in rows(url, "SELECT id FROM journal"))
        if kind in ("data", "autocommit") and numbers != list(range(1, count + 1)):
            found.append(f"data {numbers}")
        if kind in ("DDL", "IF NOT EXISTS"):
            missing = {f"t{n}" for n in range(1, count + 1)} - tables(url)
            if missing:
                found.append(f"tables {missing}")
        return found

    # Scenarios

    def racing(self) -> None:
        """Start many upgraders at once."""
        for name, create in self.databases().items():
            for kind, script in SCRIPTS.items():
                if kind == "CONCURRENTLY" and name not in ("PostgreSQL", "pgbouncer"):
                    continue
                bad, statuses, locks = [], Counter[int](), 0
                began = time.monotonic()
                with self.application(script) as workshop:
                    for number in range(self.rounds):
                        own, url = create()
                        execute(own, "CREATE TABLE journal (id INTEGER)")
                        service = workshop.service(url, lock_wait="300")
                        if number % 2:
                            service.upgrade("addon@r005")
                        pids = [
                            fork(lambda s=service: s.upgrade() and 0) for _ in range(self.racers)
                        ]
                        statuses.update(exit_status(pid, 300) for pid in pids)
                        bad += self.wrong(own, kind)
                        if name == "pgbouncer":
                            held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
                            locks += rows(own, held)[0][0]
                seen = f"{len(bad)} bad, exit {dict(statuses)}, {time.monotonic() - began:.0f} s"
                if name == "pgbouncer":
                    seen += f", {locks} locks left"
                self.line(
                    f"{self.racers} upgraders x {self.rounds}: {name}, {kind}",
                    "once each, all exit 0",
                    seen + (f" {bad[:2]}" if bad else ""),
                    not bad and set(statuses) == {0} and not locks,
                )

    def each_killed(self, create: Urls, script: str) -> Iterator[tuple[str, Any]]:
        """Kill runs at random moments; yield each one's database and service afterwards."""
        with self.application(script) as workshop:
            seconds = self.duration(workshop, create)
            for _ in range(self.kills):
                _, url = create()
                execute(url, "CREATE TABLE journal (id INTEGER)")
                service = workshop.service(url, lock_wait="60")
                self.kill_soon(fork(lambda s=service: s.upgrade() and 0), seconds)
                yield url, service

    def killed(self) -> None:
        """Kill a run of transactional steps at random moments."""
        script = SCRIPTS["DDL"] + "; " + SCRIPTS["data"]
        for name in ("PostgreSQL", "SQLite"):
            create = self.databases()[name]
            bad, reruns = [], 0
            for url, service in self.each_killed(create, script):
                try:
                    service.upgrade()
                    reruns += 1
                except Exception as exc:
                    bad.append(str(exc)[:200])
                bad += self.wrong(url, "data")
            self.line(
                f"{self.kills} x kill -9, transactional: {name}",
                "0 inconsistent, all re-runs clean",
                f"{len(bad)} inconsistent, {reruns} clean" + (f" {bad[:2]}" if bad else ""),
                not bad and reruns == self.kills,
            )

    def killed_half(self) -> None:
        """Kill a run of steps that are not one transaction."""
        from websauna_migrate.errors import InterruptedSteps

        kinds = {
            "PostgreSQL": """
        with op.get_context().autocommit_block():
            op.execute("INSERT INTO journal VALUES ({n})")
            op.execute("SELECT pg_sleep(0.01)")
            op.execute("INSERT INTO journal VALUES (-{n})")
        """,
            "MariaDB": """
        op.create_table("t{n}", sa.Column("id", sa.Integer))
        op.execute("INSERT INTO journal VALUES ({n})")
        op.create_table("u{n}", sa.Column("id", sa.Integer))
        op.execute("INSERT INTO journal VALUES (-{n})")
        """,
            "SQLite": """
        op.execute("INSERT INTO journal VALUES ({n})")
        op.execute("COMMIT")
        op.execute("INSERT INTO journal VALUES (-{n})")
        """,
        }
        for name, script in kinds.items():
            create = self.databases()[name]
            reported = clean = 0
            unreported = []
            for url, service in self.each_killed(create, script):
                try:
                    service.upgrade()
                    clean += 1
                    numbers = Counter(n for (n,) in rows(url, "SELECT id FROM journal"))
                    if numbers != {n: 1 for i in range(1, STEPS + 1) for n in (i, -i)}:
                        unreported.append(f"{numbers}")
                except InterruptedSteps as exc:
                    reported += 1
                    (entry,) = exc.entries
                    done = {
                        revision
                        for revision, outcome in rows(
                            url, "SELECT revision, outcome FROM websauna_migrate_ledger"
                        )
                        if outcome == "done"
                    }
                    # It names the first revision that is not done.
                    if entry.revision != f"r{len(done) + 1:03}":
                        unreported.append(str(exc))
            self.line(
                f"{self.kills} x kill -9, not transactional: {name}",
                "0 unreported",
                f"{len(unreported)} unreported, {reported} refused by name, {clean} clean"
                + (f" {unreported[:2]}" if unreported else ""),
                not unreported,
            )

    def killed_undo(self) -> None:
        """Kill the undo of a run: transactional, and where each DROP TABLE commits."""
        from websauna_migrate.errors import InterruptedSteps

        names = ("t{n}", "u{n}")
        up = "; ".join(f'op.create_table("{one}", sa.Column("id", sa.Integer))' for one in names)
        down = "; ".join(f'op.drop_table("{one}")' for one in names)
        for name in ("PostgreSQL", "SQLite", "MariaDB"):
            create = self.databases()[name]
            reported = clean = 0
            bad = []
            with self.application(up, downgrade=down) as workshop:
                seconds = self.duration(workshop, create)
                for _ in range(self.kills):
                    _, url = create()
                    service = workshop.service(url, lock_wait="60")
                    service.upgrade()
                    self.kill_soon(fork(lambda s=service: s.undo() and 0), seconds)
                    left: set[str] = set()
                    own: set[str] = set()
                    try:
                        service.undo()
                        clean += 1
                    except InterruptedSteps as exc:
                        reported += 1
                        (entry,) = exc.entries
                        number = int(entry.revision[1:])
                        left = {f"{one}{n}" for n in range(1, number) for one in "tu"}
                        own = {f"t{number}", f"u{number}"}
                        bad += [f"{entry.direction}"] * (entry.direction != "downgrade")
                    found = {one for one in tables(url) if one[1:].isdigit()}
                    bad += [f"{found ^ left}"] * bool((found ^ left) - own)
            self.line(
                f"{self.kills} x kill -9 during an undo: {name}",
                "0 inconsistent or unreported",
                f"{len(bad)} bad, {reported} refused by name, {clean} clean {bad[:2] or ''}",
                not bad and (name == "MariaDB" or not reported),
            )

    def killed_repair(self) -> None:
        """Kill a repair while it runs a half done step again."""
        from websauna_migrate.errors import InterruptedSteps

        broken = 'op.execute("INSERT INTO journal VALUES ({n})"); op.execute("COMMIT"); 1 / 0'
        mended = """
        import time
        op.execute("DELETE FROM journal WHERE id IN ({n}, -{n})")
        op.execute("COMMIT")
        op.execute("INSERT INTO journal VALUES ({n})")
        if op.get_bind().dialect.name != "sqlite":
            # SQLite has no transaction any more behind the first.
            op.execute("COMMIT")
        time.sleep(0.02)
        op.execute("INSERT INTO journal VALUES (-{n})")
        """
        for name in ("PostgreSQL", "SQLite", "MariaDB"):
            create = self.databases()[name]
            marked = done = 0
            bad = []
            for _ in range(self.kills):
                own, url = create()
                execute(own, "CREATE TABLE journal (id INTEGER)")
                with self.application(broken, 2) as workshop, contextlib.suppress(Exception):
                    workshop.service(url).upgrade()
                with self.application(mended, 2) as workshop:
                    service = workshop.service(url, lock_wait="60")
                    self.kill_soon(fork(lambda s=service: len(s.repair("rerun")) - 1), 0.5)
                    try:
                        service.upgrade()
                        done += 1
                    except InterruptedSteps:
                        # The mark has outlived the kill.
                        marked += 1
                        service.repair("rerun")
                        service.upgrade()
                    numbers = Counter(n for (n,) in rows(url, "SELECT id FROM journal"))
                    bad += [f"{numbers}"] * (numbers != {1: 1, -1: 1, 2: 1, -2: 1})
            self.line(
                f"{self.kills} x kill -9 during a repair: {name}",
                "0 forgotten",
                f"{len(bad)} forgotten, {marked} marked as before, {done} done {bad[:2] or ''}",
                not bad,
            )

    def signalled(self) -> None:
        """Send a signal to ``ws-alembic`` at random moments, its streams closed or full."""
        from websauna_migrate.cli.ws_alembic import main

        signals = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)

        def command(ini: Path, number: int) -> int:
            # Who starts this in the background has SIGINT ignored.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for descriptor in (1, 2)[: number % 3]:
                os.close(descriptor)
                if number % 2:
                    os.dup2(os.open("/dev/full", os.O_WRONLY), descriptor)
            return main(["-c", str(ini), "-x", "packages=all", "upgrade"])

        for name in ("PostgreSQL", "SQLite", "MariaDB"):
            create = self.databases()[name]
            bad: list[str] = []
            ends: Counter[int] = Counter()
            with self.application(SCRIPTS["data"] + "; import time; time.sleep(0.01)") as workshop:
                seconds = self.duration(workshop, create)
                for number in range(self.kills):
                    own, url = create()
                    execute(own, "CREATE TABLE journal (id INTEGER)")
                    ini = workshop.application("webapp", self.folder() / "webapp.ini", url)
                    pid = fork(lambda i=ini, n=number: command(i, n))
                    time.sleep(random.uniform(0.0, seconds * 1.5))
                    sent = signals[number // 3 % 3]
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, sent)
                    end = exit_status(pid)
                    ends[end] += 1
                    # Before it listens, the system ends it.
                    bad += [f"exit {end}"] * (end not in (0, 128 + sent, -sent))
                    workshop.service(url, lock_wait="60").upgrade()
                    bad += self.wrong(url, "data")
            self.line(
                f"{self.kills} x SIGHUP, SIGINT, SIGTERM, streams gone: {name}",
                "0 half done, re-run clean",
                f"{len(bad)} bad, exit {dict(sorted(ends.items()))} {bad[:2] or ''}",
                not bad,
            )

    def duration(self, workshop: Workshop, create: Urls) -> float:
        """Return how long a run takes that nobody kills."""
        own, url = create()
        execute(own, "CREATE TABLE journal (id INTEGER)")
        service = workshop.service(url)
        began = time.monotonic()
        exit_status(fork(lambda: service.upgrade() and 0))
        return time.monotonic() - began

    def kill_soon(self, pid: int, within: float) -> None:
        time.sleep(random.uniform(0.0, within))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        exit_status(pid)

    def killed_racing(self) -> None:
        """Start several upgraders and kill some of them."""
        rounds, racers = self.rounds * 3, 8
        script = SCRIPTS["DDL"] + "; " + SCRIPTS["data"]
        for name in ("PostgreSQL", "pgbouncer", "SQLite"):
            create = self.databases()[name]
            bad = []
            with self.application(script) as workshop:
                for _ in range(rounds):
                    own, url = create()
                    execute(own, "CREATE TABLE journal (id INTEGER)")
                    service = workshop.service(url, lock_wait="120")
                    pids = [fork(lambda s=service: s.upgrade() and 0) for _ in range(racers)]
                    for pid in random.sample(pids, 4):
                        time.sleep(random.uniform(0, 0.15))
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                    statuses = {exit_status(pid, 200) for pid in pids}
                    if statuses - {0, -signal.SIGKILL}:
                        bad.append(f"exit {statuses}")
                    service.upgrade()
                    bad += self.wrong(own, "data")
            self.line(
                f"{rounds} x {racers} upgraders, 4 of them killed: {name}",
                "once each, always",
                f"{len(bad)} bad" + (f" {bad[:2]}" if bad else ""),
                not bad,
            )

    def restarted(self) -> None:
        """Let the server crash and recover during a run."""
        script = SCRIPTS["DDL"] + "; " + SCRIPTS["data"] + '; op.execute("SELECT pg_sleep(0.02)")'
        bad: list[str] = []
        statuses = Counter[int]()
        # The tests' server would forget commits in a crash, as it was told to.
        server = start_postgresql(DURABLE)
        self.stack.callback(server.stop)
        with self.application(script) as workshop:
            for _ in range(self.rounds):
                url = server.create_database()
                execute(url, "CREATE TABLE journal (id INTEGER)")
                service = workshop.service(url, lock_wait="60")
                victim = engine_of(url).connect()
                process = victim.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
                pid = fork(lambda s=service: s.upgrade() and 0)
                time.sleep(random.uniform(0.1, 0.6))
                # The server ends all sessions then, and recovers from its log.
                os.kill(process, signal.SIGKILL)
                statuses[exit_status(pid)] += 1
                victim.invalidate()
                victim.close()
                self.wait_for(url)
                service.upgrade()
                bad += self.wrong(url, "data")
        self.line(
            f"{self.rounds} x crash and restart of the server during a run",
            "0 inconsistent, re-run clean",
            f"{len(bad)} inconsistent, first run exit {dict(statuses)}"
            + (f" {bad[:2]}" if bad else ""),
            not bad,
        )

    def wait_for(self, url: str) -> None:
        """Wait until a server that recovers takes connections again."""
        deadline = time.monotonic() + 60
        while True:
            try:
                rows(url, "SELECT 1")
                return
            except sa.exc.DBAPIError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def failed_over(self) -> None:
        """Lose the server during a run, and fail over to a promoted standby."""
        script = SCRIPTS["DDL"] + "; " + SCRIPTS["data"] + '; op.execute("SELECT pg_sleep(0.02)")'
        bad = []
        count = max(2, self.rounds // 3)
        for _ in range(count):
            server = start_postgresql()
            try:
                with (
                    self.application(script) as workshop,
                    standby_of(server) as (port, promote),
                ):
                    url = server.create_database()
                    execute(url, "CREATE TABLE journal (id INTEGER)")
                    there = make_url(url).set(port=port).render_as_string(False)
                    both = (
                        make_url(url)
                        .set(host=None, port=None)
                        .update_query_pairs(
                            [
                                ("host", f"127.0.0.1:{server.port}"),
                                ("host", f"127.0.0.1:{port}"),
                                ("target_session_attrs", "read-write"),
                            ]
                        )
                        .render_as_string(False)
                    )
                    service = workshop.service(both)
                    pid = fork(lambda s=service: s.upgrade() and 0)
                    time.sleep(random.uniform(0.2, 0.7))
                    assert server.pid is not None
                    os.kill(server.pid, signal.SIGQUIT)
                    exit_status(pid)
                    promote()
                    service.upgrade()
                    bad += self.wrong(there, "data")
            finally:
                server.stop()
        self.line(
            f"{count} x failover to a promoted standby during a run",
            "0 inconsistent, re-run clean",
            f"{len(bad)} inconsistent" + (f" {bad[:2]}" if bad else ""),
            not bad,
        )

    def queue(self) -> None:
        """Let readers stand in the queue behind an ALTER TABLE."""
        url = self.postgresql().create_database()
        execute(url, "CREATE TABLE busy (id INTEGER)")
        alter = 'op.add_column("busy", sa.Column("c{n}", sa.Integer))'
        stalls: list[float] = []
        over = threading.Event()

        def look() -> None:
            with engine_of(url).connect() as connection:
                while not over.is_set():
                    began = time.monotonic()
                    connection.execute(sa.text("SELECT * FROM busy"))
                    connection.rollback()
                    stalls.append(time.monotonic() - began)
                    time.sleep(0.02)

        with self.application(alter, 2) as workshop:
            service = workshop.service(url)
            service.on_wait = lambda words: None
            readers = [threading.Thread(target=look) for _ in range(8)]
            done = []

            def upgrade() -> int:
                service.upgrade()
                return 0

            with blocking(url, "SELECT * FROM busy", seconds=10):
                ends = time.monotonic() + 10
                pid = fork(upgrade)
                for reader in readers:
                    reader.start()
                done.append(exit_status(pid))
                late = time.monotonic() - ends
            over.set()
            for reader in readers:
                reader.join()
        self.line(
            "a reader holds the table for 10 s, 8 more arrive",
            "stall <= 0.2 s, ALTER within 1 s",
            f"stall {max(stalls):.2f} s of {len(stalls)} reads, ALTER {late:.2f} s after",
            max(stalls) <= 0.25 and late < 1.5 and done == [0],
        )

    def orphans(self) -> None:
        """Kill a client whose statement runs on."""
        worst = 0.0
        count = min(self.rounds, 5)
        for _ in range(count):
            url = self.postgresql().create_database()
            with self.application('op.execute("SELECT pg_sleep(30)")', 2) as workshop:
                service = workshop.service(url)
                pid = fork(lambda s=service: s.upgrade() and 0)
                running = (
                    "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' "
                    "AND datname = current_database()"
                )
                while not rows(url, running):
                    time.sleep(0.02)
                os.kill(pid, signal.SIGKILL)
                exit_status(pid)
                began = time.monotonic()
                while rows(url, running) and time.monotonic() - began < 20:
                    time.sleep(0.02)
                worst = max(worst, time.monotonic() - began)
        self.line(
            f"{count} x orphan statement of a killed client",
            "ended within 2 s",
            f"{worst:.2f} s at the worst",
            worst <= 2.0,
        )

    def galera(self) -> None:
        """Race over three nodes, and kill one of them."""
        with galera_cluster() as cluster:
            racers = self.racers - self.racers % 3 or 3
            bad, statuses = [], Counter[int]()
            for number in range(self.rounds):
                name = f"racing{number}"
                cluster.execute(
                    f"CREATE DATABASE {name}",
                    f"CREATE TABLE {name}.journal (k INT AUTO_INCREMENT PRIMARY KEY, id INT)",
                )
                script = SCRIPTS["data"].replace("journal VALUES", "journal (id) VALUES")
                with self.application(script) as workshop:
                    services = [
                        workshop.service(node.url(name), lock_wait="300") for node in cluster.nodes
                    ]
                    pids = [
                        fork(lambda s=services[n % 3]: s.upgrade() and 0) for n in range(racers)
                    ]
                    statuses.update(exit_status(pid, 300) for pid in pids)
                    for node in cluster.nodes:
                        bad += self.wrong(node.url(name), "data")
            self.line(
                f"{racers} upgraders x {self.rounds} over three Galera nodes",
                "once each, all exit 0",
                f"{len(bad)} bad, exit {dict(statuses)}" + (f" {bad[:2]}" if bad else ""),
                not bad and set(statuses) == {0},
            )
            cluster.execute(
                "CREATE DATABASE dying",
                "CREATE TABLE dying.journal (k INT AUTO_INCREMENT PRIMARY KEY, id INT)",
            )
            script += "; import time; time.sleep(0.3)"
            with self.application(script) as workshop:
                services = [
                    workshop.service(node.url("dying"), lock_wait="300") for node in cluster.nodes
                ]
                holder = fork(lambda: services[2].upgrade() and 0)
                time.sleep(2)
                others = [fork(lambda s=s: s.upgrade() and 0) for s in services[:2] * 2]
                time.sleep(1)
                cluster.nodes[2].kill()
                began = time.monotonic()
                exit_status(holder)
                found = Counter(exit_status(pid, 300) for pid in others)
                bad = self.wrong(cluster.nodes[0].url("dying"), "data")
            self.line(
                "a Galera node is killed under its run",
                "once each, takeover after the lease",
                f"{len(bad)} bad, others exit {dict(found)}, "
                f"over {time.monotonic() - began:.0f} s later" + (f" {bad[:2]}" if bad else ""),
                not bad and set(found) == {0},
            )


SCENARIOS = (
    "racing",
    "killed",
    "killed_half",
    "killed_undo",
    "killed_repair",
    "signalled",
    "killed_racing",
    "restarted",
    "failed_over",
    "queue",
    "orphans",
    "galera",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--racers", type=int, default=16)
    parser.add_argument("--write", action="store_true", help="write docs/chaos.rst")
    options = parser.parse_args()
    for name in options.scenarios:
        if name not in SCENARIOS:
            parser.error(f'no scenario "{name}"; there are: {", ".join(SCENARIOS)}')
    with tempfile.TemporaryDirectory() as directory:
        chaos = Chaos(Path(directory), options.rounds, options.kills, options.racers)
        with chaos.stack:
            for name in options.scenarios or SCENARIOS:
                try:
                    getattr(chaos, name)()
                except Unavailable as exc:
                    print(f"--   {name}: not tried, {str(exc).splitlines()[0]}", flush=True)
            if options.write:
                chaos.write(REPOSITORY / "docs" / "chaos.rst")
    return int(chaos.failed)


if __name__ == "__main__":
    sys.exit(main())
