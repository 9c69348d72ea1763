"""Packages that share one version table under plain Alembic, and name each other by depends_on."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import alembic.config
import pytest

from apps import Workshop
from runs import rows, steps, table, tables
from websauna_migrate.errors import DowngradeRefused, HistoryContradicted, HistoryError, UsageError

ENV = """
from alembic import context
from sqlalchemy import create_engine

with create_engine(context.config.get_main_option("sqlalchemy.url")).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""

PACKAGES = ("aaa", "core", "zzz")


@pytest.fixture
def shared(workshop: Workshop) -> Workshop:
    """``aaa`` and ``zzz`` depend on ``core``, ``core`` in turn on ``zzz``; all have a label."""
    for name in PACKAGES:
        workshop.package(name)
    workshop.script("core", "c1", None, **table("core1"), labels=("core",))
    workshop.script("core", "c2", "c1", **table("core2"), depends_on="z1")
    workshop.script("aaa", "a1", None, **table("aaa1"), labels=("aaa",), depends_on="core")
    workshop.script("aaa", "a2", "a1", **table("aaa2"), depends_on=("c2", "z1"))
    workshop.script("zzz", "z1", None, **table("zzz1"), labels=("zzz",))
    workshop.script("zzz", "z2", "z1", **table("zzz2"), depends_on="")
    return workshop


def plain(workshop: Workshop, url: str, *words: str) -> None:
    """Run Alembic on the scripts of all packages, with one version table."""
    folder = workshop.root / "plain"
    (folder / "versions").mkdir(parents=True, exist_ok=True)
    (folder / "env.py").write_text(ENV)
    found = [workshop.root / name / "alembic" for name in PACKAGES]
    places = [one / "versions" if (one / "versions").is_dir() else one for one in found]
    lines = "".join(f"\n  {one}" for one in places)
    ini = folder / "alembic.ini"
    ini.write_text(
        f"[alembic]\nscript_location = {folder}\npath_separator = newline\n"
        f"version_locations ={lines}\nsqlalchemy.url = {url.replace('%', '%%')}\n"
    )
    with contextlib.redirect_stderr(io.StringIO()):
        alembic.config.main(["-c", str(ini), *words])


def shared_rows(url: str) -> list[str]:
    return [row for (row,) in rows(url, "SELECT version_num FROM alembic_version ORDER BY 1")]


def made(url: str) -> set[str]:
    return {one for one in tables(url) if one[:3] in ("aaa", "cor", "zzz")}


def test_they_run_in_the_order_that_depends_on_says(shared: Workshop, database_url: str) -> None:
    service = shared.service(database_url)
    assert steps(service.upgrade("a1", packages="aaa")) == ["core@c1", "aaa@a1"]
    assert steps(service.upgrade()) == ["zzz@z1", "core@c2", "aaa@a2", "zzz@z2"]
    assert service.check().ok
    with pytest.raises(DowngradeRefused, match=r'"aaa@a2" .*: requires core c2, which goes'):
        service.downgrade("c1", packages="core")
    done = service.downgrade("c1", packages="core", cascade=True)
    assert steps(done) == ["aaa@a2", "core@c2"]
    service.downgrade("base", cascade=True)
    assert not made(database_url)


def test_each_gets_its_part_of_the_table(shared: Workshop, database_url: str) -> None:
    plain(shared, database_url, "upgrade", "heads")
    # Alembic keeps no row of what another one depends on.
    before = shared_rows(database_url)
    assert before == ["a2", "z2"]
    service = shared.service(database_url)
    assert made(database_url) == {f"{name}{n}" for name in ("aaa", "core", "zzz") for n in (1, 2)}
    adopted = service.adopt()
    assert not adopted.problems and not adopted.notes
    assert "core: the table alembic_version has what depends on it, so it is at c2" in (
        adopted.actions
    )
    found = {one.package: one.rows for one in service.current()}
    assert found == {"aaa": ("a2",), "core": ("c2",), "zzz": ("z2",)}
    assert service.check().ok
    assert steps(service.upgrade()) == []
    service.adopt(undo=True)
    assert shared_rows(database_url) == before
    plain(shared, database_url, "downgrade", "aaa@base")
    assert made(database_url) == {"core1", "core2", "zzz1", "zzz2"}


def test_part_of_the_way(shared: Workshop, database_url: str) -> None:
    plain(shared, database_url, "upgrade", "a1")
    assert shared_rows(database_url) == ["a1"]
    service = shared.service(database_url)
    service.adopt()
    assert steps(service.upgrade()) == ["zzz@z1", "core@c2", "aaa@a2", "zzz@z2"]


@pytest.mark.parametrize("package", ["aaa", "core"])
def test_nothing_runs_again(shared: Workshop, database_url: str, package: str) -> None:
    plain(shared, database_url, "upgrade", "a1")
    service = shared.service(database_url)
    with pytest.raises(HistoryContradicted) as caught:
        service.upgrade(packages=package)
    assert str(caught.value) == (
        'The table "alembic_version" has revisions of several packages whose own history tables '
        "are empty: aaa, core.\n"
        "  To take it over: ws-alembic -x packages=aaa,core adopt\n"
        "  If a package has nothing in it, as it is another application's, set: "
        f"websauna_migrate.version_table.{package} = alembic_history_{package}\n"
        "Nothing was changed: the revisions would have been applied again."
    )
    (problem,) = (one for one in service.check().problems if one.kind == "history-elsewhere")
    assert problem.package is None and problem.details == ("aaa@a1", "core@c1")
    assert "packages=aaa,core adopt\n" in problem.message


def test_one_is_not_taken_from_under_another(shared: Workshop, database_url: str) -> None:
    plain(shared, database_url, "upgrade", "a1")
    service = shared.service(database_url)
    with pytest.raises(UsageError) as caught:
        service.adopt(packages="aaa")
    assert str(caught.value) == (
        'The table "alembic_version" says what is applied of "core" by rows of scripts that '
        "depend on it. Take them over together: ws-alembic -x packages=aaa,core adopt"
    )
    assert shared_rows(database_url) == ["a1"]
    service.adopt(packages=["aaa", "core"])
    assert steps(service.upgrade()) == ["zzz@z1", "core@c2", "aaa@a2", "zzz@z2"]


def test_it_cannot_stay_the_history_of_each(shared: Workshop, database_url: str) -> None:
    plain(shared, database_url, "upgrade", "heads")
    with pytest.raises(UsageError, match="It cannot be the history of each"):
        shared.service(database_url).adopt(keep=True)
    assert shared_rows(database_url) == ["a2", "z2"]


def test_status_tells_them_together(
    shared: Workshop, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain(shared, sqlite_url, "upgrade", "heads")
    monkeypatch.chdir(shared.root)
    ini = shared.application("fooapp", tmp_path / "site.ini", sqlite_url)
    told = shared.ws(ini, "-x", "packages=all", "status").out
    assert 'The history tables of 3 packages are empty, but "alembic_version" has their' in told
    assert "-x packages=aaa,core,zzz adopt" in told


def test_a_package_that_is_missing_is_named(shared: Workshop, sqlite_url: str) -> None:
    service = shared.service(sqlite_url, "aaa", "zzz")
    with pytest.raises(
        HistoryError, match='depends_on = "core", but no package has such a revision'
    ):
        service.upgrade()


def test_alembic_reads_one_package_alone(shared: Workshop, database_url: str) -> None:
    """Where Alembic's own map is asked of a package, what is of others is not in it."""
    service = shared.service(database_url)
    service.upgrade()
    (entry,) = (one for one in service.history() if one.revision.id == "a2")
    assert entry.requires == ("core@c2", "zzz@z1")
    service.stamp("a1", packages="aaa")
    assert {one.package: one.rows for one in service.current()}["aaa"] == ("a1",)


def test_scripts_that_are_in_the_script_directory_itself(
    shared: Workshop, database_url: str, tmp_path: Path
) -> None:
    """As Flask-Alembic keeps them: without ``versions``, and without ``env.py``."""
    for name in PACKAGES:
        versions = shared.root / name / "alembic" / "versions"
        for path in versions.iterdir():
            path.rename(versions.parent / path.name)
        versions.rmdir()
    plain(shared, database_url, "upgrade", "a1")
    service = shared.service(database_url)
    service.adopt()
    assert steps(service.upgrade()) == ["zzz@z1", "core@c2", "aaa@a2", "zzz@z2"]
    (written,) = service.revision("More", packages="core")
    here = shared.root / "core" / "alembic"
    assert Path(written.path).parent == here
    assert {one.name for one in here.iterdir() if one.suffix != ".py"} <= {
        "script.py.mako",
        "__pycache__",
    }
    assert service.init(packages="core") == () and not (here / "env.py").exists()
    shared.forget()
    assert len(shared.service(database_url).upgrade().steps) == 1


def test_what_others_depend_on_is_squashed(shared: Workshop, sqlite_url: str) -> None:
    service = shared.service(sqlite_url)
    service.upgrade("a1", packages="aaa")
    (script,) = service.squash("c1:c2", packages="core", rev_id="cc").scripts
    assert "requires: tuple[str, ...] = ('zzz@z1',)" in Path(script.path).read_text()
    shared.forget()
    service = shared.service(sqlite_url)
    # This database has a part of it, and goes on by the old scripts.
    assert steps(service.upgrade()) == ["zzz@z1", "core@c2", "aaa@a2", "zzz@z2"]
    assert service.check(fresh=True).ok
    assert [str(one.revision) for one in service.history()][::-1] == [
        *("zzz@z1", "core@cc", "aaa@a1", "aaa@a2", "zzz@z2")
    ]


def test_what_depends_on_another_is_written_anew(workshop: Workshop, sqlite_url: str) -> None:
    models = """
        import sqlalchemy as sa
        Base = sa.MetaData()
        sa.Table("notes", Base, sa.Column("id", sa.Integer, primary_key=True))
    """
    workshop.package("core")
    workshop.script("core", "c1", None, **table("core1"))
    workshop.package("aaa", models)
    workshop.script("aaa", "a1", None, **table("notes"), depends_on="c1")
    service = workshop.service(sqlite_url)
    service.upgrade()
    service.redo(packages="aaa")
    (entry,) = workshop.service(sqlite_url).history(packages="aaa")
    assert entry.requires == ("core@c1",) and entry.revision.depends_on == ()
