"""Pages of the documentation whose commands are run, and whose screens are real.

``python tests/documents.py docs/tutorial.rst`` writes the screens of a page anew. A page that needs
databases has them by the variable ``PAGE_URLS``, an object of JSON: what the page says, and a URL.

A console block is typed line by line in one folder; ``cd`` holds for what follows. A block with a
``:caption:`` is a file: the whole of it; or its end, where the caption goes on with "at the end";
or what comes in place of its functions, where it goes on with "from def upgrade() on". A ``*`` in
the caption stands for what an identifier is not known of.

Comments, which no reader of the site sees, say what else a page needs:

``.. played behind: PAGE``
    it goes on where another page ended
``.. played in: example``
    commands are typed beside the example application, which is migrated, and ``cd team`` leads to
    another one. Where such a page shows nothing below a command, only its exit status counts.
``.. typed before: COMMAND``
    what a shell does at this place
``.. not typed: REASON``
    the block below it stays as it is
"""

from __future__ import annotations

import atexit
import functools
import itertools
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

from by_fork import programs_by_fork

__all__ = ["BEHIND", "BLOCK", "PLAYED_IN", "Page", "normal"]

#: A block, also one within a list; or a command that no reader sees.
BLOCK = re.compile(
    r"(?P<excuse>^ *\.\. not typed: [^\n]+\n\n)?"
    r"^(?P<indent> *)\.\. code-block:: (?P<language>\w+)\n"
    r"(?:(?P=indent)   :caption: (?P<caption>[^\n]*)\n)?\n"
    r"(?P<body>(?:(?P=indent)    [^\n]*\n|\n)+)"
    r"|^ *\.\. typed before: (?P<hidden>[^\n]+)$",
    re.M,
)

#: A command in a block, and what is shown below it.
COMMAND = re.compile(r"^\$ ((?:[^\n]*\\\n)*[^\n]*)\n((?:(?!\$ )[^\n]*\n)*)", re.M)

#: Which page a page goes on from, and what it is played in.
BEHIND = re.compile(r"^\.\. played behind: ([\w-]+)$", re.M)
PLAYED_IN = re.compile(r"^\.\. played in: example$", re.M)


def normal(text: str) -> str:
    """Return a text without what differs from run to run: identifiers, times and places."""
    text = re.sub(r"(?<![0-9a-z])[0-9a-f]{12}(?![0-9a-z])", "REVISION", text)
    text = re.sub(r"(?<![0-9a-z])[0-9a-f]{32}(?![0-9a-z])", "RUN", text)
    text = re.sub(r"(?<![0-9a-z])[0-9a-f]{8}(?![0-9a-z])", "RUN", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?", "MOMENT", text)
    text = re.sub(r" on \S+ by [^\n]*", " on HOST by SOMEBODY", text)
    text = re.sub(r"process \d+", "process N", text)
    text = re.sub(r"commit [0-9a-f]{7,}", "commit COMMIT", text)
    text = re.sub(r"SHA-256 [0-9a-f]+", "SHA-256 DIGEST", text)
    return re.sub(r"\d+\.\d+ s", "TIME", text)


#: What a page types to show how a command ended.
SHOW_STATUS = '; echo "exit status $?"'


def serve() -> None:
    """Run the commands that standard input names, each in a fork of its own.

    Importing what every command needs takes longer than most commands do.
    """
    import alembic.config
    import setuptools

    from fork_server import import_everything
    from websauna_migrate.cli import ws_alembic, ws_create_table, ws_db_shell, ws_dump_db

    import_everything("websauna_migrate")
    mains = {
        "setup.py": lambda words: setuptools.setup(script_args=words) and None,
        "alembic": alembic.config.main,
        "ws-alembic": ws_alembic.main,
        "ws-create-table": ws_create_table.main,
        "ws-db-shell": ws_db_shell.main,
        "ws-dump-db": ws_dump_db.main,
    }
    for line in sys.stdin:
        job = json.loads(line)
        with tempfile.TemporaryFile("w+") as screen:
            if (child := os.fork()) == 0:
                main = mains[job["program"]]
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
        status = int(main(job["words"]) or 0)
    except SystemExit as exc:
        status = int(exc.code or 0)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status


class Server:
    """A process that runs commands in forks of its own; it starts with the first one."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def run(self, job: dict[str, Any]) -> tuple[int, str]:
        """Run a command; return its exit status and what it printed."""
        if self.process is None:
            program = [sys.executable, "-W", "ignore", __file__, "--serve"]
            pipe = subprocess.PIPE
            self.process = subprocess.Popen(program, stdin=pipe, stdout=pipe, text=True)
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        status, screen = json.loads(self.process.stdout.readline())
        assert status >= 0, f"{job['words']} was ended by signal {-status}\n{screen}"
        return status, screen

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.communicate()


@functools.cache
def shared_server() -> Server:
    """Return the server of all pages that this process plays."""
    server = Server()
    atexit.register(server.close)
    return server


class Page:
    """A page of the documentation, and the folder in which it is played.

    :ivar path: of the page
    :ivar root: the folder
    :ivar before: the page from which it goes on; once it was played, with what was printed
    :ivar in_example: whether it is played in the example, and need not show every screen
    :ivar urls: real database URLs, each by what the page has in its place
    :ivar programs: a folder with programs of a database
    """

    def __init__(
        self,
        path: Path,
        root: Path,
        urls: Mapping[str, str] | None = None,
    ) -> None:
        self.path = path
        self.urls = urls or {}
        self.programs = ""
        self.text = path.read_text(encoding="utf-8")
        behind = BEHIND.search(self.text)
        before = path.with_name(f"{behind[1]}.rst") if behind else None
        self.before = before.read_text(encoding="utf-8") if before else None
        self.root = root
        self.in_example = PLAYED_IN.search(self.text) is not None
        self.here = root
        self.pythonpath: list[str] = []
        self.server = shared_server()
        self.screen = ""

    def played(self) -> str:
        """Type every command, and return the page with what was printed."""
        if self.before is not None:
            self.before = BLOCK.sub(self.block, self.before)
        return BLOCK.sub(self.block, self.text)

    def block(self, match: re.Match[str]) -> str:
        """Write the file of a block, or type its commands."""
        if match["hidden"]:
            self.prepare(match["hidden"])
            return match[0]
        if match["excuse"]:
            return match[0]
        body = textwrap.dedent(match["body"])
        if match["caption"]:
            self.write(match["caption"], body)
        if match["language"] != "console" or match["caption"]:
            return match[0]
        head = match[0][: match.start("body") - match.start()]
        typed = "".join(self.typed(body))
        return f"{head}{textwrap.indent(typed, match['indent'] + '    ')}\n"

    def prepare(self, command: str) -> None:
        """Do what a reader has done before, or what has happened to a site."""
        if command.startswith("cd "):
            self.here = (self.here / command[3:]).resolve()
            return
        status, screen = self.run(command)
        assert status == 0, f"{command}: {status}\n{screen}"

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
        for command, shown in COMMAND.findall(body):
            yield f"$ {command}\n"
            if command.startswith("cd "):
                self.here = (self.here / command[3:]).resolve()
            elif command.startswith("pip install "):
                self.install(shlex.split(command, comments=True)[2:])
            else:
                status, screen = self.run(command)
                if shown.strip() or not self.in_example:
                    yield screen
                else:
                    assert status == 0, f"{self.path.name}: {command}: {status}\n{screen}"

    def install(self, words: list[str]) -> None:
        """Make projects importable, with their entry points, as ``pip install -e`` does.

        What comes from an index is there already.
        """
        for option, word in itertools.pairwise(words):
            if option != "-e":
                continue
            project = self.here / word.partition("[")[0]
            job = {"program": "setup.py", "words": ["-q", "egg_info"]}
            status, screen = self.server.run(
                {**job, "env": self.environment(), "cwd": str(project)}
            )
            assert status == 0, screen
            source = project / "src"
            self.pythonpath.append(str(source if source.is_dir() else project))

    def environment(self) -> dict[str, str]:
        """Return the variables of a command."""
        env = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        scripts = str(Path(sys.executable).parent)
        env["PATH"] = os.pathsep.join([scripts, *filter(None, [self.programs]), env["PATH"]])
        env["PYTHONPATH"] = os.pathsep.join(self.pythonpath)
        env["XDG_CACHE_HOME"] = str(self.root / ".cache")
        return env

    def run(self, command: str) -> tuple[int, str]:
        """Run a command; return its exit status and what a terminal would show."""
        env = self.environment()
        words = command.removesuffix(SHOW_STATUS)
        if words.startswith(("ws-", "alembic ")) and not set(words) & set("|;&$<>"):
            program, *rest = shlex.split(words.replace("\\\n", " "), comments=True)
            job = {"program": program, "words": rest, "env": env, "cwd": str(self.here)}
            status, screen = self.server.run(job)
            screen += f"exit status {status}\n" if words != command else ""
        else:
            if "ws-" in command:
                ours = programs_by_fork(self.root.with_name("programs"))
                env["PATH"] = os.pathsep.join([ours, env["PATH"]])
            done = subprocess.run(
                ["sh", "-c", command],
                cwd=self.here,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            status, screen = done.returncode, done.stdout
        self.screen = f"{command}\n{screen}"
        assert "Traceback (most recent call last)" not in screen, f"{command}\n{screen}"
        shown = screen.replace(str(self.root), "/site").rstrip()
        shown = re.sub(r"(process \d+ on) \S+", r"\1 web1", shown)
        shown = re.sub(r"  on \S+ by [^(\n]*\(\w+", "  on web1 by Ann (deploy", shown)
        shown = re.sub(r"( UTC by )[^\n]* on \S+\.$", r"\1Ann (deploy) on web1.", shown, flags=re.M)
        return status, f"{shown}\n" if shown else ""


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
        sys.exit()
    from example_sites import make_example, paths_of

    for name in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            urls = json.loads(os.environ.get("PAGE_URLS", "{}"))
            page = Page(Path(name), Path(folder).resolve(), urls)
            if page.in_example:
                make_example(page.root)
                page.pythonpath = paths_of(page.root)
                page.prepare("ws-alembic -q -x packages=all upgrade")
            page.path.write_text(page.played(), encoding="utf-8")
