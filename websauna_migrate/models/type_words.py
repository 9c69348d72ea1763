"""Words of types in DDL: whether two of them are one type to a database.

They are compared for databases that are not at hand, so a word that is not known here says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine

#: Types of PostgreSQL, and of MariaDB and MySQL, each with its other words.
TYPES: Mapping[str, str] = {
    "postgresql": """
        BIGINT=INT8, BIT, BIT VARYING=VARBIT, BOOLEAN=BOOL, BYTEA, CHAR=CHARACTER, CIDR, DATE,
        DATEMULTIRANGE, DATERANGE, DOUBLE PRECISION=FLOAT8, INET, INT4MULTIRANGE, INT4RANGE,
        INT8MULTIRANGE, INT8RANGE, INTEGER=INT=INT4, INTERVAL, JSON, JSONB, MACADDR, MACADDR8,
        MONEY, NUMERIC=DECIMAL, NUMMULTIRANGE, NUMRANGE, OID, REAL=FLOAT4, SMALLINT=INT2, TEXT,
        TIME, TIMESTAMP, TSMULTIRANGE, TSQUERY, TSRANGE, TSTZMULTIRANGE, TSTZRANGE, TSVECTOR,
        UUID, VARCHAR=CHARACTER VARYING
    """,
    "mysql": """
        BIGINT, BINARY, BIT, BLOB, CHAR=CHARACTER, DATE, DATETIME, DECIMAL=NUMERIC,
        DOUBLE=DOUBLE PRECISION=REAL, FLOAT, INET4, INET6, INTEGER=INT, JSON, LONGBLOB, LONGTEXT,
        MEDIUMBLOB, MEDIUMINT, MEDIUMTEXT, SMALLINT, TEXT, TIME, TIMESTAMP, TINYBLOB, TINYINT,
        TINYTEXT, UUID, VARBINARY, VARCHAR=CHARACTER VARYING, YEAR
    """,
}

#: The type by each word for it.
KNOWN = {
    database: {
        word: words[0]
        for words in (one.strip().split("=") for one in types.split(","))
        for word in words
    }
    for database, types in TYPES.items()
}

#: What stands for a type without arguments.
DEFAULTS: Mapping[str, Mapping[str, str]] = {
    "postgresql": {"BIT": "1", "CHAR": "1"},
    "mysql": {
        "BIGINT": "20",
        "BIGINT UNSIGNED": "20",
        "BINARY": "1",
        "BIT": "1",
        "CHAR": "1",
        "DATETIME": "0",
        "DECIMAL": "10,0",
        "INTEGER": "11",
        "INTEGER UNSIGNED": "10",
        "MEDIUMINT": "9",
        "MEDIUMINT UNSIGNED": "8",
        "SMALLINT": "6",
        "SMALLINT UNSIGNED": "5",
        "TIME": "0",
        "TIMESTAMP": "0",
        "TINYINT": "4",
        "TINYINT UNSIGNED": "3",
        "YEAR": "4",
    },
}

#: Sizes in bytes to which a BLOB of a length grows.
BLOBS = ((2**8, "TINYBLOB"), (2**16, "BLOB"), (2**24, "MEDIUMBLOB"), (2**32, "LONGBLOB"))

WORDS = re.compile(
    r"(?P<name>[A-Z][A-Z0-9 ]*?)\s*(?:\((?P<given>[\d, ]*)\))?"
    r"(?P<zone> WITH TIME ZONE| WITHOUT TIME ZONE)?(?P<sign>(?: UNSIGNED| ZEROFILL)*)"
    r"(?P<array>(?:\[\])*)"
    r"(?P<more> (?:ASCII|UNICODE|BINARY|CHARACTER SET .+|COLLATE .+))?"
)


def words_in_ddl(type_: TypeEngine[Any], dialect: Dialect) -> str | None:
    """Return the words of a type in DDL; ``None`` if a database has none for it.

    MySQL has no ``VARCHAR`` without a length.
    """
    try:
        return type_.compile(dialect)
    except Exception:
        # What SQLAlchemy and types say to what a database does not have is of any class.
        return None


def are_one(one: TypeEngine[Any], other: TypeEngine[Any], dialect: Dialect) -> bool:
    """Tell whether two types surely are one to a database."""
    database = dialect.name.replace("mariadb", "mysql")
    words = [words_in_ddl(type_, dialect) for type_ in (one, other)]
    found = [word and (one_word(database, word) or word) for word in words]
    return None not in words and found[0] == found[1]


def one_word(database: str, words: str) -> str | None:
    """Return words of a type as all words for it are written; ``None`` for what is not known.

    :param database: as a script's databases are named: ``postgresql``, ``mysql`` or ``sqlite``
    """
    if database == "sqlite":
        # It keeps what was written.
        return " ".join(words.upper().split())
    fields = re.fullmatch(r"INTERVAL (\w+(?: TO \w+)?)(\(\d\))?", words)
    if database == "postgresql" and fields:
        return words
    found = WORDS.fullmatch(words)
    if found is None or (found["array"] and database != "postgresql"):
        return None
    name, given = found["name"], re.sub(r"\s", "", found["given"] or "")
    if database == "postgresql" and name == "FLOAT":
        name, given = ("REAL" if given and int(given) < 25 else "DOUBLE PRECISION"), ""
    if database == "mysql":
        name, given = of_mysql(name, given)
    known = KNOWN[database].get(name)
    if known is None or (known == "TEXT" and given):
        return None
    signed = known + (" UNSIGNED" if found["sign"] else "")
    given = given or DEFAULTS[database].get(signed, "")
    if known in ("NUMERIC", "DECIMAL") and given and "," not in given:
        given += ",0"
    zone = " WITH TIME ZONE" if found["zone"] == " WITH TIME ZONE" else ""
    brackets = f"({given})" if given else ""
    array = "[]" if found["array"] else ""
    return f"{known}{brackets}{zone}{found['sign'] or ''}{array}{found['more'] or ''}"


def of_mysql(name: str, given: str) -> tuple[str, str]:
    """Return name and arguments of a type of MySQL, of which these may make another one."""
    if name in ("BOOL", "BOOLEAN"):
        return "TINYINT", "1"
    if name == "FLOAT" and given and "," not in given:
        return ("FLOAT" if int(given) < 25 else "DOUBLE"), ""
    if name == "BLOB" and given:
        return next((blob for size, blob in BLOBS if int(given) < size), "BLOB"), ""
    return name, given


def name_in(words: str) -> str:
    """Return the name in words that :func:`one_word` returned, a time zone among it."""
    found = WORDS.fullmatch(words)
    if found is None:
        return words.partition(" ")[0].partition("(")[0]
    return f"{found['name']}{found['zone'] or ''}{found['array']}"


#: Kinds of types of which PostgreSQL casts each into each other.
NUMBERS = frozenset({"BIGINT", "DOUBLE PRECISION", "INTEGER", "NUMERIC", "REAL", "SMALLINT"})
TEXTS = frozenset({"CHAR", "TEXT", "VARCHAR"})

#: Casts of PostgreSQL besides.
CASTS = frozenset(
    {
        *(("BIT", "BIT VARYING"), ("BIT VARYING", "BIT")),
        *(("CIDR", "INET"), ("INET", "CIDR"), ("JSON", "JSONB"), ("JSONB", "JSON")),
        *(("MACADDR", "MACADDR8"), ("MACADDR8", "MACADDR")),
        *(("INTERVAL", "TIME"), ("TIME", "INTERVAL"), ("TIME", "TIME WITH TIME ZONE")),
        *(("TIME WITH TIME ZONE", "TIME"), ("DATE", "TIMESTAMP"), ("TIMESTAMP", "DATE")),
        *(("DATE", "TIMESTAMP WITH TIME ZONE"), ("TIMESTAMP WITH TIME ZONE", "DATE")),
        *(("TIMESTAMP", "TIMESTAMP WITH TIME ZONE"), ("TIMESTAMP WITH TIME ZONE", "TIMESTAMP")),
    }
)


def is_castable(old: str, new: str) -> bool:
    """Tell whether PostgreSQL casts values of one type to another, as :func:`one_word` has them."""
    names = name_in(old), name_in(new)
    if names[0].endswith("[]") and names[1].endswith("[]"):
        names = names[0].removesuffix("[]"), names[1].removesuffix("[]")
    elif any(one.endswith("[]") for one in names):
        return False
    either = {*names}
    return (
        len(either) == 1
        or bool(either & TEXTS)
        or either <= NUMBERS | {"BOOLEAN"}
        or (names[0], names[1]) in CASTS
    )
