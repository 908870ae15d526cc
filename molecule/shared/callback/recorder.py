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

    def v2_playbook_on_start(self, playbook):
        if Path(playbook._file_name).name == "converge.yml":
            self.results = []

    def _keep(self, result):
        if self.results is None:
            return
        returned = result._result
        for one in returned.get("results") or [returned]:
            if isinstance(one, dict) and ("plan" in one or "findings" in one):
                kept = {key: one[key] for key in KEPT if key in one}
                self.results.append(
                    {"host": result._host.get_name(), "task": result._task.name, "module": result._task.action, **kept}
                )

    def v2_runner_on_ok(self, result):
        self._keep(result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._keep(result)

    def v2_playbook_on_stats(self, stats):
        if self.results is None:
            return
        folder = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "runs")
        folder.mkdir(exist_ok=True)
        run = {"check": bool(context.CLIARGS["check"]), "results": self.results}
        number = len(list(folder.iterdir()))
        (folder / f"{number:02}.json").write_text(json.dumps(run, indent=1, default=str))
