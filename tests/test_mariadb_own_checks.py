"""MariaDB keeps a CHECK with a column: it goes with the column, and comes back with it."""

from __future__ import annotations

import sqlalchemy as sa

from apps import Workshop
from server_words import words_of

DDL = """
CREATE TABLE t (
    id INT PRIMARY KEY AUTO_INCREMENT,
    x INT DEFAULT 3 CHECK (x > 0),
    y VARCHAR(9) COMMENT 'q' CHECK (y <> ':a'),
    z INT COMMENT 'x CHECK (' CHECK (z > x),
    k INT CHECK (k > 3),
    j JSON
)
"""

MODELS = """
import sqlalchemy as sa
metadata = sa.MetaData()
sa.Table(
    "t",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("z", sa.Integer, comment="x CHECK (a)"),
    sa.Column("k", sa.Integer),
)
"""


def test_a_column_and_its_check_go_and_come_back(workshop: Workshop, mariadb_url: str) -> None:
    engine = sa.create_engine(mariadb_url)
    with engine.begin() as connection:
        connection.exec_driver_sql(DDL)
        before = words_of(connection, mariadb_url)
    workshop.package("shop", MODELS, metadata="shop.models.metadata")
    service = workshop.service(mariadb_url)
    service.revision("one", autogenerate=True, allow_drops=True)
    service.upgrade()
    assert service.check().problems == ()
    with engine.connect() as connection:
        assert not [line for line in words_of(connection, mariadb_url) if " CHECK (`" in line]
    service.downgrade("base")
    with engine.connect() as connection:
        assert words_of(connection, mariadb_url) == before
    engine.dispose()
