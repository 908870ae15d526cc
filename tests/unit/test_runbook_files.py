"""Playbooks, their metadata, the book made from them, and the inventories: they agree, and AWX lists what it should."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from plugins.module_utils._core.errors import InvalidValue
from plugins.module_utils._core.runbook import read_decisions, read_runbook
from tools import docs

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOKS = sorted(
    path
    for path in (ROOT / "playbooks").glob("**/*.yml")
    if "collections" not in path.relative_to(ROOT / "playbooks").parts and not path.name.endswith(".meta.yml")
)
METADATA = [path.with_suffix(".meta.yml") for path in PLAYBOOKS]
PHASES = ["PREFLIGHT", "ACT", "VERIFY", "REPORT"]
# The rule by which AWX lists a project's playbooks (awx/main/utils/ansible.py).
AWX_PLAYBOOK = re.compile(r"^\s*?-?\s*?(?:hosts|include|import_playbook):\s*?.*?$", re.MULTILINE)


def named(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def metadata(name: str = "weekly-maintenance") -> Any:
    return yaml.safe_load((ROOT / "playbooks" / f"{name}.meta.yml").read_text())


def test_the_book_is_fresh() -> None:
    assert docs.stale(docs.book()) == []


def test_a_stale_page_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {tmp_path / "docs" / "a.md": "new", tmp_path / "docs" / "b.md": "same"}
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("old")
    (tmp_path / "docs" / "b.md").write_text("same")
    (tmp_path / "docs" / "gone.md").write_text(docs.GENERATED.format(sources="x"))
    (tmp_path / "docs" / "own.md").write_text("# Written by a person")
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    assert docs.stale(wanted) == ["docs/a.md", "docs/gone.md"]


@pytest.mark.parametrize("path", PLAYBOOKS, ids=named(PLAYBOOKS))
def test_a_runbook_has_four_phases_in_order_and_tags_for_them(path: Path) -> None:
    plays = list(docs.plays_of(path))
    assert list(dict.fromkeys(play.phase for play in plays)) == PHASES
    for raw, play in zip(yaml.safe_load(path.read_text()), plays, strict=True):
        assert play.phase.lower() in raw["tags"], raw["name"]
        number = PHASES.index(play.phase) + 1
        title = yaml.safe_load(path.with_suffix(".meta.yml").read_text())["short_description"]
        assert raw["name"].startswith(f"{title} ({number}/4) {play.phase}: "), raw["name"]


# Only looks, and keeps nobody else away.
LOOKING = {
    "capacity-planning",
    "daily-operations",
    "event-ingestion",
    "external-apis",
    "journal",
    "performance-check",
    "report",
    "system-health",
}
WORKING = [path for path in PLAYBOOKS if path.stem not in LOOKING]


@pytest.mark.parametrize("path", WORKING, ids=named(WORKING))
def test_a_runbook_takes_the_lock_last_and_gives_it_back_whatever_tags_are_asked_for(path: Path) -> None:
    plays = yaml.safe_load(path.read_text())
    steps = [(step, set(play["tags"])) for play in plays for _role, step in docs.role_steps(play["tasks"])]
    preflight = [step for step, tags in steps if "preflight" in tags]
    assert preflight[-1] == "lock"
    assert all("always" in tags for step, tags in steps if step in ("lock", "finish", "window", "host"))
    (end,) = [step for step, tags in steps if "report" in tags and step != "main"]
    assert end == "finish"


def blocks_of(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for task in tasks:
        if "block" in task:
            yield task
            yield from blocks_of(task["block"])


def test_all_playbooks_note_failures_and_ask_for_their_lock_in_one_way() -> None:
    """An anchor reaches no further than its file."""
    plays = [play for path in PLAYBOOKS for play in yaml.safe_load(path.read_text())]
    blocks = [block for play in plays for block in blocks_of(play["tasks"])]
    rescues = {yaml.safe_dump(block["rescue"]) for block in blocks}
    (step,) = docs.role_steps(yaml.safe_load(rescues.pop()))
    assert step == ("preflight", "note") and not rescues
    renewals = {yaml.safe_dump(task) for block in blocks for task in block["block"] if "renew" in str(task)}
    assert len(renewals) == 1


def test_a_run_ends_with_the_lock_given_back_and_then_with_what_failed() -> None:
    finish = yaml.safe_load((ROOT / "roles/preflight/tasks/finish.yml").read_text())
    report, *end = finish
    assert list(docs.role_steps(report["block"])) == [("report", "main")] and report["rescue"]
    assert [task["ansible.builtin.import_tasks"] for task in end] == ["release.yml", "conclude.yml"]


# The hosts are independent: a lost one must not end the run. A recovery is about one host, and its steps build on
# each other: it breaks off.
FOR_MANY_HOSTS = ("backup", "backup-verify", "database-maintenance", "weekly-maintenance")
ON_THE_CONTROLLER = {"assert", "debug", "fail", "import_role", "import_tasks", "set_fact"}


def tasks_of(tasks: list[dict[str, Any]], role: str = "") -> Iterator[dict[str, Any]]:
    """Yield all tasks, also those of the roles and files that are imported; not those that only handle a failure."""
    for task in tasks:
        yield task
        yield from tasks_of(task.get("block", []), role)
        used = task.get("ansible.builtin.import_role")
        if used:
            name = used["name"].rpartition(".")[2]
            file = ROOT / "roles" / name / "tasks" / f"{used.get('tasks_from', 'main')}.yml"
            yield from tasks_of(yaml.safe_load(file.read_text()), name)
        elif "ansible.builtin.import_tasks" in task:
            file = ROOT / "roles" / role / "tasks" / task["ansible.builtin.import_tasks"]
            yield from tasks_of(yaml.safe_load(file.read_text()), role)


def can_be_lost(task: dict[str, Any]) -> bool:
    actions = {key.removeprefix("ansible.builtin.") for key in task if key.startswith("ansible.builtin.")}
    return "block" not in task and not actions & ON_THE_CONTROLLER


@pytest.mark.parametrize("name", FOR_MANY_HOSTS)
def test_a_host_that_is_lost_in_any_task_is_noted_and_ends_no_run(name: str) -> None:
    """Ansible neither rescues a lost host nor goes on when all hosts of a play are lost."""
    plays = yaml.safe_load((ROOT / "playbooks" / f"{name}.yml").read_text())
    working = [play for play in plays if {"act", "verify"} & set(play["tags"])]
    assert working
    for play in working:
        assert play["ignore_unreachable"] and "any_errors_fatal" not in play, play["name"]
        (block,) = blocks_of(play["tasks"])
        assert list(docs.role_steps([block["block"][-1]])) == [("preflight", "reached")], play["name"]
        silent = [task["name"] for task in tasks_of([block]) if can_be_lost(task) and "register" not in task]
        assert silent == [], play["name"]


@pytest.mark.parametrize("path", METADATA, ids=named(METADATA))
def test_metadata_is_complete_and_no_playbook_for_awx(path: Path) -> None:
    runbook = read_runbook(path.name.replace(".meta.yml", ""), yaml.safe_load(path.read_text()))
    assert runbook.when_to_use and runbook.commands and all(runbook.texts.values())
    assert runbook.texts["last_reviewed"] < runbook.texts["next_review"]
    assert AWX_PLAYBOOK.search(path.read_text()) is None
    assert AWX_PLAYBOOK.search((path.parent / f"{runbook.name}.yml").read_text())
    own = str(path.relative_to(ROOT)).replace(".meta.yml", ".yml")
    named_playbooks = [re.findall(r"playbooks/\S+\.yml", command) for _does, command in runbook.commands]
    assert all(found and all((ROOT / name).is_file() for name in found) for found in named_playbooks)
    assert any(own in found for found in named_playbooks)


def test_every_tag_that_the_metadata_speaks_of_exists() -> None:
    tags = {tag for path in PLAYBOOKS for play in yaml.safe_load(path.read_text()) for tag in play["tags"]}
    decisions = [path.read_text() for path in (ROOT / "roles").glob("*/meta/decisions.yml")]
    texts = [path.read_text() for path in METADATA] + decisions
    spoken_of = {tag for text in texts for tag in re.findall(r"--tags ([a-z_]+)", text)}
    assert spoken_of and spoken_of <= tags


def test_every_variable_that_a_decision_speaks_of_exists() -> None:
    specs = [docs.load(path)["argument_specs"] for path in (ROOT / "roles").glob("*/meta/argument_specs.yml")]
    variables = {name for entries in specs for entry in entries.values() for name in entry.get("options") or {}}
    for path in (ROOT / "roles").glob("*/meta/decisions.yml"):
        role = path.parts[-3]
        points = read_decisions(role, yaml.safe_load(path.read_text()))
        assert points
        spoken_of = {name for point in points for name in re.findall(rf"\b{role}_[a-z_]+", point.then)}
        assert spoken_of <= variables, path


@pytest.mark.parametrize("part", ["purpose", "rollback", "decision_points", "extra", "spec"])
def test_metadata_that_lacks_a_part_is_refused(part: str) -> None:
    content = copy.deepcopy(metadata())
    raw = content["argument_specs"]["weekly_maintenance"]["runbook"]
    if part == "purpose":
        del content["description"]
    elif part == "extra":
        raw["extra"] = 1
    elif part == "spec":
        content["argument_specs"] = []
    elif part == "decision_points":
        raw["decision_points"] = [{"when": "x"}]
    else:
        del raw[part]
    with pytest.raises(InvalidValue):
        read_runbook("weekly-maintenance", content)


def test_the_example_inventory_knows_every_variable_and_no_other() -> None:
    reference = (ROOT / "inventories/example/group_vars/all/reference.yml").read_text()
    known = set(re.findall(r"^# ([a-z_]+): ", reference, re.MULTILINE))
    for path in (ROOT / "inventories").glob("*/group_vars/**/*.yml"):
        variables = set(yaml.safe_load(path.read_text()) or {})
        ours = {name for name in variables if not name.startswith(("ansible_", "vault_", "demo"))}
        assert ours <= known, path


def test_each_database_of_the_example_names_its_own_and_is_restored_from_another() -> None:
    hosts = yaml.safe_load((ROOT / "inventories/example/hosts.yml").read_text())["database"]["hosts"]
    copied = yaml.safe_load((ROOT / "inventories/example/group_vars/database.yml").read_text())["backup_databases"]
    for host in hosts.values():
        login = host["database_login"]
        assert login.get("login_db") in copied or "dsn" in login
        assert host["recovery_login"] == {**login, "login_db": "postgres"}


def test_the_example_inventory_is_one() -> None:
    command = [sys.executable, "-m", "ansible", "inventory", "-i", "inventories/example", "--graph"]
    graph = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(f"@{group}:" in graph for group in ("database", "app", "cache", "proxy"))


def test_markup_is_taken_out() -> None:
    assert docs.plain(["See O(ignore:rules), C(df).", "M(a.b.c) and V(x)."]) == "See `rules`, `df`. `a.b.c` and `x`."
    assert docs.cell("a|b") == "a\\|b"
