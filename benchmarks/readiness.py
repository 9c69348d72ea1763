"""Readiness while another process migrates: four gunicorn workers, 50 requests at once.

``python benchmarks/readiness.py`` needs ``pip install gunicorn``. It prints how long the requests
took during an upgrade of 200 steps on PostgreSQL, which locks the workers' sessions held at any
look, and the workers' memory while 20,000 more requests are answered.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import psutil
import psycopg2
from bench import REPOSITORY
from workloads import make_workload

sys.path.insert(0, str(REPOSITORY / "tests"))

from databases import start_postgresql

WORKERS, AT_ONCE, REQUESTS = 4, 50, 10_000

APPLICATION = """
from pyramid.paster import get_app

application = get_app("app.ini")
"""

#: What the probes' sessions hold; a session's own transaction is no lock on anything.
LOCKS = (
    "SELECT l.locktype, l.mode, c.relname FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
    "LEFT JOIN pg_class c ON c.oid = l.relation "
    "WHERE a.application_name = 'probe' AND l.locktype <> 'virtualxid'"
)


def main() -> None:
    """Measure, and print."""
    server = start_postgresql()
    with tempfile.TemporaryDirectory() as folder:
        try:
            measure(Path(folder) / "site", server.create_database())
        finally:
            server.stop()


def measure(root: Path, url: str) -> None:
    """Serve, migrate, ask."""
    make_workload(root, url, packages=4, revisions=50)
    ini = root / "app.ini"
    named = ini.read_text()
    probing = named.rstrip() + "?application_name=probe\n"
    probing += "pyramid.includes = websauna_migrate.web\n"
    (root / "migrate.ini").write_text(named)
    ini.write_text(probing)
    (root / "served.py").write_text(APPLICATION)
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "-w", str(WORKERS), "--worker-class", "gthread"]
    command += ["--threads", "16", "-b", f"127.0.0.1:{port}", "--log-level", "error"]
    gunicorn = subprocess.Popen([*command, "served:application"], cwd=root)
    try:
        wait_for(port)
        during_an_upgrade(root, url, port, gunicorn.pid)
        memory(gunicorn.pid, port)
    finally:
        gunicorn.terminate()
        gunicorn.wait(30)


def during_an_upgrade(root: Path, url: str, port: int, master: int) -> None:
    """Ask 50 at a time while a process migrates."""
    seen: Counter[tuple[str, ...]] = Counter()
    over = threading.Event()
    watch = threading.Thread(target=watch_locks, args=(url, over, seen))
    answers: list[tuple[int, float]] = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        first = [seconds for _ in range(5) for _, seconds in pool.map(ask, [port] * AT_ONCE)]
        watch.start()
        began, used = time.perf_counter(), cpu_of(master)
        run = start_upgrade(root)
        while run.poll() is None:
            answers += pool.map(ask, [port] * AT_ONCE)
            time.sleep(0.05)
    took, used = time.perf_counter() - began, cpu_of(master) - used
    over.set()
    watch.join()
    assert run.stderr is not None
    print(run.stderr.read().splitlines()[-1:])
    print(f"before it the first {len(first)} answers: the slowest {max(first) * 1000:.0f} ms")
    statuses = Counter(status for status, _ in answers)
    print(f"{len(answers)} answers, {AT_ONCE} at once, during the {took:.1f} s: {statuses}")
    times = sorted(seconds for _, seconds in answers)
    for share in (0.5, 0.9, 0.99, 0.999, 1):
        place = min(len(times) - 1, int(len(times) * share))
        print(f"  {share:.1%} within {times[place] * 1000:.0f} ms")
    print(f"CPU time of the workers: {used / len(answers) * 1000:.2f} ms an answer")
    print("locks of the probes' sessions, by looks:")
    for lock, count in sorted(seen.items()):
        print(f"  {count:5} {' '.join(map(str, lock))}")


def start_upgrade(root: Path) -> subprocess.Popen[str]:
    """Start the process that migrates."""
    program = [str(Path(sys.executable).with_name("ws-alembic")), "-c", "migrate.ini"]
    return subprocess.Popen(
        [*program, "-x", "packages=all", "upgrade"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def cpu_of(master: int) -> float:
    """Return the seconds of CPU time that gunicorn's workers have used."""
    used = [one.cpu_times() for one in psutil.Process(master).children()]
    return sum(one.user + one.system for one in used)


def watch_locks(url: str, over: threading.Event, seen: Counter[tuple[str, ...]]) -> None:
    """Note which locks the probes hold, until it is over."""
    connection = psycopg2.connect(url.replace("postgresql+psycopg2:", "postgresql:"))
    connection.autocommit = True
    with connection.cursor() as cursor:
        while not over.wait(0.005):
            cursor.execute(LOCKS)
            seen.update(cursor.fetchall())
    connection.close()


def memory(master: int, port: int) -> None:
    """Ask 10,000 times more, and tell the workers' memory on the way."""
    workers = psutil.Process(master).children()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in range(2):
            for _ in range(5):
                sizes = [round(one.memory_info().rss / 2**20, 1) for one in workers]
                print(f"MB of the workers: {sizes}")
                answers = list(pool.map(ask, [port] * (REQUESTS // 5)))
                print(f"  {Counter(status for status, _ in answers)}")


def ask(port: int) -> tuple[int, float]:
    """Return the status of a readiness request and its seconds."""
    began = time.perf_counter()
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/migrations/ready")
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status, time.perf_counter() - began


def wait_for(port: int) -> None:
    """Wait until the server listens."""
    for _ in range(600):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit("gunicorn did not start")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


if __name__ == "__main__":
    main()
