# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""checklist: options to items and signatures."""

from __future__ import annotations

from .._core.checklist import Item, Signing, carry_out, check_items, decide, read_signatures
from .._core.result import Decision, Outcome
from .._io.window import zone
from .run import Operation, Task
from .spec import ArgumentSpec


def checklist_spec() -> ArgumentSpec:
    """Return the module's options."""
    item = {
        "name": {"type": "str", "required": True},
        "title": {"type": "str", "required": True},
        "list": {"type": "str", "default": ""},
        "areas": {"type": "list", "elements": "str", "default": []},
    }
    return ArgumentSpec(
        {
            "items": {"type": "list", "elements": "dict", "required": True, "options": item},
            "list": {"type": "str", "default": ""},
            "verdicts": {"type": "dict", "default": {}},
            "signed": {"type": "list", "elements": "str", "default": []},
            "signed_by": {"type": "str", "default": ""},
            "signatures": {"type": "dict", "default": {}},
            "timezone": {"type": "str", "default": "UTC"},
        }
    )


class Checklist(Operation):
    """Answer a list."""

    def __init__(self, task: Task) -> None:
        params = task.params
        self._signing = Signing(tuple(params["signed"]), params["signed_by"].strip())
        items = [Item(raw["name"], raw["title"], raw["list"], tuple(raw["areas"])) for raw in params["items"]]
        self._items = check_items(items, params["list"], self._signing)
        self._verdicts = {str(area): str(status) for area, status in params["verdicts"].items()}
        self._signatures = read_signatures(params["signatures"])
        self._zone = zone(params["timezone"])
        self._now = task.clock.now()

    def decide(self) -> Decision:
        """Answer each item."""
        return decide(self._items, self._verdicts, self._signing, self._signatures, self._now, self._zone)

    def apply(self, decision: Decision) -> Outcome:
        """Sign."""
        return carry_out(decision)
