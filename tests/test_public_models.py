"""Models of public packages, where they are installed: the first script is what ``create_all`` is.

``benchmarks/public_models.py`` sends many more through; ``docs/public-models.rst`` has the results.
"""

from __future__ import annotations

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


@pytest.mark.parametrize("product", ["sqlite", "postgresql", "mariadb"])
@pytest.mark.parametrize("name", MODELS)
def test_the_first_script_of_public_models(
    name: str, product: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    server: Any = None
    if product != "sqlite":
        server = request.getfixturevalue(f"{product}_server")
    urls = [
        server.create_database() if server else f"sqlite:///{tmp_path}/{number}.sqlite"
        for number in range(2)
    ]
    dump = str(server.bin_dir / "pg_dump") if product == "postgresql" else ""
    words = [name, MODELS[name], *urls, str(tmp_path / "alembic"), dump]
    done = subprocess.run(
        [sys.executable, str(TRIP), *words],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)},
    )
    count, _, problems = done.stdout.partition("\n")
    assert (done.returncode, problems) == (0, ""), done.stderr
    assert int(count) >= 10
    for url in urls if server else []:
        server.drop_database(url)
