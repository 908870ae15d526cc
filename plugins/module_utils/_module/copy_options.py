# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The options by which the modules of Redis and of files name and choose a copy."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any, Mapping

from .._core.backup import Copy, parse_at
from .._core.backup_catalog import unreadable_findings
from .._core.errors import InvalidValue
from .._core.result import WARNING, Decision, Finding, Outcome
from .._io.restic import Restic
from .repository import repository_spec, source_of, source_spec
from .run import Operation
from .spec import ArgumentSpec, progress_spec


def copy_spec(name: str) -> ArgumentSpec:
    """Return the options of repository, source and progress; ``name`` is what the copy is called by default."""
    named = ArgumentSpec({"name": {"type": "str", "default": name}, "staging_dir": {"type": "path"}})
    return repository_spec().merge(source_spec(name=False)).merge(named).merge(progress_spec())


def choice_spec() -> ArgumentSpec:
    """Return the options that choose one copy."""
    return ArgumentSpec({"at": {"type": "str"}, "snapshot": {"type": "str"}}, mutually_exclusive=(("at", "snapshot"),))


def live_spec() -> ArgumentSpec:
    """Return the options that say what is replaced, and which restore is taken back."""
    return ArgumentSpec(
        {
            "confirm": {"type": "str"},
            "target_host": {"type": "str"},
            "force": {"type": "bool", "default": False},
        }
    )


class ChoosingOperation(Operation):
    """An operation that chooses a copy; ``unreadable`` tells what it could not choose from."""

    unreadable: tuple[Finding, ...]


class Frank(Operation):
    """An operation whose result also says which snapshots could not be read: one may be newer than the chosen copy."""

    def __init__(self, operation: ChoosingOperation) -> None:
        self._operation = operation

    def decide(self) -> Decision:
        """Decide as the operation does."""
        decision = self._operation.decide()
        return replace(decision, findings=(*decision.findings, *self._operation.unreadable))

    def apply(self, decision: Decision) -> Outcome:
        """Carry it out."""
        outcome = self._operation.apply(decision)
        return replace(outcome, findings=(*outcome.findings, *self._operation.unreadable))

    def close(self) -> None:
        """Close the operation."""
        self._operation.close()


def choose_copy(
    restic: Restic, params: Mapping[str, Any], kind: str, now: datetime
) -> tuple[Copy, tuple[Finding, ...]]:
    """Return the copy that the options ask for: by id, or the newest good one at or before a time.

    With it comes a warning when there are snapshots that cannot be read.

    Raises:
        InvalidValue: the time cannot be read, or the id is of a copy of something else.
        PreconditionFailed: there is no such copy.
    """
    source = source_of(params, kind, params["name"])
    at = parse_at(params["at"], "at") if params["at"] else None
    catalog = restic.catalog().until(now)
    unreadable = unreadable_findings(catalog, WARNING)
    if not params["snapshot"]:
        return catalog.pick(source, at), unreadable
    copy = catalog.by_id(params["snapshot"])
    if copy.source != source:
        raise InvalidValue(f"snapshot {copy.id[:8]} is {copy.source.label()}, not {source.label()}")
    return copy, unreadable


def target_host_of(params: Mapping[str, Any]) -> str:
    """Return the host whose data is to be replaced, which need not be the one that was copied."""
    return str(params["target_host"] or params["source_host"])


def check_confirm(params: Mapping[str, Any]) -> None:
    """Make sure that the person named the very host whose data is to be replaced.

    Raises:
        InvalidValue: code ``confirmation_missing``.
    """
    target = target_host_of(params)
    if params["confirm"] != target:
        raise InvalidValue(
            f"this replaces live data of {target}: confirm must say so",
            code="confirmation_missing",
            hint=f"set confirm to {target}",
        )
