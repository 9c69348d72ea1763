"""Models of public packages, where they are installed: the first script is what ``create_all`` is.

``benchmarks/public_models.py`` sends many more through; ``docs/public-models.rst`` has the results.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

TRIP = Path(__file__).with_name("public_trip.py")

MODELS = {
    "optuna": "from optuna.storages._rdb.models import BaseModel\nmetadata = BaseModel.metadata",
    "jupyterhub": "from jupyterhub.orm import Base\nmetadata = Base.metadata",
    "buildbot": "from buildbot.db.model import Model\nmetadata = Model.metadata",
}


#: Imports a package once, and sends its models on each trip in a fork.
PROGRAM = f"""
import json, os, sys
sys.path.insert(0, {str(TRIP.parent)!r})
import public_trip
name, source, trips = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
exec(source, {{}})
for words in trips:
    if os.fork() == 0:
        public_trip.main(name, source, *words)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
    os.write(1, b"\\0")
"""


@pytest.mark.parametrize("name", MODELS)
def test_the_first_script_of_public_models(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    servers: dict[str, Any] = {"sqlite": None}
    for product in ("postgresql", "mariadb"):
        with contextlib.suppress(pytest.skip.Exception):
            servers[product] = request.getfixturevalue(f"{product}_server")
    trips = {}
    for product, server in servers.items():
        urls = [
            server.create_database() if server else f"sqlite:///{tmp_path}/{number}.sqlite"
            for number in range(2)
        ]
        dump = str(server.bin_dir / "pg_dump") if product == "postgresql" else ""
        trips[product] = [*urls, str(tmp_path / product), dump]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name, MODELS[name], json.dumps([*trips.values()])],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    for product, told in zip(trips, done.stdout.split("\0"), strict=False):
        count, _, problems = told.partition("\n")
        assert problems == "", f"{product}\n{problems}\n{done.stderr}"
        assert int(count) >= 10, product
    assert done.stdout.count("\0") == len(trips)
    for product, server in servers.items():
        for url in trips[product][:2] if server else []:
            server.drop_database(url)
