"""``squash``: the scripts of a range become one, from the facts that they make."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
import sqlalchemy as sa

from apps import THING, Typed, Workshop
from runs import engine_of, execute, rows, table, tables
from websauna_migrate.errors import MigrationError, ScriptError, UsageError
from websauna_migrate.facts.catalogue import read_facts

HISTORY = "alembic_history_fooapp"

#: Each step of a shop's history, up and down.
STEPS = {
    "aa01": (
        """
        op.create_table(
            "users",
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("email", sa.String(200), nullable=False),
            sa.Column("age", sa.Integer, server_default="7"),
        )
        op.create_index("ix_users_email", "users", ["email"], unique=True)
        """,
        'op.drop_table("users")',
    ),
    "aa02": (
        """
        op.create_table(
            "roles",
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("name", sa.String(20), nullable=False),
            sa.CheckConstraint("name <> 'root'", name="ck_roles_name"),
        )
        with op.batch_alter_table("users") as batch:
            batch.add_column(sa.Column("role_id", sa.Integer, nullable=True))
            batch.create_foreign_key("fk_users_role", "roles", ["role_id"], ["id"])
        """,
        """
        with op.batch_alter_table("users") as batch:
            batch.drop_constraint("fk_users_role", type_="foreignkey")
            batch.drop_column("role_id")
        op.drop_table("roles")
        """,
    ),
    "aa03": (
        'op.bulk_insert(sa.table("roles", sa.column("name")), [{"name": "a"}, {"name": "b"}])',
        'op.execute("DELETE FROM roles")',
    ),
    "aa04": (
        """
        op.create_table(
            "notes",
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("kind", sa.Enum("x", "y", name="kinds")),
            sa.Column("text", sa.Text),
        )
        """,
        """
        op.drop_table("notes")
        sa.Enum(name="kinds").drop(op.get_bind(), checkfirst=True)
        """,
    ),
    "aa05": (
        'op.execute("CREATE VIEW readers AS SELECT id, name FROM roles")',
        'op.execute("DROP VIEW readers")',
    ),
    "aa06": (
        """
        with op.batch_alter_table("notes") as batch:
            batch.add_column(sa.Column("title", sa.String(30)))
            batch.drop_column("text")
        """,
        """
        with op.batch_alter_table("notes") as batch:
            batch.add_column(sa.Column("text", sa.Text))
            batch.drop_column("title")
        """,
    ),
}


def shop(workshop: Workshop) -> dict[str, Path]:
    workshop.package("fooapp")
    found, down = {}, None
    for name, (up, back) in STEPS.items():
        found[name] = workshop.script("fooapp", name, down, up, back)
        down = name
    return found


def facts_of(url: str) -> dict[str, object]:
    inspector = sa.inspect(engine_of(url))
    found: dict[str, object] = {"views": inspector.get_view_names()}
    for name in tables(url) - {HISTORY, "websauna_migrate_ledger"}:
        if name.startswith("websauna_migrate"):
            continue
        found[name] = (
            [(c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(name)],
            sorted(str(i["name"]) for i in inspector.get_indexes(name)),
            sorted(str(k["name"]) for k in inspector.get_foreign_keys(name)),
            sorted(str(k["name"]) for k in inspector.get_check_constraints(name)),
        )
    return found


def test_a_history_becomes_one_script(
    workshop: Workshop, database_url: str, tmp_path: Path
) -> None:
    old = shop(workshop)
    ini = workshop.application("fooapp", tmp_path / "foo.ini", database_url)
    assert workshop.ws(ini, "upgrade").status == 0
    before = facts_of(database_url)
    typed = workshop.ws(ini, "squash", "-m", "The shop", "--rev-id", "sq01", "--json")
    assert typed.status == 0, typed.err
    (script,) = json.loads(typed.out)["scripts"]
    assert script["replaces"] == [*STEPS]
    assert {one["revision"] for one in script["kept"]} == {"aa03", "aa05"}
    text = Path(script["path"]).read_text()
    assert f'proved = "{script["proved"]}"' in text and "upgrade_aa03()" in text
    assert text.index("create_table('users'") < text.index("upgrade_aa03()")
    # It is adopted, with its rows; then the old scripts go.
    execute(database_url, "INSERT INTO roles (name) VALUES ('mine')")
    assert "adopted at the next upgrade" in workshop.ws(ini, "status").out
    assert "squash sq01 adopted" in workshop.ws(ini, "upgrade").out
    for path in old.values():
        path.unlink()
    assert workshop.ws(ini, "check").status == 0
    assert rows(database_url, "SELECT name FROM roles ORDER BY name") == [
        ("a",),
        ("b",),
        ("mine",),
    ]
    # Down and up again gives the same tables, and the rows that scripts make.
    assert workshop.ws(ini, "downgrade", "base", "--yes").status == 0
    assert not {"users", "roles", "notes"} & tables(database_url)
    assert workshop.ws(ini, "upgrade").status == 0
    assert facts_of(database_url) == before
    assert rows(database_url, "SELECT count(*) FROM readers") == [(2,)]


def test_what_is_behind_a_schema_that_may_have_rows_is_kept(
    workshop: Workshop, sqlite_url: str
) -> None:
    shop(workshop)
    service = workshop.service(sqlite_url)
    service.upgrade("aa02")
    done = service.squash("aa04:aa06")
    (script,) = done.scripts
    # "notes" is of the range itself, and nothing filled it.
    assert [one.revision for one in script.kept] == ["aa05"]
    assert script.replaces == ("aa04", "aa05", "aa06")
    service = workshop.service(sqlite_url)
    assert [one.revision for one in service.upgrade().steps] == ["aa03", script.revision]
    more = service.squash("aa01:head")
    assert more.scripts[0].replaces == (
        *("aa01", "aa02", "aa03", "aa04", "aa05", "aa06", script.revision),
    )
    service = workshop.service(sqlite_url)
    run = service.upgrade()
    assert [one.after for one in run.adopted] == [(more.scripts[0].revision,)]
    # What changes a table from before the range is not written anew: it may have rows.
    workshop.script(
        "fooapp",
        "aa07",
        more.scripts[0].revision,
        'op.add_column("users", sa.Column("nick", sa.String(9)))',
        'op.drop_column("users", "nick")',
    )
    workshop.script("fooapp", "aa08", "aa07", **table("z"))
    service = workshop.service(sqlite_url)
    (last,) = service.squash("aa07:aa08").scripts
    assert [(one.revision, one.why) for one in last.kept] == [("aa07", '"users" may have rows')]


def test_steps_that_say_so_leave_their_rows_out(workshop: Workshop, sqlite_url: str) -> None:
    old = shop(workshop)
    old["aa03"].write_text(old["aa03"].read_text() + "\nelidable = True\n")
    (script,) = workshop.service(sqlite_url).squash().scripts
    assert script.elided == ("aa03",)
    service = workshop.service(sqlite_url)
    service.upgrade()
    assert "squash-changed" not in {one.kind for one in service.check().problems}
    old["aa01"].write_text(old["aa01"].read_text() + "\n# A word more.\n")
    problems = {one.kind: one for one in workshop.service(sqlite_url).check().problems}
    assert not problems["squash-changed"].fatal
    # As it is while the proof runs.
    path = Path(script.path)
    path.write_text(path.read_text().replace(script.proved, ""))
    problems = {one.kind: one for one in workshop.service(sqlite_url).check().problems}
    assert problems["squash-changed"].fatal and "not proven" in str(problems["squash-changed"])
    with pytest.raises(ScriptError, match="was not proven"):
        workshop.service(f"sqlite:///{workshop.root}/another.sqlite").upgrade()
    with pytest.raises(ScriptError, match="was not proven"):
        workshop.service(sqlite_url).sql()
    assert rows(sqlite_url, "SELECT count(*) FROM roles") == [(0,)]


#: What a script has besides, and why its step cannot be kept then.
NOT_MOVED = {
    "print('read')": "does something when the script is read",
    "from math import *": "imports all names of a module",
    "HERE = __file__": "uses __file__",
    "HERE = __name__": "uses __name__",
}


def test_a_kept_step_that_cannot_be_moved_is_named(workshop: Workshop, sqlite_url: str) -> None:
    old = shop(workshop)
    script, text = old["aa03"], old["aa03"].read_text()
    for more, problem in NOT_MOVED.items():
        script.write_text(f"{text}\n{more}\n")
        with pytest.raises(MigrationError) as info:
            workshop.service(sqlite_url).squash()
        assert problem in str(info.value), more
        assert '"aa03" of package "fooapp"' in str(info.value) and str(script) in str(info.value)
        assert sorted(script.parent.glob("*.py")) == sorted(old.values()), more


def test_a_kept_step_may_have_a_logger(workshop: Workshop, sqlite_url: str) -> None:
    old = shop(workshop)
    text = old["aa03"].read_text()
    logger = "import logging\nlog = logging.getLogger(__name__)\n"
    said = text.replace("def upgrade():\n", f"{logger}\ndef upgrade():\n    log.info('rows')\n")
    assert said != text
    old["aa03"].write_text(said)
    (script,) = workshop.service(sqlite_url).squash().scripts
    assert "aa03" in {one.revision for one in script.kept}
    assert "getLogger(__name__)" in Path(script.path).read_text()
    workshop.service(sqlite_url).upgrade()
    assert rows(sqlite_url, "SELECT count(*) FROM roles") != [(0,)]


def test_what_kept_steps_do_not_fill_is_written_anew(
    workshop: Workshop, postgresql_url: str
) -> None:
    workshop.package("fooapp")
    first = """
    op.create_table(
        "t",
        sa.Column("id", sa.Integer, sa.Identity(), primary_key=True),
        sa.Column("kind", sa.Enum("x", "y", name="kinds"), comment="it's 100%"),
        sa.Column("n", sa.Numeric(10, 2), sa.CheckConstraint("n > 0", name="ck_n")),
    )
    op.create_index("ix_part", "t", [sa.text("lower(id::text)")], postgresql_where=sa.text("n > 5"))
    """
    workshop.script(
        "fooapp", "aa01", None, first, 'op.drop_table("t")\nop.execute("DROP TYPE kinds")'
    )
    workshop.script(
        "fooapp",
        "aa02",
        "aa01",
        'op.execute("CREATE VIEW v AS SELECT id FROM t")',
        'op.execute("DROP VIEW v")',
    )
    workshop.script(
        "fooapp",
        "aa03",
        "aa02",
        'op.alter_column("t", "n", nullable=False)\nop.add_column("t", sa.Column("f", sa.Float))',
        'op.drop_column("t", "f")\nop.alter_column("t", "n", nullable=True)',
    )
    # An exclusion constraint that includes columns is more than operations know.
    workshop.script(
        "fooapp",
        "aa04",
        "aa03",
        'op.execute("CREATE TABLE e (r int4range, n int4range, "'
        '"EXCLUDE USING gist (r WITH &&) INCLUDE (n))")',
        'op.drop_table("e")',
    )
    (script,) = workshop.service(postgresql_url).squash().scripts
    assert [one.revision for one in script.kept] == ["aa02", "aa04"]
    assert "cannot be written otherwise" in script.kept[1].why
    service = workshop.service(postgresql_url)
    assert len(service.upgrade().steps) == len(service.downgrade("base").steps) == 1


def test_names_of_kept_steps_that_clash_are_told_apart(workshop: Workshop, sqlite_url: str) -> None:
    workshop.package("fooapp")
    workshop.script("fooapp", "aa01", None, **table("a"))
    for number in (2, 3):
        path = workshop.script(
            "fooapp",
            f"aa0{number}",
            f"aa0{number - 1}",
            "fill()",
            'op.execute("DELETE FROM a")',
        )
        fill = 'def fill():\n    op.execute("INSERT INTO a VALUES (%d)" % VALUE)\n'
        path.write_text(f"{path.read_text()}\nVALUE = {number}\n{fill}")
    workshop.service(sqlite_url).squash()
    service = workshop.service(sqlite_url)
    service.upgrade()
    assert rows(sqlite_url, "SELECT id FROM a ORDER BY id") == [(2,), (3,)]


def circle(workshop: Workshop) -> None:
    workshop.package("fooapp")
    workshop.package("other")
    key = 'op.create_table("{0}", sa.Column("id", sa.Integer, primary_key=True))'
    workshop.script("fooapp", "aa01", None, key.format("a"), 'op.drop_table("a")')
    workshop.script("fooapp", "aa02", "aa01", key.format("c"), 'op.drop_table("c")')
    other = key.format("b")[:-1] + ', sa.Column("a_id", sa.Integer, sa.ForeignKey("a.id")))'
    workshop.script("other", "bb01", None, other, 'op.drop_table("b")', requires=["fooapp@aa02"])
    third = key.format("d")[:-1] + ', sa.Column("b_id", sa.Integer, sa.ForeignKey("b.id")))'
    workshop.script("fooapp", "aa03", "aa02", third, 'op.drop_table("d")', requires=["other@bb01"])


def test_packages_that_require_each_other_in_a_circle(
    workshop: Workshop, transactional_database_url: str, tmp_path: Path
) -> None:
    circle(workshop)
    ini = workshop.application("fooapp", tmp_path / "foo.ini", transactional_database_url)
    assert workshop.ws(ini, "-x", "packages=all", "upgrade").status == 0
    typed = workshop.ws(ini, "squash", "--json")
    assert typed.status == 0, typed.err
    first, second = json.loads(typed.out)["scripts"]
    assert (first["replaces"], second["replaces"]) == (["aa01", "aa02"], ["aa03"])
    done = json.loads(workshop.ws(ini, "upgrade", "--json").out)
    assert [one["after"] for one in done["adopted"]] == [[second["revision"]]]
    assert workshop.ws(ini, "-x", "packages=all", "downgrade", "base", "--yes").status == 0
    typed = workshop.ws(ini, "-x", "packages=all", "upgrade", "--json")
    assert [step["revision"] for step in json.loads(typed.out)["steps"]] == [
        *(first["revision"], "bb01", second["revision"]),
    ]


def test_a_branch_label_goes_with_the_squash(workshop: Workshop, sqlite_url: str) -> None:
    workshop.package("fooapp")
    old = [
        workshop.script("fooapp", "aa01", None, **table("a")),
        workshop.script("fooapp", "aa02", "aa01", **table("b"), labels=("fast",)),
        workshop.script("fooapp", "aa03", "aa02", **table("c")),
    ]
    service = workshop.service(sqlite_url)
    service.upgrade()
    (script,) = service.squash(packages="fooapp").scripts
    for _ in range(2):
        service = workshop.service(sqlite_url)
        assert [(one.id, one.branch_labels) for one in service.heads()] == [
            (script.revision, ("fast",))
        ]
        service.upgrade("fast@head")
        assert service.current()[0].rows == (script.revision,)
        for path in old:
            path.unlink(missing_ok=True)


def test_ranges_that_cannot_be_one_script(workshop: Workshop, sqlite_url: str) -> None:
    workshop.package("fooapp")
    workshop.script("fooapp", "aa01", None, **table("a"))
    workshop.script("fooapp", "aa02", "aa01", **table("b"))
    workshop.script("fooapp", "aa03", "aa02", **table("c"))
    workshop.script("fooapp", "bb03", "aa02", **table("d"))
    service = workshop.service(sqlite_url)
    with pytest.raises(MigrationError, match="has 2 heads"):
        service.squash("base:heads")
    with pytest.raises(MigrationError, match='"bb03" of package "fooapp" comes right after "aa02"'):
        service.squash("base:aa03")
    with pytest.raises(UsageError, match="nothing to squash"):
        service.squash("aa03:aa03")
    with pytest.raises(UsageError, match=r"not of the form \[start\]:\[end\]"):
        service.squash("aa03")


def test_each_of_several_squashes_is_taken_back_in_the_proof(
    workshop: Workshop, sqlite_url: str
) -> None:
    circle(workshop)
    condition = 'if "aa02" in op.get_context().get_current_heads():'
    path = workshop.script(
        *("fooapp", "aa02", "aa01", 'op.execute("CREATE VIEW v AS SELECT id FROM a")'),
        f'{condition}\n    op.execute("DROP VIEW v")',
    )
    with pytest.raises(MigrationError, match="behind its downgrade") as info:
        workshop.service(sqlite_url).squash(packages="fooapp")
    assert 'the squash of "aa02"' in str(info.value) and 'view "v"' in str(info.value)
    path.write_text(path.read_text().replace(condition, "if True:"))
    assert len(workshop.service(sqlite_url).squash(packages="fooapp").scripts) == 2


def test_the_rows_that_old_scripts_make_are_compared(workshop: Workshop, sqlite_url: str) -> None:
    shop(workshop)
    row = "INSERT INTO roles (name) VALUES (:name)"
    heads = "str(op.get_context().get_current_heads())"
    path = workshop.script(
        *("fooapp", "aa07", "aa06"),
        f"op.execute(sa.text({row!r}).bindparams(name={heads}))",
        'op.execute("DELETE FROM roles")',
    )
    with pytest.raises(MigrationError, match="tables have other rows") as info:
        workshop.service(sqlite_url).squash()
    assert "main.roles: " in str(info.value) and "name=\"('aa06',)\"" in str(info.value)
    # What the old scripts fill otherwise each time is left out.
    changing = "f'{uuid.uuid4()}'[:20]"
    text = path.read_text().replace(heads, changing).replace("import op", "import op\nimport uuid")
    path.write_text(text)
    assert workshop.service(sqlite_url).squash().scripts


def test_a_downgrade_need_not_lead_back_further_than_that_of_the_old_scripts(
    workshop: Workshop, sqlite_url: str
) -> None:
    workshop.package("fooapp")
    workshop.script("fooapp", "f01", None, **table("a"))
    workshop.script("fooapp", "f02", "f01", "op.add_column('a', sa.Column('b', sa.Integer))")
    workshop.script("fooapp", "f03", "f02", "op.execute('INSERT INTO a (b) VALUES (3)')")
    down = "op.drop_column('a', 'c')"
    workshop.script("fooapp", "f04", "f03", "op.add_column('a', sa.Column('c', sa.Text))", down)
    found = workshop.service(sqlite_url).squash("f02:f04")
    assert [one.replaces for one in found.scripts] == [("f02", "f03", "f04")]
    workshop.service(sqlite_url).upgrade()
    assert rows(sqlite_url, "SELECT b, c FROM a") == [(3, None)]


def test_what_old_scripts_say_of_their_steps_holds_for_the_new_one(
    workshop: Workshop, sqlite_url: str
) -> None:
    old = shop(workshop)
    said = {
        "aa01": "lock_budget = 30\nstatement_timeout_ms = 2000",
        "aa02": "lock_budget = 60 * 60\nstatement_timeout_ms = 0",
        "aa03": 'loses = {"roles": "they come back"}\ntransactional = False',
        "aa04": "lock_timeout_ms = 50\nloses = {'notes': 'never'}\ntransactional = False",
    }
    for name, lines in said.items():
        old[name].write_text(f"{old[name].read_text()}\n{lines}\n")
    (script,) = workshop.service(sqlite_url).squash().scripts
    assert [one.revision for one in script.kept] == ["aa03", "aa05"]
    found = runpy.run_path(script.path)
    limits = ("lock_budget", "lock_timeout_ms", "statement_timeout_ms")
    assert [found[name] for name in limits] == [3600, 50, 0]
    assert "lock_timeout_max_ms" not in found and found["transactional"] is False
    assert found["loses"] == {"roles": "they come back"}


def test_scripts_in_folders_by_date(workshop: Workshop, tmp_path: Path, sqlite_url: str) -> None:
    package = workshop.package("shop", THING)
    ini = workshop.application("shop", tmp_path / "app.ini", sqlite_url)
    options = (
        "file_template = %%(year)d/%%(month).2d/%%(rev)s\nrecursive_version_locations = true\n"
    )
    ini.write_text(f"{ini.read_text()}[alembic]\noutput_encoding = utf-8-sig\n{options}")
    assert workshop.ws(ini, "revision", "--autogenerate", "-m", "Où").status == 0
    assert workshop.ws(ini, "upgrade").status == 0
    path = package / "models.py"
    path.write_text(path.read_text() + "    more = sa.Column(sa.Integer)\n")
    for words in (
        "revision --autogenerate -m two",
        "redo",
        "upgrade",
        "squash",
        "upgrade",
        "check",
    ):
        typed = workshop.ws(ini, *words.split())
        assert typed.status == 0, (words, typed)
    scripts = [*(package / "alembic" / "versions").rglob("*.py")]
    assert {len(one.relative_to(package / "alembic" / "versions").parts) for one in scripts} == {3}
    assert len(scripts) == 3


ENUM = """
import sqlalchemy as sa

metadata = sa.MetaData()
sa.Table("{name}", metadata, sa.Column("id", sa.Integer, primary_key=True),
         sa.Column("e", sa.Enum({values}, name="{name}_kind", create_constraint={constrained})))
"""

#: The values of an enum type that had "a", "b" and "c" before.
CHANGED = {"renamed": '"a", "x", "c"', "ordered": '"c", "a", "b"', "more": '"a", "b", "c", "d"'}


def test_enum_types_are_known_behind_a_squash(
    workshop: Workshop, tmp_path: Path, sqlite_url: str
) -> None:
    kinds = {
        f"{change}_{constrained}".lower(): (values, constrained)
        for change, values in CHANGED.items()
        for constrained in (True, False)
    }
    for name, (_, constrained) in kinds.items():
        models = ENUM.format(name=name, values='"a", "b", "c"', constrained=constrained)
        workshop.package(name, models, metadata=f"{name}.models.metadata")
    ini = workshop.application("kindapp", tmp_path / "app.ini", sqlite_url)

    def types(words: str) -> Typed:
        typed = workshop.ws(ini, "-x", "packages=all", *words.split())
        assert typed.status == 0, (words, typed)
        return typed

    types("revision --autogenerate --no-prove -m one")
    types("upgrade")
    for name, (values, constrained) in kinds.items():
        models = ENUM.format(name=name, values=values, constrained=constrained)
        (workshop.root / name / "models.py").write_text(models)
    types("revision --autogenerate -m two")
    types("upgrade")
    for name in kinds:
        typed = workshop.ws(ini, "-x", f"packages={name}", "squash")
        assert typed.status == 0, (name, typed)
    types("upgrade")
    # SQLite keeps a text: what a type is on other databases, the script says.
    for name, (values, _) in kinds.items():
        texts = [path.read_text() for path in (workshop.root / name).rglob("versions/*.py")]
        (squash,) = [text for text in texts if "replaces = " in text]
        assert f"ENUM({values}".replace('"', "'") in squash.replace("sa.Enum", "ENUM"), name
    assert types("check") == (0, "No new upgrade operations detected.\n", "")
    assert "No changes" in types("revision --autogenerate -m no").out


UNSEEN = {
    "sqlite": (
        'op.execute("CREATE UNIQUE INDEX low ON t (lower(name), n) WHERE n > 1")',
        "lower(name)",
    ),
    "postgresql": (
        """op.execute(
            "ALTER TABLE t ADD CONSTRAINT apart EXCLUDE USING btree (name WITH =, abs(n) WITH =) "
            "WHERE (n > 1) DEFERRABLE INITIALLY DEFERRED"
        )""",
        "EXCLUDE USING",
    ),
}


@pytest.mark.filterwarnings("ignore:.*unsupported reflection")
@pytest.mark.parametrize("database", UNSEEN)
def test_what_sqlalchemy_does_not_reflect_of_a_table_that_changes_is_written_anew(
    workshop: Workshop, request: pytest.FixtureRequest, database: str
) -> None:
    url = str(request.getfixturevalue(f"{database}_url"))
    made, words = UNSEEN[database]
    workshop.package("fooapp", None)
    columns = 'sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(20))'
    create = f'op.create_table("t", {columns}, sa.Column("n", sa.Integer))'
    workshop.script("fooapp", "aa01", None, f"{create}\n{made}", 'op.drop_table("t")')
    workshop.script(
        "fooapp",
        "aa02",
        "aa01",
        'with op.batch_alter_table("t") as batch:\n'
        '    batch.add_column(sa.Column("more", sa.Integer))\n'
        '    batch.alter_column("name", type_=sa.String(30))',
        'with op.batch_alter_table("t") as batch:\n'
        '    batch.drop_column("more")\n'
        '    batch.alter_column("name", type_=sa.String(20))',
    )
    workshop.service(url).upgrade()
    with engine_of(url).connect() as connection:
        before = read_facts(connection).only(lambda one: one.table == "t")
    (script,) = workshop.service(url).squash(":").scripts
    assert script.kept == ()
    service = workshop.service(url)
    service.upgrade()
    service.downgrade("base")
    service.upgrade()
    with engine_of(url).connect() as connection:
        after = read_facts(connection).only(lambda one: one.table == "t")
    assert after == before and words in str(before)
