"""squawk, the linter of PostgreSQL's SQL, as a process: it reads SQL and writes findings.

One process checks a whole plan. The SQL is its standard input, so nothing is left on a disk; it
gets no shell, no variables that it has no use for, and no configuration file of whatever folder
the command is typed in.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from websauna_migrate.database.programs import find_program
from websauna_migrate.lint.lint_errors import LintNotPossible

PROGRAM = "squawk"

#: Seconds that squawk may take; it needs milliseconds.
TIME_LIMIT = 60.0

#: What a program needs of the environment; a password is not among it.
VARIABLES = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "SYSTEMROOT")

#: The rule under which squawk reports what it cannot read.
SYNTAX_ERROR = "syntax-error"

UNKNOWN_NAME = re.compile(r"unknown name (?P<name>[\w-]+)")


@dataclass(frozen=True, slots=True)
class RawFinding:
    """What squawk says of a line of its input; ``line`` counts from 0."""

    line: int
    rule: str
    message: str
    help: str | None


def is_installed() -> bool:
    """True if squawk is installed."""
    return find_program((PROGRAM,)) is not None


def find_squawk() -> str:
    """Return squawk's path, from ``PATH`` or from beside Python.

    :raises LintNotPossible: if it is not installed
    """
    program = find_program((PROGRAM,))
    if program is None:
        raise LintNotPossible("missing", PROGRAM)
    return program


def run_squawk(
    program: str, sql: str, *, server_version: Sequence[object] = ()
) -> list[RawFinding]:
    """Let squawk read SQL and return what it finds; its own rules, none left out.

    :param server_version: of the PostgreSQL that the SQL is for, as far as it is known
    :raises LintNotPossible: when it cannot be run, or gives no answer that is understood
    """
    arguments = [program, "--reporter", "json", "--config", os.devnull]
    if server_version:
        arguments += ["--pg-version", ".".join(map(str, server_version[:2]))]
    try:
        done = subprocess.run(
            arguments,
            input=sql,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=TIME_LIMIT,
            env={name: os.environ[name] for name in VARIABLES if name in os.environ},
        )
    except subprocess.TimeoutExpired:
        raise LintNotPossible(
            "failed", program, f"it gave no answer within {TIME_LIMIT:g} s."
        ) from None
    except OSError as exc:
        raise LintNotPossible(
            "failed", program, f"it cannot be started: {exc.strerror or exc}."
        ) from exc
    # 0 for nothing found, 1 for findings; anything else is a failure.
    if done.returncode not in (0, 1):
        raise LintNotPossible(
            "failed", program, f"exit status {done.returncode}. {said(done.stderr)}"
        )
    try:
        return [raw_finding(found) for found in json.loads(done.stdout)]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise LintNotPossible(
            "failed",
            program,
            f"its answer is not understood (exit status {done.returncode}). "
            + said(done.stderr or done.stdout),
        ) from None


def raw_finding(found: Any) -> RawFinding:
    """Return a finding from squawk's JSON."""
    rule, message, help_ = found["rule_name"], found["message"], found.get("help")
    if not isinstance(rule, str) or not isinstance(message, str):
        raise TypeError(rule)
    return RawFinding(int(found["line"]), rule, message, help_ if help_ else None)


def said(text: str) -> str:
    """Return the beginning of what a program said."""
    words = " ".join(text.split())
    return f"It said: {words[:300]}" if words else "It said nothing."


def question_about(names: Iterable[str]) -> str:
    """Return SQL by which squawk is asked whether rules of these names exist."""
    return f"-- squawk-ignore {', '.join(sorted(names))}\nSELECT 1;\n"


def unknown_names(findings: Iterable[RawFinding]) -> set[str]:
    """Return the names that squawk does not know, from its answer to :func:`question_about`."""
    return {
        match["name"]
        for found in findings
        if found.rule == "unused-ignore" and (match := UNKNOWN_NAME.search(found.message))
    }
