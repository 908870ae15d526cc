# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
from pathlib import Path

from ansible import context
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: recorder
type: aggregate
short_description: Keeps what the collection's modules returned during a converge
description:
  - Each run of C(converge.yml) becomes one file C(runs/NN.json) in the scenario's state folder, so that tests can
    compare what check mode planned with what the real run did, and the second run with the first.
  - Says which tasks of a repeated run changed something. Molecule's own list stumbles over the summary's page.
"""

KEPT = ("changed", "failed", "msg", "plan", "steps", "findings", "status", "failure")


class CallbackModule(CallbackBase):
    """Record every result that has a plan or findings."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "recorder"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self):
        super().__init__()
        self.results = None
        self.changed = []

    def v2_playbook_on_start(self, playbook):
        if Path(playbook._file_name).name == "converge.yml":
            self.results = []

    def v2_runner_on_ok(self, result):
        self._keep(result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._keep(result)

    def _keep(self, result):
        if self.results is None:
            return
        if result.is_changed():
            self.changed.append(f"{result.host.get_name()}: {result.task.get_name()}")
        for one in result.result.get("results") or [result.result]:
            if isinstance(one, dict) and ("plan" in one or "findings" in one):
                named = {"host": result.host.get_name(), "task": result.task.name, "module": result.task.action}
                self.results.append({**named, **{key: one[key] for key in KEPT if key in one}})

    def v2_playbook_on_stats(self, stats):
        if self.results is None:
            return
        folder = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "runs")
        folder.mkdir(exist_ok=True)
        earlier = sorted(folder.iterdir())
        check = bool(context.CLIARGS["check"])
        run = {"check": check, "changed": self.changed, "results": self.results}
        (folder / f"{len(earlier):02}.json").write_text(json.dumps(run, indent=1, default=str))
        if not check and any(not json.loads(path.read_text())["check"] for path in earlier):
            self._display.display("changed again by this run: " + (", ".join(self.changed) or "nothing"))
