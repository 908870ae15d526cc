"""Examples in docstrings are true."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    file
    for folder in ("plugins/module_utils", "plugins/plugin_utils", "plugins/callback", "tools")
    for file in (ROOT / folder).rglob("*.py")
    if ">>> " in file.read_text()
)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_the_examples_of_a_file_are_true(file: Path) -> None:
    name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted and not result.failed
