"""Standard output, kept for results."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TextIO

from websauna_migrate.cli.render import Table, render_table

__all__ = ["Output", "reserve_stdout"]

STDOUT, STDERR = 1, 2


class Output:
    """Where a command writes its results.

    :ivar stream: the real standard output
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def lines(self, lines: Iterable[str]) -> None:
        """Write lines as they are: nothing is wrapped, cut or coloured."""
        for line in lines:
            self.stream.write(line + "\n")

    def table(self, table: Table) -> None:
        """Write a table: set for the terminal if it is read on one, else as plain text."""
        if self.stream.isatty():
            write_rich_table(table, self.stream)
        else:
            self.lines(render_table(table))

    def lent(self) -> contextlib.AbstractContextManager[None]:
        """Give standard output back to the process for a while, for a program on the terminal."""
        return contextlib.nullcontext()


class DescriptorOutput(Output):
    """Standard output of a process, while descriptor 1 is the same as descriptor 2."""

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Give standard output back to the process for a while."""
        self.stream.flush()
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
    stdout = sys.stdout if sys.stdout is not None else io.StringIO()
    with contextlib.redirect_stdout(sys.stderr):
        if not is_descriptor(stdout, STDOUT) or not is_descriptor(sys.stderr, STDERR):
            yield Output(stdout)
            return
        stdout.flush()
        with reopened(stdout) as stream:
            os.dup2(STDERR, STDOUT)
            try:
                yield DescriptorOutput(stream)
                stream.flush()
            finally:
                os.dup2(stream.fileno(), STDOUT)


@contextlib.contextmanager
def reopened(stream: TextIO) -> Iterator[TextIO]:
    """Yield a second stream that writes where the given one does now."""
    copy = os.fdopen(os.dup(stream.fileno()), "w", encoding=stream.encoding, errors=stream.errors)
    try:
        yield copy
    finally:
        # What could not be written has been reported by the flush before.
        with contextlib.suppress(BrokenPipeError):
            copy.close()


def is_descriptor(stream: TextIO | None, descriptor: int) -> bool:
    """Tell whether a stream writes to a descriptor of the process, as outside of tests it does."""
    try:
        return stream is not None and stream.fileno() == descriptor
    except (OSError, ValueError):
        return False


def write_rich_table(table: Table, stream: TextIO) -> None:
    """Write a table with rich, which knows how wide the terminal is and what colours it has."""
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    rich_table = RichTable(box=None, pad_edge=False, header_style="bold")
    for heading in table.headings:
        rich_table.add_column(heading, overflow="fold")
    for number, row in enumerate(table.rows):
        style = "yellow" if number in table.emphasised else None
        # Text, because brackets in a message are no markup.
        rich_table.add_row(*(Text(cell) for cell in row), style=style)
    Console(file=stream).print(rich_table)
