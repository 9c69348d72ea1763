"""Scripts that one database's author writes, and that other databases take and give back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from apps import Workshop
from runs import execute

DATABASES = ("sqlite", "postgresql", "mariadb")


@contextmanager
def without(workshop: Workshop, script: str) -> Iterator[None]:
    """Let a script be away: models are not compared with a database that has one to apply."""
    path = Path(script)
    aside = path.rename(path.with_suffix(".aside"))
    workshop.forget()
    try:
        yield
    finally:
        aside.rename(path)


def has_the_models(site: Any) -> None:
    """Fail with each difference between a site's database and its models."""
    problems = site.check().problems
    assert problems == (), "\n".join(one.message for one in problems)


def goes_and_comes(site: Any) -> None:
    """Let a site take the newest script, give it back, and take it again; it has the models."""
    site.upgrade()
    site.downgrade("shop@-1")
    site.upgrade()
    has_the_models(site)


def walk(
    workshop: Workshop,
    author: str,
    urls: Sequence[str],
    states: Sequence[str],
    *,
    options: Mapping[int, Mapping[str, Any]] | None = None,
    rows: Sequence[str] = (),
) -> list[Any]:
    """Lead the models of a package "shop" through their states, and databases behind them.

    For each state a script is written on the author's database, and proven there. Each other
    database takes it, gives it back and has the state before then, takes it again and has the
    state. The author's own one takes it and has the state: the proof compares all that it has
    before the upgrade and behind the downgrade, where it is not in a scratch database.

    :param author: URL of the database on which scripts are written, one of the others
    :param states: texts of the models
    :param options: of ``revision``, by the number of the state
    :param rows: statements that fill the tables of the first state
    :returns: what ``revision`` returned of each script
    """
    folder = workshop.package("shop", states[0])

    def says(state: str) -> None:
        (folder / "models.py").write_text(state)
        workshop.forget()

    proven = {author} - {url for url in urls if url.startswith(("mysql", "mariadb"))}
    others = [url for url in urls if url not in proven]
    written = []
    for number, state in enumerate(states):
        says(state)
        (made,) = workshop.service(author).revision(
            "next", autogenerate=True, allow_drops=True, **(options or {}).get(number, {})
        )
        written.append(made)
        for url in others:
            site = workshop.service(url)
            site.upgrade()
            site.downgrade("shop@-1")
        if number:
            says(states[number - 1])
            with without(workshop, made.path):
                for url in others:
                    has_the_models(workshop.service(url))
            says(state)
        for url in urls:
            site = workshop.service(url)
            site.upgrade()
            has_the_models(site)
            if number == 0:
                execute(url, *rows)
    return written
