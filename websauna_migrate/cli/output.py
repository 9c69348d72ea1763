"""The streams of the console scripts: what cannot be written never decides what a command does."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TextIO

from websauna_migrate.base_errors import ExitCode, UsageError
from websauna_migrate.cli.render.text import Table, render_table, shown
from websauna_migrate.plain_text import word

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STDIN, STDOUT, STDERR = 0, 1, 2


class Unfailing(io.FileIO):
    """A file that takes what it cannot write for written."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write data and return how many bytes are done with."""
        written = None
        with contextlib.suppress(OSError):
            written = super().write(data)
        # Nothing is written either where another program made a terminal non-blocking.
        return memoryview(data).nbytes if written is None else written


def repair_streams() -> None:
    """Open the standard streams that are closed, and let standard error never fail.

    A closed one is not left to the next file that is opened: the database would get the output.
    Writing to standard output that was closed goes on to fail.
    """
    for descriptor, flags in (
        (STDIN, os.O_RDONLY),
        (STDOUT, os.O_RDONLY),
        (STDERR, os.O_WRONLY),
    ):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest number that is free is this one. Programs that are started need it too.
            os.set_inheritable(os.open(os.devnull, flags), True)
    if sys.stdin is None:
        sys.stdin = os.fdopen(STDIN, closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(STDOUT, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None or is_descriptor(sys.stderr, STDERR):
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(Unfailing(STDERR, "w", closefd=False)),
            encoding=sys.stderr.encoding if sys.stderr else "utf-8",
            errors="backslashreplace",
            line_buffering=True,
        )


def finish_stdout() -> None:
    """Write what standard output still holds.

    :raises OSError: if that is not possible; Python will not complain about it at its end
    """
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
        raise


class Output:
    """Where a command writes its results; what cannot be written is told at the end.

    :ivar stream: the real standard output
    :ivar is_used: true once something was to be written
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.is_used = False
        self._failure: OSError | UnicodeEncodeError | None = None
        self._told = False

    def lines(self, lines: Iterable[str]) -> None:
        """Write lines: nothing is wrapped, cut or coloured."""
        for line in lines:
            self._write(shown(line) + "\n")

    def raw(self, text: str) -> None:
        """Write what a program is going to read, as it is."""
        try:
            text.encode(self.stream.encoding or "utf-8")
        except UnicodeEncodeError as exc:
            self._failure = exc
        self._write(text)

    def data(self, data: bytes) -> None:
        """Write what is no text.

        :raises UsageError: if it would end on a terminal
        """
        if self.stream.isatty():
            raise UsageError("This is no text for a terminal: write it into a file, with > FILE.")
        self.flush()
        try:
            self.stream.buffer.write(data)
            self.stream.buffer.flush()
        except OSError as exc:
            self._failure = exc

    def table(self, table: Table) -> None:
        """Write a table: set for the terminal if it is read on one, else as plain text."""
        if self.stream.isatty():
            self._write(for_terminal(table, self.stream))
        else:
            self.lines(render_table(table))

    def done(self, lines: Iterable[str]) -> None:
        """Write what was done; where that is not possible standard error has it."""
        self.raw_done(shown("\n".join(lines)))

    def raw_done(self, text: str) -> None:
        """Write what was done, as it is; where that is not possible standard error has it."""
        if text:
            self._write(text + "\n")
        if not self.flush() and not self._told:
            self._told = True
            print(self.problem(), *([text] if text else []), sep="\n", file=sys.stderr)

    def flush(self) -> bool:
        """Write what is still held back, and return True if all was written."""
        self._write("", flush=True)
        return self._failure is None

    def finish(self, status: int) -> int:
        """Write what is still held back, and return the exit status of the command.

        :param status: the command's own; it fails if its result was not written
        """
        if self.flush() or self._told:
            return status
        # A reader that has read enough, such as head, makes no mistake.
        if not isinstance(self._failure, BrokenPipeError):
            print(self.problem(), file=sys.stderr)
        return status or ExitCode.FAILED

    def problem(self) -> str:
        """Return why standard output cannot be written, as a sentence."""
        error = self._failure
        problem = (
            f'its encoding "{self.stream.encoding}" does not have '
            f'"{error.object[error.start]}". Set PYTHONIOENCODING=utf-8'
            if isinstance(error, UnicodeEncodeError)
            else error and error.strerror
        )
        return f"Standard output cannot be written: {problem}."

    def _write(self, text: str, *, flush: bool = False) -> None:
        self.is_used = self.is_used or bool(text)
        if self._failure is not None:
            return
        try:
            self.stream.write(text)
            if flush:
                self.stream.flush()
        except OSError as exc:
            self._failure = exc

    def lent(self) -> contextlib.AbstractContextManager[None]:
        """Give standard output back to the process for a while, for a program on the terminal."""
        return contextlib.nullcontext()


class DescriptorOutput(Output):
    """Standard output of a process, while descriptor 1 is the same as descriptor 2."""

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Give standard output back to the process for a while."""
        self.flush()
        os.dup2(self.stream.fileno(), STDOUT)
        try:
            yield
        finally:
            os.dup2(STDERR, STDOUT)


@contextlib.contextmanager
def reserve_stdout() -> Iterator[Output]:
    """Yield standard output, and lead to standard error whatever else is printed meanwhile.

    An application prints while it starts, its INI sends the log to ``sys.stdout``, and a formatter
    that runs on a new script is a process of its own: none of it may end up among the results. So
    not only ``sys.stdout`` is led elsewhere, but the process's descriptor too.
    """
    stdout = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        if not is_descriptor(stdout, STDOUT) or not is_descriptor(sys.stderr, STDERR):
            yield Output(stdout)
            return
        stdout.flush()
        with reopened(stdout) as stream:
            os.dup2(STDERR, STDOUT)
            try:
                yield DescriptorOutput(stream)
            finally:
                os.dup2(stream.fileno(), STDOUT)


@contextlib.contextmanager
def reopened(stream: TextIO) -> Iterator[TextIO]:
    """Yield a second stream that writes where the given one does now."""
    codecs.register_error(ESCAPE, escape_unencodable)
    copy = os.fdopen(os.dup(stream.fileno()), "w", encoding=stream.encoding, errors=ESCAPE)
    try:
        yield copy
    finally:
        # What could not be written has been reported before.
        with contextlib.suppress(OSError):
            copy.close()


#: The name of :func:`escape_unencodable` among Python's error handlers.
ESCAPE = "websauna_migrate.escape"


def escape_unencodable(error: UnicodeError) -> tuple[bytes, int]:
    """Write what an encoding does not have as ``\\xe9``, and a byte of a path as it is."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return b"".join(map(escape_character, characters)), error.end


def escape_character(character: str) -> bytes:
    """Return what stands for a character; Python reads a path's foreign bytes as surrogates."""
    try:
        return character.encode("ascii", "surrogateescape")
    except UnicodeEncodeError:
        return character.encode("ascii", "backslashreplace")


def is_descriptor(stream: TextIO | None, descriptor: int) -> bool:
    """Return True if a stream writes to a descriptor of the process: not so in tests."""
    try:
        return stream is not None and stream.fileno() == descriptor
    except (OSError, ValueError):
        return False


def for_terminal(table: Table, stream: TextIO) -> str:
    """Return a table set by rich, which knows how wide the terminal is and what colours it has."""
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    rich_table = RichTable(box=None, pad_edge=False, header_style="bold")
    for heading in table.headings:
        rich_table.add_column(heading, overflow="fold")
    for number, row in enumerate(table.rows):
        style = "yellow" if number in table.emphasised else None
        # Text, because brackets in a message are no markup.
        rich_table.add_row(*(Text(word(cell)) for cell in row), style=style)
    console = Console(file=stream)
    with console.capture() as capture:
        console.print(rich_table)
    return capture.get()
