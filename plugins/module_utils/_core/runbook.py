# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What a runbook says about itself: the ``runbook`` part of the .meta.yml file beside the playbook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping

from .errors import InvalidValue
from .summary import DecisionPoint

TEXTS = (
    "type",
    "status",
    "criticality",
    "last_reviewed",
    "next_review",
    "time_estimate",
    "blast_radius",
    "stop",
    "verification",
    "rollback",
    "escalation",
)


@dataclass(frozen=True)
class Runbook:
    """A runbook's metadata; ``texts`` holds the entries of TEXTS, ``steps`` the tags that name its steps, in order."""

    name: str
    title: str
    purpose: str
    when_to_use: tuple[str, ...]
    steps: tuple[str, ...]
    texts: Mapping[str, str]
    decision_points: tuple[DecisionPoint, ...]
    commands: tuple[tuple[str, str], ...]

    def header(self) -> dict[str, str]:
        """Return what is printed when the runbook starts."""
        return {
            "title": self.title,
            "purpose": self.purpose,
            "takes": self.texts["time_estimate"],
            "touches": self.texts["blast_radius"],
            "to stop": self.texts["stop"],
            "undo": self.texts["rollback"],
        }


def read_runbook(name: str, content: Any) -> Runbook:
    """Return the metadata of a .meta.yml file.

    Raises:
        InvalidValue: a part is missing, or there is one too many.
    """
    try:
        (spec,) = content["argument_specs"].values()
        raw = spec["runbook"]
        texts = {key: " ".join(str(raw[key]).split()) for key in TEXTS}
        unknown = sorted(set(raw) - {*TEXTS, "when_to_use", "steps", "decision_points", "commands"})
        if unknown:
            raise InvalidValue(f"metadata of {name}: unknown parts: {', '.join(unknown)}")
        return Runbook(
            name=name,
            title=str(content["short_description"]),
            purpose=" ".join(str(content["description"]).split()),
            when_to_use=tuple(str(case) for case in raw["when_to_use"]),
            steps=tuple(str(step) for step in raw["steps"]),
            texts=texts,
            decision_points=read_decisions(name, raw["decision_points"]),
            commands=tuple((str(entry["does"]), str(entry["command"])) for entry in raw["commands"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, InvalidValue):
            raise
        raise InvalidValue(f"metadata of {name} cannot be read: {type(error).__name__} {error}") from error


def read_decisions(name: str, content: Any) -> tuple[DecisionPoint, ...]:
    """Return the decision points of a runbook or of a role's meta/decisions.yml.

    Raises:
        InvalidValue: a part is missing.
    """
    try:
        return tuple(
            DecisionPoint(str(raw["when"]), str(raw["then"]), tuple(str(check) for check in raw["checks"]))
            for raw in content
        )
    except (KeyError, TypeError) as error:
        raise InvalidValue(f"decision points of {name} cannot be read: {type(error).__name__} {error}") from error
