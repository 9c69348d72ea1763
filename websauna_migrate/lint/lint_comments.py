"""Comments of a revision script that accept a finding of the linter.

``# squawk-ignore ban-drop-column`` on the lines of an operation, or right above them, and
``# squawk-ignore-file`` anywhere for the whole script: squawk's own words, in a comment of Python.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass, field

from websauna_migrate.revision_scripts.script_files import readable_text

COMMENT = re.compile(r"squawk-ignore(?P<file>-file)?(?![\w-])[ \t]*:?[ \t]*(?P<rest>[^\n]*)")
NAMES = re.compile(r"[a-z][\w-]*(?:\s*,\s*[a-z][\w-]*)*", re.IGNORECASE)

#: Statements that end later than the lines on which they do something themselves.
COMPOUND = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.Try,
    ast.Match,
)


@dataclass(slots=True)
class Acceptance:
    """One comment; ``rules`` is empty where it names none, which means all in a whole script.

    :ivar used: the rules of which a finding was accepted
    """

    line: int
    rules: frozenset[str]
    whole_script: bool
    used: set[str] = field(default_factory=set)

    def accepts(self, rule: str) -> bool:
        """True if a finding by a rule is accepted; the rule then counts as used."""
        if rule in self.rules or (self.whole_script and not self.rules):
            self.used.add(rule)
            return True
        return False


def read_comment(text: str, line: int) -> Acceptance | None:
    """Return what a comment accepts; what stands behind the names of the rules is the reason."""
    found = COMMENT.search(text)
    if found is None:
        return None
    names = NAMES.match(found["rest"])
    rules = (
        frozenset(name.strip().lower() for name in names[0].split(",")) if names else frozenset()
    )
    return Acceptance(line, rules, found["file"] is not None)


class ScriptComments:
    """The comments of one script, and which lines belong together in it."""

    def __init__(self, source: str) -> None:
        self.found: list[Acceptance] = []
        self._comment_lines: set[int] = set()
        self._tree: ast.Module | None = None
        if "squawk-ignore" not in source:
            return
        try:
            self._tree = ast.parse(source)
            tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
        except (SyntaxError, ValueError, tokenize.TokenError):
            return
        for token in tokens:
            if token.type != tokenize.COMMENT:
                continue
            line, column = token.start
            if not token.line[:column].strip():
                self._comment_lines.add(line)
            if (acceptance := read_comment(token.string, line)) is not None:
                self.found.append(acceptance)

    @classmethod
    def of(cls, path: str) -> ScriptComments:
        """Read a script's comments; a script without a source has none."""
        return cls(readable_text(path))

    def add(self, text: str, line: int) -> None:
        """Take a comment for the whole script from elsewhere: from SQL that it executes."""
        if (acceptance := read_comment(text, line)) is not None:
            self.found.append(acceptance)

    def accepts(self, rule: str, lines: Iterable[int]) -> bool:
        """True if a finding by a rule is accepted.

        :param lines: where the SQL was given, and the lines of the script that led there
        """
        wide = [one for one in self.found if one.whole_script]
        # All of them, so that each knows that it is of use.
        accepted = [one for one in wide if one.accepts(rule)]
        if accepted:
            return True
        near = self.near(lines) if len(wide) < len(self.found) else ()
        accepted = [one for one in near if not one.whole_script and one.accepts(rule)]
        return bool(accepted)

    def near(self, lines: Iterable[int]) -> list[Acceptance]:
        """Return the comments on and right above the statements of the script on some lines."""
        found = []
        for line in lines:
            start, end = self.range_of(line)
            found += [one for one in self.found if start <= one.line <= end]
        return found

    def excuse(self, lines: Iterable[int]) -> None:
        """Take the comments of a statement to be of use: on a new table nothing is unsafe."""
        for one in (*self.near(lines), *(one for one in self.found if one.whole_script)):
            one.used |= one.rules

    def range_of(self, line: int) -> tuple[int, int]:
        """Return the lines of the statement on a line, with the comments right above it."""
        start, end = line, line
        size: int | None = None
        for node in ast.walk(self._tree) if self._tree is not None else ():
            if not isinstance(node, ast.stmt):
                continue
            last = node.end_lineno or node.lineno
            if isinstance(node, COMPOUND):
                last = min([last, *(part.lineno - 1 for part in getattr(node, "body", ())[:1])])
                last = max(last, node.lineno)
            if node.lineno <= line <= last and (size is None or last - node.lineno <= size):
                start, end, size = node.lineno, last, last - node.lineno
        while start - 1 in self._comment_lines:
            start -= 1
        return start, end

    def unused(self) -> list[tuple[int, str]]:
        """Return the lines and rules of comments that accepted nothing, but for ``downgrade()``."""
        lines = {
            line
            for node in (self._tree.body if self._tree is not None else ())
            if isinstance(node, ast.FunctionDef) and node.name == "downgrade"
            for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
        }
        return [
            (one.line, rule)
            for one in self.found
            if one.line not in lines
            for rule in sorted(one.rules - one.used)
        ]
