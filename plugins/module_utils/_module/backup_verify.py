# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""postgresql_backup_verify: how old copies and proofs are, and one copy restored for real and proven."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Mapping, Optional

from .._core.backup import POSTGRESQL, Catalog, Copy, Proof, parse_at
from .._core.backup_catalog import source_findings, unreadable_findings
from .._core.backup_manifest import Manifest
from .._core.backup_proof import (
    Restored,
    age_when_copied,
    amcheck_finding,
    data_age,
    failure_finding,
    judge,
    tablespaces_finding,
)
from .._core.errors import InvalidValue, OpsError, PreconditionFailed
from .._core.result import CRITICAL, OK, SKIPPED, UNKNOWN, Action, Decision, Finding, Outcome, Step
from .._core.throwaway import space_needed
from .._core.units import human_duration, human_size, parse_duration, rfc3339
from .._io.backup_fetch import read_head
from .._io.backup_load import restore_tool
from .._io.copy_proof import verdict_of, write_proof
from .._io.restic import Restic
from .._io.throwaway import find_server, server_account
from .._io.workspace import Stopped
from .backup_catalog import limits_of
from .backup_rehearsal import Means, Rehearsal
from .copy_options import choice_spec
from .copy_steps import Steps
from .ranges import check_ranges
from .repository import repository_of, repository_spec, source_of, source_spec
from .run import Operation, Task
from .spec import ArgumentSpec, progress_spec

_KNOWN_AS = {OK: "proven", CRITICAL: "bad"}  # the catalog's own words
# With these nothing can be said about any copy; whoever runs it gave something wrong.
_MUST_FAIL = ("wrong_key", "repository_missing", "invalid_value")


def backup_verify_spec() -> ArgumentSpec:
    """Return the options of the module."""
    own = ArgumentSpec(
        {
            "verify": {"type": "bool", "default": True},
            "write_proof": {"type": "bool", "default": True},
            "max_age": {"type": "str", "default": "26h"},
            "max_proof_age": {"type": "str", "default": "8d"},
            "server_bin_dirs": {"type": "list", "elements": "path", "default": []},
            "client_bin_dirs": {"type": "list", "elements": "path", "default": []},
            "run_as": {"type": "str"},
            "work_dir": {"type": "path", "default": "/var/tmp"},  # noqa: S108  (only a base)
            "jobs": {"type": "int"},
            "amcheck": {"type": "str", "choices": ["auto", "none"], "default": "auto"},
            "restore_timeout": {"type": "str", "default": "6h"},
        }
    )
    return repository_spec().merge(source_spec()).merge(choice_spec()).merge(own).merge(progress_spec())


class BackupVerify(Operation):
    """Look at the ages, choose a copy, rehearse its restore, judge it, and write the proof."""

    def __init__(self, task: Task) -> None:
        params = task.params
        self._task, self._params = task, params
        self._restic = Restic(repository_of(params))
        self._source = source_of(params, POSTGRESQL, params["name"])
        self._at = parse_at(params["at"], "at") if params["at"] else None
        self._limits = limits_of(params)
        self._timeout = parse_duration(params["restore_timeout"], "restore_timeout")
        check_ranges(params, {"jobs": (1, 64)})
        self._jobs = params["jobs"] if params["jobs"] is not None else min(len(os.sched_getaffinity(0)), 8)
        self._account = server_account(params["run_as"]) if params["verify"] else None

    def decide(self) -> Decision:
        """Look into the repository; nothing is fetched but the facts of the copy."""
        self._catalog = self._restic.catalog()
        believed = self._catalog.until(self._task.clock.now())
        ages, copy = self._ages(self._catalog), self._choose(believed)
        if copy is None or not self._params["verify"]:
            return Decision(_ages_message(ages), findings=ages, extra=_extra(copy))
        self._copy, self._before = copy, believed.verdict_of(copy)
        return self._plan(copy, ages)

    def _ages(self, catalog: Catalog) -> tuple[Finding, ...]:
        """Return how old copies and proofs are, and what may be missing from the list of them."""
        ages = source_findings(catalog, self._source, self._limits, self._task.clock.now())
        return (*ages, *unreadable_findings(catalog))

    def _choose(self, catalog: Catalog) -> Optional[Copy]:
        """Return the copy to verify: the newest one even when it is known to be bad, lest an older one hides it."""
        if self._params["snapshot"]:
            copy = catalog.by_id(self._params["snapshot"])
            if copy.source != self._source:
                raise InvalidValue(f"snapshot {copy.id[:8]} is {copy.source.label()}, not {self._source.label()}")
            return copy
        copies = catalog.of(self._source)
        if self._at is None or not copies:
            return copies[-1] if copies else None
        old_enough = [copy for copy in copies if copy.taken <= self._at]
        return old_enough[-1] if old_enough else catalog.pick(self._source, self._at)  # which says what there is

    def _plan(self, copy: Copy, ages: tuple[Finding, ...]) -> Decision:
        self._means: Optional[Means] = None
        self._failed: Optional[Finding] = None
        try:
            self._means = self._find_means(copy)
        except OpsError as error:
            self._failed = self._forgive(error)
        findings = ages if self._failed is None else (*ages, self._failed)
        plan = self._actions()
        text = (
            f"will verify {_label(copy)}"
            if self._means
            else f"{_label(copy)}: {self._failed.msg if self._failed else ''}"
        )
        before = {"copy": copy.id[:8], "verdict": self._before}
        after = {**before, "verdict": "proven" if self._means and self._params["write_proof"] else self._before}
        verdict = None if self._failed is None else self._failed.status
        return Decision(text, plan, findings, before, after, {**_extra(copy), "verdict": verdict})

    def _find_means(self, copy: Copy) -> Means:
        head, params = read_head(self._restic, copy), self._params
        server = find_server(self._task.commands, head.manifest.server.major, params["server_bin_dirs"])
        restore = restore_tool(self._task.commands, head.manifest, server.major, params["client_bin_dirs"])
        work_dir = params["work_dir"]
        if not Path(work_dir).is_dir():
            raise InvalidValue(f"work_dir: {work_dir} is no folder", hint="make it, or choose another one")
        needed, free = space_needed(copy.size_bytes, head.manifest.size_bytes), shutil.disk_usage(work_dir).free
        if free < needed:
            raise PreconditionFailed(
                f"a verification needs {human_size(needed)} in {work_dir}, where {human_size(free)} are free",
                code="not_enough_space",
            )
        amcheck = params["amcheck"] == "auto"
        return Means(head, server, restore, self._account, work_dir, self._jobs, amcheck, self._timeout)

    @staticmethod
    def _forgive(error: OpsError) -> Finding:
        """Return what a failure says about the copy; raise it when it says that the options are wrong."""
        if isinstance(error, (InvalidValue, Stopped)) or error.code in _MUST_FAIL:
            raise error
        return failure_finding(error.code, error.words())

    def _actions(self) -> tuple[Action, ...]:
        copy, plan = self._copy, []
        if self._means is not None:
            means, size = self._means, human_size(self._means.head.manifest.size_bytes)
            where = f"throwaway server {means.server.version}"
            plan = [
                Action("fetch", "fetch", _label(copy), "only what is restored counts", f"restic restore {copy.id[:8]}"),
                Action("load", "load", where, f"{size} of database", f"pg_restore --jobs={means.jobs}"),
                Action("check", "check", where, "it must be what was copied"),
            ]  # fmt: skip
        bad = self._failed is not None and self._failed.status == CRITICAL
        if self._params["write_proof"] and (self._means is not None or bad):
            plan.append(Action("proof", "store", self._source.label(), "the catalog shall know", "restic backup"))
        return tuple(plan)

    def apply(self, decision: Decision) -> Outcome:
        """Rehearse the restore and write down what came out."""
        steps = Steps(decision, self._task.clock)
        began = self._task.clock.monotonic()
        findings: tuple[Finding, ...] = (self._failed,) if self._failed else ()
        extra: tuple[Finding, ...] = ()
        facts: dict[str, Any] = {"verified_at": rfc3339(self._task.clock.now())}
        if self._means is not None:
            findings, extra, facts = self._rehearse(self._means, steps)
        facts["seconds"] = round(self._task.clock.monotonic() - began, 3)
        verdict = verdict_of([*findings, *(one for one in extra if one.status == CRITICAL)])
        unwritten = self._write_proof(steps, verdict, (*findings, *extra), facts)
        found = Proof("", self._copy.id, self._source, verdict, self._task.clock.now())
        ages = self._ages(replace(self._catalog, proofs=(*self._catalog.proofs, found)))
        known = _KNOWN_AS[verdict] if facts.get("proof") else self._before
        after = {"copy": self._copy.id[:8], "verdict": known}
        evidence = {**facts, "verdict": verdict, "findings": [asdict(one) for one in (*findings, *extra)]}
        return Outcome(
            msg=_message(self._copy, verdict, (*findings, *extra), facts),
            steps=_with_skipped(decision, steps),
            findings=(*ages, *findings, *extra, *unwritten),
            after=after,
            extra={**_extra(self._copy), **_flat(facts), "verdict": verdict, "evidence": evidence},
        )

    def _rehearse(self, means: Means, steps: Steps) -> tuple[tuple[Finding, ...], tuple[Finding, ...], dict[str, Any]]:
        rehearsal = Rehearsal(self._task, self._restic, self._copy, means)
        facts: dict[str, Any] = {"verified_at": rfc3339(self._task.clock.now())}
        try:
            manifest, restored = rehearsal.run(steps)
        except OpsError as error:
            return (self._forgive(error),), (), {**facts, **_seconds(rehearsal.seconds)}
        now = self._task.clock.now()
        facts.update(_seconds(rehearsal.seconds))
        facts.update(_facts(manifest, restored, means, now))
        return (
            (*judge(manifest, restored, now), *tablespaces_finding(manifest)),
            amcheck_finding(restored.amcheck),
            facts,
        )

    def _write_proof(
        self, steps: Steps, verdict: str, findings: tuple[Finding, ...], facts: dict[str, Any]
    ) -> tuple[Finding, ...]:
        """Write the proof; where that fails the catalog does not know, and that is said."""
        if verdict == UNKNOWN or not self._params["write_proof"]:
            return ()
        kept = [one for one in findings if not (one.check == "amcheck" and one.status == UNKNOWN)]
        try:
            with steps.doing("proof") as note:
                proof = write_proof(self._restic, self._copy, self._task.clock.now(), kept, facts)
                facts["proof"] = proof.id
                note.detail = f"snapshot {proof.id[:8]}: {proof.verdict}"
        except OpsError as error:
            if isinstance(error, Stopped):
                raise
            return (Finding("proof", UNKNOWN, f"the proof could not be written: {error.message}", error.code),)
        return ()


def _label(copy: Copy) -> str:
    return f"{copy.source.label()}, copy {copy.id[:8]} of {rfc3339(copy.taken)}"


def _extra(copy: Optional[Copy]) -> dict[str, Any]:
    about = None if copy is None else {
        "id": copy.id, "taken_at": rfc3339(copy.taken), "form": copy.form, "size_bytes": copy.size_bytes,
    }  # fmt: skip
    names = (
        "fetch_seconds",
        "load_seconds",
        "check_seconds",
        "seconds",
        "data_age_seconds",
        "data_age_when_copied_seconds",
    )
    return {"copy": about, "verdict": None, "evidence": None, "proof": None, **{name: None for name in names}}


def _seconds(seconds: Mapping[str, float]) -> dict[str, float]:
    return {f"{name}_seconds": value for name, value in seconds.items()}


def _facts(manifest: Manifest, restored: Restored, means: Means, now: datetime) -> dict[str, Any]:
    return {
        "taken_at": manifest.taken_at,
        "data_age_seconds": round(data_age(manifest, now), 1),
        "data_age_when_copied_seconds": round(age_when_copied(manifest), 1),
        "server_version": restored.state.server.version,
        "pg_restore_version": means.restore.version,
        "jobs": means.jobs,
        "tables": len(restored.state.tables),
        "rows": sum(table.rows for table in restored.state.tables),
        "size_bytes": restored.state.size_bytes,
        "extensions": dict(restored.state.extensions),
        "schema_hash": restored.state.schema_hash,
    }


def _flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: facts[name] for name in _extra(None) if name in facts}


def _with_skipped(decision: Decision, steps: Steps) -> tuple[Step, ...]:
    known = {step.id: step for step in steps.done}
    return tuple(
        known.get(action.id) or Step(action.id, SKIPPED, 0.0, "not reached: see the findings")
        for action in decision.plan
    )


def _ages_message(ages: tuple[Finding, ...]) -> str:
    return "; ".join(finding.msg for finding in ages)


def _message(copy: Copy, verdict: str, findings: tuple[Finding, ...], facts: Mapping[str, Any]) -> str:
    took = human_duration(facts["seconds"])
    if verdict == OK:
        age = human_duration(max(facts["data_age_seconds"], 0))
        return f"{_label(copy)}: restored and proven in {took}, {facts['tables']} tables, data {age} old"
    why = next((one.msg for one in findings if one.status == verdict), "")
    words = "DOES NOT RESTORE AS COPIED" if verdict == CRITICAL else "could not be verified"
    return f"{_label(copy)}: {words}: {why}"
