"""``redo`` and ``rebase``: an author's own revisions are written anew, or go behind others'."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa

from apps import Workshop
from runs import engine_of, execute, rows, table, tables
from websauna_migrate.errors import (
    LossRefused,
    MigrationError,
    RevisionFailed,
    TargetError,
    UsageError,
)

OFFER = """
from typing import Optional
from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Offer(Base):
    __tablename__ = "offers"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(40))
"""

PRICE = OFFER + "    price: Mapped[Optional[int]]\n"


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


def names(url: str, table_name: str) -> set[str]:
    return {one["name"] for one in sa.inspect(engine_of(url)).get_columns(table_name)}


def test_a_revision_is_redone(workshop: Workshop, database_url: str, tmp_path: Path) -> None:
    folder = workshop.package("fooapp", OFFER)
    ini = workshop.application("fooapp", tmp_path / "foo.ini", database_url)
    assert workshop.ws(ini, "revision", "--autogenerate", "-m", "Offers").status == 0
    assert workshop.ws(ini, "upgrade").status == 0
    versions = folder / "alembic" / "versions"
    (former,) = versions.glob("*.py")
    (folder / "models.py").write_text(PRICE)
    done = json.loads(workshop.ws(ini, "redo", "-m", "Offers with a price", "--json").out)
    (script,) = versions.glob("*.py")
    assert done["script"]["path"] == str(script) and script.name.endswith("_with_a_price.py")
    assert done["revision"] == former.name.split("_")[0]
    assert "price" in names(database_url, "offers")
    assert workshop.ws(ini, "check").status == 0
    # What has rows stays.
    execute(database_url, "INSERT INTO offers (id, title) VALUES (1, 'a'), (2, 'b')")
    (folder / "models.py").write_text(PRICE + "    stock: Mapped[Optional[int]]\n")
    before = script.read_text()
    refused = workshop.ws(ini, "redo")
    assert refused.status == 9 and 'drops table "offers": 2 rows' in refused.err
    assert script.read_text() == before
    assert rows(database_url, "SELECT id FROM offers ORDER BY id") == [(1,), (2,)]
    assert [*versions.glob("*.redo")] == []


def test_what_cannot_be_written_anew_is_as_it_was(workshop: Workshop, sqlite_url: str) -> None:
    workshop.package("fooapp", "import sqlalchemy as sa\nmetadata = sa.MetaData()", metadata=None)
    script = workshop.script("fooapp", "aa01", None, **table("a"))
    service = workshop.service(sqlite_url)
    service.upgrade()
    before = script.read_bytes()
    with pytest.raises(RevisionFailed, match=r"no revision any more.*fooapp downgrade base, and"):
        service.redo("again")
    assert script.read_bytes() == before
    assert "a" in tables(sqlite_url) and not service.current()[0].pending
    # As it is left where the process was killed: the revision before is not the newest one.
    aside = script.rename(script.with_name(script.name + ".redo"))
    workshop.script("fooapp", "aa00")
    with pytest.raises(RevisionFailed, match=r'before its end: rename "[^"]+\.redo" to'):
        workshop.service(sqlite_url).redo("again")
    aside.rename(script)


def test_a_script_that_cannot_stand_its_proof_is_as_it_was(
    workshop: Workshop, sqlite_url: str, tmp_path: Path
) -> None:
    folder = workshop.package("fooapp", OFFER)
    ini = workshop.application("fooapp", tmp_path / "foo.ini", sqlite_url)
    assert workshop.ws(ini, "revision", "--autogenerate", "-m", "Offers").status == 0
    assert workshop.ws(ini, "upgrade").status == 0
    execute(sqlite_url, "INSERT INTO offers VALUES (1, 'a')")
    (folder / "models.py").write_text(PRICE)
    assert workshop.ws(ini, "revision", "--autogenerate", "-m", "Price").status == 0
    assert workshop.ws(ini, "upgrade").status == 0
    (folder / "models.py").write_text(PRICE.replace("Optional[int]", "int"))
    failed = workshop.ws(ini, "redo")
    assert failed.status == 6 and "--keep" not in failed.err
    assert "price" in names(sqlite_url, "offers")
    command = failed.err.partition("first take it back: ws-alembic -c ")[2].split()[1:]
    assert workshop.ws(ini, *command[: command.index("downgrade") + 2]).status == 0


def test_a_script_that_others_have_is_not_redone(workshop: Workshop, sqlite_url: str) -> None:
    workshop.package("fooapp")
    script = workshop.script("fooapp", "aa01", None, **table("a"))
    service = workshop.service(sqlite_url)
    git(workshop.root, "init", "-q", "-b", "main")
    git(workshop.root, "add", str(script))
    git(workshop.root, "commit", "-q", "-m", "a")
    git(workshop.root, "tag", "v1")
    with pytest.raises(RevisionFailed, match="which is pushed or tagged"):
        service.redo("again")
    git(workshop.root, "checkout", "-q", "-b", "mine")
    with pytest.raises(RevisionFailed, match="in the branch main"):
        service.redo("again")
    # Not committed at all, but required by another package.
    workshop.script("fooapp", "aa02", "aa01")
    workshop.package("other")
    workshop.script("other", "bb01", requires=["fooapp@aa02"])
    with pytest.raises(RevisionFailed, match='"other@bb01" requires "aa02"'):
        workshop.service(sqlite_url).redo("again", packages="fooapp")
    with pytest.raises(UsageError, match="about one package"):
        workshop.service(sqlite_url).redo("again")


def two_heads(workshop: Workshop) -> dict[str, Path]:
    """Make two heads: ``theirs`` is in git's main branch, ``mine`` and ``mine2`` are not."""
    workshop.package("fooapp")
    scripts = {
        "base1": workshop.script("fooapp", "base1", None, **table("a")),
        "theirs": workshop.script("fooapp", "theirs", "base1", **table("b")),
    }
    git(workshop.root, "init", "-q", "-b", "main")
    git(workshop.root, "add", ".")
    git(workshop.root, "commit", "-q", "-m", "theirs")
    git(workshop.root, "checkout", "-q", "-b", "mine")
    scripts["mine1"] = workshop.script(
        "fooapp", "mine1", "base1", message="Mine\n\nRevises: base1\n", **table("c")
    )
    scripts["mine2"] = workshop.script("fooapp", "mine2", "mine1", **table("d"))
    # As an editor of another system writes it.
    text = scripts["mine1"].read_text().replace("\n", "\r\n")
    scripts["mine1"].write_bytes(b"\xef\xbb\xbf" + text.encode())
    return scripts


def test_two_heads_are_put_behind_each_other(
    workshop: Workshop, database_url: str, tmp_path: Path
) -> None:
    scripts = two_heads(workshop)
    ini = workshop.application("fooapp", tmp_path / "foo.ini", database_url)
    checked = workshop.ws(ini, "check")
    assert checked.status == 1
    assert "merge heads" in checked.out and "packages=fooapp rebase" in checked.out
    done = workshop.ws(ini, "rebase")
    assert done.status == 0, done.err
    assert f"{scripts['mine1']}: base1 -> theirs" in done.out
    assert b"down_revision = 'theirs'\r\n" in scripts["mine1"].read_bytes()
    assert scripts["mine1"].read_bytes().startswith(b'\xef\xbb\xbf"""')
    assert "Revises: theirs\n" in scripts["mine1"].read_text()
    assert "down_revision = 'mine1'" in scripts["mine2"].read_text()
    service = workshop.service(database_url)
    assert [one.id for one in service.heads()] == ["mine2"]
    ran = [one.revision for one in service.upgrade().steps]
    assert ran == ["base1", "theirs", "mine1", "mine2"]
    assert workshop.ws(ini, "check").status == 0
    assert "Nothing to do" in workshop.ws(ini, "rebase").out


def test_applied_ones_are_taken_down_first(workshop: Workshop, database_url: str) -> None:
    scripts = two_heads(workshop)
    service = workshop.service(database_url)
    service.upgrade("mine2")
    before = scripts["mine1"].read_text()
    with pytest.raises(MigrationError, match=r'"mine1", "mine2" would go behind "theirs"'):
        service.rebase()
    execute(database_url, "INSERT INTO d VALUES (1)")
    with pytest.raises(LossRefused, match='drops table "d": 1 row'):
        service.rebase(downgrade=True)
    assert scripts["mine1"].read_text() == before and "d" in tables(database_url)
    execute(database_url, "DELETE FROM d")
    done = service.rebase(downgrade=True)
    assert [one.revision for one in done.taken_back.steps] == ["mine2", "mine1"]
    assert not {"c", "d"} & tables(database_url)
    assert [one.revision for one in service.upgrade().steps] == ["theirs", "mine1", "mine2"]


def test_whose_revisions_move_has_to_be_clear(workshop: Workshop, sqlite_url: str) -> None:
    two_heads(workshop)
    workshop.script("fooapp", "third", "base1")
    service = workshop.service(sqlite_url)
    with pytest.raises(UsageError, match="ws-alembic -x packages=fooapp rebase third"):
        service.rebase()
    with pytest.raises(UsageError, match="-x packages=fooapp rebase third --onto mine2"):
        service.rebase("third")
    with pytest.raises(MigrationError, match="is in the branch main"):
        service.rebase("theirs", onto="mine2")
    service.rebase("third", onto="theirs")
    service.rebase("mine1")
    assert service.heads()[0].id == "mine2" and len(service.heads()) == 1


def test_a_revision_of_another_package_is_not_nothing_to_do(
    workshop: Workshop, sqlite_url: str
) -> None:
    two_heads(workshop)
    workshop.package("other")
    workshop.script("other", "o1")
    with pytest.raises(TargetError, match='"other" has no revision or branch label "mine1"'):
        workshop.service(sqlite_url).rebase("mine1", packages="other")


def test_the_frontier_follows(workshop: Workshop, sqlite_url: str) -> None:
    """What is moved comes after what other packages have by now, not after what needs it."""
    scripts = two_heads(workshop)
    workshop.package("other")
    workshop.script("other", "o1")
    workshop.script("other", "o2", "o1")
    workshop.script("other", "o3", "o2", requires=["fooapp@mine1"])
    text = scripts["mine1"].read_text(encoding="utf-8-sig")
    line = "down_revision = 'base1'"
    coded = "# coding: latin-1\n" + text.replace(line, line + "; written_against = {'other': 'o1'}")
    scripts["mine1"].write_text(coded.replace('"""Mine', '"""M\xfcine'), encoding="latin-1")
    service = workshop.service(sqlite_url)
    service.rebase(packages="fooapp")
    found = scripts["mine1"].read_text(encoding="latin-1")
    assert "down_revision = 'theirs'; written_against = {'other': 'o2'}\n" in found
    order = [step.revision.id for step in workshop.service(sqlite_url).plan().steps]
    assert order.index("o2") < order.index("mine1") < order.index("o3")


def test_branches_with_labels_are_no_fault(workshop: Workshop, sqlite_url: str) -> None:
    workshop.package("fooapp")
    workshop.script("fooapp", "aa01")
    workshop.script("fooapp", "bb01", labels="cart")
    service = workshop.service(sqlite_url)
    assert "heads" not in {one.kind for one in service.check().problems}
    workshop.script("fooapp", "cc01")
    assert "heads" in {one.kind for one in workshop.service(sqlite_url).check().problems}


def test_what_depends_on_theirs_goes_behind_it(workshop: Workshop, sqlite_url: str) -> None:
    scripts = two_heads(workshop)
    for name, down in (("mine1", "base1"), ("mine2", "mine1")):
        scripts[name] = workshop.script("fooapp", name, down, depends_on="theirs")
    assert workshop.service(sqlite_url).rebase().onto == "theirs"


def test_nothing_is_taken_back_for_a_rebase_that_cannot_be(
    workshop: Workshop, sqlite_url: str, tmp_path: Path
) -> None:
    scripts = two_heads(workshop)
    workshop.package("other")
    workshop.script("other", "o1", requires=["fooapp@mine1"])
    ini = workshop.application("fooapp", tmp_path / "foo.ini", sqlite_url)
    assert workshop.ws(ini, "-x", "packages=other", "upgrade").status == 0
    refused = workshop.ws(ini, "rebase", "--downgrade")
    assert "cascade" not in refused.err
    assert refused.err.endswith("-x packages=other downgrade base\n")
    later = workshop.script("fooapp", "later", "theirs", requires=["other@o1"])
    assert workshop.ws(ini, "-x", "packages=other", "downgrade", "base").status == 0
    before = scripts["mine1"].read_bytes()
    circle = workshop.ws(ini, "rebase", "mine1", "--onto", "later", "--downgrade")
    assert "in a circle" in circle.err and "c" in tables(sqlite_url)
    assert scripts["mine1"].read_bytes() == before
    later.unlink()
    assert workshop.ws(ini, "rebase", "--downgrade").status == 0
    assert "c" not in tables(sqlite_url)


def test_a_rename_is_redone(workshop: Workshop, database_url: str, tmp_path: Path) -> None:
    """The renames of the script are kept, and others are asked for by options."""
    folder = workshop.package("fooapp", PRICE)
    ini = workshop.application("fooapp", tmp_path / "foo.ini", database_url)
    write = ("revision", "--autogenerate", "-m", "Offers")
    assert workshop.ws(ini, *write).status == workshop.ws(ini, "upgrade").status == 0
    execute(database_url, "INSERT INTO offers (id, title, price) VALUES (1, 'a', 7)")
    cost = PRICE.replace("price", "cost")
    (folder / "models.py").write_text(cost)
    assert workshop.ws(ini, *write, "--rename-column", "offers.price:cost").status == 0
    assert workshop.ws(ini, "upgrade").status == 0
    (folder / "models.py").write_text(cost + "    stock: Mapped[Optional[int]]\n")
    done = workshop.ws(ini, "redo", "-m", "Costs")
    assert done.status == 0, done
    assert rows(database_url, "SELECT cost, stock FROM offers") == [(7, None)]
    # One that the script does not make is not guessed.
    deals = cost.replace('"offers"', '"deals"').replace("title", "headline")
    (folder / "models.py").write_text(deals)
    refused = workshop.ws(ini, "redo")
    assert refused.status == 1 and "fooapp redo --allow-drops" in refused.err, refused
    refused = workshop.ws(ini, "redo", "--rename-table", "offers:deals")
    assert refused.status == (9 if "mysql" in database_url else 6)
    assert (
        "run: ws-alembic" in refused.err and "--rename-column deals.title:headline" in refused.err
    )
    done = workshop.ws(
        ini, "redo", "--rename-table", "offers:deals", "--rename-column", "deals.title:headline"
    )
    assert done.status == 0, done
    assert rows(database_url, "SELECT headline, cost FROM deals") == [("a", 7)]


def test_the_remedy_of_a_rename_is_redo_itself(
    workshop: Workshop, sqlite_url: str, tmp_path: Path
) -> None:
    folder = workshop.package("fooapp", OFFER)
    ini = workshop.application("fooapp", tmp_path / "foo.ini", sqlite_url)
    write = ("revision", "--autogenerate", "-m", "Offers")
    assert workshop.ws(ini, *write).status == workshop.ws(ini, "upgrade").status == 0
    execute(sqlite_url, "INSERT INTO offers (id, title) VALUES (1, 'a')")
    (folder / "models.py").write_text(PRICE)
    assert workshop.ws(ini, *write).status == workshop.ws(ini, "upgrade").status == 0
    (folder / "models.py").write_text(PRICE.replace("title", "headline"))
    refused = workshop.ws(ini, "redo")
    command = "redo --rename-column offers.title:headline"
    assert refused.status == 6 and f"If it was renamed, run: ws-alembic -c {ini}" in refused.err
    assert f"{command}\n" in refused.err
    assert workshop.ws(ini, *command.split()).status == 0
    assert rows(sqlite_url, "SELECT headline FROM offers") == [("a",)]


def test_values_that_the_new_script_loses_stay(
    workshop: Workshop, database_url: str, tmp_path: Path
) -> None:
    folder = workshop.package("fooapp", PRICE)
    ini = workshop.application("fooapp", tmp_path / "foo.ini", database_url)
    write = ("revision", "--autogenerate", "-m", "Offers")
    assert workshop.ws(ini, *write).status == workshop.ws(ini, "upgrade").status == 0
    execute(database_url, "INSERT INTO offers (id, title, price) VALUES (1, 'a', 7)")
    stock = "    stock: Mapped[Optional[bool]]\n"
    (folder / "models.py").write_text(PRICE + stock)
    written = workshop.ws(ini, *write)
    assert written.status == workshop.ws(ini, "upgrade").status == 0
    script = Path(written.out.strip())
    before = script.read_bytes()
    (folder / "models.py").write_text(PRICE.replace("price", "cost") + stock)
    refused = workshop.ws(ini, "redo", "-m", "Other words")
    assert refused.status == 9 and "redo --rename-column offers.price:cost\n" in refused.err
    assert script.read_bytes() == before and len([*script.parent.glob("*.py*")]) == 2
    assert rows(database_url, "SELECT price, stock FROM offers") == [(7, None)]
    done = workshop.ws(ini, "redo", "--rename-column", "offers.price:cost")
    assert done.status == 0 and rows(database_url, "SELECT cost FROM offers") == [(7,)]
