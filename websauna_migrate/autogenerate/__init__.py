"""New revision scripts: comparing one package's models with the database, and writing the file."""

from __future__ import annotations

from websauna_migrate.autogenerate.compare.by_hand import told_besides
from websauna_migrate.autogenerate.comparison import compare_options, find_changes
from websauna_migrate.autogenerate.fact_comparison import FactComparison
from websauna_migrate.autogenerate.package_objects import PackageObjects
from websauna_migrate.autogenerate.reflection import Reflection
from websauna_migrate.autogenerate.renames import Renames
from websauna_migrate.autogenerate.revision_errors import RevisionFailed
from websauna_migrate.autogenerate.write.move_writer import MoveWriter
from websauna_migrate.autogenerate.write.revision_files import created
from websauna_migrate.autogenerate.write.writer import ScriptWriter

__all__ = [
    "FactComparison",
    "MoveWriter",
    "PackageObjects",
    "Reflection",
    "Renames",
    "RevisionFailed",
    "ScriptWriter",
    "compare_options",
    "created",
    "find_changes",
    "told_besides",
]
