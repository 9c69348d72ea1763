"""What git knows of revision scripts: whether others have one, and who has one that is missing."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

#: The branches that are taken for the one everybody works towards, the first that there is.
MAIN = ("origin/HEAD", "origin/main", "origin/master", "main", "master")

#: Names of files are told as they are, and nothing but what is asked for, whatever is configured.
PLAINLY = ("-c", "core.quotePath=false", "-c", "log.showSignature=false")

#: How long one question may take, in seconds.
EACH = 10


class AddedScript(NamedTuple):
    """A commit that added a script.

    :ivar branch: a branch or tag that has the commit; empty if none has
    :ivar path: the script's, below the repository
    """

    commit: str
    branch: str
    path: str


@dataclass
class GitHistory:
    """The git repository that a folder is in; it knows nothing where there is none.

    :ivar folder: a script directory
    """

    folder: Path

    def ask(self, *words: str) -> str | None:
        """Return what git answers without the last line's end; ``None`` if it fails."""
        found = self._bytes(*words)
        return None if found is None else found.decode("utf-8", "replace").rstrip("\n")

    def _bytes(self, *words: str) -> bytes | None:
        """Return what git answers; ``None`` if it fails."""
        git = shutil.which("git")
        if git is None or not self.folder.is_dir():
            return None
        try:
            done = subprocess.run(
                [git, "-C", str(self.folder), *PLAINLY, *words],
                capture_output=True,
                timeout=EACH,
                check=False,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"},
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return None if done.returncode else done.stdout

    @cached_property
    def root(self) -> Path | None:
        """The repository's folder."""
        found = self.ask("rev-parse", "--show-toplevel")
        return Path(found) if found else None

    @cached_property
    def branch(self) -> str:
        """The branch that is checked out; empty if none is."""
        return self.ask("symbolic-ref", "--short", "-q", "HEAD") or ""

    @cached_property
    def main_branch(self) -> str | None:
        """The branch that everybody works towards, unless it is the one checked out here."""
        for name in MAIN:
            if self.ask("rev-parse", "--verify", "-q", f"{name}^{{commit}}"):
                found = self.ask("rev-parse", "--abbrev-ref", name) or name
                return None if found == self.branch else found
        return None

    def is_merged(self, path: str) -> bool:
        """True if the main branch has a file."""
        inside = self._inside(path)
        if inside is None or self.main_branch is None:
            return False
        return self.ask("cat-file", "-e", f"{self.main_branch}:{inside}") is not None

    def published_in(self, path: str) -> str:
        """Return what others have a file by: a branch, or a commit; empty if it is here alone."""
        inside = self._inside(path)
        if inside is None:
            return ""
        if self.is_merged(path):
            return f"the branch {self.main_branch}"
        found = self.ask("log", "-1", "--format=%h", "--remotes", "--tags", "--", f":/{inside}")
        return f"commit {found}, which is pushed or tagged" if found else ""

    def added(self, revision: str) -> Iterator[AddedScript]:
        """Yield the commits that added the script of a revision below the folder, newest first.

        Commits of all branches count, also of those that are not checked out.
        """
        if self.root is None or not self.folder.is_dir():
            return
        found = self.ask(
            *("log", "--all", "--no-renames", "--diff-filter=A", "--name-only", "--format=%x00%h"),
            *(f"-G^revision[ :=].*['\"]{re.escape(revision)}['\"]", "--", "."),
        )
        for part in (found or "").split("\0")[1:]:
            commit, *files = part.split("\n")
            for file in filter(None, files):
                yield AddedScript(commit, self._ref_of(commit), file)

    def versions(self, added: AddedScript) -> Iterator[bytes]:
        """Yield the texts that a script had since it was added, on any branch, newest first."""
        commits = self.ask("log", "--all", "--format=%H", "--", f":/{added.path}")
        for commit in (commits or "").split("\n"):
            text = self._bytes("show", f"{commit}:{added.path}") if commit else None
            if text is not None:
                yield text

    def _ref_of(self, commit: str) -> str:
        """Return the first branch or tag that has a commit."""
        found = self.ask(
            *("for-each-ref", "--contains", commit, "--format=%(refname:short)"),
            *("refs/heads", "refs/remotes", "refs/tags"),
        )
        names = [name for name in (found or "").split("\n") if name and name != "origin"]
        return self.branch if self.branch in names else (names[0] if names else "")

    def _inside(self, path: str) -> str | None:
        """Return a file's path below the repository; ``None`` if it is not in it."""
        try:
            return Path(path).resolve().relative_to(self.root or "/dev/null").as_posix()
        except ValueError:
            return None


def last_release_with(folder: Path, revision: str) -> tuple[str, ...]:
    """Return when a script was taken away, a sentence, and the command to have all beside it again.

    :param folder: a script directory
    :returns: empty if git does not know
    """
    git = GitHistory(folder)
    added = next(git.added(revision), None)
    if added is None or git.root is None:
        return ()
    path = f":/{added.path}"
    gone = git.ask("log", "-1", "--diff-filter=D", "--format=%h", "HEAD", "--", path)
    if not gone:
        return ()
    release = git.ask("describe", "--tags", "--abbrev=0", f"{gone}^")
    having = f"{release} is the last release that has it" if release else "no release has it"
    return (
        f'its script "{added.path}" was taken away in commit {gone}; {having}.',
        f"To have the old scripts again: git checkout {gone}^ -- "
        f"{shlex.quote(f'{git.root}/{Path(added.path).parent}')}",
    )


def where_it_is(folder: Path, revision: str) -> tuple[str, ...]:
    """Return why a script is not here though git has it, a sentence, and the command to have it.

    :param folder: a script directory
    :returns: empty if git has it not either
    """
    git = GitHistory(folder)
    added = next(git.added(revision), None)
    if added is None:
        return ()
    # It is the commit that is checked out, or leads to it.
    if git.ask("merge-base", "--is-ancestor", added.commit, "HEAD") is not None:
        has_file = git.ask("cat-file", "-e", f"HEAD:{added.path}") is not None
        how = "deleted, and that is not committed" if has_file else "deleted"
        return (
            f'its script "{added.path}" was {how}; commit {added.commit} has it.',
            f"To restore it: git checkout {added.commit} -- "
            f"{shlex.quote(f'{git.root}/{added.path}')}",
        )
    where = f"branch {added.branch}" if added.branch else "a commit of no branch"
    return (
        f'its branch is not checked out: {where}, commit {added.commit}, has "{added.path}".',
        f"To have it: git checkout {added.branch or added.commit}",
    )
