"""The rules of the house that no ready-made linter knows: sizes, arrows, and documents that agree with each other."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PLUGINS = ROOT / "plugins"
CORE = PLUGINS / "module_utils" / "_core"
MODULES = sorted(path for path in (PLUGINS / "modules").glob("*.py"))
MODULE_LINES, FUNCTION_LINES, FILE_LINES = 60, 40, 400
DOCUMENTS = {"DOCUMENTATION", "EXAMPLES", "RETURN"}
LAYOUT_TOKENS = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
# Written in two pieces so that this file is not its own finding.
MACHINE_PATHS = re.compile("/work" + r"/(main|shared|\.)|/root" + r"/\.|/opt" + "/(wheels|pypi)")
REGISTRY_HOSTS = re.compile(
    "registry" + r"\.npmjs|pypi" + r"\.org|pythonhosted" + r"\.org|docker" + r"\.io|quay" + r"\.io"
)


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def python_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py"))


def documentation_lines(tree: ast.Module) -> set[int]:
    """Line numbers of docstrings and of the documents that Ansible reads out of a module."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    for node in tree.body:
        if isinstance(node, ast.Assign) and {getattr(target, "id", None) for target in node.targets} & DOCUMENTS:
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def code_lines(path: Path) -> int:
    """Count the lines that carry code: no documents, comments or blank lines."""
    lines: set[int] = set()
    with path.open("rb") as source:
        for token in tokenize.tokenize(source.readline):
            if token.type not in LAYOUT_TOKENS and token.type != tokenize.ENCODING:
                lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - documentation_lines(ast.parse(path.read_text())))


def long_functions(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    documented = documentation_lines(tree)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = len(set(range(node.lineno, (node.end_lineno or node.lineno) + 1)) - documented)
            if length > FUNCTION_LINES:
                yield f"{path.relative_to(ROOT)}: {node.name} has {length} lines"


# --- sizes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", MODULES, ids=names(MODULES))
def test_a_module_file_says_nothing_but_its_interface(path: Path) -> None:
    assert code_lines(path) <= MODULE_LINES


def test_functions_are_short() -> None:
    assert [finding for path in python_files(PLUGINS) for finding in long_functions(path)] == []


def test_files_are_short() -> None:
    sizes = {
        str(path.relative_to(ROOT)): len(set(range(text.count("\n"))) - documentation_lines(ast.parse(text)))
        for path in python_files(PLUGINS)
        if (text := path.read_text())
    }
    assert {path: size for path, size in sizes.items() if size > FILE_LINES} == {}


def test_what_is_counted_is_code(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        '"""Doc."""\n# why\nDOCUMENTATION = r"""\na: b\n"""\n\ndef f():\n    """Doc."""\n    return """x\ny"""\n'
    )
    assert code_lines(path) == 3


def test_no_package_markers_under_plugins() -> None:
    assert names([path for path in python_files(PLUGINS) if path.name == "__init__.py"]) == []


# --- arrows -----------------------------------------------------------------------------------------------------


def foreign_imports(core: Path) -> list[str]:
    """Find the imports in _core that are neither relative within it nor of the standard library."""
    found = []
    for path in python_files(core):
        depth = len(path.relative_to(core).parts)  # 1: the dots that stay inside
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                foreign = node.level > depth if node.level else not is_standard(node.module or "")
            elif isinstance(node, ast.Import):
                foreign = not all(is_standard(alias.name) for alias in node.names)
            else:
                continue
            if foreign:
                found.append(f"{path.relative_to(core)}: {ast.unparse(node)}")
    return found


def is_standard(module: str) -> bool:
    return module.split(".")[0] in sys.stdlib_module_names


def test_the_core_imports_nothing_but_itself_and_the_standard_library() -> None:
    assert len(python_files(CORE)) > 3
    assert foreign_imports(CORE) == []


BREACHES = {
    "core to io": ("module_utils/_core/errors.py", "from .._io import clock"),
    "core to module": ("module_utils/_core/errors.py", "from .._module import run"),
    "io to module": ("module_utils/_io/clock.py", "from .._module import run"),
    "io to ansible": ("module_utils/_io/clock.py", "import ansible.module_utils.basic"),
    "module_utils to the controller": ("module_utils/_module/run.py", "from ...plugin_utils import progress"),
    "core to a package": ("module_utils/_core/errors.py", "import requests"),
}


@pytest.mark.parametrize("breach", [None, *BREACHES])
def test_a_wrong_import_is_found(tmp_path: Path, breach: str | None) -> None:
    shutil.copytree(PLUGINS, tmp_path / "plugins")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    if breach:
        file, line = BREACHES[breach]
        with (tmp_path / "plugins" / file).open("a") as source:
            source.write(f"\n{line}\n")
    command: list[str | Path] = [Path(sys.executable).parent / "lint-imports", "--no-cache"]
    contracts = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    core = foreign_imports(tmp_path / CORE.relative_to(ROOT))
    assert (contracts.returncode != 0 or core != []) == bool(breach), contracts.stdout


# --- documents that agree ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def module_docs() -> dict[str, Any]:
    """The documentation of every module, with its fragments merged, as users get it."""
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "ansible",
        "doc",
        "--playbook-dir",
        ROOT / "playbooks",
        "--type",
        "module",
        "-j",
    ]
    fqcns = [f"oncall.runbooks.{path.stem}" for path in MODULES]
    finished = subprocess.run([*command, *fqcns], capture_output=True, text=True, check=False, cwd=ROOT)
    assert finished.returncode == 0, finished.stderr
    documents: dict[str, Any] = json.loads(finished.stdout)
    assert set(documents) == set(fqcns)
    return documents


def test_every_module_states_what_check_and_diff_mode_do(module_docs: dict[str, Any]) -> None:
    silent = {
        (fqcn, attribute)
        for fqcn, document in module_docs.items()
        for attribute in ("check_mode", "diff_mode")
        if (document["doc"].get("attributes") or {}).get(attribute, {}).get("support")
        not in {"full", "partial", "none", "N/A"}
    }
    assert silent == set()


def test_every_returned_key_is_documented_with_a_sample(module_docs: dict[str, Any]) -> None:
    def without_sample(keys: dict[str, Any], place: str) -> Iterator[str]:
        for name, key in keys.items():
            if not key.get("returned"):
                yield f"{place}{name}: returned"
            if key.get("contains"):
                yield from without_sample(key["contains"], f"{place}{name}.")
            elif "sample" not in key:
                yield f"{place}{name}: sample"

    assert [gap for fqcn, doc in module_docs.items() for gap in without_sample(doc["return"], f"{fqcn}: ")] == []


ROLES = sorted(path.parent.parent for path in ROOT.glob("roles/*/meta/argument_specs.yml"))


def test_every_role_has_an_argument_spec_and_defaults() -> None:
    roles = [path for path in (ROOT / "roles").glob("*") if path.is_dir()]
    assert names([role for role in roles if role not in ROLES or not (role / "defaults/main.yml").is_file()]) == []


def disagreements(entry_points: dict[str, Any], defaults: dict[str, Any]) -> list[str]:
    """Compare names and default values, both ways; a required option has no default anywhere."""
    found, named = [], set()
    for entry_point, spec in entry_points.items():
        for name, option in (spec.get("options") or {}).items():
            named.add(name)
            if option.get("required"):
                if name in defaults or "default" in option:
                    found.append(f"{entry_point}.{name} is required and has a default")
            elif name not in defaults:
                found.append(f"{entry_point}.{name} has no default in defaults/main.yml")
            elif option.get("default") != defaults[name]:
                found.append(f"{entry_point}.{name}: {option.get('default')!r} in the spec, {defaults[name]!r} in fact")
    return found + [f"{name} is in no argument spec" for name in defaults if name not in named]


@pytest.mark.parametrize("role", ROLES, ids=names(ROLES))
def test_a_role_does_what_its_argument_spec_says(role: Path) -> None:
    entry_points = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    defaults = yaml.safe_load((role / "defaults" / "main.yml").read_text()) or {}
    assert disagreements(entry_points, defaults) == []


@pytest.mark.parametrize(
    ("options", "defaults", "complaint"),
    [
        ({"a": {"type": "int", "default": 1}}, {"a": 1}, None),
        ({"a": {"type": "str"}}, {"a": None}, None),
        ({"a": {"type": "int", "required": True}}, {}, None),
        ({"a": {"type": "int", "default": 1}}, {"a": 2}, "1 in the spec, 2 in fact"),
        ({"a": {"type": "int", "default": 1}}, {}, "no default in defaults"),
        ({}, {"a": 1}, "in no argument spec"),
        ({"a": {"required": True}}, {"a": 1}, "is required and has a default"),
    ],
)
def test_a_spec_that_disagrees_is_found(options: Any, defaults: Any, complaint: str | None) -> None:
    found = disagreements({"main": {"options": options}}, defaults)
    assert (complaint in found[0]) if complaint else found == []


def test_what_people_read_has_an_order() -> None:
    """Ansible's filters of sets answer in the order of Python's hashes, which is another one in each run."""
    of_sets = re.compile(r"\|\s*(difference|intersect|symmetric_difference|union)\b")
    files = [path for folder in ("playbooks", "roles") for path in (ROOT / folder).rglob("*.yml")]
    assert names([path for path in files if of_sets.search(path.read_text())]) == []


def test_the_page_of_faults_is_what_the_suite_and_the_measurements_say() -> None:
    command: list[str | Path] = [sys.executable, ROOT / "tools" / "faults.py", "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert checked.returncode == 0, checked.stderr


# --- what is committed ------------------------------------------------------------------------------------------


def committed_texts() -> Iterator[tuple[str, str]]:
    command = [
        "git",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        ":!playbooks/collections",
        ":!playbooks/recovery/collections",
    ]
    for name in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            yield name, (ROOT / name).read_text(errors="replace")


@pytest.mark.parametrize("pattern", [MACHINE_PATHS, REGISTRY_HOSTS], ids=["machine paths", "registry hosts"])
def test_nothing_of_one_machine_is_committed(pattern: re.Pattern[str]) -> None:
    assert [name for name, text in committed_texts() if pattern.search(text)] == []


def pins(file: str) -> set[str]:
    return set(re.findall(r"^(\S+==\S+)", (ROOT / "requirements" / file).read_text(), re.MULTILINE))


def test_the_demo_runs_on_what_was_tested() -> None:
    assert pins("demo-py311.txt") <= pins("dev-py311.txt")


def test_every_requirement_has_hashes() -> None:
    for path in (ROOT / "requirements").glob("*-py*.txt"):
        entries = re.split(r"\n(?=\S)", path.read_text().strip())
        assert [entry for entry in entries if "--hash=sha256:" not in entry] == [], path.name


def test_make_alone_prints_the_menu() -> None:
    menu = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = [line.split()[1] for line in menu.splitlines()]
    assert targets == ["demo", "demo-clean", "test", "lint", "matrix", "bench", "drill", "docs", "build"]
    assert all(len(line.split()) > 3 for line in menu.splitlines())
