"""Names of scratch places, which say which process of which host made them, and when."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import socket
import time
from dataclasses import dataclass

PREFIX = "websauna_migrate_scratch_"

FORM = re.compile(PREFIX + r"([0-9a-f]{8})_(\d+)_(\d+)_(\d+)")

#: For how long a place may be without a sign of its maker's life, in seconds: it is just starting.
GRACE_S = 120

_numbers = itertools.count(1)


def this_host() -> str:
    """Return what stands for this host in a name: short, and without characters to quote."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def new_name() -> str:
    """Return a name that no other place has, of at most 63 characters."""
    return f"{PREFIX}{this_host()}_{os.getpid()}_{int(time.time())}_{next(_numbers)}"


@dataclass(frozen=True, slots=True)
class ScratchName:
    """What a name says of its maker."""

    name: str
    host: str
    process: int
    made: int

    @classmethod
    def parse(cls, name: str) -> ScratchName | None:
        """Return what a name says, ``None`` if it is not that of a scratch place."""
        found = FORM.fullmatch(name)
        return cls(name, found[1], int(found[2]), int(found[3])) if found else None

    @property
    def maker_is_gone(self) -> bool:
        """True if the maker was a process of this host that does not run any more."""
        if self.host != this_host():
            return False
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False

    @property
    def is_young(self) -> bool:
        """True if its maker may not have given a sign of life yet."""
        return time.time() - self.made < GRACE_S
