"""The digest by which a squash says what it was proven against."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence

from websauna_migrate.planning.revisions import Revision
from websauna_migrate.revision_scripts.script_files import checksum, script_text

__all__ = ["digest_of", "proven_digest"]

#: The line with the digest.
PROVED = re.compile(r'^proved = "([^"]*)"\r?\n', re.MULTILINE)


def digest_of(squash: Revision, replaced: Sequence[Revision]) -> str:
    """Return the digest of a squash and of the scripts that it replaces, by their texts.

    :param replaced: in the order of ``replaces``
    """
    text = PROVED.sub("", script_text(squash.path))
    data = [[one.id, checksum(one.path)] for one in replaced]
    return "sha256:" + hashlib.sha256(json.dumps([text, data]).encode()).hexdigest()


def proven_digest(squash: Revision) -> str | None:
    """Return the digest that a squash has in its text; ``None`` if it has none."""
    found = PROVED.search(script_text(squash.path))
    return found[1] if found is not None else None
