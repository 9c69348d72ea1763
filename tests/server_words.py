"""What a server itself says of a database, as lines that two databases can be compared by.

The words are those of ``pg_dump``, ``SHOW CREATE TABLE`` and ``sqlite_master``: nothing of them
goes through SQLAlchemy's reflection, or through the package's facts.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

from sqlalchemy.engine import URL, Connection, make_url

__all__ = ["words_of"]

OURS = ("alembic_history_", "websauna_migrate_", "sqlite_sequence")


def words_of(connection: Connection, url: str, dump: str = "") -> list[str]:
    """Return what the server says of everything but this package's own tables, sorted.

    Columns, and names that a database chose, are in no order and of no matter.

    :param url: with the password
    :param dump: PostgreSQL's dump program
    """
    product = connection.dialect.name
    if product == "postgresql":
        found = postgresql_words(dump, make_url(url))
    else:
        found = sqlite_words(connection) if product == "sqlite" else mysql_words(connection)
    return sorted(one for one in found if not any(word in one for word in OURS))


def postgresql_words(dump: str, url: URL) -> Iterator[str]:
    """Yield the statements of a dump, those of tables line by line."""
    argv = [dump, "-s", "-O", "-x", "-h", str(url.host), "-p", str(url.port)]
    argv += ["-U", str(url.username), str(url.database)]
    done = subprocess.run(
        argv, env={"PGPASSWORD": str(url.password)}, check=True, capture_output=True, text=True
    )
    text = re.sub(
        r"^(--.*|SET .*|SELECT pg_cat.*|\\(un)?restrict .*)$", "", done.stdout, flags=re.M
    )
    for statement in re.split(r"\n\n+", text):
        table = re.fullmatch(r"(CREATE \w* ?TABLE \S+) \(\n(.*)\n\)(.*);", statement.strip(), re.S)
        if table is None:
            if statement.strip():
                yield statement.strip()
            continue
        yield f"{table[1]}{table[3]}"
        yield from (f"{table[1]}: {part}" for part in split_list(table[2]))


def mysql_words(connection: Connection) -> Iterator[str]:
    """Yield the parts of tables, views and sequences."""
    for name, kind in connection.exec_driver_sql("SHOW FULL TABLES").all():
        what = "TABLE" if kind == "BASE TABLE" else kind
        text = str(connection.exec_driver_sql(f"SHOW CREATE {what} `{name}`").one()[1])
        # Neither is said by the models: a counter, and what an engine before this one left.
        text = re.sub(r" AUTO_INCREMENT=\d+| PAGE_CHECKSUM=1", "", text)
        # A sequence is called with its database, which is the table's.
        text = re.sub(r"(nextval\()`[^`]+`\.", r"\1", text)
        # A name that the server gives says nothing; a script has to name what it drops.
        text = re.sub(r"CONSTRAINT `[^`]+` (?=FOREIGN|CHECK)|(?<=KEY )`[^`]+` (?=\()", "", text)
        yield from (f"{name}: {line.strip().rstrip(',')}" for line in text.splitlines())


def sqlite_words(connection: Connection) -> Iterator[str]:
    """Yield the parts of tables, and everything else whole."""
    rows = connection.exec_driver_sql("SELECT name, type, sql FROM sqlite_master WHERE sql <> ''")
    for name, kind, text in rows.all():
        table = re.fullmatch(r"\s*CREATE TABLE\s+.*?\((.*)\)(.*?)", text, re.S)
        if kind != "table" or table is None:
            yield squeezed(text)
            continue
        yield f"{name}: {squeezed(table[2])}"
        for part in split_list(table[1]):
            # A CHECK of a column is one of its table.
            yield from (f"{name}: {one}" for one in re.split(r"(?<=\S) (?=check )", squeezed(part)))


def squeezed(text: str) -> str:
    """Return SQLite's text of a statement without what says nothing.

    That is quotes of names, spaces, the case of words, and what goes without saying.
    """
    parts = re.split(r"('(?:[^']|'')*')", " ".join(text.split()))
    parts[::2] = (one.lower() for one in parts[::2])
    text = re.sub(r'constraint (?:"[^"]*"|\w+) ', "", "".join(parts))
    text = re.sub(r'"(\w+)"', r"\1", text)
    text = re.sub(r"default \(('(?:[^']|'')*'|[\w.+-]+)\)", r"default \1", text)
    text = re.sub(r" on (delete|update) no action| collate binary", "", text)
    return re.sub(r" ?([(),]) ?", r" \1 ", text).strip()


def split_list(text: str) -> Iterator[str]:
    """Yield the parts of a list with commas between them, outside of brackets and quotes."""
    depth, start = 0, 0
    for match in re.finditer(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|[(),]", text):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if match[0] == "," and depth == 0:
            yield text[start : match.start()].strip()
            start = match.end()
    yield text[start:].strip()
