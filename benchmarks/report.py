"""Writes ``docs/benchmarks.rst`` and its plots."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from measuring import Sample

__all__ = ["Report", "machine", "plot"]


#: Begins a part of the page, which a later run may replace alone.
MARK = ".. part: "


class Report:
    """A page of tables and plots, in parts.

    :ivar parts: the lines of the part that is being measured
    """

    def __init__(self, title: str, introduction: str) -> None:
        self.head = [title, "=" * len(title), "", introduction, ""]
        self.parts: list[str] = []
        self._measured: dict[str, str] = {}

    def begin(self) -> None:
        """Begin a part."""
        load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
        self.parts = [f"*Measured on {time.strftime('%Y-%m-%d')}, load {load} before.*", ""]

    def end(self, name: str) -> None:
        """End a part."""
        self._measured[name] = "\n".join(self.parts).rstrip()

    def __str__(self) -> str:
        """Return what was measured."""
        return "\n\n".join(self._measured.values())

    def section(self, title: str, text: str = "") -> None:
        self.parts += [title, "-" * len(title), ""]
        if text:
            self.parts += [text, ""]

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
        line = " ".join("=" * width for width in widths)
        cells = [
            " ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (headings, *rows)
        ]
        self.parts += [line, cells[0], line, *cells[1:], line, ""]

    def samples(self, samples: Mapping[str, Sample], base: str, *, order: str = "cpu") -> None:
        """Write a table of contenders.

        :param base: the contender that the ratios refer to
        """
        rows = [
            (
                name,
                f"{sample.median('wall'):.2f} ± {sample.spread('wall') / 2:.2f}",
                f"{sample.median('cpu'):.2f} ± {sample.spread('cpu') / 2:.2f}",
                f"{sample.median(order) / samples[base].median(order):.2f}",
                f"{sample.median('memory'):.0f}",
            )
            for name, sample in samples.items()
        ]
        ratio = f"{order} / {base}"
        self.table(("", "wall s", "CPU s", ratio, "peak MiB"), rows)

    def image(self, name: str, alternative: str) -> None:
        self.parts += [f".. image:: {name}", f"   :alt: {alternative}", ""]

    def verdicts(self, verdicts: Iterable[tuple[str, str, bool]]) -> None:
        """Write targets, what was measured, and whether it is met."""
        self.table(
            ("target", "measured", ""),
            [(target, found, "met" if met else "**missed**") for target, found, met in verdicts],
        )

    def write(self, path: Path, order: Sequence[str]) -> None:
        """Write what was measured into a page; parts that were not are left as they are.

        :param order: the names of all parts
        """
        found: dict[str, str] = {}
        with contextlib.suppress(FileNotFoundError):
            for part in path.read_text().split("\n" + MARK)[1:]:
                name, _, text = part.partition("\n")
                found[name] = text.strip()
        found.update(self._measured)
        parts = [f"{MARK}{name}\n\n{found[name]}" for name in order if name in found]
        path.write_text("\n".join(self.head) + "\n" + "\n\n".join(parts) + "\n")


def plot(
    path: Path, title: str, lines: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str
) -> None:
    """Draw lines on logarithmic axes as an SVG."""
    points = [point for line in lines.values() for point in line]
    left, right = (math.log10(f(p[0] for p in points)) for f in (min, max))
    low, high = (math.log10(f(p[1] for p in points)) for f in (min, max))
    low, high = math.floor(low * 2) / 2, math.ceil(high * 2) / 2
    width, height, edge = 760, 400, 60

    def place(px: float, py: float) -> tuple[float, float]:
        return (
            edge + (math.log10(px) - left) / ((right - left) or 1) * (width - edge - 250),
            height - edge - (math.log10(py) - low) / ((high - low) or 1) * (height - 2 * edge),
        )

    colours = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{edge}" y="24" font-size="15">{title}</text>',
        f'<text x="{edge}" y="{height - 12}">{x}</text>',
        f'<text x="{edge}" y="44">{y}</text>',
    ]
    for px in sorted({p[0] for p in points}):
        at, _ = place(px, 10**low)
        parts.append(f'<text x="{at:.0f}" y="{height - 36}" text-anchor="middle">{px:g}</text>')
    for step in range(round((high - low) * 2) + 1):
        value = 10 ** (low + step / 2)
        _, at = place(10**left, value)
        parts.append(f'<text x="{edge - 6}" y="{at:.0f}" text-anchor="end">{value:.2g}</text>')
        parts.append(
            f'<line x1="{edge}" x2="{width - 250}" y1="{at:.0f}" y2="{at:.0f}" stroke="#ddd"/>'
        )
    for number, (name, line) in enumerate(lines.items()):
        colour = colours[number % len(colours)]
        path_ = " ".join("{:.1f},{:.1f}".format(*place(*point)) for point in line)
        parts.append(f'<polyline points="{path_}" fill="none" stroke="{colour}" stroke-width="2"/>')
        at = 70 + 18 * number
        parts.append(f'<text x="{width - 240}" y="{at}" fill="{colour}">{name}</text>')
    path.write_text("\n".join([*parts, "</svg>"]) + "\n")


def machine(*servers: str) -> str:
    """Return what figures depend on: the day, the processor, the load and all versions.

    :param servers: names and versions of the database servers
    """
    names = ("websauna_migrate", "alembic", "SQLAlchemy", "pyramid", "psycopg2-binary")
    versions = []
    for name in names:
        with contextlib.suppress(Exception):
            versions.append(f"{name} {version(name)}")
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), cpu)
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return (
        f"{time.strftime('%Y-%m-%d')}: {cpu}, {os.cpu_count()} cores, load {load} at the start, "
        f"CPython {platform.python_version()}, {', '.join(versions)}, "
        f"SQLite {sqlite3.sqlite_version}, {', '.join(servers)} on loopback."
    )
