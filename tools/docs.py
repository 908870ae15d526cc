"""Write what is made from the playbooks, their .meta.yml files and the roles' argument specs.

That is the runbook book in docs/, and the reference of all variables in inventories/example/.

python tools/docs.py           write it
python tools/docs.py --check   say what is stale, and end with 1 when something is
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from plugins.module_utils._core.runbook import Runbook, read_decisions, read_runbook  # noqa: E402
from plugins.module_utils._core.summary import DecisionPoint  # noqa: E402

GENERATED = "<!-- Written by tools/docs.py (make docs) from {sources}: change those, not this page. -->\n"
_PLAY_NAME = re.compile(r".+ \(\d/\d\) (?P<phase>[A-Z]+): (?P<outcome>.+)")
_MARKUP = re.compile(r"\b(?:ignore:)?(?P<kind>[A-Z]{1,2})\((?P<text>[^()]*)\)")
_ROLE_KEYS = ("ansible.builtin.import_role", "ansible.builtin.include_role")
_BLOCK_KEYS = ("block", "rescue", "always")
# What a person says on the command line of one run: in a file it would confirm every restore.
SAID_FOR_ONE_RUN = ("confirm", "force", "at", "snapshot", "target", "database", "files")
OF_ONE_RUN = ("_confirm", "_force", "_at", "_snapshot")


@dataclass(frozen=True)
class Play:
    """One play: its phase, what it brings about, the role steps it is made of, and the variables that it sets."""

    phase: str
    outcome: str
    hosts: str
    tags: tuple[str, ...]
    steps: tuple[tuple[str, str], ...]
    serial: bool
    sets: dict[str, Any]


@dataclass(frozen=True)
class Page:
    """A playbook with all that its page is made of."""

    path: Path
    runbook: Runbook
    plays: tuple[Play, ...]
    variables: dict[str, Any]


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def pages() -> list[Page]:
    """Return the pages of all playbooks that have metadata, by path."""
    found = []
    for meta in sorted((ROOT / "playbooks").glob("**/*.meta.yml")):
        if "collections" in meta.relative_to(ROOT / "playbooks").parts:
            continue
        playbook = meta.with_name(meta.name.replace(".meta.yml", ".yml"))
        content = load(meta)
        (spec,) = content["argument_specs"].values()
        runbook = read_runbook(playbook.stem, content)
        found.append(Page(playbook, runbook, tuple(plays_of(playbook)), spec["options"]))
    return found


def plays_of(playbook: Path) -> Iterator[Play]:
    for raw in load(playbook):
        match = _PLAY_NAME.fullmatch(raw["name"])
        if match is None:
            raise SystemExit(
                f"{playbook.name}: a play's name must be 'Runbook (n/4) PHASE: outcome', not {raw['name']!r}"
            )
        yield Play(
            phase=match["phase"],
            outcome=match["outcome"],
            hosts=str(raw["hosts"]),
            tags=tuple(tag for tag in raw.get("tags", ()) if tag != "always"),
            steps=tuple(dict.fromkeys(role_steps(raw["tasks"]))),
            serial="serial" in raw,
            sets=raw.get("vars", {}),
        )


def role_steps(tasks: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield role and step of all tasks, those in blocks too; what only handles a failure is no step.

    A step that is made of another role's is followed by that.
    """
    for task in tasks:
        for key in _ROLE_KEYS:
            if key in task:
                role, step = task[key]["name"].rpartition(".")[2], task[key].get("tasks_from", "main")
                yield role, step
                yield from role_steps(load(ROOT / "roles" / role / "tasks" / f"{step}.yml"))
        for key in _BLOCK_KEYS:
            if key != "rescue":
                yield from role_steps(task.get(key, []))


def plain(text: Any) -> str:
    """Return a description without Ansible's markup.

    >>> plain(["See O(x).", "Uses C(df)."])
    'See `x`. Uses `df`.'
    """
    joined = " ".join(text) if isinstance(text, list) else str(text)
    return _MARKUP.sub(lambda match: f"`{match['text'].removeprefix('ignore:')}`", " ".join(joined.split()))


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def shown(default: Any) -> str:
    return "" if default is None else f"`{json.dumps(default)}`"


def variable_rows(options: dict[str, Any], sets: dict[str, list[str]]) -> Iterator[str]:
    for name, option in options.items():
        kind = option.get("type", "str")
        kind = f"{kind} of {option['elements']}" if "elements" in option else kind
        need = "**required**" if option.get("required") else shown(option.get("default"))
        if name in sets:
            need = f"set here: {' or '.join(sets[name])}"
        yield f"| `{name}` | {kind} | {cell(need)} | {cell(plain(option.get('description', '')))} |"


def variables(page: Page) -> Iterator[str]:
    yield from ("## Variables", "", "Of the playbook itself:", "", *table(page.variables, {}), "")
    sets = set_by_plays(page)
    if sets:
        yield from ("What is set here comes from the playbook: an inventory does not change it, only -e does.", "")
    steps: dict[str, list[str]] = {}
    for role, step in (step for play in page.plays for step in play.steps):
        entries = steps.setdefault(role, [])
        if step not in entries:
            entries.append(step)
    for role, entries in steps.items():
        specs = load(ROOT / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]
        options = {name: option for entry in entries for name, option in (specs[entry].get("options") or {}).items()}
        if options:
            readme = link_to(page, ROOT / "roles" / role / "README.md")
            yield from (f"Of the role [{role}]({readme}):", "", *table(options, sets), "")


def link_to(page: Page, target: Path) -> str:
    """Return the way from a runbook's page to a file."""
    return os.path.relpath(target, page_file(page).parent)


def set_by_plays(page: Page) -> dict[str, list[str]]:
    """Return what the plays set, each variable with its values; a value that is worked out is not told."""
    found: dict[str, list[str]] = {}
    for play in page.plays:
        for name, value in play.sets.items():
            text = "worked out" if "{{" in str(value) else shown(value)
            if text not in found.setdefault(name, []):
                found[name].append(text)
    return found


def table(options: dict[str, Any], sets: dict[str, list[str]]) -> Iterator[str]:
    yield from (
        "| variable | type | default | what it is |",
        "| --- | --- | --- | --- |",
        *variable_rows(options, sets),
    )


def procedure(page: Page) -> Iterator[str]:
    yield from ("## Procedure", "")
    for does, command in page.runbook.commands:
        yield from (f"{does}:", "", "```shell", " ".join(command.split()), "```", "")
    yield from ("What happens, in this order:", "")
    yield from ("| phase | outcome | on | alone with | done by |", "| --- | --- | --- | --- | --- |")
    for play in page.plays:
        own = [step for step in page.runbook.steps if step in play.tags] or list(play.tags)
        where = f"`{play.hosts}`" + (", one host at a time" if play.serial else "")
        steps = ", ".join(f"`{role}/{step}`" for role, step in play.steps)
        tags = f"`--tags {own[0]}`" if own else ""
        yield f"| {play.phase} | {cell(play.outcome)} | {where} | {tags} | {steps} |"
    yield ""


def roles_of(page: Page) -> tuple[str, ...]:
    return tuple(dict.fromkeys(role for play in page.plays for role, _step in play.steps))


def decisions(page: Page) -> Iterator[DecisionPoint]:
    """Yield the runbook's own decision points, then those of its roles."""
    yield from page.runbook.decision_points
    for role in roles_of(page):
        file = ROOT / "roles" / role / "meta" / "decisions.yml"
        if file.exists():
            yield from read_decisions(role, load(file))


def page_text(page: Page) -> str:
    runbook, texts = page.runbook, page.runbook.texts
    source = page.path.relative_to(ROOT).as_posix()
    sources = f"{source}, its .meta.yml and the roles' argument specs"
    facts = {
        "Type": texts["type"],
        "Status": texts["status"],
        "Criticality": texts["criticality"],
        "Last reviewed": texts["last_reviewed"],
        "Next review": texts["next_review"],
        "Playbook": f"[{source}]({link_to(page, page.path)})",
    }
    lines = [f"# {runbook.title}", "", *(f"- **{name}:** {text}" for name, text in facts.items()), ""]
    lines += ["## Purpose", "", runbook.purpose, "", "## When to use", ""]
    lines += [*(f"- {case}" for case in runbook.when_to_use), ""]
    for title, key in (
        ("Time estimate", "time_estimate"),
        ("Blast radius", "blast_radius"),
        ("How to stop it", "stop"),
    ):
        lines += [f"## {title}", "", texts[key], ""]
    lines += procedure(page)
    lines += ["## Verification", "", texts["verification"], "", "## Rollback", "", texts["rollback"], ""]
    lines += ["## Decision points", "", "| when | then |", "| --- | --- |"]
    lines += [f"| {cell(plain(point.when))} | {cell(plain(point.then))} |" for point in decisions(page)]
    lines += ["", "## Escalation", "", texts["escalation"], "", *variables(page)]
    return GENERATED.format(sources=sources) + "\n".join(lines).rstrip() + "\n"


def index_text(found: list[Page]) -> str:
    lines = ["# Runbooks", "", "| runbook | what it is for | criticality | takes | next review |"]
    lines += ["| --- | --- | --- | --- | --- |"]
    for page in found:
        runbook = page.runbook
        link = f"[{runbook.title}]({page_file(page).relative_to(ROOT / 'docs').as_posix()})"
        texts = (runbook.texts[key] for key in ("criticality", "time_estimate", "next_review"))
        lines.append(f"| {link} | {cell(runbook.purpose)} | {' | '.join(map(cell, texts))} |")
    return GENERATED.format(sources="playbooks/") + "\n".join(lines) + "\n"


# --- the reference of variables -------------------------------------------------------------------------------------


def reference_text(found: list[Page]) -> str:
    """Return an inventory file that sets nothing and says everything."""
    sources = "the playbooks' .meta.yml files and the roles' argument specs"
    lines = ["---", f"# Written by tools/docs.py (make docs) from {sources}.", "# Every variable with its default:"]
    lines += ["# copy what you want to change into a file of your own.", "#"]
    left_out = (
        f"Left out on purpose: {', '.join(SAID_FOR_ONE_RUN)}, and what roles make of them. A person says them for"
    )
    lines += comment(f"{left_out} one run (-e confirm=shop): in a file they would confirm every restore.", "# ")
    options = {name: option for page in found for name, option in page.variables.items()}
    lines += ["", "# === the playbooks ===", *reference_entries(options)]
    roles: dict[str, dict[str, Any]] = {}
    for role, step in (step for page in found for play in page.plays for step in play.steps):
        specs = load(ROOT / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]
        roles.setdefault(role, {}).update(specs[step].get("options") or {})
    for role, its_options in roles.items():
        if its_options:
            lines += ["", f"# === role {role} ===", *reference_entries(its_options)]
    return "\n".join(lines) + "\n"


def reference_entries(options: dict[str, Any]) -> Iterator[str]:
    for name, option in options.items():
        if name in SAID_FOR_ONE_RUN or name.endswith(OF_ONE_RUN):
            continue
        yield ""
        yield from comment(f"{need_of(option)} {plain(option.get('description', ''))}", "# ")
        yield from sub_entries(option.get("options") or {}, "#   ")
        yield f"# {name}: {json.dumps(option.get('default'))}"


def sub_entries(options: dict[str, Any], indent: str) -> Iterator[str]:
    """Yield the keys that each entry of a list or mapping can have."""
    for name, option in options.items():
        default = "" if option.get("default") is None else f" (default {json.dumps(option['default'])})"
        yield from comment(f"{name}: {need_of(option)}{default} {plain(option.get('description', ''))}", indent)
        yield from sub_entries(option.get("options") or {}, indent + "  ")


def need_of(option: dict[str, Any]) -> str:
    """Return whether a variable is required and what it is, as ``[optional, list of str]``."""
    kind = option.get("type", "str")
    kind = f"{kind} of {option['elements']}" if "elements" in option else kind
    choices = f": {', '.join(map(str, option['choices']))}" if "choices" in option else ""
    return f"[{'required' if option.get('required') else 'optional'}, {kind}{choices}]"


def comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, 118, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )


def page_file(page: Page) -> Path:
    return (ROOT / "docs" / "runbooks" / page.path.relative_to(ROOT / "playbooks")).with_suffix(".md")


def book() -> dict[Path, str]:
    """Return every page of the book with its text."""
    found = pages()
    return {
        ROOT / "docs" / "index.md": index_text(found),
        ROOT / "inventories" / "example" / "group_vars" / "all" / "reference.yml": reference_text(found),
        **{page_file(page): page_text(page) for page in found},
    }


def stale(wanted: dict[Path, str]) -> list[str]:
    """Return what is missing, different or left over, one line each."""
    written = {path for path in (ROOT / "docs").glob("**/*.md") if path.read_text("utf-8").startswith(GENERATED[:30])}
    wrong = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    return sorted(str(path.relative_to(ROOT)) for path in {*wrong, *(written - wanted.keys())})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    wanted = book()
    wrong = stale(wanted)
    if parser.parse_args().check:
        print("\n".join(f"{path} is stale: run make docs" for path in wrong), file=sys.stderr)
        return 1 if wrong else 0
    for name in wrong:
        path = ROOT / name
        if path in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path], encoding="utf-8")
        else:
            path.unlink()
        print(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
