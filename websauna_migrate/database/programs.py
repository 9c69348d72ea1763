"""Programs of other projects that are installed on the machine."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path


def find_program(names: Sequence[str]) -> str | None:
    """Return the path of the first program that is installed.

    Looked up on ``PATH``, and beside Python, since a virtual environment need not be activated.
    """
    path = os.environ.get("PATH", os.defpath) + os.pathsep + str(Path(sys.executable).parent)
    return next((found for name in names if (found := shutil.which(name, path=path))), None)
