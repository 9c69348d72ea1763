"""The command line of a script that starts a client program: the INI file, then that program's."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

__all__ = ["split_arguments"]


def split_arguments(
    argv: Sequence[str], prog: str, program: str, *, description: str, epilog: str
) -> tuple[str, Sequence[str]]:
    """Return the INI file and the arguments for the client program.

    :param argv: the arguments of the process, without its name
    :param prog: what the console script is called
    :param program: what kind of program it starts, ``dump``
    :raises SystemExit: with 0 behind ``--help``, with 2 if there is no INI file
    """
    parser = argparse.ArgumentParser(
        prog=prog,
        usage=f"{prog} [-h] INI [arguments for the {program} program]",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("ini", metavar="INI", help="the application's INI file, or a plaster URI")
    # Whatever follows the INI is the program's, also what argparse would take for its own.
    return parser.parse_args(argv[:1]).ini, argv[1:]
