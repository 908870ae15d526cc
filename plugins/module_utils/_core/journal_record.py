# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What people and drills add to the journal: decided from what is there, so that it is added once."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Mapping, Optional, TypeVar

from .errors import InvalidValue
from .journal import Drill, Incident, IncidentEvent
from .journal_batch import Batch
from .redact import printable, redact_text
from .result import Action, Decision

DRILL, INCIDENT, NOTE = KINDS = ("drill", "incident", "note")
# The times of an incident in their order, with the status that each brings.
STAGES = (("detected", "open"), ("acknowledged", "acknowledged"), ("mitigated", "mitigated"), ("resolved", "resolved"))
_LONG, _SHORT = 4000, 200
_Record = TypeVar("_Record", Drill, Incident)


@dataclass(frozen=True)
class Known:
    """What the journal has of it already."""

    drill: Optional[Drill] = None
    incident: Optional[Incident] = None
    events: tuple[IncidentEvent, ...] = ()


def wanted_drill(given: Mapping[str, Any], known: Optional[Drill]) -> Drill:
    """Return the drill as it is to be; what is not given stays as it is.

    Raises:
        InvalidValue: it ends before it begins, or measures less than nothing.
    """
    base = known or Drill(0, "", given["name"], given["started_at"], None, "running", None, None, None, None, "")
    drill = _merged(base, given)
    if drill.ended_at is not None and drill.ended_at < drill.started_at:
        raise InvalidValue("ended_at is before started_at", hint="look at the time zones of both")
    for name in ("rto_seconds", "rto_target_seconds", "rpo_seconds", "rpo_target_seconds"):
        if (getattr(drill, name) or 0) < 0:
            raise InvalidValue(f"{name} is less than nothing")
    return drill


def wanted_incident(given: Mapping[str, Any], known: Optional[Incident]) -> Incident:
    """Return the incident as it is to be; its status is that of its newest time.

    Raises:
        InvalidValue: a new one has no title, or its times are not in their order.
    """
    incident = _merged(known or Incident(given["id"], "", "", "open", None), given)
    if not incident.title:
        raise InvalidValue(f"incident {incident.id} is new and has no title", hint="say in a few words what is wrong")
    times = [(name, getattr(incident, f"{name}_at"), status) for name, status in STAGES]
    reached = [(name, at, status) for name, at, status in times if at is not None]
    for (earlier, before, _status), (later, after, _later) in zip(reached, reached[1:]):
        if after < before:
            raise InvalidValue(f"{later}_at is before {earlier}_at", hint="look at the time zones of both")
    return replace(incident, status=reached[-1][2] if reached else "open", events=())


def events_of(incident: Incident, known: Optional[Incident], person: str) -> tuple[IncidentEvent, ...]:
    """Return the lines of the timeline that new or changed times of an incident make."""
    found = []
    for name, _status in STAGES:
        at = getattr(incident, f"{name}_at")
        if at is not None and (known is None or getattr(known, f"{name}_at") != at):
            text = f"{name}: {incident.title}" if name == "detected" else name
            found.append(IncidentEvent(0, incident.id, at, name, person, printable(text, _LONG)))
    return tuple(found)


def decide(batch: Batch, known: Known, where: str) -> Decision:
    """Return what is to be written of a batch that holds one drill, incident or note."""
    before, after, actions = _compare(batch, known)
    if not actions:
        what = batch.drills or batch.incidents or batch.events
        return Decision(f"the journal has it already: {_label(what[0])}", before=before, after=before)
    plan = tuple(Action(f"{verb}:{label}", verb, label, reason) for verb, label, reason in actions)
    return Decision(f"recorded: {plan[0].target}", plan, before=before, after=after, extra={"journal": where})


def _compare(batch: Batch, known: Known) -> tuple[dict[str, Any], dict[str, Any], list[tuple[str, str, str]]]:
    for new, old in ((batch.drills, known.drill), (batch.incidents, known.incident)):
        if new:
            before, after = _shown(old), _shown(new[0])
            if before == after:
                return before, after, []
            return before, after, [("update" if old else "add", _label(new[0]), _difference(before, after))]
    event = batch.events[0]
    same = [one for one in known.events if _identity(one) == _identity(event)]
    after = _shown(event)
    return (after if same else {}), after, [] if same else [("add", _label(event), "a note for the timeline")]


def _identity(event: IncidentEvent) -> tuple[Any, ...]:
    return event.incident_id, event.at, event.kind, event.text


def _difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    if not before:
        return "new"
    return ", ".join(f"{name} changes" for name, value in after.items() if before.get(name) != value)


def _label(record: Any) -> str:
    if isinstance(record, Drill):
        return f"drill {record.name}"
    if isinstance(record, Incident):
        return f"incident {record.id}"
    return printable(f"note on {record.incident_id}" if record.incident_id else "note", _SHORT)


def _shown(record: Any) -> dict[str, Any]:
    if record is None:
        return {}
    hidden = ("events", "id", "run_id") if isinstance(record, (Drill, IncidentEvent)) else ("events",)
    return {name: value for name, value in vars(record).items() if name not in hidden}


def _merged(base: _Record, given: Mapping[str, Any]) -> _Record:
    """Return a record with what is given, its texts made fit to be stored."""
    names = {field.name for field in fields(base)}
    values = {name: clean(value) for name, value in given.items() if name in names and value is not None}
    return replace(base, **values)


def clean(value: Any, limit: int = _LONG) -> Any:
    """Return a text without secrets and control characters; anything else as it is.

    >>> clean("ran psql postgresql://ana:s3cret@db/shop")
    'ran psql postgresql://ana:********@db/shop'
    """
    return printable(" ".join(redact_text(value).split()), limit) if isinstance(value, str) else value
