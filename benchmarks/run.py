"""Measure everything, and write ``docs/benchmarks.rst``: ``python benchmarks/run.py [--quick]``.

``--only NAME`` measures one part and prints it, and leaves the page alone; with ``--write`` it
replaces the part that is there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bench import (
    DURABLE,
    PROGRAMS,
    REPOSITORY,
    Bench,
    at_least,
    at_most,
    django_database,
    empty_database,
    pretend_all_is_applied,
    say,
)
from check_commands import check, tables
from locating import locate, squash
from measuring import Contender, measure
from model_workloads import make_model_workload
from order import order
from peers import django_project, environment_of
from report import Report, machine, plot
from workloads import Workload, make_workload

sys.path.insert(0, str(REPOSITORY / "tests"))


def small(bench: Bench) -> None:
    """Measure one package with one revision."""
    work = make_workload(
        bench.root / "small", f"sqlite:///{bench.root}/small.sqlite", packages=1, revisions=1
    )
    pretend_all_is_applied(work)
    time.sleep(3)
    program = [bench.python, str(PROGRAMS / "ws.py"), "--help"]
    samples = measure(
        [
            bench.boot(work, "bare.ini", "boot, without websauna_migrate"),
            bench.boot(work),
            Contender("ws-alembic --help", [program], bench.environment(work)),
            bench.ours(work, "current"),
            bench.alembic(work, "current", loop=False),
            bench.flask(work, "current"),
        ],
        bench.rounds(11) * (3 if bench.quick else 1),
    )
    bench.report.section("One package, one revision", "SQLite.")
    say(bench.report, samples, "boot")
    boot = samples["boot"].median()
    bare = samples["boot, without websauna_migrate"].median()
    ours = samples["ws-alembic current"].median()
    theirs = samples["Alembic current, processes"].median()
    bench.report.verdicts(
        [
            at_most(
                "--help above the boot", samples["ws-alembic --help"].median() - boot, 0.15, "s"
            ),
            at_most("current above the boot", ours - boot, 0.15, "s"),
            at_most("current, to `alembic current` plus the bare boot", ours / (theirs + bare), 1),
        ]
    )


def nothing(bench: Bench) -> None:
    """Measure commands that find nothing to do."""
    per = 100 if bench.quick else 500
    work = make_workload(bench.root / "nothing", bench.postgresql, packages=20, revisions=per)
    pretend_all_is_applied(work)
    manage = django_project(work, django_database(work.url))
    fake = [environment_of("django", bench.peers), str(manage), "migrate", "--fake", "-v0"]
    subprocess.run(fake, check=True)
    time.sleep(3)
    verbs = ("current", "status", "upgrade", "heads", "history", "plan")
    samples = measure(
        [
            bench.boot(work),
            *(bench.ours(work, verb) for verb in verbs),
            bench.ours(work, "status", name="ws-alembic status, cold cache", cache="cold"),
            *(
                bench.alembic(work, verb, loop=loop)
                for verb in ("current", "upgrade", "heads", "history")
                for loop in (False, True)
                if loop or verb in ("current", "upgrade")
            ),
            bench.django(work, "migrate", "-v0", project=manage),
            bench.django(work, "migrate", "--check", "-v0", project=manage),
            bench.django(work, "showmigrations", "-v0", project=manage),
        ],
        bench.rounds(3),
    )
    bench.report.section(
        f"Nothing to do, 20 packages with {per} revisions each", "PostgreSQL; all is applied."
    )
    say(bench.report, samples, "boot")
    verdicts = []
    boot = samples["boot"].median()
    for verb in ("upgrade", "current", "status"):
        ours = samples[f"ws-alembic {verb}"]
        peer = "upgrade" if verb == "upgrade" else "current"
        processes = samples[f"Alembic {peer}, processes"]
        loop = samples[f"Alembic {peer}, a loop"]
        verdicts += [
            at_least(f"{verb}, to processes", processes.median("wall") / ours.median("wall"), 14),
            at_least(f"{verb}, to a loop", loop.median("wall") / ours.median("wall"), 4),
            at_most(f"{verb}, CPU above the boot", ours.median() - boot, 0.35, "s"),
            at_most(
                f"{verb}, memory to a loop", ours.median("memory") / loop.median("memory"), 1.3
            ),
        ]
    for verb, peer in (("heads", "heads"), ("history", "history"), ("plan", "current")):
        ratio = samples[f"Alembic {peer}, a loop"].median("wall") / samples[
            f"ws-alembic {verb}"
        ].median("wall")
        verdicts.append(at_least(f"{verb}, to a loop of Alembic's {peer}", ratio, 4))
    bench.report.verdicts(verdicts)


def emptying(work: Workload, before: Callable[[], None] | None) -> Callable[[], None]:
    """Return a function that, after ``before``, makes a first run of new scripts come next."""

    def prepare() -> None:
        if before is not None:
            before()
        for compiled in [*work.root.rglob("__pycache__")]:
            shutil.rmtree(compiled)
        empty_database(work.url)

    return prepare


def from_empty(contenders: Sequence[Contender], work: Workload) -> list[Contender]:
    """Return the contenders, for each of which database and scripts are new."""
    return [replace(one, prepare=emptying(work, one.prepare)) for one in contenders]


def with_psycopg(url: str) -> str:
    """Return the URL of the same database through psycopg 3."""
    return url.replace("+psycopg2:", "+psycopg:", 1)


def empty(bench: Bench) -> None:
    """Measure an upgrade from empty, the first run of new scripts: no cache knows anything."""
    per = 20 if bench.quick else 100
    for title, url in (
        ("SQLite", f"sqlite:///{bench.root}/empty.sqlite"),
        ("PostgreSQL, psycopg2", bench.postgresql),
        ("PostgreSQL, psycopg 3", with_psycopg(bench.postgresql)),
    ):
        work = make_workload(bench.root / "empty", url, packages=20, revisions=per)
        steps = bench.root / "steps.json"
        steps.write_text(json.dumps({name: [*work.statements(name)] for name in work.packages}))
        raw = [environment_of("alembic", bench.peers), str(PROGRAMS / "raw.py"), url, str(steps)]
        contenders = [
            Contender("driver alone", [raw]),
            bench.scripts_alone(work),
            bench.ours(work, "-q", "upgrade", cache="cold"),
            bench.alembic(work, "upgrade", loop=True),
        ]
        others = "psycopg 3" not in title
        if others:
            contenders += [
                bench.alembic(work, "upgrade", loop=False),
                bench.django(work, "migrate", "-v0"),
            ]
        time.sleep(3)
        samples = measure(from_empty(contenders, work), bench.rounds(4))
        bench.report.section(
            f"Upgrade from empty, 20 packages with {per} revisions each, {title}",
            "The first run of new scripts: nothing of them is cached, by us or by Python. *Scripts "
            "alone*: the application starts, and each script's operations write their statements, "
            "for no database.",
        )
        say(bench.report, samples, "driver alone", "wall")
        wall = {name: sample.median("wall") for name, sample in samples.items()}
        ours = wall["ws-alembic -q"]
        least = wall["driver alone"] + wall["scripts alone"]
        verdicts = [
            at_most("to the driver alone", ours / wall["driver alone"], 1.5),
            at_most("to the driver and the scripts", ours / least, 1.5),
            at_least("to Alembic in a loop", wall["Alembic upgrade, a loop"] / ours, 1),
        ]
        if others:
            verdicts += [
                at_least("to Alembic's processes", wall["Alembic upgrade, processes"] / ours, 1),
                at_least("to Django", wall["Django migrate -v0"] / ours, 1),
            ]
        bench.report.verdicts(verdicts)


#: Applications of other shapes: packages and revisions of each.
SHAPES = ((300, 3), (1, 5_000), (4, 12))


def shapes(bench: Bench) -> None:
    """Measure upgrades from empty of many packages, long histories and small applications."""
    for packages, revisions in ((30, 3), (1, 200)) if bench.quick else SHAPES:
        for title, url in (
            ("SQLite", f"sqlite:///{bench.root}/shape.sqlite"),
            ("PostgreSQL", bench.postgresql),
        ):
            work = make_workload(bench.root / "shape", url, packages=packages, revisions=revisions)
            time.sleep(3)
            upgrades = [
                bench.ours(work, "-q", "upgrade", name="upgrade", cache="cold"),
                bench.alembic(work, "upgrade", loop=True),
            ]
            samples = measure(from_empty(upgrades, work), bench.rounds(2), warm=False)
            pretend_all_is_applied(work)
            looks = [bench.boot(work)] if packages > 1 else []
            for verb in ("history", "heads") if packages > 1 else ():
                looks += [bench.ours(work, verb, name=verb), bench.alembic(work, verb, loop=True)]
            samples |= measure(looks, bench.rounds(3))
            many = "1 package" if packages == 1 else f"{packages} packages"
            bench.report.section(
                f"{many} with {revisions} revisions, {title}",
                "``upgrade`` from empty with an empty cache folder; the rest with all applied.",
            )
            say(bench.report, samples, "upgrade", "wall")
            bench.report.verdicts(
                at_least(
                    f"{verb}, to Alembic in a loop",
                    samples[f"Alembic {verb}, a loop"].median("wall")
                    / samples[verb].median("wall"),
                    1,
                )
                for verb in ("upgrade", "history", "heads")
                if verb in samples
            )
    many_tables(bench)


def many_tables(bench: Bench) -> None:
    """Measure an upgrade of an application with 5,000 models."""
    packages, tables = (10, 20) if bench.quick else (50, 100)
    root, url = bench.root / "models", bench.postgresql
    work = make_model_workload(root, url, packages=packages, tables=tables)
    time.sleep(3)
    contenders = [
        bench.boot(work, "bare.ini", "boot with models"),
        bench.ours(work, "-q", "upgrade", name="upgrade", cache="cold"),
        bench.alembic(work, "upgrade", loop=True),
    ]
    samples = measure(from_empty(contenders, work), bench.rounds(2), warm=False)
    bench.report.section(
        f"{packages * tables:,} tables with their models, PostgreSQL",
        "An upgrade from empty with an empty cache folder. Alembic's loop imports the models, too.",
    )
    say(bench.report, samples, "upgrade", "wall")
    ratio = samples["Alembic upgrade, a loop"].median("wall") / samples["upgrade"].median("wall")
    bench.report.verdicts([at_least("to Alembic in a loop", ratio, 1)])


#: What is looked at while the number of revisions grows: packages, shape, commands.
GROWING = (
    (1, "chain", ("status", "upgrade")),
    (1, "merged", ("status", "upgrade", "current", "heads", "history", "plan")),
    (20, "chain", ("status", "upgrade", "current", "heads", "history", "plan")),
    (20, "merged", ("status", "upgrade")),
)


def growth(bench: Bench) -> None:
    """Measure how commands grow with the number of revisions."""
    sizes = (500, 1000, 2000) if bench.quick else (1_000, 5_000, 10_000, 20_000)
    lines: dict[str, list[tuple[float, float]]] = {}
    bench.report.section("Growth", "CPU seconds of commands with all applied; SQLite.")
    for size in sizes:
        contenders = []
        for packages, shape, verbs in GROWING:
            name = f"{packages} package{'s' * (packages > 1)}, {shape}"
            root = bench.root / f"growth-{size}-{packages}-{shape}"
            work = make_workload(
                root, f"sqlite:///{root}.sqlite", packages=packages,
                revisions=size // packages, shape=shape,
            )  # fmt: skip
            pretend_all_is_applied(work)
            if packages == 20 and shape == "chain":
                contenders.append(bench.boot(work, name=f"boot, {name}"))
            contenders += [bench.ours(work, verb, name=f"{verb}, {name}") for verb in verbs]
        time.sleep(3)
        samples = measure(contenders, bench.rounds(2))
        for name, sample in samples.items():
            lines.setdefault(name, []).append((size, sample.median()))
            print(f"  {size:>6} {name:<32} {sample.median():.2f}")
    ratios = {name: line[-1][1] / line[-2][1] for name, line in lines.items()}
    bench.report.table(
        ("", *map(str, sizes), f"{sizes[-1]} to {sizes[-2]}"),
        [
            (name, *(f"{seconds:.2f}" for _, seconds in line), f"{ratios[name]:.2f}")
            for name, line in lines.items()
        ],
    )
    bench.report.verdicts([at_most("the worst of them", max(ratios.values()), 2.2)])
    shown = {name: line for name, line in lines.items() if name.startswith(("status", "upgrade"))}
    plot(REPOSITORY / "docs" / "growth.svg", "Nothing to do", shown, "revisions", "CPU s")
    bench.report.image("growth.svg", "CPU seconds by number of revisions")


PARTS: dict[str, Callable[[Bench], None]] = {
    "small": small,
    "nothing": nothing,
    "empty": empty,
    "shapes": shapes,
    "growth": growth,
    "order": order,
    "check": check,
    "tables": tables,
    "locate": locate,
    "squash": squash,
}


def introduction(server: str) -> str:
    return (
        f"Measured by ``make bench`` on {machine(f'PostgreSQL {server}')} PostgreSQL has its own "
        "defaults: a commit is on the disk before it is told. Contenders run in turn; each figure "
        "is the median of whole processes, ± half of what lies between the fastest and the slowest "
        "round; what takes longest runs once. Read the ratios within a table, not the seconds."
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small workloads, two rounds")
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this part")
    parser.add_argument("--write", action="store_true", help="write the parts of --only too")
    parser.add_argument("--peers", type=Path, default=REPOSITORY / "build" / "bench")
    options = parser.parse_args(argv)
    from databases import start_postgresql

    server = start_postgresql(DURABLE)
    url = server.create_database().replace("postgresql:", "postgresql+psycopg2:", 1)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        report = Report("Benchmarks", introduction(server.version))
        bench = Bench(Path(folder), options.peers, options.quick, url, report)
        for name in options.only or PARTS:
            print(name, flush=True)
            report.begin()
            PARTS[name](bench)
            report.end(name)
            if options.write or not options.only:
                # What was measured so far is not lost with a later part.
                report.write(REPOSITORY / "docs" / "benchmarks.rst", list(PARTS))
        if options.only and not options.write:
            print(report)
    server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
