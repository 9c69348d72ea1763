"""``websauna_migrate.connect_retries``: a database whose server is still starting."""

from __future__ import annotations

import logging
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest
from sqlalchemy.engine import make_url

from apps import Workshop
from websauna_migrate.database import startup
from websauna_migrate.errors import DatabaseFailure, SettingError

STARTING = ("57P03", "the database system is starting up")
WRONG_PASSWORD = ("28P01", 'password authentication failed for user "u"')


class Gate:
    """A port of 127.0.0.1 before a database's server, closed at first.

    :ivar answers: the errors of PostgreSQL with which the next connections are refused
    :ivar refused: how many were
    """

    def __init__(self, url: str) -> None:
        target = make_url(url)
        self.target = (target.host or "", target.port or 0)
        self.answers: list[tuple[str, str]] = []
        self.refused = 0
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        port = self.listener.getsockname()[1]
        self.url = target.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)
        self.thread: threading.Thread | None = None
        self.inside: list[threading.Thread] = []

    def open(self) -> None:
        """Let connections in from now on."""
        if self.thread is None:
            self.listener.listen()
            self.thread = threading.Thread(target=self._serve, daemon=True)
            self.thread.start()

    def close(self) -> None:
        """End."""
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in filter(None, (self.thread, *self.inside)):
            thread.join()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                if self.answers:
                    self.refused += 1
                    refuse(client, *self.answers.pop(0))
                    continue
                let_in = threading.Thread(target=join, args=(client, self.target), daemon=True)
                let_in.start()
                self.inside.append(let_in)


def join(client: socket.socket, target: tuple[str, int]) -> None:
    """Pass on what a client and a server say to each other."""
    with closing(client), closing(socket.create_connection(target)) as server:
        answers = threading.Thread(target=copy, args=(server, client), daemon=True)
        answers.start()
        copy(client, server)
        answers.join()


def copy(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes, and the end of it."""
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def refuse(client: socket.socket, code: str, words: str) -> None:
    """Answer as a PostgreSQL server that lets nobody in."""
    with closing(client):
        while True:
            length, request = struct.unpack("!II", client.recv(8, socket.MSG_WAITALL))
            client.recv(length - 8, socket.MSG_WAITALL) if length > 8 else None
            if request not in (80877103, 80877104):
                break
            # No encryption.
            client.sendall(b"N")
        fields = f"SFATAL\0VFATAL\0C{code}\0M{words}\0\0".encode()
        client.sendall(b"E" + struct.pack("!I", len(fields) + 4) + fields)
        client.shutdown(socket.SHUT_WR)
        client.recv(1)


@pytest.fixture
def gate() -> Iterator[Callable[[str], Gate]]:
    made: list[Gate] = []

    def make(url: str) -> Gate:
        made.append(Gate(url))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Callable[[], None]]]:
    """Do the next of these when an attempt has failed; no time passes between two."""
    monkeypatch.setattr(startup, "RETRY_SECONDS", 0)
    steps: list[Callable[[], None]] = []

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if steps:
                steps.pop(0)()

    handler = Watch()
    startup.log.addHandler(handler)
    yield steps
    startup.log.removeHandler(handler)


@pytest.fixture(params=["postgresql", "mariadb"])
def server_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


def nothing() -> None:
    """Leave it closed."""


def test_a_server_that_does_not_listen_yet(
    workshop: Workshop,
    server_url: str,
    gate: Callable[[str], Gate],
    attempts: list[Callable[[], None]],
) -> None:
    closed = gate(server_url)
    workshop.package("fooapp")
    workshop.script("fooapp", "a100", upgrade="op.create_table('t', sa.Column('id', sa.Integer))")
    attempts += [nothing, closed.open]
    service = workshop.service(closed.url, connect_retries="2")
    assert [step.revision for step in service.upgrade().steps] == ["a100"]
    assert attempts == []


def test_a_server_that_never_listens(
    workshop: Workshop,
    server_url: str,
    gate: Callable[[str], Gate],
    attempts: list[Callable[[], None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    workshop.package("fooapp")
    service = workshop.service(gate(server_url).url, connect_retries="2")
    with pytest.raises(DatabaseFailure, match="refused"):
        service.upgrade()
    assert caplog.messages == [
        f"The database server does not accept connections yet; attempt {number} of 3 follows."
        for number in (2, 3)
    ]


def test_without_the_setting_there_is_one_attempt(
    workshop: Workshop,
    server_url: str,
    gate: Callable[[str], Gate],
    caplog: pytest.LogCaptureFixture,
) -> None:
    workshop.package("fooapp")
    with pytest.raises(DatabaseFailure, match="refused"):
        workshop.service(gate(server_url).url).upgrade()
    assert caplog.messages == []


def test_postgresql_that_says_that_it_is_starting(
    workshop: Workshop,
    postgresql_url: str,
    gate: Callable[[str], Gate],
    attempts: list[Callable[[], None]],
) -> None:
    opened = gate(postgresql_url)
    opened.answers = [STARTING, STARTING]
    opened.open()
    workshop.package("fooapp")
    assert workshop.service(opened.url, connect_retries="2").current() != ()
    assert opened.refused == 2


def test_a_wrong_password_is_told_at_once(
    workshop: Workshop,
    postgresql_url: str,
    gate: Callable[[str], Gate],
    attempts: list[Callable[[], None]],
) -> None:
    opened = gate(postgresql_url)
    opened.answers = [WRONG_PASSWORD] * 3
    opened.open()
    workshop.package("fooapp")
    with pytest.raises(DatabaseFailure, match="password authentication failed"):
        workshop.service(opened.url, connect_retries="5").upgrade()
    assert opened.refused == 1


def test_a_database_that_does_not_exist_is_told_at_once(
    workshop: Workshop,
    server_url: str,
    attempts: list[Callable[[], None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    url = make_url(server_url).set(database="not_there_at_all")
    workshop.package("fooapp")
    with pytest.raises(DatabaseFailure, match="not_there_at_all"):
        workshop.service(url.render_as_string(hide_password=False), connect_retries="5").upgrade()
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("kind", "words", "starting"),
    [
        (
            "postgresql",
            'connection to server at "h" (::1), port 1 failed: Connection refused\n\tIs the '
            'server running?\nconnection to server at "h" (127.0.0.1), port 1 failed: FATAL:  '
            'password authentication failed for user "u"',
            False,
        ),
        (
            "postgresql",
            'connection failed: connection to server at "127.0.0.1", port 1 failed: FATAL:  the '
            "database system is not yet accepting connections\nDETAIL:  Consistent recovery state "
            "has not been yet reached.",
            True,
        ),
        ("postgresql", 'could not translate host name "h" to address', False),
        ("sqlite", "unable to open database file", False),
    ],
)
def test_which_errors_say_that_a_server_is_starting(kind: str, words: str, starting: bool) -> None:
    assert startup.is_starting(Exception(words), kind) is starting


@pytest.mark.parametrize("value", ["soon", "-1", "1.5", ""])
def test_the_setting_is_a_whole_number(workshop: Workshop, sqlite_url: str, value: str) -> None:
    with pytest.raises(SettingError, match=r"connect_retries.*a whole number, 0 or more"):
        workshop.service(sqlite_url, connect_retries=value)
