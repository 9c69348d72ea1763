"""Words of types that are one to a server are one here, and others are not."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.operations.ops import AlterColumnOp
from sqlalchemy.dialects import mysql, postgresql

from runs import engine_of
from websauna_migrate.autogenerate.operations.column_types import StoredType
from websauna_migrate.autogenerate.operations.type_change import conversion
from websauna_migrate.models.type_words import is_castable, one_word

#: Types that hand-written and generated scripts have.
TYPES: list[Any] = [
    *(sa.BigInteger(), sa.BIGINT(), sa.Integer(), sa.INTEGER(), sa.SmallInteger(), sa.SMALLINT()),
    *(sa.Boolean(), sa.BOOLEAN(), sa.String(20), sa.VARCHAR(20), sa.String(21), sa.String()),
    *(sa.Unicode(20), sa.NVARCHAR(20), sa.CHAR(), sa.CHAR(1), sa.CHAR(32), sa.NCHAR(3)),
    *(sa.Text(), sa.TEXT(), sa.Text(99), sa.UnicodeText(), sa.CLOB(), sa.Uuid(), sa.UUID()),
    *(sa.Uuid(native_uuid=False), sa.Date(), sa.DATE(), sa.DateTime(), sa.DATETIME()),
    *(sa.DateTime(timezone=True), sa.TIMESTAMP(), sa.TIMESTAMP(timezone=True), sa.Time()),
    *(sa.TIME(), sa.Time(timezone=True), sa.Interval(), sa.Interval(native=False)),
    *(sa.Interval(second_precision=3), sa.Float(), sa.FLOAT(), sa.Float(5), sa.Float(53)),
    *(sa.Double(), sa.DOUBLE(), sa.DOUBLE_PRECISION(), sa.REAL(), sa.Numeric(), sa.DECIMAL()),
    *(sa.Numeric(10), sa.Numeric(10, 0), sa.Numeric(10, 2), sa.DECIMAL(10, 2), sa.JSON()),
    *(sa.LargeBinary(), sa.LargeBinary(10), sa.LargeBinary(300), sa.LargeBinary(70000), sa.BLOB()),
    *(sa.BINARY(), sa.BINARY(3), sa.VARBINARY(3), sa.ARRAY(sa.Integer), sa.ARRAY(sa.INTEGER)),
    sa.PickleType(),
]
POSTGRESQL: list[Any] = [
    *(postgresql.ARRAY(sa.Text, dimensions=2), postgresql.ARRAY(sa.Text), postgresql.BIT()),
    *(postgresql.BIT(1), postgresql.BIT(3), postgresql.BIT(varying=True), postgresql.BYTEA()),
    *(postgresql.CIDR(), postgresql.DATERANGE(), postgresql.DOUBLE_PRECISION(), postgresql.INET()),
    *(
        postgresql.INTERVAL(),
        postgresql.INTERVAL(precision=3),
        postgresql.INTERVAL("YEAR TO MONTH"),
    ),
    *(postgresql.INT4RANGE(), postgresql.JSONB(), postgresql.MACADDR(), postgresql.MACADDR8()),
    *(
        postgresql.MONEY(),
        postgresql.OID(),
        postgresql.TIMESTAMP(precision=3),
        postgresql.TSVECTOR(),
    ),
    *(postgresql.TIME(precision=3), postgresql.UUID(), sa.String(20, collation="C")),
    *(sa.String(collation="C"), postgresql.INT8MULTIRANGE(), postgresql.NUMRANGE()),
]
MYSQL: list[Any] = [
    *(mysql.INTEGER(), mysql.INTEGER(unsigned=True), mysql.INTEGER(5), mysql.TINYINT()),
    *(mysql.TINYINT(1), mysql.MEDIUMINT(), mysql.BIGINT(unsigned=True), mysql.LONGTEXT()),
    *(mysql.MEDIUMTEXT(), mysql.TINYTEXT(), mysql.LONGBLOB(), mysql.TINYBLOB(), mysql.YEAR()),
    *(mysql.DATETIME(fsp=6), mysql.TIMESTAMP(fsp=3), mysql.TIME(fsp=3), mysql.BIT(), mysql.BIT(1)),
    *(mysql.DOUBLE(), mysql.DOUBLE(10, 2), mysql.FLOAT(7, 3), mysql.REAL(), mysql.DECIMAL(5)),
    *(mysql.VARCHAR(20, collation="utf8mb4_bin"), mysql.CHAR(3), mysql.SMALLINT(unsigned=True)),
    *(mysql.INTEGER(unsigned=True, zerofill=True), mysql.VARCHAR(20, charset="utf16")),
]


def kept(url: str, product: str) -> dict[str, tuple[str, str]]:
    """Return what is known of the words of types, and what a server keeps, by those it takes."""
    engine = engine_of(url)
    column = {
        "postgresql": "SELECT format_type(atttypid, atttypmod), attcollation FROM pg_attribute "
        "WHERE attrelid = 't'::regclass AND attnum = 1",
        "mysql": "SELECT column_type, collation_name FROM information_schema.columns "
        "WHERE table_name = 't' AND table_schema = DATABASE()",
    }[product]
    found = {}
    for type_ in [*TYPES, *(POSTGRESQL if product == "postgresql" else MYSQL)]:
        try:
            words = type_.compile(engine.dialect)
        except Exception:
            continue
        known = one_word(product, words)
        with engine.connect() as connection:
            try:
                connection.exec_driver_sql("DROP TABLE IF EXISTS t")
                connection.exec_driver_sql(f"CREATE TABLE t (c {words} NULL)")
            except sa.exc.DBAPIError:
                # Another database's.
                assert known is None, words
                continue
            if known is not None:
                found[words] = (known, str(connection.exec_driver_sql(column).one()))
    return found


@pytest.mark.parametrize("product", ["postgresql", "mysql"])
def test_words_are_one_where_the_server_has_one(
    request: pytest.FixtureRequest, product: str
) -> None:
    url = request.getfixturevalue("mariadb_url" if product == "mysql" else "postgresql_url")
    found = kept(url, product)
    assert len(found) > 35
    for one, other in itertools.combinations(found, 2):
        same = [found[one][side] == found[other][side] for side in (0, 1)]
        # PostgreSQL keeps the default collation of a type, whichever way it was written.
        assert same[0] == same[1], (one, other, found[one], found[other])


def cast(column: str, old: str, new: str) -> str:
    """Return what a script casts a column by."""
    change = AlterColumnOp("u", column, existing_type=StoredType(old), modify_type=StoredType(new))
    return conversion(change) or f"{column}::{new}"


def test_casts_are_those_of_the_server(postgresql_url: str) -> None:
    found = kept(postgresql_url, "postgresql")
    engine = engine_of(postgresql_url)
    for old, (there, _) in found.items():
        castable = [new for new in found if new != old and is_castable(there, found[new][0])]
        columns = ", ".join(f"c{number} {old}" for number, _ in enumerate(castable))
        changes = ", ".join(
            f"ALTER c{number} TYPE {new} USING {cast(f'c{number}', old, new)}"
            for number, new in enumerate(castable)
        )
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE TABLE u ({columns})")
            if castable:
                connection.exec_driver_sql(f"ALTER TABLE u {changes}")
