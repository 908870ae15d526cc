# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: journal
type: aggregate
short_description: Keep what runbooks do, find and measure in a database
version_added: 0.1.0
description:
  - The row of a run is written before its first change and closed at its end with a verdict. One that was opened and
    never closed is known as interrupted.
  - Steps, findings and samples of all results that follow the contract of this collection are stored as they come, and
    what other tasks changed or failed at.
  - When the journal cannot be reached, the runbook still runs. What it would have written is spooled to a file of the
    user alone, said so once, and taken in by the next run that reaches the journal, each entry once.
  - Playbooks that neither are runbooks (a C(.meta.yml) file beside them) nor use the modules of this collection are
    left alone.
  - What C(no_log) hides is not stored, nor the values of options that are secret by their name. Texts are redacted.
options:
  journal_url:
    description:
      - Where the journal is, C(sqlite:////path/to/journal.db) or C(postgresql://user@host:5432/database). It is made
        when it is missing, and brought to the newest schema.
      - For AWX and for a team choose PostgreSQL. A password is better kept in C(PGPASSFILE) than here.
      - The default is a SQLite file, C(~/.local/state/oncall-runbooks/journal.db).
    type: str
    env:
      - name: ONCALL_JOURNAL_URL
    ini:
      - section: oncall_runbooks
        key: journal_url
  journal_spool:
    description:
      - Folder of what could not be written yet; C(~/.local/state/oncall-runbooks/spool) by default.
      - In a container that is thrown away after a run, choose a folder that is kept.
    type: path
    env:
      - name: ONCALL_JOURNAL_SPOOL
    ini:
      - section: oncall_runbooks
        key: journal_spool
  journal_operator:
    description: Who runs it. By default the user of AWX, else the user who called sudo, else the user.
    type: str
    env:
      - name: ONCALL_OPERATOR
    ini:
      - section: oncall_runbooks
        key: journal_operator
  journal_keep_samples:
    description:
      - For how many days every single sample is kept, and findings that were ok. The minimum, maximum, mean and last
        value of each day are kept for three years.
    type: int
    default: 35
    env:
      - name: ONCALL_JOURNAL_KEEP_SAMPLES
    ini:
      - section: oncall_runbooks
        key: journal_keep_samples
  journal_keep_runs:
    description:
      - For how many days runs are kept with their steps and all findings that were not ok. Drills and incidents are
        kept for ever.
    type: int
    default: 400
    env:
      - name: ONCALL_JOURNAL_KEEP_RUNS
    ini:
      - section: oncall_runbooks
        key: journal_keep_runs
requirements:
  - enabled by C(callbacks_enabled = oncall.runbooks.journal) in ansible.cfg
  - sqlalchemy and alembic; psycopg2 for PostgreSQL
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

import functools
import getpass
import json
import os
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Mapping, Optional

import yaml
from ansible import constants as C  # noqa: N812  (the name that Ansible itself uses)
from ansible import context
from ansible.plugins.callback import CallbackBase
from ansible.utils.vars import load_extra_vars

from ..module_utils._core.journal import Run
from ..module_utils._core.journal_map import TaskFacts, records_of, secrets_among
from ..module_utils._core.journal_verdict import Tally, closed
from ..module_utils._core.result import UNKNOWN
from ..module_utils._core.summary import items_of
from .summary import PHASES, load_runbook, near, step_of, tags_of

ROOT = Path(__file__).parents[2]
_COLLECTION = "oncall.runbooks."
# Set by AWX for every job, under its old name too.
_AWX_USERS = ("awx_user_name", "tower_user_name")


def guarded(handler: Callable[..., None]) -> Callable[..., None]:
    """Let no fault of the journal reach the run, and hide none: it is said, and the rest is not recorded."""

    @functools.wraps(handler)
    def safely(self: Any, *args: Any, **kwargs: Any) -> None:
        if self.broken and handler.__name__ != "v2_playbook_on_stats":
            return
        try:
            handler(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001  (Ansible would make a warning of it, for each task again)
            self.broken = f"{type(error).__name__}: {error}"
            self.say(f"the rest of this run is not recorded: {self.broken}")

    return safely


class CallbackModule(CallbackBase):
    """Hand what happens to the recorder of a run."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "oncall.runbooks.journal"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.broken = ""
        self._forget()

    def _forget(self) -> None:
        self._recorder: Any = None
        self._run: Optional[Run] = None
        self._steps: tuple[str, ...] = ()
        self._tasks: dict[tuple[str, str], float] = {}
        self._tally = Tally()
        self._play = ""

    def say(self, text: str) -> None:
        """Tell the person who watches, whatever the verbosity."""
        self._display.display(f"journal: {text}", color=C.COLOR_WARN)

    @guarded
    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Open the run of a runbook."""
        self._forget()
        self._playbook = Path(str(playbook._file_name))
        self._extra = load_extra_vars(playbook._loader)
        runbook = load_runbook(self._playbook)
        if runbook is not None:
            self._steps = runbook.steps
            self._open(runbook.name)

    @guarded
    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Note the play; what earlier ones read is in the journal before it begins, for modules that judge it."""
        self._play = str(play.get_name())
        if self._recorder is not None:
            self._recorder.flush()

    @guarded
    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Open the run of a playbook that turns out to use this collection."""
        if self._run is None and str(task.resolved_action or task.action).startswith(_COLLECTION):
            self._open(self._playbook.stem)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """Treat a handler as any other task."""
        self.v2_playbook_on_task_start(task, is_conditional=False)

    @guarded
    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """Note when a task began."""
        self._tasks[host.get_name(), task._uuid] = time.monotonic()

    @guarded
    def v2_runner_on_ok(self, result: Any) -> None:
        """Store a result that is fine, or handled by the playbook."""
        self._note(result, failed=False)

    @guarded
    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Store a failure."""
        self._note(result, failed=True)

    @guarded
    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Store that a host does not answer."""
        self._note(result, failed=True, unreachable=True)

    @guarded
    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Close the run."""
        if self._run is None:
            return
        from ..module_utils._io.journal_prune import Retention

        failed = bool(stats.failures or stats.dark)
        verdict = closed(self._run, self._tally, failed)
        if self.broken:
            verdict = replace(verdict, status=UNKNOWN, msg=f"not all of it is recorded: {self.broken}; {verdict.msg}")
        last = replace(
            verdict,
            ended_at=self._now(),
            hosts=len(stats.processed),
            changed=sum(stats.changed.values()),
        )
        keep = Retention(self.get_option("journal_keep_samples"), self.get_option("journal_keep_runs"))
        self._recorder.close(last, None if last.check_mode else keep)
        self._run = None

    def _open(self, name: str) -> None:
        from ..module_utils._io.journal_process import controller, this_process
        from ..module_utils._io.journal_recorder import Recorder  # late: SQLAlchemy takes time to load

        arguments = context.CLIARGS
        self._began, started = time.monotonic(), time.time()
        run = Run(
            id=str(uuid.uuid4()),
            runbook=name,
            started_at=started,
            check_mode=bool(arguments.get("check")),
            operator=operator(self.get_option("journal_operator"), self._extra),
            controller=controller(),
            process=this_process(),
            inventory=", ".join(near(source) for source in arguments.get("inventory") or ()),
            limit_=str(arguments.get("subset") or ""),
            tags=tags_of(arguments),
            version=collection_version(ROOT),
        )
        url, spool = self.get_option("journal_url"), self.get_option("journal_spool")
        # For what reads the journal, or writes to it, in this run: wherever these were configured.
        ours = {"ONCALL_JOURNAL_URL": url, "ONCALL_JOURNAL_SPOOL": spool}
        os.environ.update({name: value for name, value in ours.items() if value})
        self._recorder = Recorder(url, spool, self.say)
        self._recorder.open(run)
        self._run = run

    def _now(self) -> float:
        """Return the time of a clock that does not jump while the run lasts."""
        return (self._run.started_at if self._run else time.time()) + time.monotonic() - self._began

    def _note(self, result: Any, failed: bool, unreachable: bool = False) -> None:
        if self._run is None:
            return
        task, host = result.task, result.host.get_name()
        now = time.monotonic()
        took = now - self._tasks.pop((host, task._uuid), now)
        action = str(task.resolved_action or task.action)
        facts = TaskFacts(
            run_id=self._run.id,
            at=self._now(),
            host=host,
            task=task.get_name(),
            action=action,
            play=self._play,
            phase=next((phase for phase in PHASES if phase in task.tags), ""),
            step=step_of(task, self._steps),
            duration_seconds=took,
            failed=failed,
            unreachable=unreachable,
            check_mode=bool(task.check_mode),
            secrets=secrets_among(result.task_fields.get("args")),
        )
        parts = items_of(result.result, failed)
        for part, part_failed in parts:
            # Of a loop's items only the sum of their times is known.
            own = replace(facts, failed=part_failed, duration_seconds=took if len(parts) == 1 else 0.0)
            records = records_of(own, part)
            self._tally = self._tally.with_records(records)
            self._recorder.note(records, facts.at)


def operator(given: Optional[str], extra: Mapping[str, Any]) -> str:
    """Return who runs this: as given, the user of AWX, who called sudo, or the user.

    >>> operator("ana", {"awx_user_name": "bo"}), operator(None, {"awx_user_name": "bo"})
    ('ana', 'bo')
    """
    for name in (given, *(extra.get(name) for name in _AWX_USERS), os.environ.get("SUDO_USER")):
        if name:
            return str(name)
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


@functools.lru_cache(maxsize=1)
def collection_version(root: Path) -> str:
    """Return the version of this collection, installed or in its repository."""
    manifest, galaxy = root / "MANIFEST.json", root / "galaxy.yml"
    if manifest.is_file():
        return str(json.loads(manifest.read_text(encoding="utf-8"))["collection_info"]["version"])
    return str(yaml.safe_load(galaxy.read_text(encoding="utf-8"))["version"]) if galaxy.is_file() else ""
