"""What AWX gets beside the collection is what the collection is tested with."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def names(file: Path) -> set[str]:
    lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    return {re.split(r"[<>=\[ ]", line)[0].lower() for line in lines if line and not line.startswith("#")}


def test_every_library_of_the_environment_is_one_that_tests_use() -> None:
    content = yaml.safe_load((ROOT / "meta" / "execution-environment.yml").read_text(encoding="utf-8"))
    python, system = (ROOT / content["dependencies"][kind] for kind in ("python", "system"))
    assert names(python) <= names(ROOT / "requirements" / "dev.in")
    assert names(system) <= {
        line.split()[-1] for line in (ROOT / "requirements" / "system.txt").read_text().splitlines()
    }


def test_every_library_that_the_controller_imports_late_is_there() -> None:
    wanted = set()
    for folder in ("plugins/module_utils/_io", "plugins/plugin_utils"):
        for file in (ROOT / folder).rglob("*.py"):
            wanted |= set(
                re.findall(r"^\s+from (sqlalchemy|alembic|prometheus_client|requests|redis)\b", file.read_text(), re.M)
            )
            wanted |= set(
                re.findall(
                    r"^\s+import (sqlalchemy|alembic|prometheus_client|requests|redis)\b", file.read_text(), re.M
                )
            )
    assert wanted and wanted <= names(ROOT / "meta" / "ee-requirements.txt")
