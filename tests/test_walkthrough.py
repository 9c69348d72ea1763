"""The walkthrough of the documentation, each command as a user types it, in a fresh directory.

An application and its add-ons are separate distributions, installed editable from a git clone into
an environment of their own whose websauna_migrate is a wheel.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sqlite3
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import sqlalchemy as sa

from by_fork import programs_by_fork
from conftest import (
    REPOSITORY,
    Environment,
    PostgreSQLServer,
    alone,
    install_into,
    pip,
    run_process,
)

PACKAGES = ("user", "shop", "app")

OFFER = "Adding Offer model for managing deals"


class Site:
    """A clone of the example, its environment and a database."""

    def __init__(self, clone: Path, environment: Environment, extra_path: str) -> None:
        self.clone = clone
        self.environment = environment
        self.extra_path = extra_path
        self.url = ""

    @property
    def app(self) -> Path:
        return self.clone / "app" / "src" / "acme" / "app"

    def run(
        self, command: str, cwd: Path | None = None, *, status: int = 0, input: str | None = None
    ) -> CompletedProcess[str]:
        """Run a command line as typed; the current folder is the clone's.

        A shell runs it, but for a command of ours alone.
        """
        of_ours = command.startswith("ws-") and not set(command) & set("|;&$<>()*?~`#\\\n")
        bin = self.environment.root / "bin"
        folders = [str(bin), self.extra_path, os.environ["PATH"]]
        if not of_ours:
            folders.insert(0, programs_by_fork(self.clone.parent / "programs", bin))
        path = os.pathsep.join(folders)
        result = run_process(
            shlex.split(command) if of_ours else ["sh", "-c", command],
            cwd=cwd or self.clone,
            env={"PATH": path, "HOME": str(self.clone.parent)},
            input=input,
        )
        assert result.returncode == status, f"{command}\n{result.stdout}\n{result.stderr}"
        return result

    def write_ini(self, name: str, url: str, folder: Path | None = None) -> None:
        (folder or self.clone).joinpath(name).write_text(
            "[includes]\ninclude_ini_files = resource://acme.app/conf/base.ini\n\n"
            f"[app:main]\nsqlalchemy.url = {url.replace('%', '%%')}\n",
            encoding="utf-8",
        )

    def query(self, statement: str, url: str = "") -> list[tuple[object, ...]]:
        engine = sa.create_engine(url or self.url)
        try:
            with engine.connect() as connection:
                return [tuple(row) for row in connection.execute(sa.text(statement))]
        finally:
            engine.dispose()

    def tables(self, url: str = "") -> set[str]:
        engine = sa.create_engine(url or self.url)
        try:
            return set(sa.inspect(engine).get_table_names())
        finally:
            engine.dispose()


def make_clone_and_environment(root: Path, like: Environment) -> None:
    """Make a repository with the example, a clone of it, and an environment that has it editable.

    :param like: an environment with our wheel
    """
    root.mkdir()
    origin, clone = root / "origin.git", root / "clone"
    work = root / "work"
    for name in PACKAGES:
        shutil.copytree(
            REPOSITORY / "examples" / name,
            work / name,
            ignore=shutil.ignore_patterns("*.egg-info", "__pycache__", "build", ".*_cache"),
        )
    (work / ".gitignore").write_text("__pycache__\n*.egg-info\n*.sqlite\nbuild\n")
    git = ["git", "-c", "user.name=Tester", "-c", "user.email=tester@example.invalid"]
    for command in (
        [*git, "init", "-q", "-b", "main"],
        [*git, "add", "-A"],
        [*git, "commit", "-q", "-m", "The example"],
        [*git, "clone", "-q", "--bare", str(work), str(origin)],
        [*git, "clone", "-q", str(origin), str(clone)],
    ):
        assert run_process(command, cwd=work).returncode == 0, command
    environment = Environment(root / "an environment")
    install_into(environment, [], like)
    editable = [word for name in PACKAGES for word in ("-e", str(clone / name))]
    pip(
        *("--python", environment.python, "install", "--quiet", "--no-deps"),
        *("--no-build-isolation", *editable),
    )


@pytest.fixture(scope="module")
def clone_and_environment(
    installed_venv: Callable[..., Environment],
    of_all_workers: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Environment]:
    """A clone of a repository with the example, installed editable; tests reset it by git.

    It is made once for all workers, each of which has a copy with its own paths in it.
    """
    made = of_all_workers / "what is walked through"
    like = installed_venv()
    with alone(made) as is_there:
        if not is_there:
            make_clone_and_environment(made, like)
    root = tmp_path_factory.mktemp("walkthrough") / "a site"
    shutil.copytree(made, root, symlinks=True)
    clone, environment = root / "clone", Environment(root / "an environment")
    installed = environment.site_packages
    for path in (
        clone / ".git" / "config",
        *environment.program("").iterdir(),
        *installed.glob("*.pth"),
        *installed.glob("*.dist-info/direct_url.json"),
    ):
        if path.is_file() and not path.is_symlink():
            text = path.read_text(encoding="utf-8").replace(str(made), str(root))
            path.write_text(text.replace(made.as_uri(), root.as_uri()), encoding="utf-8")
    return clone, environment


@pytest.fixture
def make_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """``make_url(name)``: a new, empty database of the kind that the test is about."""
    kind = request.param
    if kind == "sqlite":
        return lambda name: f"sqlite:///{tmp_path / name}.sqlite"
    server: PostgreSQLServer = request.getfixturevalue("postgresql_server")
    made: list[str] = []

    def create(name: str) -> str:
        made.append(server.create_database())
        return made[-1]

    request.addfinalizer(lambda: [server.drop_database(url) for url in made])
    return create


@pytest.fixture
def site(
    clone_and_environment: tuple[Path, Environment],
    make_url: Callable[[str], str],
    request: pytest.FixtureRequest,
) -> Iterator[Site]:
    clone, environment = clone_and_environment
    extra = ""
    if "postgresql" in request.node.callspec.id:
        extra = str(request.getfixturevalue("postgresql_server").bin_dir)
    site = Site(clone, environment, extra)
    site.url = make_url("development")
    site.write_ini("development.ini", site.url)
    yield site
    site.run(
        "git fetch -q origin && git reset -q --hard origin/main && git clean -qfdx -e '*.egg-info'"
    )


BOTH = pytest.mark.parametrize("make_url", ["sqlite", "postgresql"], indirect=True)


def revision_in(text: str) -> str:
    """Return the identifier of the script whose path a command printed."""
    (found,) = re.findall(r"versions/(\w+?)_\w*\.py", text)
    return str(found)


@BOTH
def test_the_walkthrough(site: Site, make_url: Callable[[str], str]) -> None:
    # The application's models are written, and it has no script directory yet.
    shutil.rmtree(site.app / "alembic")
    made = site.run(f'ws-alembic -c development.ini revision --autogenerate -m "{OFFER}"')
    offer = revision_in(made.stdout)
    (script,) = (site.app / "alembic" / "versions").glob(f"{offer}_*.py")
    source = script.read_text()
    assert '"acme.shop@' in source or "'acme.shop@" in source
    assert '"acme.user@' in source or "'acme.user@" in source
    assert (site.app / "alembic" / "env.py").exists()

    done = site.run("ws-alembic -c development.ini upgrade head")
    assert "offers" in site.tables()
    assert site.query("SELECT version_num FROM alembic_history_acme_app") == [(offer,)]
    assert done.stderr.count("acme.app") == 1

    # What the application requires of the add-ons came with it; the rest of theirs did not.
    site.run("ws-alembic -x packages=all -c development.ini upgrade")
    nothing = site.run("ws-alembic -x packages=all -c development.ini revision --autogenerate")
    assert nothing.stdout + nothing.stderr == "No changes: no script was written.\n"
    site.run("ws-alembic -x packages=acme.app -c development.ini revision --autogenerate")
    assert len(list((site.app / "alembic" / "versions").glob("*.py"))) == 1

    # One changed add-on among all packages.
    models = site.clone / "shop" / "src" / "acme" / "shop" / "models.py"
    before = models.read_text()
    models.write_text(
        before
        + textwrap.dedent('''

        class Voucher(Base):
            """A voucher."""

            __tablename__ = "vouchers"

            id: Mapped[int] = mapped_column(primary_key=True)
        ''')
    )
    made = site.run("ws-alembic -x packages=all -c development.ini revision --autogenerate")
    assert "/shop/" in made.stdout and made.stdout.count("\n") == 1
    site.run("ws-alembic -x packages=all -c development.ini upgrade")
    assert "vouchers" in site.tables()

    site.run("ws-dump-db development.ini > dump.sql")
    dump = (site.clone / "dump.sql").read_text()
    assert "offers" in dump and "alembic_history_acme_app" in dump

    shell = site.run("ws-db-shell development.ini", input="SELECT 41 + 1 AS answer;\n")
    assert "42" in shell.stdout

    history = site.run("ws-alembic -c development.ini history")
    assert history.stdout.startswith(f"<base> -> {offer} (head), {OFFER} [requires acme.shop@")

    # A second revision, taken back, thrown away and made again.
    models = site.app / "models.py"
    first = models.read_text()
    models.write_text(
        first.replace(
            "    product: Mapped", "    note: Mapped[str | None]\n\n    product: Mapped", 1
        )
    )
    second = revision_in(
        site.run('ws-alembic -c development.ini revision --autogenerate -m "A note"').stdout
    )
    site.run("ws-alembic -c development.ini upgrade head")
    site.run(f"ws-alembic -c development.ini downgrade {offer}")
    assert site.query("SELECT version_num FROM alembic_history_acme_app") == [(offer,)]
    (path,) = (site.app / "alembic" / "versions").glob(f"{second}_*.py")
    path.unlink()
    models.write_text(
        first.replace(
            "    product: Mapped", "    remark: Mapped[str | None]\n\n    product: Mapped", 1
        )
    )
    third = revision_in(
        site.run('ws-alembic -c development.ini revision --autogenerate -m "A remark"').stdout
    )
    site.run("ws-alembic -c development.ini upgrade head")
    assert site.query("SELECT version_num FROM alembic_history_acme_app") == [(third,)]
    site.query("SELECT remark FROM offers")
    check = site.run("ws-alembic -x packages=all -c development.ini check")
    assert "No new upgrade operations detected." in check.stdout


@BOTH
def test_production_is_migrated_before_its_code(
    site: Site, make_url: Callable[[str], str], tmp_path: Path
) -> None:
    site.write_ini("production.ini", site.url, site.app)
    site.run("ws-alembic -x packages=all -c production.ini upgrade head", site.app)
    # A colleague pushes a new model and its script.
    other = tmp_path / "colleague"
    site.run(f"git clone -q ../origin.git '{other}'")
    app = other / "app" / "src" / "acme" / "app"
    head = site.query("SELECT version_num FROM alembic_history_acme_app")[0][0]
    (app / "alembic" / "versions" / "aaaa00000001_a_new_table.py").write_text(
        textwrap.dedent(f'''\
        """A new table"""
        from alembic import op
        import sqlalchemy as sa

        revision = "aaaa00000001"
        down_revision = "{head}"


        def upgrade():
            op.create_table("newcomers", sa.Column("id", sa.Integer, primary_key=True))


        def downgrade():
            op.drop_table("newcomers")
        ''')
    )
    identity = "-c user.name=Tester -c user.email=tester@example.invalid"
    site.run(f"git add -A && git {identity} commit -q -m 'New' && git push -q", other)
    try:
        # On the server the code is still old, only the scripts are fetched.
        site.run("git fetch -q", site.app)
        site.run("git checkout origin -- alembic", site.app)
        site.run("ws-alembic -c production.ini upgrade head", site.app)
        assert "newcomers" in site.tables()
        assert "newcomers" not in (site.app / "models.py").read_text()
    finally:
        site.run(
            f"git {identity} revert --no-edit HEAD -q 2>/dev/null || "
            f"git {identity} revert --no-edit HEAD && git push -q",
            other,
        )


@BOTH
def test_an_add_on_is_migrated_from_the_applications_ini(site: Site) -> None:
    ini = site.clone / "development.ini"
    site.run(f"(cd '{site.clone / 'shop'}' && ws-alembic -c '{ini}' upgrade)")
    tables = site.tables()
    assert "alembic_history_acme_shop" in tables
    assert "offers" not in tables
    status = site.run("ws-alembic -c development.ini status --fail-on never").stdout
    assert re.search(r"^acme\.shop .* 0$", status, re.MULTILINE)


@BOTH
def test_a_staging_database_is_stamped(site: Site, make_url: Callable[[str], str]) -> None:
    url = make_url("staging")
    site.write_ini("staging.ini", url)
    revision = site.run("ws-alembic -c development.ini history").stdout.split()[2]
    site.run(f"ws-alembic -c staging.ini stamp {revision}")
    assert site.query("SELECT version_num FROM alembic_history_acme_app", url) == [(revision,)]
    assert "offers" not in site.tables(url)


@BOTH
def test_an_enum_choice_is_added_as_old_scripts_do(site: Site) -> None:
    site.run("ws-alembic -x packages=all -c development.ini upgrade")
    made = site.run(
        'ws-alembic -x packages=acme.shop -c development.ini revision -m "Adding enum choice"'
    )
    path = Path(made.stdout.strip())
    if not path.is_absolute():
        path = site.clone / path
    body = 'op.execute("COMMIT")'
    if site.url.startswith("postgresql"):
        (type_,) = site.query(
            "SELECT typname FROM pg_type WHERE typtype = 'e' ORDER BY typname LIMIT 1"
        )[0]
        body += f"\n    op.execute(\"ALTER TYPE {type_} ADD VALUE 'postponed'\")"
    source = path.read_text()
    path.write_text(re.sub(r'("""Upgrade schema."""\n    )pass', lambda m: m[1] + body, source))
    assert path.read_text() != source
    site.run("ws-alembic -x packages=all -c development.ini upgrade head")
    assert site.query("SELECT version_num FROM alembic_history_acme_shop") == [
        (revision_in(made.stdout),)
    ]
    site.run("ws-alembic -x packages=all -c development.ini upgrade")


def test_the_sqlite_dump_can_be_restored(
    clone_and_environment: tuple[Path, Environment], tmp_path: Path
) -> None:
    clone, environment = clone_and_environment
    site = Site(clone, environment, "")
    site.url = f"sqlite:///{tmp_path / 'one.sqlite'}"
    site.write_ini("dumped.ini", site.url)
    site.run("ws-alembic -x packages=all -c dumped.ini upgrade")
    dump = site.run("ws-dump-db dumped.ini").stdout
    restored = sqlite3.connect(tmp_path / "two.sqlite")
    with restored:
        restored.executescript(dump)
    tables = {row[0] for row in restored.execute("SELECT name FROM sqlite_master")}
    restored.close()
    assert {"offers", "alembic_history_acme_app"} <= tables
