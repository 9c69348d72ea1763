"""The collector of cycles: as it was after a command, and out of the way at the program's end."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from websauna_migrate.cli.collecting import SELDOM, collect_from_here, collecting_seldom

#: An object in a cycle, which tells when it is finalized.
PROGRAM = """
import atexit
class One:
    def __del__(self):
        print("finalized")
{statement}
one = One()
one.self = one
del one
atexit.register(print, "end")
"""


def test_the_collector_is_as_it_was_afterwards() -> None:
    before = gc.get_threshold()
    with pytest.raises(KeyError), collecting_seldom():
        assert not gc.isenabled()
        collect_from_here()
        assert gc.isenabled()
        assert gc.get_threshold() == SELDOM
        raise KeyError
    assert gc.isenabled()
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


@pytest.mark.parametrize("given", [(0, 10, 10), (500_000, 5, 5)])
def test_a_collector_that_was_set_is_left_alone(given: tuple[int, int, int]) -> None:
    before = gc.get_threshold()
    try:
        gc.set_threshold(*given)
        with collecting_seldom():
            collect_from_here()
            assert gc.get_threshold() == given
            assert gc.get_freeze_count() == 0
        assert gc.get_threshold() == given
    finally:
        gc.set_threshold(*before)


def test_a_collector_that_was_turned_off_stays_off() -> None:
    gc.disable()
    try:
        with collecting_seldom():
            collect_from_here()
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("", "end\nfinalized\n"),
        (
            "from websauna_migrate.cli.collecting import keep_until_exit\n"
            "keep_until_exit()\nkeep_until_exit()",
            "end\n",
        ),
    ],
)
def test_cycles_are_left_to_the_operating_system(statement: str, said: str) -> None:
    program = PROGRAM.format(statement=statement)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == said
