"""Revisions that are applied and that this checkout has no script for, and edited scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from apps import Workshop
from runs import engine_of, execute, rows, table, tables
from test_redo import git
from websauna_migrate.errors import HistoryContradicted, MigrationError

TEXTS = "SELECT revision FROM websauna_migrate_ledger WHERE script IS NOT NULL ORDER BY revision"


def two(workshop: Workshop) -> tuple[Path, Path]:
    workshop.package("fooapp")
    first = workshop.script("fooapp", "aa01", None, **table("a"))
    return first, workshop.script("fooapp", "aa02", "aa01", **table("b"))


def test_each_text_is_kept_once(workshop: Workshop, database_url: str) -> None:
    two(workshop)
    service = workshop.service(database_url)
    service.upgrade("aa01")
    # A ledger of the release before has no such column.
    execute(database_url, "ALTER TABLE websauna_migrate_ledger DROP COLUMN script")
    service.upgrade()
    service.downgrade("base")
    service.upgrade()
    assert rows(database_url, TEXTS) == [("aa01",), ("aa02",)]
    assert len(service.log()) == 4


def test_check_shows_how_an_edited_script_differs(workshop: Workshop, database_url: str) -> None:
    first, _ = two(workshop)
    service = workshop.service(database_url)
    service.upgrade()
    first.write_text(first.read_text().replace('op.drop_table("a")', 'op.drop_table("A")'))
    (found,) = (one for one in service.check().problems if one.kind == "script-changed")
    assert '\n  -    op.drop_table("a")\n  +    op.drop_table("A")' in found.message


def test_a_script_that_is_gone_is_taken_down_by_the_ledger(
    workshop: Workshop, transactional_database_url: str, tmp_path: Path
) -> None:
    url = transactional_database_url
    _, second = two(workshop)
    third = workshop.script("fooapp", "aa03", "aa02", **table("c"))
    ini = workshop.application("fooapp", tmp_path / "foo.ini", url)
    assert workshop.ws(ini, "upgrade").status == 0
    second.unlink()
    third.unlink()
    broken = workshop.ws(ini, "upgrade")
    assert broken.status == 1
    assert 'in the table "alembic_history_fooapp": neither this checkout nor' in broken.err
    assert "downgrade --from-ledger" in broken.err
    execute(url, "INSERT INTO c VALUES (1)")
    asked = workshop.ws(ini, "downgrade", "--from-ledger")
    assert asked.status == 2 and 'drops table "c": 1 row' in asked.err and "c" in tables(url)
    done = workshop.ws(ini, "downgrade", "--from-ledger", "--yes")
    assert done.status == 0 and "2 steps taken back" in done.out and "upgrade" not in done.out, done
    assert not {"b", "c"} & tables(url) and "a" in tables(url)
    assert workshop.ws(ini, "check").status == 0
    assert "Nothing to do" in workshop.ws(ini, "switch").out


def test_no_remedy_is_told_where_others_may_have_written_the_ledger(
    workshop: Workshop, mariadb_url: str, tmp_path: Path
) -> None:
    lost(workshop, mariadb_url)
    ini = workshop.application("fooapp", tmp_path / "foo.ini", mariadb_url)
    broken = workshop.ws(ini, "upgrade")
    assert "neither this checkout nor" in broken.err and "from-ledger" not in broken.err
    refused = workshop.ws(ini, "downgrade", "--from-ledger", "--yes")
    assert refused.status == 1 and "which this server does not tell" in refused.err


def test_further_down_than_what_is_gone(workshop: Workshop, sqlite_url: str) -> None:
    _, second = two(workshop)
    workshop.service(sqlite_url).upgrade()
    second.unlink()
    with engine_of(sqlite_url).connect() as connection:
        # SQLite lists a second database for it.
        connection.execute(sa.text("CREATE TEMP TABLE own (id int)"))
        connection.commit()
        service = workshop.service(sqlite_url)
        done = service.switch("base", from_ledger=True, connection=connection)
        connection.commit()
    assert done.run is not None
    assert [step.revision for step in done.run.steps] == ["aa02", "aa01"]
    assert tables(sqlite_url) == {"alembic_history_fooapp", "websauna_migrate_ledger"}


def test_another_branch_is_taken_down_by_git(
    workshop: Workshop, transactional_database_url: str, tmp_path: Path
) -> None:
    url, root = transactional_database_url, workshop.root
    workshop.package("fooapp")
    workshop.script("fooapp", "aa01", None, **table("a"))
    ini = workshop.application("fooapp", tmp_path / "foo.ini", url)
    git(root, "init", "-q", "-b", "main")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "a")
    git(root, "checkout", "-q", "-b", "feature")
    script = workshop.script("fooapp", "ff01", "aa01", **table("f"))
    script.rename(script.with_name("ff01_für jeden.py"))
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "f")
    assert workshop.ws(ini, "upgrade").status == 0
    # The texts in the database are not needed.
    execute(url, "UPDATE websauna_migrate_ledger SET script = NULL")
    git(root, "checkout", "-q", "main")
    checked = workshop.ws(ini, "check")
    assert "its branch is not checked out: branch feature" in checked.out
    assert '/ff01_für jeden.py"' in checked.out
    assert "git checkout feature" in checked.out and "fooapp switch" in checked.out
    assert "from git feature" in workshop.ws(ini, "switch", "--dry-run").out
    assert "f" in tables(url)
    assert workshop.ws(ini, "switch", "--yes").status == 0
    assert "f" not in tables(url)
    assert workshop.ws(ini, "check").status == 0


def test_a_deleted_script_is_named_with_its_commit(workshop: Workshop, sqlite_url: str) -> None:
    _, second = two(workshop)
    git(workshop.root, "init", "-q")
    git(workshop.root, "add", ".")
    git(workshop.root, "commit", "-q", "-m", "both")
    workshop.service(sqlite_url).upgrade()
    second.unlink()
    with pytest.raises(HistoryContradicted) as caught:
        workshop.service(sqlite_url).plan()
    words = str(caught.value)
    assert "was deleted, and that is not committed" in words
    command = next(line for line in words.splitlines() if "git checkout" in line)
    git(workshop.root, *command.split("git ")[1].split())
    assert not workshop.service(sqlite_url).plan().steps
    # A target, and a parent that is gone.
    workshop.service(sqlite_url).downgrade("aa01")
    second.unlink()
    with pytest.raises(MigrationError, match=r'"aa02": its script ".*" was deleted'):
        workshop.service(sqlite_url).plan("aa02")
    workshop.script("fooapp", "aa03", "aa02")
    with pytest.raises(MigrationError, match=r"(?s)no such revision.*To restore it: git checkout"):
        workshop.service(sqlite_url).heads()


def test_who_applied_it_is_told_of_each_step_of_a_run(
    workshop: Workshop, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBSAUNA_MIGRATE_BY", "Ann")
    service = lost(workshop, sqlite_url)
    with pytest.raises(HistoryContradicted, match=r"It was applied on .* UTC by Ann") as caught:
        service.plan()
    assert '"aa02"' in str(caught.value)


@pytest.mark.parametrize("source", ["git", "ledger"])
def test_a_restored_script_that_fails_is_named_by_its_origin(
    workshop: Workshop, sqlite_url: str, tmp_path: Path, source: str
) -> None:
    """Not by a file that is gone when the message is read."""
    workshop.package("fooapp")
    first = workshop.script("fooapp", "aa01", None, **table("a"))
    made = table("b")
    failing = 'op.drop_table("b")\nop.drop_table("never")'
    second = workshop.script("fooapp", "aa02", "aa01", made["upgrade"], failing)
    ini = workshop.application("fooapp", tmp_path / "foo.ini", sqlite_url)
    git(workshop.root, "init", "-q", "-b", "main")
    git(workshop.root, "add", str(first) if source == "ledger" else ".")
    git(workshop.root, "commit", "-q", "-m", "a")
    assert workshop.ws(ini, "upgrade").status == 0
    second.unlink()
    origin = "git main" if source == "git" else "the ledger"
    execute(sqlite_url, "INSERT INTO b VALUES (1)")
    words = ["switch"] if source == "git" else ["downgrade", "--from-ledger"]
    looked = workshop.ws(ini, *words, "--dry-run")
    assert f'script of "aa02" from {origin}, line' in looked.out
    failed = workshop.ws(ini, *words, "--yes")
    assert failed.status == 6
    assert f'failed (script of "aa02" from {origin}, line ' in failed.err
    assert "restored_" not in looked.out + failed.err + failed.out


def test_what_is_pending_after_a_switch_is_told(
    workshop: Workshop, sqlite_url: str, tmp_path: Path
) -> None:
    lost(workshop, sqlite_url)
    ini = workshop.application("fooapp", tmp_path / "foo.ini", sqlite_url)
    workshop.script("fooapp", "aa03", "aa01", **table("c"))
    done = workshop.ws(ini, "downgrade", "--from-ledger", "--yes")
    assert done.out.endswith(f"Next: ws-alembic -c {ini} -x packages=fooapp upgrade\n")
    assert "Next" not in workshop.ws(ini, "switch").out


def test_an_installed_package_may_be_older_than_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sqlite_url: str
) -> None:
    (tmp_path / "site-packages").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    installed = Workshop(tmp_path / "site-packages")
    try:
        service = lost(installed, sqlite_url)
        with pytest.raises(HistoryContradicted, match=r"(?s)older than the database.*pip install"):
            service.plan()
    finally:
        installed.forget()


def lost(workshop: Workshop, url: str) -> Any:
    """Apply two revisions, and lose the script of the second."""
    _, second = two(workshop)
    workshop.service(url).upgrade()
    second.unlink()
    return workshop.service(url)


def test_a_text_with_another_checksum_is_not_run(
    workshop: Workshop, transactional_database_url: str
) -> None:
    url = transactional_database_url
    service = lost(workshop, url)
    where = "(SELECT x FROM (SELECT max(script) AS x FROM websauna_migrate_ledger WHERE revision"
    execute(
        url,
        f"UPDATE websauna_migrate_ledger SET script = {where} = 'aa01') AS y) "
        "WHERE revision = 'aa02'",
    )
    with pytest.raises(MigrationError, match="neither in git as it was applied nor") as caught:
        service.switch(from_ledger=True)
    assert "take back by hand" in str(caught.value) and "from-ledger" not in str(caught.value)
    assert "b" in tables(url)


def test_a_text_that_others_may_have_written_is_not_run(
    workshop: Workshop, database_url: str, tmp_path: Path
) -> None:
    service = lost(workshop, database_url)
    if database_url.startswith("postgresql"):
        execute(database_url, "GRANT UPDATE (script) ON websauna_migrate_ledger TO PUBLIC")
        with pytest.raises(MigrationError, match=r"may be written by PUBLIC\..*: REVOKE"):
            service.switch(from_ledger=True)
        execute(
            database_url,
            "REVOKE UPDATE (script) ON websauna_migrate_ledger FROM PUBLIC",
            "GRANT INSERT ON websauna_migrate_ledger TO PUBLIC",
        )
    elif database_url.startswith("sqlite"):
        (tmp_path / "database.sqlite").chmod(0o666)
    with pytest.raises(MigrationError, match="its table may be written by"):
        service.switch(from_ledger=True)
    assert "b" in tables(database_url)


def test_two_packages_whose_lost_scripts_require_each_other(
    workshop: Workshop, transactional_database_url: str, tmp_path: Path
) -> None:
    url = transactional_database_url
    workshop.package("fooapp")
    workshop.package("other")
    gone = [
        workshop.script("fooapp", "aa01", None, **table("a")),
        workshop.script("other", "oo01", None, **table("o"), requires=["fooapp@aa01"]),
        workshop.script("fooapp", "aa02", "aa01", **table("b"), requires=["other@oo01"]),
    ]
    ini = workshop.application("fooapp", tmp_path / "foo.ini", url)
    assert workshop.ws(ini, "-x", "packages=all", "upgrade").status == 0
    for path in gone:
        path.unlink()
    refused = workshop.ws(ini, "downgrade", "--from-ledger", "--yes")
    assert '"other@oo01"' in refused.err and "--cascade" in refused.err
    assert {"a", "o", "b"} <= tables(url)
    words = ("downgrade", "--from-ledger", "--yes", "--cascade", "--atomic")
    assert workshop.ws(ini, *words).status == 0
    assert not {"a", "o", "b"} & tables(url)


def test_a_text_that_needs_what_is_gone_too(workshop: Workshop, sqlite_url: str) -> None:
    _, second = two(workshop)
    (workshop.root / "fooapp" / "words.py").write_text("")
    second.write_text("from fooapp import words\n" + second.read_text())
    workshop.service(sqlite_url).upgrade()
    second.unlink()
    (workshop.root / "fooapp" / "words.py").unlink()
    workshop.forget()
    with pytest.raises(MigrationError, match=r'"aa02" .*\(ledger\) needs what is not here: it rai'):
        workshop.service(sqlite_url).switch(from_ledger=True)
    assert "b" in tables(sqlite_url)


def test_tables_do_not_prove_that_a_lost_script_did_not_run(
    workshop: Workshop, database_url: str, tmp_path: Path
) -> None:
    """Its table is of no script by now, and may not be forgotten by a stamp."""
    lost(workshop, database_url)
    ini = workshop.application("fooapp", tmp_path / "foo.ini", database_url)
    located = workshop.ws(ini, "locate")
    assert located.status == 8 and "the database is ahead" in located.out
    assert "stamp" not in located.out
    refused = workshop.ws(ini, "stamp", "--verified")
    assert refused.status == 8 and "fooapp@aa02 is applied, which no script defines" in refused.err
    execute(database_url, "DROP TABLE b")
    assert refused.err.count("packages=fooapp stamp --verified aa01") == 1
    assert workshop.ws(ini, "stamp", "--verified", "aa01").out == "fooapp  aa02 -> aa01\n"
    assert workshop.ws(ini, "check").status == 0
    # A row of which no run knows, and nothing that it may have made.
    execute(database_url, "UPDATE alembic_history_fooapp SET version_num = 'zz99'")
    assert "packages=fooapp stamp --verified" in workshop.ws(ini, "check").out
    assert workshop.ws(ini, "stamp", "--verified").out == "fooapp  zz99 -> aa01\n"
