"""Runs programs in turn, and says what they took."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Contender", "Sample", "measure"]


@dataclass
class Sample:
    """What one contender took, round by round: seconds, seconds, MiB."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)

    def median(self, what: str = "cpu") -> float:
        return statistics.median(getattr(self, what))

    def spread(self, what: str = "cpu") -> float:
        values = getattr(self, what)
        return max(values) - min(values)


@dataclass(frozen=True)
class Contender:
    """Processes that together do some work.

    :ivar commands: argument lists, run one after the other
    :ivar prepare: called before, outside of the time
    :ivar once: takes so long that it is run once, without a warm-up
    """

    name: str
    commands: Sequence[Sequence[str]]
    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] | None = None
    once: bool = False


def run(contender: Contender, sample: Sample | None) -> None:
    """Run a contender once; into the sample, unless it is the warm-up."""
    if contender.prepare is not None:
        contender.prepare()
    environment = {**os.environ, **contender.environment}
    # Users have bytecode caches; a setting of this shell must not take them away.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    cpu, memory = 0.0, 0.0
    start = time.perf_counter()
    for command in contender.commands:
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            assert process.stderr is not None
            errors = process.stderr.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{contender.name}: {command}\n{errors.decode()[-3000:]}")
        cpu += usage.ru_utime + usage.ru_stime
        memory = max(memory, usage.ru_maxrss / 1024)
    if sample is not None:
        sample.wall.append(time.perf_counter() - start)
        sample.cpu.append(cpu)
        sample.memory.append(memory)


def measure(
    contenders: Sequence[Contender], rounds: int, *, warm: bool = True
) -> dict[str, Sample]:
    """Run all contenders in turn, ``rounds`` times, after a first time that does not count."""
    samples = {contender.name: Sample() for contender in contenders}
    for number in range(-1 if warm else 0, rounds):
        for contender in contenders:
            if contender.once and number != 0:
                continue
            run(contender, None if number < 0 else samples[contender.name])
    return samples
