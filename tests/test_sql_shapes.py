"""Literal SQL in its many shapes: which tables of another package it needs."""

from __future__ import annotations

from typing import Any

import pytest

from apps import Workshop

NEEDS = [
    # Rows
    "INSERT INTO prof SELECT users.id FROM prof JOIN users ON users.id = prof.id",
    "INSERT INTO prof SELECT 1 FROM prof STRAIGHT_JOIN users",
    "INSERT INTO prof SELECT 1 FROM prof p, users JOIN prof q ON q.id = p.id",
    "INSERT INTO prof SELECT x.id FROM (SELECT 1 AS id) x, users u",
    "INSERT INTO prof SELECT 1 FROM generate_series(1, 2) AS g, LATERAL (SELECT 1) y, users",
    "INSERT INTO prof TABLE users",
    "WITH gone AS (DELETE FROM users RETURNING id) INSERT INTO prof SELECT id FROM gone",
    "UPDATE prof JOIN users ON users.id = prof.id SET prof.id = users.id",
    "UPDATE prof, users SET prof.id = users.id WHERE prof.id < users.id",
    "UPDATE prof SET id = 1 FROM (SELECT 1 AS x) y, users WHERE y.x = users.id",
    "DELETE FROM prof USING users WHERE prof.id = users.id",
    "MERGE INTO prof USING users ON prof.id = users.id WHEN MATCHED THEN DELETE",
    "TRUNCATE prof, users",
    "COPY users TO STDOUT",
    "SELECT setval('prof_id_seq', (SELECT max(id) FROM users))",
    'INSERT INTO prof SELECT id FROM public."users"',
    # What is made upon a table
    "CREATE VIEW v AS SELECT id FROM prof LEFT JOIN users USING (id)",
    "ALTER VIEW v AS SELECT id FROM users",
    "CREATE TABLE copy AS SELECT prof.id FROM prof CROSS JOIN users",
    "CREATE TABLE copy (LIKE users INCLUDING ALL)",
    "CREATE TABLE copy LIKE users",
    "CREATE TABLE heir (more INTEGER) INHERITS (users)",
    "CREATE TABLE part PARTITION OF users FOR VALUES IN (1)",
    "CREATE TRIGGER t AFTER INSERT OR UPDATE OF id ON users FOR EACH ROW EXECUTE FUNCTION f()",
    "CREATE OR REPLACE RULE r AS ON DELETE TO users DO INSTEAD NOTHING",
    "CREATE POLICY p ON users FOR SELECT USING (true)",
    "CREATE STATISTICS s (dependencies) ON id, nick FROM users",
    "CREATE PUBLICATION p FOR TABLE prof, users",
    # What is said of a table
    "ALTER TABLE users ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE IF EXISTS ONLY public.users OWNER TO somebody",
    "ALTER TABLE prof INHERIT users",
    "ALTER TABLE prof ATTACH PARTITION users FOR VALUES IN (1)",
    "ALTER TABLE users ALTER COLUMN nick SET NOT NULL",
    "ALTER TABLE users DROP COLUMN nick",
    "ALTER TABLE users RENAME COLUMN nick TO name",
    "COMMENT ON COLUMN users.nick IS 'x'",
    "GRANT SELECT (id), UPDATE ON prof, users TO somebody",
    "REVOKE ALL PRIVILEGES ON TABLE users FROM somebody",
    "LOCK TABLE prof, ONLY users IN EXCLUSIVE MODE".replace("ONLY ", ""),
    "ANALYZE VERBOSE users",
    "VACUUM (FULL) users",
    "DROP TRIGGER IF EXISTS t ON users",
]

NEEDS_NOT = [
    "INSERT INTO prof VALUES ('FROM users')",
    "UPDATE prof SET users = 1",
    "UPDATE prof SET id = extract(year FROM users)",
    "DELETE FROM prof WHERE trim(BOTH 'x' FROM users) = '' AND id IN (SELECT id FROM prof)",
    "DELETE FROM prof WHERE id IS DISTINCT FROM users",
    "WITH users AS (SELECT 1 AS id) INSERT INTO prof SELECT prof.id FROM prof JOIN users ON true",
    "SELECT count(*) FROM prof AS users",
    "INSERT INTO prof SELECT 1 FROM users(1)",
    "GRANT EXECUTE ON FUNCTION users() TO somebody",
    "GRANT users TO somebody",
    "CREATE TABLE users2 (users INTEGER)",
    "-- FROM users\nDELETE FROM prof",
    "ANALYZE",
    "LOCK TABLES prof WRITE",
]


@pytest.fixture
def team(workshop: Workshop) -> Workshop:
    workshop.package("aaa")
    workshop.package("zzz")
    workshop.script(
        "aaa",
        "a1",
        None,
        'op.create_table("users", sa.Column("id", sa.Integer), sa.Column("nick", sa.Text))',
    )
    columns = 'sa.Column("id", sa.Integer), sa.Column("users", sa.Text)'
    workshop.script("zzz", "z0", None, f'op.create_table("prof", {columns})')
    return workshop


def kinds(team: Workshop, url: str) -> list[str]:
    problems: Any = team.service(url).check().problems
    return [one.kind for one in problems if one.kind != "pending"]


@pytest.mark.parametrize("sql", NEEDS)
def test_sql_that_needs_a_table_of_another_package(
    team: Workshop, sqlite_url: str, sql: str
) -> None:
    team.script("zzz", "z1", "z0", f"op.execute({sql!r})")
    assert kinds(team, sqlite_url) == ["requirement"]
    team.script("zzz", "z1", "z0", f"op.execute({sql!r})", requires=["aaa@a1"])
    assert kinds(team, sqlite_url) == []


@pytest.mark.parametrize("sql", NEEDS_NOT)
def test_sql_that_only_looks_so(team: Workshop, sqlite_url: str, sql: str) -> None:
    team.script("zzz", "z1", "z0", f"op.execute({sql!r})")
    assert kinds(team, sqlite_url) == []


@pytest.mark.parametrize("sql", NEEDS)
def test_the_table_may_not_be_dropped_at_any_time(
    team: Workshop, sqlite_url: str, sql: str
) -> None:
    team.script("zzz", "z1", "z0", f"op.execute({sql!r})", requires=["aaa@a1"])
    team.script("aaa", "a2", "a1", 'op.drop_table("users")')
    assert kinds(team, sqlite_url) == ["race"]
