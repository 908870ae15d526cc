# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: summary
type: aggregate
short_description: Print what a runbook is about when it starts, and one summary when it ends
version_added: 0.1.0
description:
  - At the start of a runbook its header is printed (purpose, time, blast radius, how to stop, rollback), from the
    C(.meta.yml) file beside the playbook.
  - At the end one page says what was done on each host, worst first, what needs a person, and the next command.
  - Of a report that the run wrote it tells what no other result of the run has said, for example a run that is overdue.
  - Playbooks that neither are runbooks nor use the modules of this collection are left alone.
options:
  summary_file:
    description: File to which the summary is written too, as JSON, mode 0600.
    type: path
    env:
      - name: ONCALL_SUMMARY_FILE
    ini:
      - section: oncall_runbooks
        key: summary_file
requirements:
  - enabled by C(callbacks_enabled = oncall.runbooks.summary) in ansible.cfg
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

import contextlib
import json
import os
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence

import yaml
from ansible import constants as C  # noqa: N812  (the name that Ansible itself uses)
from ansible import context
from ansible.plugins.callback import CallbackBase
from ansible.utils.color import stringc

from ..module_utils._core.journal import EVERY_HOST
from ..module_utils._core.result import CRITICAL, OK, UNKNOWN, WARNING
from ..module_utils._core.runbook import Runbook, read_decisions, read_runbook
from ..module_utils._core.summary import (
    FAILED,
    LEFT,
    PREDICTED,
    UNREACHABLE,
    DecisionPoint,
    Line,
    Summary,
    as_json,
    line_of,
    parts_of,
    unreachable_line,
)
from ..module_utils._core.summary_page import BOLD, CHANGED, QUIET, Page, page, render, render_header
from ..module_utils._core.summary_report import without_repeats

ROLES = Path(__file__).parents[2] / "roles"
PHASES = ("preflight", "act", "verify", "report")
COLORS = {
    OK: C.COLOR_OK,
    CHANGED: C.COLOR_CHANGED,
    UNKNOWN: C.COLOR_UNREACHABLE,
    WARNING: C.COLOR_WARN,
    CRITICAL: C.COLOR_ERROR,
    FAILED: C.COLOR_ERROR,
    UNREACHABLE: C.COLOR_ERROR,
    BOLD: C.COLOR_HIGHLIGHT,
    QUIET: C.COLOR_VERBOSE,
}


class CallbackModule(CallbackBase):
    """Collect the results that follow the contract and print them as one page."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "oncall.runbooks.summary"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._started = time.monotonic()
        self._tasks: dict[tuple[str, str], float] = {}
        self._lines: list[Line] = []
        self._runbook: Optional[Runbook] = None
        self._playbook = ""
        self._by_contract = False

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Print the header."""
        self._playbook = str(playbook._file_name)
        self._runbook = load_runbook(Path(self._playbook))
        if self._runbook is not None:
            self._print(render_header(self._runbook.header(), self._page()))

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """Note when a task began."""
        self._tasks[host.get_name(), task._uuid] = time.monotonic()

    def v2_runner_on_ok(self, result: Any) -> None:
        """Note a result that is fine, or handled by the playbook."""
        self._note(result, failed=False)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Note a failure."""
        self._note(result, failed=not ignore_errors)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Note a host that does not answer."""
        duration = self._duration(result)
        self._lines.append(unreachable_line(result.host.get_name(), self._step(result.task), result.result, duration))

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Print the page, and write the file when one is wanted."""
        if self._runbook is None and not self._by_contract:
            return
        name = self._runbook.name if self._runbook else Path(self._playbook).stem
        summary = Summary(
            runbook=name,
            lines=without_repeats(self._lines, name if is_whole(context.CLIARGS) else ""),
            check_mode=bool(context.CLIARGS.get("check")),
            duration_seconds=time.monotonic() - self._started,
            decision_points=(self._runbook.decision_points if self._runbook else ()) + roles_decisions(),
            again=command_again(self._playbook, context.CLIARGS),
        )
        self._print(render(summary, self._page()))
        file = self.get_option("summary_file")
        if file:
            write_json(Path(file), as_json(summary))

    def _note(self, result: Any, failed: bool) -> None:
        host, task, duration = result.host.get_name(), result.task, self._duration(result)
        parts, name = parts_of(result.result, failed), task.name or task.get_name()  # without the role's name before it
        took = duration if len(parts) == 1 else 0.0  # of a loop's items only the sum is known
        for part, part_failed in parts:
            line = line_of(host, self._step(task), name, part, took, part_failed, meaning_of_plan(task))
            self._add(line, task, part)

    def _add(self, line: Optional[Line], task: Any, part: Mapping[str, Any]) -> None:
        if line is None or (line.status == OK and only_lets_begin(task)):
            return
        if "plan" in part or "failure" in part:
            self._by_contract = True
        elif line.status == FAILED and self._is_known(line):
            return
        self._lines.append(line)

    def _is_known(self, line: Line) -> bool:
        """Tell whether this is only the playbook's own word about a failure that is already here."""
        here = [known for known in self._lines if known.host == line.host]
        failed = {known.step for known in here if known.status in (FAILED, UNREACHABLE)}
        judged = any(known.area and known.status != OK for known in here)
        return line.step in failed or (line.step == PHASES[-1] and (bool(failed) or judged))

    def _step(self, task: Any) -> str:
        return step_of(task, self._runbook.steps if self._runbook else ())

    def _duration(self, result: Any) -> float:
        now = time.monotonic()
        return now - self._tasks.pop((result.host.get_name(), result.task._uuid), now)

    def _page(self) -> Page:
        encoding = (getattr(sys.stdout, "encoding", "") or "").lower()
        return page(self._display.columns, "utf" in encoding, paint)

    def _print(self, lines: list[str]) -> None:
        self._display.display("\n" + "\n".join(lines))


def paint(text: str, style: str) -> str:
    """Return a text in the colour of its style, when the terminal and the user want colours."""
    return str(stringc(text, COLORS[style]))


def only_lets_begin(task: Any) -> bool:
    """Tell whether a task only lets the step begin that comes next: of interest when it does not."""
    window = task.action.endswith("maintenance_window_info") and bool(task.args.get("before"))
    return window or bool(task.action.endswith("runbook_lock"))


def meaning_of_plan(task: Any) -> str:
    """Return what a plan means that this task was not to carry out."""
    if not task.check_mode:
        return ""
    return PREDICTED if context.CLIARGS.get("check") else LEFT


def step_of(task: Any, steps: Sequence[str]) -> str:
    """Return the step that a task belongs to.

    It is the first of the runbook's steps among its tags, else another tag, else its phase, else its action.
    """
    tags = sorted(set(task.tags) - {"always", "never"})
    known = [step for step in steps if step in tags] or [tag for tag in tags if tag not in PHASES]
    return str((known or tags or [task.action.rpartition(".")[2]])[0])


def load_runbook(playbook: Path) -> Optional[Runbook]:
    """Return the metadata beside a playbook, also for the name with underscores; None when there is none."""
    for stem in (playbook.stem, playbook.stem.replace("_", "-")):
        with contextlib.suppress(FileNotFoundError):
            text = playbook.with_name(f"{stem}.meta.yml").read_text(encoding="utf-8")
            return read_runbook(stem, yaml.safe_load(text))
    return None


def roles_decisions() -> tuple[DecisionPoint, ...]:
    """Return what the collection's roles say about their own failures and findings."""
    points: tuple[DecisionPoint, ...] = ()
    for file in sorted(ROLES.glob("*/meta/decisions.yml")):
        points += read_decisions(file.parts[-3], yaml.safe_load(file.read_text(encoding="utf-8")))
    return points


def is_whole(arguments: Mapping[str, Any]) -> bool:
    """Tell whether all hosts and all steps were asked for.

    >>> is_whole({"subset": None, "tags": ["all"]}), is_whole({"subset": "app1"})
    (True, False)
    """
    return (arguments.get("subset") or "") in EVERY_HOST and not tags_of(arguments)


def tags_of(arguments: Mapping[str, Any]) -> str:
    """Return the tags that were asked for. A run that began in the middle left steps out as well.

    >>> tags_of({"tags": ["act"], "skip_tags": ["redis"]}), tags_of({"tags": ["all"]})
    ('act, not redis', '')
    >>> tags_of({"start_at_task": "Report is written"})
    'from Report is written'
    """
    wanted = [tag for tag in arguments.get("tags") or () if tag != "all"]
    begun = [f"from {arguments['start_at_task']}"] if arguments.get("start_at_task") else []
    return ", ".join([*wanted, *(f"not {tag}" for tag in arguments.get("skip_tags") or ()), *begun])


def command_again(playbook: str, arguments: Mapping[str, Any]) -> str:
    """Return the command that runs the playbook again for one host."""
    inventories = [part for source in arguments.get("inventory") or () for part in ("-i", near(source))]
    names = arguments.get("args") or (playbook,)
    words = ["ansible-playbook", *inventories, str(names[0])]
    return " ".join(shlex.quote(word) for word in words) + " --limit {host}"


def near(source: str) -> str:
    """Return an inventory as a person would type it here: Ansible keeps its absolute path.

    >>> near("localhost,"), near("/elsewhere/hosts")
    ('localhost,', '/elsewhere/hosts')
    """
    with contextlib.suppress(ValueError):
        return str(Path(source).relative_to(Path.cwd()))
    return source


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write the summary by temporary file and rename, readable for its owner only."""
    handle, partial = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(content, stream, indent=2)
            stream.write("\n")
        Path(partial).replace(file)
    except BaseException:
        Path(partial).unlink()
        raise
