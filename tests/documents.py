"""Pages of the documentation whose commands are run, and whose screens are real.

``python tests/documents.py docs/tutorial.rst`` writes the screens of a page anew. A page that needs
databases has them by the variable ``PAGE_URLS``, an object of JSON: what the page says, and a URL.

A console block is typed line by line in one folder; ``cd`` holds for what follows. A block with a
``:caption:`` is a file: the whole of it; or its end, where the caption goes on with "at the end";
or what comes in place of its functions, where it goes on with "from def upgrade() on". A ``*`` in
the caption stands for what an identifier is not known of. What one page needs of another is told
by a comment, ``.. played behind: PAGE``.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import textwrap
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["Page", "normal"]

BLOCK = re.compile(
    r"^\.\. code-block:: (?P<language>\w+)\n(?:   :caption: (?P<caption>[^\n]*)\n)?\n"
    r"(?P<body>(?:    [^\n]*\n|\n)+)",
    re.M,
)

#: Which page a page goes on from.
BEHIND = re.compile(r"^\.\. played behind: (\w+)$", re.M)


def normal(text: str) -> str:
    """Return a text without what differs from run to run: identifiers, times and places."""
    text = re.sub(r"(?<![0-9a-z])[0-9a-f]{12}(?![0-9a-z])", "REVISION", text)
    text = re.sub(r"(?<![0-9a-z])[0-9a-f]{32}(?![0-9a-z])", "RUN", text)
    text = re.sub(r"(?<![0-9a-z])[0-9a-f]{8}(?![0-9a-z])", "RUN", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?", "MOMENT", text)
    text = re.sub(r" on \S+ by [^\n]*", " on HOST by SOMEBODY", text)
    text = re.sub(r"process \d+", "process N", text)
    return re.sub(r"\d+\.\d+ s", "TIME", text)


#: What a page types to show how a command ended.
SHOW_STATUS = '; echo "exit status $?"'


def serve() -> None:
    """Run the commands that standard input names, each in a fork of its own.

    Importing what every command needs takes longer than most commands do.
    """
    import alembic.command
    import pyramid.paster
    import sqlalchemy.orm

    import websauna_migrate.cli.commands.read
    import websauna_migrate.service
    from websauna_migrate.cli import ws_alembic, ws_create_table, ws_db_shell, ws_dump_db

    assert alembic and pyramid and sqlalchemy and websauna_migrate
    mains = {
        "ws-alembic": ws_alembic.main,
        "ws-create-table": ws_create_table.main,
        "ws-db-shell": ws_db_shell.main,
        "ws-dump-db": ws_dump_db.main,
    }
    for line in sys.stdin:
        job = json.loads(line)
        with tempfile.TemporaryFile("w+") as screen:
            if (child := os.fork()) == 0:
                main = mains[job.get("program", "ws-alembic")]
                os._exit(typed_in_fork(main, job, screen.fileno()))
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            screen.seek(0)
            print(json.dumps([status, screen.read()]), flush=True)


def typed_in_fork(main: Any, job: dict[str, Any], screen: int) -> int:
    """Run a command in this process, which is a fork, and return its exit status."""
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (screen, 1), (screen, 2)):
        os.dup2(source, target)
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    paths = [path for path in job["env"]["PYTHONPATH"].split(os.pathsep) if path]
    sys.path[1:1] = paths
    for path in paths:
        # Entry points are looked for in what was there when this was imported.
        sys.modules["pkg_resources"].working_set.add_entry(path)
    try:
        status = int(main(job["words"]))
    except SystemExit as exc:
        status = int(exc.code or 0)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status


class Page:
    """A page of the documentation, and the folder in which it is played.

    :ivar path: of the page
    :ivar root: the folder
    :ivar before: the page from which it goes on; once it was played, with what was printed
    :ivar urls: real database URLs, each by what the page has in its place
    :ivar programs: a folder with programs of a database
    """

    def __init__(self, path: Path, root: Path, urls: Mapping[str, str] | None = None) -> None:
        self.path = path
        self.urls = urls or {}
        self.programs = ""
        self.text = path.read_text(encoding="utf-8")
        behind = BEHIND.search(self.text)
        before = path.with_name(f"{behind[1]}.rst") if behind else None
        self.before = before.read_text(encoding="utf-8") if before else None
        self.root = root
        self.here = root
        self.pythonpath: list[str] = []
        self.server: subprocess.Popen[str] | None = None
        self.screen = ""

    def played(self) -> str:
        """Type every command, and return the page with what was printed."""
        try:
            if self.before is not None:
                self.before = BLOCK.sub(self.block, self.before)
            return BLOCK.sub(self.block, self.text)
        finally:
            if self.server is not None:
                self.server.communicate()

    def block(self, match: re.Match[str]) -> str:
        """Write the file of a block, or type its commands."""
        body = textwrap.dedent(match["body"])
        if match["caption"]:
            self.write(match["caption"], body)
        if match["language"] != "console" or match["caption"]:
            return match[0]
        head = match[0][: match.start("body") - match.start()]
        typed = "".join(self.typed(body))
        return f"{head}{textwrap.indent(typed, '    ')}\n"

    def write(self, caption: str, body: str) -> None:
        """Write a file, its end, or its functions."""
        name, _, how = caption.replace("\\", "").partition(", ")
        paths = list(self.here.glob(name)) if "*" in name else [self.here / name]
        assert len(paths) == 1, f"{caption}: {paths}\n{self.screen}"
        body = body.strip() + "\n"
        for told, real in self.urls.items():
            body = body.replace(told, real)
        if how:
            old = paths[0].read_text(encoding="utf-8")
            if how.startswith("from "):
                old = old[: old.index(how.removeprefix("from ").removesuffix(" on"))]
            body = f"{old.rstrip()}\n\n\n{body}"
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        paths[0].write_text(body, encoding="utf-8")

    def typed(self, body: str) -> Iterator[str]:
        """Type the commands of a block, and yield each with what it prints."""
        for command in re.findall(r"^\$ ((?:[^\n]*\\\n)*[^\n]*)\n", body, re.M):
            yield f"$ {command}\n"
            if command.startswith("cd "):
                self.here = (self.here / command[3:]).resolve()
            elif command.startswith("pip install -e "):
                self.install(command.split()[3:])
            else:
                yield self.run(command)

    def install(self, words: list[str]) -> None:
        """Make projects importable, with their entry points, as ``pip install -e`` does."""
        for word in words:
            if word == "-e":
                continue
            project = self.here / word
            code = "import setuptools; setuptools.setup()"
            program = [sys.executable, "-W", "ignore", "-c", code, "-q", "egg_info"]
            subprocess.run(program, cwd=project, check=True, capture_output=True)
            self.pythonpath.append(str(project / "src"))

    def run(self, command: str) -> str:
        """Run a command and return what a terminal would show."""
        env = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        scripts = str(Path(sys.executable).parent)
        env["PATH"] = os.pathsep.join([scripts, *filter(None, [self.programs]), env["PATH"]])
        env["PYTHONPATH"] = os.pathsep.join(self.pythonpath)
        env["XDG_CACHE_HOME"] = str(self.root / ".cache")
        words = command.removesuffix(SHOW_STATUS)
        if words.startswith("ws-") and not set(words) & set("|;&$<>"):
            program, *rest = shlex.split(words.replace("\\\n", " "))
            status, screen = self.asked({"program": program, "words": rest, "env": env})
            screen += f"exit status {status}\n" if words != command else ""
        else:
            done = subprocess.run(
                ["sh", "-c", command],
                cwd=self.here,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            screen = done.stdout
        self.screen = f"{command}\n{screen}"
        assert "Traceback (most recent call last)" not in screen, f"{command}\n{screen}"
        shown = screen.replace(str(self.root), "/site").rstrip()
        shown = re.sub(r"(process \d+ on) \S+", r"\1 web1", shown)
        shown = re.sub(r"  on \S+ by [^(\n]*\(\w+", "  on web1 by Ann (deploy", shown)
        return f"{shown}\n" if shown else ""

    def asked(self, job: dict[str, Any]) -> tuple[int, str]:
        """Let the server run a command; return its exit status and what it printed."""
        if self.server is None:
            program = [sys.executable, "-W", "ignore", __file__, "--serve"]
            pipe = subprocess.PIPE
            self.server = subprocess.Popen(program, stdin=pipe, stdout=pipe, text=True)
        assert self.server.stdin is not None and self.server.stdout is not None
        self.server.stdin.write(json.dumps({**job, "cwd": str(self.here)}) + "\n")
        self.server.stdin.flush()
        status, screen = json.loads(self.server.stdout.readline())
        assert status >= 0, f"{job['words']} was ended by signal {-status}\n{screen}"
        return status, screen


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
        sys.exit()
    for name in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            urls = json.loads(os.environ.get("PAGE_URLS", "{}"))
            page = Page(Path(name), Path(folder).resolve(), urls)
            page.path.write_text(page.played(), encoding="utf-8")
