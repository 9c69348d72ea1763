"""We and the others: each in an environment of its own, and a Django project of the same tables."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

from workloads import Workload

__all__ = ["django_models_project", "django_project", "environment_of", "flask_project"]

REPOSITORY = Path(__file__).resolve().parent.parent

#: As users have it: mako, say, imports pygments wherever that is installed.
REQUIREMENTS = {
    "ours": ("-e", f"{REPOSITORY}[postgresql-binary,postgresql-psycopg]"),
    "alembic": ("alembic", "psycopg2-binary", "psycopg[binary]"),
    "flask": ("Flask-Migrate", "psycopg2-binary"),
    "django": ("Django", "psycopg2-binary"),
}


def environment_of(peer: str, folder: Path) -> str:
    """Return the Python of a peer's environment, which is made if it is not there."""
    root = folder / peer
    python = root / "bin" / "python"
    if not (root / "complete").exists():
        print(f"installing what {peer} needs ...", file=sys.stderr)
        venv.create(root, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
        subprocess.run([*install, *REQUIREMENTS[peer]], check=True)
        (root / "complete").touch()
    return str(python)


SETTINGS = """
SECRET_KEY = "benchmark"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
INSTALLED_APPS = {apps!r}
DATABASES = {{"default": {database!r}}}
"""

MIGRATION = """from django.db import migrations, models


class Migration(migrations.Migration):
    initial = {initial}
    dependencies = {dependencies!r}
    operations = [{operation}]
"""

MANAGE = """import os, sys
sys.path.insert(0, os.path.dirname(__file__))
os.environ["DJANGO_SETTINGS_MODULE"] = "bench_settings"
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""


def django_project(work: Workload, database: dict[str, object]) -> Path:
    """Write a Django project with the workload's tables; return its ``manage.py``."""
    root = work.root / "django"
    root.mkdir(exist_ok=True)
    apps = [f"dj_{name}" for name in work.packages]
    (root / "bench_settings.py").write_text(SETTINGS.format(apps=apps, database=database))
    (root / "manage.py").write_text(MANAGE)
    for app in apps:
        folder = root / app / "migrations"
        folder.mkdir(parents=True, exist_ok=True)
        (root / app / "__init__.py").touch()
        (folder / "__init__.py").touch()
        models = ["from django.db import models\n"]
        for number in range(work.revisions):
            model = f"T{number // 3}"
            if number % 3 == 0:
                operation = (
                    f"migrations.CreateModel(name={model!r}, fields=["
                    "('id', models.IntegerField(primary_key=True, serialize=False)), "
                    "('name', models.CharField(max_length=40, null=True))])"
                )
                models.append(
                    f"class {model}(models.Model):\n"
                    "    id = models.IntegerField(primary_key=True)\n"
                    "    name = models.CharField(max_length=40, null=True)\n"
                )
            elif number % 3 == 1:
                operation = (
                    f"migrations.AddField({model!r}, 'size', models.IntegerField(null=True))"
                )
                models[-1] += "    size = models.IntegerField(null=True)\n"
            else:
                index = f"models.Index(fields=['name'], name='{app}_{number}')"
                operation = f"migrations.AddIndex({model!r}, {index})"
                models[-1] += f"    class Meta:\n        indexes = [{index}]\n"
            before = [(app, f"{number - 1:04}_step")] if number else []
            (folder / f"{number:04}_step.py").write_text(
                MIGRATION.format(initial=not number, dependencies=before, operation=operation)
            )
        (root / app / "models.py").write_text("\n\n".join(models))
    return root / "manage.py"


FLASK_APP = """from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = {url!r}
db = SQLAlchemy(app)
Migrate(app, db, directory={directory!r})
"""


def flask_project(work: Workload, python: str) -> Path:
    """Write a Flask application with the first package's scripts; return its file."""
    root = work.root / "flask"
    root.mkdir(exist_ok=True)
    app = root / "app.py"
    app.write_text(FLASK_APP.format(url=work.url, directory=str(root / "migrations")))
    command = [python, "-m", "flask", "--app", str(app), "db"]
    subprocess.run([*command, "init"], check=True, capture_output=True)
    name = work.packages[0]
    for script in (work.root / name / "alembic" / "versions").iterdir():
        if script.suffix == ".py":
            shutil.copy(script, root / "migrations" / "versions")
    subprocess.run([*command, "stamp", "heads"], check=True, capture_output=True)
    return app


MODEL = """

class T{number}(models.Model):
    name = models.CharField(max_length=40, db_index=True)
    state = models.CharField(max_length=4, choices=[("new", "new"), ("done", "done")], null=True)
    amount = models.DecimalField(max_digits=10, decimal_places=2, default=0, null=True)
    created = models.DateTimeField(auto_now_add=True, null=True)
    active = models.BooleanField()
    note = models.TextField(null=True)
    parent = models.ForeignKey(
        "{parent}", models.CASCADE, null=True, db_index=False, related_name="+"
    )

    class Meta:
        indexes = [models.Index(fields=["created", "active"], name="ix_{app}_{number}")]
"""


def django_models_project(
    work: Workload, database: dict[str, object], tables: int, python: str
) -> Path:
    """Write a Django project of apps with many models, with its migrations.

    :param tables: how many models each app has
    """
    root = work.root / "django"
    root.mkdir(exist_ok=True)
    apps = [f"dj_{name}" for name in work.packages]
    (root / "bench_settings.py").write_text(SETTINGS.format(apps=apps, database=database))
    (root / "manage.py").write_text(MANAGE)
    for place, app in enumerate(apps):
        folder = root / app / "migrations"
        folder.mkdir(parents=True, exist_ok=True)
        (root / app / "__init__.py").touch()
        (folder / "__init__.py").touch()
        first = f"{apps[place - 1]}.T0" if place else "self"
        text = "from django.db import models\n" + "".join(
            MODEL.format(number=n, app=app, parent=f"T{n - 1}" if n else first)
            for n in range(tables)
        )
        (root / app / "models.py").write_text(text)
    subprocess.run([python, str(root / "manage.py"), "makemigrations", "-v0"], check=True)
    return root / "manage.py"
