"""The driver alone: the same statements, version rows and transactions. URL FILE, a JSON file."""

import json
import sys
from pathlib import Path

url, path = sys.argv[1:]
if url.startswith("sqlite"):
    import sqlite3

    connection = sqlite3.connect(url.partition("///")[2], isolation_level=None)
    cursor = connection.cursor()
elif "+psycopg:" in url:
    import psycopg

    # Without parameters a statement goes out as it does with psycopg2.
    connection = psycopg.connect(url.replace("postgresql+psycopg:", "postgresql:"))
    connection.autocommit = True
    cursor = connection.cursor()
else:
    import psycopg2

    connection = psycopg2.connect(url.replace("postgresql+psycopg2:", "postgresql:"))
    connection.autocommit = True
    cursor = connection.cursor()

for package, steps in json.loads(Path(path).read_text()).items():
    table = f"alembic_history_{package}"
    cursor.execute(f"CREATE TABLE {table} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    before = None
    for revision, statement in steps:
        cursor.execute("BEGIN")
        cursor.execute(statement)
        if before is None:
            cursor.execute(f"INSERT INTO {table} VALUES ('{revision}')")
        else:
            cursor.execute(
                f"UPDATE {table} SET version_num='{revision}' WHERE version_num='{before}'"
            )
        cursor.execute("COMMIT")
        before = revision
