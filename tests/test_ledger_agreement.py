"""The history tables and the ledger agree, or a run says so before it changes anything."""

from __future__ import annotations

import re
from typing import Any

import pytest

from apps import Workshop
from runs import execute, ledger, rows, steps
from websauna_migrate.errors import HistoryContradicted

ADD = 'op.execute("UPDATE account SET amount = amount + 50")'

TAKE = 'op.execute("UPDATE account SET amount = amount - 50")'

MAKE = """
op.create_table("account", sa.Column("amount", sa.Integer))
op.execute("INSERT INTO account VALUES (100)")
"""


@pytest.fixture
def bank(workshop: Workshop) -> Workshop:
    workshop.package("bank", None)
    workshop.script("bank", "b1", None, MAKE, 'op.drop_table("account")')
    workshop.script("bank", "b2", "b1", ADD, TAKE)
    workshop.script("bank", "b3", "b2", ADD, TAKE)
    return workshop


def amount(url: str) -> int:
    ((found,),) = rows(url, "SELECT amount FROM account")
    return int(found)


def set_row(url: str, row: str) -> None:
    execute(url, f"UPDATE alembic_history_bank SET version_num = '{row}'")


def remedies(error: Any) -> list[list[str]]:
    """Return the revisions of the stamps that a message names."""
    commands = re.findall(r"`ws-alembic -x packages=bank stamp ([^`]*)`", str(error))
    return [words.split() for words in commands]


def test_a_row_that_was_set_back_by_hand(bank: Workshop, database_url: str) -> None:
    service = bank.service(database_url)
    service.upgrade()
    assert amount(database_url) == 200
    set_row(database_url, "b1")
    before = ledger(database_url)
    folder = bank.root / "bank" / "alembic" / "versions"
    for way in ({}, {"revision": "b2"}):
        with pytest.raises(HistoryContradicted, match="contradict each other") as info:
            service.upgrade(**way)
    assert str(info.value) == (
        "The history and the ledger contradict each other, and nothing was run:\n"
        f'  "bank@b2" ("{folder}/b2.py") would be applied again: the ledger says that it is '
        "applied, the history table that it is not\n"
        'If the schema of "bank" is as the ledger says, record that with `ws-alembic -x '
        "packages=bank stamp b2`; if it is as the history table says, with `ws-alembic -x "
        "packages=bank stamp b1`. Then run the command again."
    )
    assert (amount(database_url), ledger(database_url)) == (200, before)


@pytest.mark.parametrize(("choice", "expected", "run"), [(0, 200, []), (1, 300, ["b2", "b3"])])
def test_both_remedies_work(
    bank: Workshop, database_url: str, choice: int, expected: int, run: list[str]
) -> None:
    service = bank.service(database_url)
    service.upgrade()
    set_row(database_url, "b1")
    with pytest.raises(HistoryContradicted, match="contradict each other") as info:
        service.upgrade()
    service.stamp(remedies(info.value)[choice], packages="bank")
    assert steps(service.upgrade()) == [f"bank@{one}" for one in run]
    assert amount(database_url) == expected


def test_a_row_that_was_put_there_by_hand(bank: Workshop, database_url: str) -> None:
    service = bank.service(database_url)
    service.upgrade()
    service.downgrade("b2")
    assert amount(database_url) == 150
    set_row(database_url, "b3")
    with pytest.raises(HistoryContradicted, match="would be taken back again") as info:
        service.downgrade("b1")
    assert amount(database_url) == 150
    service.stamp(remedies(info.value)[0], packages="bank")
    assert steps(service.downgrade("b1")) == ["bank@b2"]
    assert amount(database_url) == 100


def test_up_and_down_and_up_again_is_no_contradiction(bank: Workshop, database_url: str) -> None:
    service = bank.service(database_url)
    for _ in range(3):
        service.upgrade()
        service.downgrade("base")
    service.upgrade()
    service.stamp("b1", packages="bank")
    assert steps(service.upgrade()) == ["bank@b2", "bank@b3"]


def test_a_database_from_before_the_ledger(bank: Workshop, database_url: str) -> None:
    """And one that was restored without it."""
    service = bank.service(database_url)
    service.upgrade("b2")
    execute(database_url, "DROP TABLE websauna_migrate_ledger")
    set_row(database_url, "b1")
    assert steps(service.upgrade()) == ["bank@b2", "bank@b3"]


def test_a_forgotten_history(bank: Workshop, sqlite_url: str) -> None:
    """The table is gone, the schema is there."""
    service = bank.service(sqlite_url)
    service.upgrade()
    execute(sqlite_url, "DROP TABLE alembic_history_bank")
    with pytest.raises(HistoryContradicted, match="contradict each other") as info:
        service.upgrade()
    assert remedies(info.value) == [["b3"], ["base"]]
    service.stamp("b3", packages="bank")
    assert service.upgrade().steps == ()


def test_a_stamp_is_written_down(bank: Workshop, transactional_database_url: str) -> None:
    url = transactional_database_url
    service = bank.service(url)
    service.stamp("b2")
    assert ledger(url) == [("bank", "b2", "stamp", "done")]
    service.stamp("base")
    assert ledger(url)[1:] == [("bank", "base", "stamp", "done")]
    service.upgrade("b1")
    # Also where the history table has the row already.
    service.stamp("b1")
    assert [row[2] for row in ledger(url)] == ["stamp", "stamp", "upgrade", "stamp"]
    report = service.check()
    assert {problem.kind for problem in report.problems} == {"pending"}


def test_what_a_stamp_says_counts(bank: Workshop, sqlite_url: str) -> None:
    service = bank.service(sqlite_url)
    service.upgrade("b1")
    service.stamp("b3")
    set_row(sqlite_url, "b1")
    with pytest.raises(HistoryContradicted, match='"bank@b3"'):
        service.upgrade()
