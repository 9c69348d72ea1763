"""SQL expressions in new scripts, as each database spells them that the script is written for."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.ddl.impl import DefaultImpl
from sqlalchemy import text
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.mysql.mariadb import MariaDBDialect
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement, TextClause

from websauna_migrate.facts.brackets import is_one, split, squeezed
from websauna_migrate.facts.postgresql import without_casts
from websauna_migrate.models.sqlalchemy_internals import escaped

#: Databases on which a script does the same, wherever it was made; the names of SQLAlchemy's
#: dialects that run on them.
DATABASES: Mapping[str, tuple[str, ...]] = {
    "postgresql": ("postgresql",),
    "sqlite": ("sqlite",),
    "mysql": ("mysql", "mariadb"),
}

#: What means truth in databases with a type for it and without, as the latter say it.
TRUTH = {"0": "0", "1": "1", "true": "1", "false": "0"}

#: What stands between two values in SQL.
OPERATOR = r"[-+*/%|&<>=^]+"

#: A name as MariaDB quotes it.
BACKTICKS = re.compile(r"`(\w+)`")

Render = Callable[..., str]

#: Texts by database, by what they are on the author's.
OlderTexts = Mapping[str, Mapping[str, str]]


def written_for(context: AutogenContext) -> Collection[str]:
    """Return the databases that the script is written for, as :data:`DATABASES` names them."""
    found: Collection[str] = context.opts.get("written_for", DATABASES)
    return found


def runs_on(context: AutogenContext, *databases: str, otherwise: bool = False) -> str:
    """Return the source of the question whether a script runs on one of some databases.

    :param otherwise: ask whether it runs on another one
    """
    names = tuple(name for one in databases for name in DATABASES[one])
    several, one = ("not in", "!=") if otherwise else ("in", "==")
    test = f"{several} {names!r}" if len(names) > 1 else f"{one} {names[0]!r}"
    return f"{context.opts['alembic_module_prefix']}get_context().dialect.name {test}"


@functools.cache
def dialect_of(database: str) -> Dialect:
    """Return the dialect of a database, without any driver."""
    dialect: Dialect = registry.load(database)()
    return dialect


@functools.cache
def dialects_of(database: str) -> tuple[Dialect, ...]:
    """Return the dialects that run on a database, without any driver."""
    if database == "mysql":
        return dialect_of(database), MariaDBDialect()
    return (dialect_of(database),)


class Spelled(str):
    """An expression as the author's database spells it, whose source has that of others.

    :ivar source: the Python source
    """

    source = ""

    def __repr__(self) -> str:
        """Return the source."""
        return self.source


class SpelledText(TextClause):
    """An expression as the author's database spells it, that knows how others do.

    :ivar spellings: the texts by database, as :data:`DATABASES` names them
    """

    inherit_cache = False

    def __init__(self, own: str, spellings: Mapping[str, str]) -> None:
        """Keep the texts.

        :param own: that for the author's database
        """
        super().__init__(own)
        self.spellings = spellings


def spelled(context: AutogenContext, own: str, texts: Mapping[str, str]) -> str:
    """Return an expression by its texts for databases, the one of the author's among them."""
    if len({*texts.values()}) == 1:
        return own
    counts = Counter(texts.values())
    others = max(counts, key=lambda one: (counts[one], one == own))
    source = repr(others)
    for database, one in texts.items():
        if one != others:
            source = f"{one!r} if {runs_on(context, database)} else {source}"
    found = Spelled(own)
    found.source = source
    return found


@contextmanager
def written_plainly(context: AutogenContext) -> Iterator[None]:
    """Let an implementation render SQL as text that means the same when it is read again.

    Without the doubling of ``%`` that its driver asks for, and with no ``:name`` that SQLAlchemy
    would read as a parameter. Expressions of an index become ``literal_column``, which reads none.
    A default that is computed is in brackets, as MariaDB and SQLite want it. Where databases of the
    script spell an expression in different ways, the source has each.
    """
    impl: DefaultImpl = context.migration_context.impl
    spelling = Spelling(context, impl.render_ddl_sql_expr)

    def render(expr: ClauseElement, *args: Any, **kw: Any) -> str:
        texts = spelling.texts(expr, **kw)
        return spelled(context, texts[spelling.own], texts)

    impl.render_ddl_sql_expr = render  # type: ignore[method-assign]
    try:
        yield
    finally:
        del impl.render_ddl_sql_expr


class Spelling:
    """How the databases of a script spell expressions.

    :ivar own: the author's database, as :data:`DATABASES` names it
    """

    def __init__(self, context: AutogenContext, render: Render | None = None) -> None:
        """Prepare Alembic's implementations.

        :param render: renders an expression for the author's database
        """
        impl: DefaultImpl = context.migration_context.impl
        self.own = "mysql" if impl.dialect.name == "mariadb" else impl.dialect.name
        self.dialect = impl.dialect
        self.render = render or impl.render_ddl_sql_expr
        self.databases = [one for one in DATABASES if one in {*written_for(context), self.own}]
        #: Returns the texts of older scripts by database, by what they are on the author's.
        self.known: Callable[[], OlderTexts] = context.opts.get("spellings", dict)

    def texts(self, expression: ClauseElement, **kw: Any) -> dict[str, str]:
        """Return the texts of an expression by database.

        :param kw: what Alembic says of its use
        """
        written = plainly(self.render(expression, **kw), self.dialect, kw)
        if isinstance(expression, SpelledText):
            return {**expression.spellings, self.own: written}
        found = {}
        for database in self.databases:
            found[database] = written
            if database != self.own:
                found[database] = self.elsewhere(expression, database, written, kw)
        # Alembic holds the text of an index in an element of its own.
        if isinstance(expression, TextClause) or isinstance(
            getattr(expression, "text", None), TextClause
        ):
            older = self.known().get(key_of(written), {})
            found.update({one: text for one, text in older.items() if one in found})
            found[self.own] = written
        return found

    def elsewhere(
        self, expression: ClauseElement, database: str, own: str, kw: Mapping[str, Any]
    ) -> str:
        """Return the text of an expression for another database than the author's."""
        try:
            sql = implementation(database).render_ddl_sql_expr(expression, **kw)
            if has_parameters(expression, database):
                return own
        except Exception:
            # What SQLAlchemy says to what a database does not have is of any class.
            return own
        found = plainly(sql, dialect_of(database), kw)
        # PostgreSQL wants brackets around what is no function in an index, SQLite keeps them.
        exact = kw.get("is_index") and database != "mysql"
        if found != own and (exact or without_brackets(found) != without_brackets(own)):
            return found
        if self.own == "mysql":
            return BACKTICKS.sub(
                lambda name: dialect_of(database).identifier_preparer.quote(name[1]), own
            )
        return without_casts(own) if self.own == "postgresql" and "::" in own else own

    def spelled_text(self, expression: ClauseElement) -> SpelledText:
        """Return an expression as text that knows how each database spells it."""
        texts = self.texts(expression)
        return SpelledText(texts[self.own], texts)

    def restored(
        self, there: str, written: Mapping[str, str] | ClauseElement
    ) -> ClauseElement | None:
        """Return an expression that comes back as an older script has it.

        ``None`` if that has other values than the database: something else has changed it.

        :param there: how the database has it, as source of a script
        :param written: texts by dialect, that for all others by an empty name; or an element
        """
        if isinstance(written, ClauseElement):
            return written
        texts = by_database(written)
        if self.own not in texts or not has_values(there, texts[self.own]):
            return None
        texts = {one: text for one, text in texts.items() if one in self.databases}
        return SpelledText(there, {**texts, self.own: there})

    def of_database(self, key: str, value: object) -> object:
        """Return an option of an index, as the database spells it that its name begins with."""
        database = key.partition("_")[0]
        if not isinstance(value, ClauseElement) or database not in self.databases:
            return value
        return text(self.texts(value)[database])


def plainly(rendered: str, dialect: Dialect, kw: Mapping[str, object]) -> str:
    """Return SQL that Alembic rendered as text that means the same when it is read again.

    :param kw: what Alembic says of its use
    """
    if dialect.paramstyle in ("format", "pyformat"):
        rendered = rendered.replace("%%", "%")
    operands = split(rendered, OPERATOR) if kw.get("is_server_default") else []
    if sum(1 for one in operands if one.strip()) > 1:
        rendered = f"({rendered})"
    return rendered if kw.get("is_index") else escaped(rendered)


def without_brackets(sql: str) -> str:
    """Return an expression without brackets around the whole."""
    return sql[1:-1] if is_one(sql) else sql


def key_of(sql: str) -> str:
    """Return what an expression has in common with a server's words for it, casts left out."""
    return squeezed(without_casts(sql))


@functools.cache
def implementation(database: str) -> DefaultImpl:
    """Return Alembic's implementation of a database, which writes SQL for no connection."""
    dialect = dialect_of(database)
    made: DefaultImpl = DefaultImpl.get_by_dialect(dialect)(dialect, None, True, None, None, {})
    return made


def has_parameters(expression: ClauseElement, database: str) -> bool:
    """Tell whether SQLAlchemy leaves values out of an expression that it writes for a database.

    Its ``is_distinct_from()`` does so where it is written in other words than the standard's.
    """
    written = expression.compile(
        dialect=dialect_of(database), compile_kwargs={"literal_binds": True}
    )
    return isinstance(written, SQLCompiler) and bool(written.binds)


def by_database(texts: Mapping[str, str]) -> dict[str, str]:
    """Return texts by database.

    :param texts: by dialect, that for all others by an empty name
    """
    return {
        database: text
        for database, names in DATABASES.items()
        if (text := texts.get(names[0], texts.get(""))) is not None
    }


def has_values(there: str, written: str) -> bool:
    """Tell whether a database's words for an expression have the values that a script wrote.

    It may say more of a string than was written, the zone of a time; it leaves out the lengths of
    types, and may say truth otherwise, or not at all.
    """
    strings, numbers, truth = values_in(there)
    wanted, others, said = values_in(written)
    return (
        len(strings) == len(wanted)
        and all(map(str.startswith, strings, wanted))
        and {*numbers} <= {*others, *wanted}
        and (truth <= said or said <= truth)
    )


def values_in(sql: str) -> tuple[list[str], list[str], set[str]]:
    """Return the strings in an expression, the numbers, and what of both may mean truth."""
    # PostgreSQL and MariaDB may have a number as a string.
    plain = re.sub(r"'(-?[\d.]+)'(?=::|$)", r"\1", sql)
    plain = without_casts(plain)
    strings = set(re.findall(r"'((?:[^']|'')*)'", plain))
    plain = re.sub(r"-\s+(?=\d)", "-", re.sub(r"'(?:[^']|'')*'", "", plain))
    exact = {
        re.sub(r"(\.\d*?)0+$", r"\1", one).rstrip(".")
        for one in re.findall(r"-?(?<![\w.])\d[\d.]*", plain)
    }
    words = {one.lower() for one in re.findall(r"\b(?:true|false)\b", plain, re.IGNORECASE)}
    truth = {TRUTH[one] for one in strings | exact | words if one in TRUTH}
    return sorted(strings - {*TRUTH, ""}), sorted(exact - {*TRUTH}), truth


def by_own_text(spellings: Iterable[Mapping[str, str]], own: str) -> OlderTexts:
    """Return the texts of scripts that have the same values on each database.

    :param spellings: texts by dialect, that for all others by an empty name
    :param own: the author's database
    """
    found = {}
    for one in spellings:
        texts = by_database(one)
        if own not in texts or not all(
            has_values(it, texts[own]) and has_values(texts[own], it) for it in texts.values()
        ):
            continue
        key = key_of(texts[own])
        # What was written last counts. A text that stands alone is no news of other databases, and
        # with casts it is PostgreSQL's.
        if len({*texts.values()}) > 1 or (key not in found and "::" not in texts[own]):
            found[key] = texts
    return found
