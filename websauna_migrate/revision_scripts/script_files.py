"""The files of a script directory that may be revision scripts, and what tells if they changed."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import decode_source
from operator import attrgetter
from pathlib import Path

from websauna_migrate.planning.revisions import Revision
from websauna_migrate.planning.steps import Plan
from websauna_migrate.revision_scripts.script_error import ScriptError

#: Alembic's own rule for a file that is a revision script.
SCRIPT_NAME = re.compile(r"(?!\.\#|__init__).*\.py$")

#: Nanoseconds for which a file must have been left alone before what was read of it is kept. A file
#: system's clock has ticks, up to two seconds long: within one, a file may change once more and
#: look the same.
SETTLED_NS = 2_500_000_000

#: A file's time of change, of status change, size, and inode; ``None`` of one that cannot be read.
#: The time of change alone does not change whenever a file does: a copy, an archive or an image may
#: set it as it likes. The time of status change and the inode are the file system's own.
Stamp = list[int] | None

#: The files that may be revision scripts, in Alembic's order, each with its stamp. The paths are
#: absolute, without symbolic links.
ScriptFiles = dict[str, Stamp]


def is_settled(stamp: Stamp, now: int) -> bool:
    """Tell whether a file cannot change any more without another stamp.

    :param now: a moment before the file was read, in nanoseconds
    """
    return stamp is not None and max(stamp[:2]) < now - SETTLED_NS


def list_script_files(locations: Iterable[Path], *, recursive: bool = False) -> ScriptFiles:
    """Return the revision scripts in some folders, each real file once.

    :param locations: folders; one that is missing has no scripts
    :param recursive: look into the folders below as well
    """
    found: ScriptFiles = {}
    for location in locations:
        for folder in folders_of(os.path.realpath(location), recursive=recursive):
            add_folder(found, folder)
    return found


def add_folder(found: ScriptFiles, folder: str) -> None:
    """Add the scripts that stand in a folder, by name; a file that is there already is not."""
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=attrgetter("name"))
    for entry in ordered:
        name, path = entry.name, entry.path
        is_file = entry.is_file(follow_symlinks=False)
        if not is_file and entry.is_symlink():
            # Alembic sees the file that is meant, and its name.
            path = os.path.realpath(path)
            name = os.path.basename(path)  # noqa: PTH119
        if path in found or SCRIPT_NAME.match(name) is None:
            continue
        if not is_file and os.path.isdir(path):  # noqa: PTH112
            continue
        try:
            status = entry.stat()
        except OSError:
            found[path] = None
        else:
            found[path] = [status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino]


def folders_of(top: str, *, recursive: bool) -> Iterator[str]:
    """Yield a folder, and those below it."""
    if not recursive:
        if os.path.isdir(top):  # noqa: PTH112 - a Path would take longer than the question
            yield top
        return
    for root, folders, _ in os.walk(top):
        folders.sort()
        if not root.endswith("__pycache__"):
            yield root


def folder_times(folders: Iterable[Path]) -> tuple[int, ...]:
    """Return when a file was last made, removed or renamed in each folder, in nanoseconds.

    Of a folder that is not there it is 0.
    """
    times = []
    for folder in folders:
        try:
            times.append(os.stat(folder).st_mtime_ns)  # noqa: PTH116 - once a second, for hundreds
        except OSError:
            times.append(0)
    return tuple(times)


def read_script(path: str) -> bytes | None:
    """Return what is in a script's file; ``None`` if it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - for thousands of them
            return file.read()
    except OSError:
        return None


#: What stands for the text of a compiled script: its functions are somewhere else.
COMPILED = "from compiled import downgrade, upgrade\n"


def is_compiled(source: bytes) -> bool:
    """Return whether a file holds Python's bytecode, as scripts do by ``sourceless``.

    It begins with a number of two bytes, a line end and four bytes of flags.
    """
    return source[2:4] == b"\r\n" and b"\0" in source[4:8]


def text_of(source: bytes) -> str:
    """Return the text of a script, by the encoding that it says it has.

    :raises SyntaxError: if it says an encoding that there is not
    :raises UnicodeDecodeError: if it is not in that encoding
    """
    return COMPILED if is_compiled(source) else decode_source(source)


def script_text(path: str) -> str:
    """Return the text of a script, as :func:`.text_of` reads it."""
    return text_of(Path(path).read_bytes())


def readable_text(path: str) -> str:
    """Return the text of a script; empty if it cannot be read."""
    try:
        return script_text(path)
    except (OSError, SyntaxError, ValueError):
        return ""


def checksum(path: str) -> str:
    """Return the SHA-256 of a script's file, hexadecimal; empty if it cannot be read."""
    source = read_script(path)
    return "" if source is None else checksum_of(source)


def checksum_of(source: bytes) -> str:
    """Return the SHA-256 of what is in a script's file, hexadecimal."""
    return hashlib.sha256(source).hexdigest()


#: The line with the digest.
PROVED = re.compile(r'^proved = "([^"]*)"\r?\n', re.MULTILINE)


def digest_of(squash: Revision, replaced: Sequence[Revision]) -> str:
    """Return the digest of a squash and of the scripts that it replaces, by their texts.

    :param replaced: in the order of ``replaces``
    """
    text = PROVED.sub("", script_text(squash.path))
    data = [[one.id, checksum(one.path)] for one in replaced]
    return "sha256:" + hashlib.sha256(json.dumps([text, data]).encode()).hexdigest()


#: Of a squash whose command was ended before its proof.
UNPROVEN = " was not proven: the command that wrote it was ended"


def write_anew(squash: Revision, why: str) -> str:
    """Return what is wrong with a squash, and what to do.

    :param why: a clause whose subject is the squash
    """
    return (
        f'The squash "{squash.id}" of package "{squash.package}" ("{squash.path}"){why}. '
        f"Write it anew: remove it, and ws-alembic -x packages={squash.package} squash"
    )


def proven_digest(squash: Revision) -> str | None:
    """Return the digest that a squash has in its text; ``None`` if it has none."""
    found = PROVED.search(script_text(squash.path))
    return found[1] if found is not None else None


def refuse_unproven(plan: Plan) -> None:
    """Refuse a squash, to be applied or taken for it, whose command was ended before its proof.

    :raises ScriptError: naming it
    """
    adopted = [squash for one in plan.adopted for squash in one.squashes]
    for squash in [*adopted, *(step.revision for step in plan.steps if step.revision.replaces)]:
        if proven_digest(squash) == "":
            message = write_anew(squash, UNPROVEN)
            raise ScriptError("unproven", squash.path, message, package=squash.package)
