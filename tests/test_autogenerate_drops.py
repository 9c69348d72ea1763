"""A script that would drop most tables of a package is not written by accident."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from apps import Workshop
from websauna_migrate.cli.ws_alembic import main
from websauna_migrate.errors import RevisionFailed

HEADER = "import sqlalchemy as sa\nmetadata = sa.MetaData()\n"

TABLE = 'sa.Table("{name}", metadata, sa.Column("id", sa.Integer, primary_key=True))\n'

APPLICATION = """
from pyramid.config import Configurator


def main(global_config, **settings):
    config = Configurator(settings=settings)
    config.include("websauna_migrate")
    config.include("shop")
    return config.make_wsgi_app()


def includeme(config):
    config.add_migration_package(metadata="shop.models.metadata")
"""


@pytest.fixture
def models(workshop: Workshop) -> Callable[..., None]:
    """``models(*tables)``: let the models of package ``shop`` have some tables."""

    def write(*tables: str) -> None:
        source = HEADER + "".join(TABLE.format(name=name) for name in tables)
        if (workshop.root / "shop").exists():
            (workshop.root / "shop" / "models.py").write_text(source)
        else:
            workshop.package("shop", source, metadata="shop.models.metadata")
        workshop.forget()

    return write


def start(workshop: Workshop, models: Callable[..., None], url: str, *tables: str) -> None:
    models(*tables)
    service = workshop.service(url)
    service.revision("one", autogenerate=True)
    service.upgrade()


def scripts(workshop: Workshop) -> list[Path]:
    return sorted((workshop.root / "shop" / "alembic" / "versions").glob("*.py"))


def refuse(question: Any) -> bool:
    raise AssertionError(question)


@pytest.mark.parametrize("number", [1, 3])
def test_models_that_were_not_imported_drop_nothing(
    workshop: Workshop, models: Callable[..., None], database_url: str, number: int
) -> None:
    start(workshop, models, database_url, *[f"t{n}" for n in range(number)])
    before = scripts(workshop)
    models()
    service = workshop.service(database_url)
    # Not even on a terminal: there is nothing to ask.
    for ask in (None, refuse):
        with pytest.raises(RevisionFailed) as caught:
            service.revision("two", autogenerate=True, ask=ask)
        assert caught.value.kind == "drops"
        message = str(caught.value)
        assert "t0" in message and "import it where the package registers" in message
        assert "-x packages=shop revision --autogenerate --allow-drops" in message
    assert scripts(workshop) == before
    (script,) = service.revision("two", autogenerate=True, allow_drops=True)
    assert Path(script.path).read_text().split("def downgrade")[0].count("drop_table") == number
    service.upgrade()
    assert service.check().ok
    service.downgrade("-1")
    models(*[f"t{n}" for n in range(number)])
    assert all("drift" not in p.kind for p in workshop.service(database_url).check().problems)


@pytest.mark.parametrize(("left", "asked"), [(3, False), (2, True), (1, True)])
def test_half_of_the_tables_or_more_is_asked_about(
    workshop: Workshop, models: Callable[..., None], sqlite_url: str, left: int, asked: bool
) -> None:
    start(workshop, models, sqlite_url, "a", "b", "c", "d")
    models(*"abcd"[:left])
    service = workshop.service(sqlite_url)
    questions: list[str] = []

    def answer(no_or_yes: bool) -> Callable[[Any], bool]:
        return lambda one: questions.append(one.question) or no_or_yes

    if not asked:
        assert service.revision("two", autogenerate=True, ask=refuse)
        return
    with pytest.raises(RevisionFailed, match=f"{4 - left} of the 4 tables"):
        service.revision("two", autogenerate=True)
    with pytest.raises(RevisionFailed, match="--allow-drops"):
        service.revision("two", autogenerate=True, ask=answer(False))
    assert len(scripts(workshop)) == 1
    assert len(service.revision("two", autogenerate=True, ask=answer(True))) == 1
    assert (
        questions
        == [
            f'{4 - left} of the 4 tables of package "shop" would be dropped with all rows: '
            f"{', '.join('abcd'[left:])}. Write that script?"
        ]
        * 2
    )


def test_tables_that_the_scripts_did_not_make_do_not_count(
    workshop: Workshop, models: Callable[..., None], sqlite_url: str
) -> None:
    start(workshop, models, sqlite_url, "a", "b", "c")
    engine = sa.create_engine(sqlite_url)
    with engine.begin() as connection:
        for number in range(9):
            connection.exec_driver_sql(f"CREATE TABLE other{number} (x INTEGER)")
    engine.dispose()
    models("a")
    with pytest.raises(RevisionFailed, match="2 of the 3 tables"):
        workshop.service(sqlite_url).revision("two", autogenerate=True)


def test_the_flag_of_the_command_line(
    workshop: Workshop,
    models: Callable[..., None],
    sqlite_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    start(workshop, models, sqlite_url, "a", "b")
    models()
    (workshop.root / "shop" / "__init__.py").write_text(APPLICATION)
    ini = tmp_path / "app.ini"
    ini.write_text(f"[app:main]\nuse = call:shop:main\nsqlalchemy.url = {sqlite_url}\n")
    words = ["-c", str(ini), "revision", "--autogenerate", "-m", "two"]
    assert main(words)
    assert "--allow-drops" in capsys.readouterr().err
    assert not main([*words, "--allow-drops"])
    assert len(scripts(workshop)) == 2


def test_a_renamed_table_is_offered_its_rename_first(
    workshop: Workshop, models: Callable[..., None], sqlite_url: str, tmp_path: Path
) -> None:
    start(workshop, models, sqlite_url, "aa", "other")
    (workshop.root / "shop" / "__init__.py").write_text(APPLICATION)
    ini = tmp_path / "app.ini"
    ini.write_text(f"[app:main]\nuse = call:shop:main\nsqlalchemy.url = {sqlite_url}\n")
    models("bb", "other")
    refused = workshop.ws(ini, "revision", "--autogenerate", "-m", "two")
    offer, _, rest = refused.err.partition("revision --autogenerate --rename-table aa:bb\n")
    assert refused.status == 1 and 'If "aa" was renamed to "bb", run: ws-alembic' in offer
    assert "--allow-drops" in rest and len(scripts(workshop)) == 1
    words = offer.rpartition("run: ws-alembic ")[2].split()[2:]
    done = workshop.ws(ini, *words, "revision", "--autogenerate", "--rename-table", "aa:bb")
    script = Path(done.out.strip())
    assert done.status == 0 and "rename_table" in script.read_text()
    # What is new beside it is no rename where its columns are others.
    script.unlink()
    models("other")
    refused = workshop.ws(ini, "revision", "--autogenerate", "-m", "two")
    assert refused.status == 1 and "--rename" not in refused.err
