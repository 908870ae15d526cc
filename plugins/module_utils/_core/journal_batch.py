# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""One batch of what is to be written: numbered by its writer, so that it is taken in once however often it is offered.

A line of a spool is a batch as JSON behind the checksum of that JSON: a torn line is known as such.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, fields
from typing import Any, Callable, Mapping, Optional

from .journal import Drill, FindingRow, Incident, IncidentEvent, Run, SampleRow, State, StepRow


@dataclass(frozen=True)
class Batch:
    """Records that are written together or not at all.

    ``writer`` is the run, or any other unique name; ``number`` grows by one with each batch of a writer, from 0.
    ``at`` is when it was made.
    """

    writer: str
    number: int
    at: float
    run: Optional[Run] = None
    steps: tuple[StepRow, ...] = ()
    findings: tuple[FindingRow, ...] = ()
    samples: tuple[SampleRow, ...] = ()
    states: tuple[State, ...] = ()
    drills: tuple[Drill, ...] = ()
    incidents: tuple[Incident, ...] = ()
    events: tuple[IncidentEvent, ...] = ()

    @property
    def empty(self) -> bool:
        """Tell whether there is nothing in it."""
        return self.run is None and not any(getattr(self, name) for name in _KINDS)


_KINDS: Mapping[str, Callable[..., Any]] = {
    "steps": StepRow,
    "findings": FindingRow,
    "samples": SampleRow,
    "states": State,
    "drills": Drill,
    "incidents": Incident,
    "events": IncidentEvent,
}


def to_line(batch: Batch) -> str:
    """Return a batch as one line, with its line end."""
    content: dict[str, Any] = {"writer": batch.writer, "number": batch.number, "at": batch.at}
    if batch.run is not None:
        content["run"] = vars(batch.run)
    for name in _KINDS:
        rows = [{**vars(row)} for row in getattr(batch, name)]
        if rows:
            content[name] = [{key: value for key, value in row.items() if key != "events"} for row in rows]
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return f"{zlib.crc32(text.encode()):08x} {text}\n"


def from_line(line: str) -> Optional[Batch]:
    """Return the batch of a line, or None when the line is torn, or of a version with other records."""
    checksum, _space, text = line.partition(" ")
    if not line.endswith("\n") or checksum != f"{zlib.crc32(text[:-1].encode()):08x}":
        return None
    try:
        content = json.loads(text)
        return Batch(
            writer=str(content["writer"]),
            number=int(content["number"]),
            at=float(content["at"]),
            run=_record(Run, content["run"]) if "run" in content else None,
            **{name: tuple(_record(kind, row) for row in content.get(name, ())) for name, kind in _KINDS.items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _record(kind: Callable[..., Any], row: Mapping[str, Any]) -> Any:
    """Return a record; what another version has stored beside is left out."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in row.items() if name in known})
