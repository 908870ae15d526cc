# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""journal_info and journal_record: options to queries and records. Both run on the controller."""

from __future__ import annotations

import getpass
import os
import uuid
from typing import Optional

from .._core.backup import parse_at
from .._core.errors import InvalidValue, OpsError, VerificationFailed
from .._core.journal import INTERRUPTED, IncidentEvent, Run
from .._core.journal_batch import Batch
from .._core.journal_record import (
    DRILL,
    INCIDENT,
    KINDS,
    Known,
    clean,
    decide,
    events_of,
    wanted_drill,
    wanted_incident,
)
from .._core.journal_table import table_lines
from .._core.redact import redact_text
from .._core.result import DONE, OK, UNKNOWN, WARNING, Decision, Finding, Outcome, Step
from .._core.units import count_of, parse_duration
from .._io.journal_open import JournalSchema, JournalUnreachable, name_of
from .._io.journal_query import ANSWERS, Query, answer
from .._io.journal_read import open_journal
from .._io.journal_spool import folder_of, store_once
from .._io.journal_write import open_writer
from .info import InfoOperation
from .run import Operation, Task
from .spec import ArgumentSpec

_TIMES = ("started_at", "ended_at", "detected_at", "acknowledged_at", "mitigated_at", "resolved_at", "at")
_DURATIONS = ("rto_seconds", "rto_target_seconds", "rpo_seconds", "rpo_target_seconds")
_MISSING = "journal_missing"


def journal_spec() -> ArgumentSpec:
    """Return where the journal is."""
    return ArgumentSpec({"journal_url": {"type": "str", "no_log": True}})


def journal_info_spec() -> ArgumentSpec:
    """Return the options of journal_info."""
    own = ArgumentSpec(
        {
            "query": {"type": "str", "choices": sorted(ANSWERS), "default": "runs"},
            "since": {"type": "str", "default": "7d"},
            "runbook": {"type": "str"},
            "run_id": {"type": "str"},
            "host": {"type": "str"},
            "metric": {"type": "str"},
            "limit": {"type": "int", "default": 100},
        },
        required_if=(("query", "samples", ("metric",)), ("query", "days", ("metric",))),
    )
    return journal_spec().merge(own)


class JournalInfo(InfoOperation):
    """Answer one query."""

    def __init__(self, task: Task) -> None:
        self._params, self._clock = task.params, task.clock
        self._since = parse_duration(task.params["since"], "since")
        if task.params["limit"] < 1:
            raise InvalidValue(f"limit must be at least 1, not {task.params['limit']}")
        self._url: Optional[str] = task.params["journal_url"]

    def decide(self) -> Decision:
        """Look; a journal that cannot be read is unknown and no failure."""
        query = self._params["query"]
        try:
            with open_journal(self._url, lambda: self._clock.now().timestamp()) as journal:
                since = self._clock.now().timestamp() - self._since
                own = {name: self._params[name] for name in ("runbook", "run_id", "host", "metric", "limit")}
                rows = answer(journal, Query(query, since, **own))
                findings = (_readable(journal.where), *_interrupted(journal.runs(since)))
                where = journal.where
        except (JournalUnreachable, JournalSchema) as error:
            finding = Finding("journal", UNKNOWN, error.words())
            return Decision(
                finding.msg, findings=(finding,), extra={"rows": [], "lines": [], "journal": name_of(self._url)}
            )
        bad = [finding.msg for finding in findings if finding.status != OK]
        text = "; ".join([f"{count_of(len(rows), 'row')} of {query}", *bad[:3]])
        lines = table_lines(query, rows)
        return Decision(text, findings=findings, extra={"rows": rows, "lines": lines, "journal": where})


def _readable(where: str) -> Finding:
    return Finding("journal", OK, f"journal {where} can be read")


def _interrupted(runs: tuple[Run, ...]) -> list[Finding]:
    return [
        Finding(
            "run_interrupted",
            WARNING,
            f"{run.runbook} of {run.operator} at {run.controller} was begun and never closed (run {run.id}): "
            "see what it had changed",
        )
        for run in runs
        if run.status == INTERRUPTED and not run.check_mode
    ][:20]


def journal_record_spec() -> ArgumentSpec:
    """Return the options of journal_record."""
    texts = ("id", "name", "title", "severity", "summary", "status", "detail", "incident", "person", "text", "event")
    own = ArgumentSpec(
        {
            "kind": {"type": "str", "choices": list(KINDS), "required": True},
            "spool": {"type": "path"},
            "run_id": {"type": "str"},
            **{name: {"type": "str"} for name in (*texts, *_TIMES)},
            **{name: {"type": "float"} for name in _DURATIONS},
        },
        required_if=(
            ("kind", "drill", ("name", "started_at")),
            ("kind", "incident", ("id",)),
            ("kind", "note", ("text",)),
        ),
    )
    own.options["status"]["choices"] = ["running", "ok", "failed"]
    return journal_spec().merge(own)


class JournalRecord(Operation):
    """Add one drill, incident or note, or change it."""

    def __init__(self, task: Task) -> None:
        self._clock, self._url = task.clock, task.params["journal_url"]
        self._spool: Optional[str] = task.params["spool"] or os.environ.get("ONCALL_JOURNAL_SPOOL")
        moments = {name: parse_at(task.params[name], name).timestamp() for name in _TIMES if task.params[name]}
        self._given = {**task.params, **{name: None for name in _TIMES}, **moments}
        self._person = clean(task.params["person"] or _user())
        self._now = task.clock.now().timestamp()
        self._trouble: Optional[OpsError] = None

    def decide(self) -> Decision:
        """Read what is there and compare; a journal that is away is taken for empty, and said so."""
        known = self._known()
        self._batch = self._wanted(known)
        decision = decide(self._batch, known, name_of(self._url))
        warnings = (self._trouble.message,) if self._trouble else ()
        return Decision(**{**vars(decision), "warnings": warnings, "findings": self._findings()})

    def _known(self) -> Known:
        kind = self._given["kind"]
        try:
            with open_journal(self._url) as journal:
                if kind == DRILL:
                    key = (clean(self._given["name"]), self._given["started_at"])
                    return Known(
                        drill=next((one for one in journal.drills() if (one.name, one.started_at) == key), None)
                    )
                if kind == INCIDENT:
                    name = clean(self._given["id"])
                    return Known(incident=next((one for one in journal.incidents() if one.id == name), None))
                return Known(events=journal.incident_events([clean(self._given["incident"] or "")]))
        except (JournalUnreachable, JournalSchema) as error:
            self._trouble = None if error.code == _MISSING else error
            return Known()

    def _wanted(self, known: Known) -> Batch:
        given, writer = self._given, f"record-{uuid.uuid4()}"
        if given["kind"] == DRILL:
            return Batch(writer, 0, self._now, drills=(wanted_drill({**given, "id": None}, known.drill),))
        if given["kind"] == INCIDENT:
            incident = wanted_incident({**given, "status": None}, known.incident)
            events = events_of(incident, known.incident, self._person)
            return Batch(writer, 0, self._now, incidents=(incident,), events=events)
        where, kind, text = clean(given["incident"] or ""), clean(given["event"] or "note"), clean(given["text"])
        event = IncidentEvent(0, where, given["at"] or self._now, kind, self._person, text)
        return Batch(writer, 0, self._now, events=(event,))

    def _findings(self) -> tuple[Finding, ...]:
        if self._trouble is None:
            return (Finding("journal", OK, f"journal {name_of(self._url)} can be read"),)
        hint = f" ({self._trouble.hint})" if self._trouble.hint else ""
        return (Finding("journal", UNKNOWN, self._trouble.message + hint),)

    def apply(self, decision: Decision) -> Outcome:
        """Write and read again; when the journal is away, leave it to the next run that reaches it."""
        began = self._clock.monotonic()
        try:
            with open_writer(self._url) as writer:
                writer.apply([self._batch])
        except (JournalUnreachable, JournalSchema) as error:
            return self._left_to_others(decision, error)
        again = decide(self._batch, self._known(), name_of(self._url))
        if self._trouble is not None or again.plan:
            raise VerificationFailed(f"{decision.plan[0].target} was written, but the journal does not show it")
        took = round(self._clock.monotonic() - began, 3)
        step = Step(decision.plan[0].id, DONE, took, f"in the journal {name_of(self._url)}")
        return Outcome(decision.msg, (step,), self._findings(), decision.after, {"spooled": False})

    def _left_to_others(self, decision: Decision, error: OpsError) -> Outcome:
        try:
            path = store_once(folder_of(self._spool), name_of(self._url), (self._batch,))
        except OSError as full:
            raise OpsError(
                f"{error.message}, and the spool cannot be written either: {full.strerror or full}",
                code="journal_lost",
                hint="make room and rights for the journal and its spool, then record it again",
            ) from full
        msg = f"{decision.plan[0].target} is kept in {path} until a run reaches the journal: {error.message}"
        finding = Finding("journal", WARNING, redact_text(msg))
        step = Step(decision.plan[0].id, DONE, 0.0, msg)
        return Outcome(msg, (step,), (finding,), decision.after, {"spooled": True})


def _user() -> str:
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
