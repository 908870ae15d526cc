# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The summary as text for a terminal of any width; colours are asked for by the caller's ``paint``."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Callable, Iterator, Mapping, Sequence

from .redact import printable
from .result import CRITICAL, OK, UNKNOWN, WARNING
from .summary import FAILED, RANK, UNREACHABLE, Line, Summary, Todo, todos
from .units import count_of, human_duration

Paint = Callable[[str, str], str]

CHANGED, QUIET, BOLD = "changed", "quiet", "bold"
_WORDS = {
    OK: "ok",
    CHANGED: "changed",
    UNKNOWN: "unknown",
    WARNING: "warning",
    CRITICAL: "CRITICAL",
    FAILED: "FAILED",
    UNREACHABLE: "OFFLINE",
}
_MARK_WIDTH = 8
_MOST_DETAILS = 3
_MOST_PLANNED = 10
_WORTH_TELLING_SECONDS = 10.0
_MOST_TODOS = 12
_MOST_HOSTS = 6
_NARROWEST, _WIDEST = 60, 120


@dataclass(frozen=True)
class Page:
    """How wide the terminal is, whether it can show lines, and how a style is put on a text."""

    width: int
    unicode: bool
    paint: Paint

    def rule(self) -> str:
        """Return a line across the page."""
        return self.paint(("─" if self.unicode else "-") * self.width, QUIET)

    def wrapped(self, text: str, first: str, rest: str, margin: int = 0) -> list[str]:
        """Return a text broken to the page, with the indents of its first and its other lines."""
        width = self.width - margin
        return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False) or [
            first.rstrip()
        ]


def page(width: int, unicode: bool, paint: Paint) -> Page:
    """Return the page for a terminal; lines of more than 120 columns are hard to read."""
    return Page(max(_NARROWEST, min(width, _WIDEST)), unicode, paint)


def render(summary: Summary, on: Page) -> list[str]:
    """Return the summary's lines: verdict, hosts with their steps, what needs a person, and the verdict's sentence."""
    entries = todos(summary)
    head = f"{printable(summary.runbook)}  {human_duration(summary.duration_seconds)}"
    lines = [on.rule(), f"{_badge(summary, on)}  {on.paint(head, BOLD)}", on.rule()]
    lines += _areas(summary, on)
    lines += _hosts(summary, on)
    for title, chosen in (("Needs a person", urgent(entries)), ("Could not be judged", unjudged(entries))):
        if chosen:
            lines += ["", on.paint(title, BOLD), *_todos(chosen, on)]
    return [*lines, on.rule(), *on.wrapped(closing(summary, entries), "", ""), on.rule()]


def _areas(summary: Summary, on: Page) -> Iterator[str]:
    """Yield one entry for each area: what its worst host says, and how many hosts there are besides."""
    areas = summary.areas()
    width = max((len(name) for name, _lines in areas), default=0)
    indent = " " * (2 + _MARK_WIDTH + 1 + width + 1)
    for name, lines in areas:
        first, *others = on.wrapped(_area_text(lines), indent, indent)
        mark = on.paint(f"{_WORDS[lines[0].status]:<{_MARK_WIDTH}}", lines[0].status)
        yield f"  {mark} {printable(name, 60):<{width}} {first[len(indent) :]}".rstrip()
        yield from others


def _area_text(lines: Sequence[Line]) -> str:
    """Return the worst host's sentence, and the verdicts of the others counted."""
    worst, by_host = lines[0], {line.host: line.status for line in reversed(lines)}  # the worst of each host
    if worst.status == OK:
        return lines[-1].msg if len(by_host) == 1 else f"{count_of(len(by_host), 'host')} ok"
    same = [host for host, status in reversed(by_host.items()) if status == worst.status and host != worst.host]
    good = sum(1 for status in by_host.values() if status == OK)
    others = f"; the same verdict on {_names(same)}" if same else ""
    return f"{worst.host}: {worst.msg}{others}" + (f"; {count_of(good, 'host')} ok" if good else "")


def _hosts(summary: Summary, on: Page) -> Iterator[str]:
    """Yield the steps of each host; beside areas only those that did something or went wrong, to fit one screen."""
    by_area = any(line.area for line in summary.lines)
    shown = [
        line
        for line in summary.lines
        if not line.area and not (by_area and line.status == OK and not (line.changed or line.planned))
    ]
    step_width = max((len(line.step) for line in shown), default=0)
    for host in summary.hosts():
        lines = [line for line in shown if line.host == host]
        if lines:
            yield on.paint(printable(host, on.width), BOLD)
        for line in lines:
            yield from _step(line, step_width, summary.check_mode, on)


def urgent(entries: tuple[Todo, ...]) -> tuple[Todo, ...]:
    """Return what somebody has to look at."""
    return tuple(todo for todo in entries if todo.status != UNKNOWN)


def unjudged(entries: tuple[Todo, ...]) -> tuple[Todo, ...]:
    """Return what nobody could look at."""
    return tuple(todo for todo in entries if todo.status == UNKNOWN)


def _badge(summary: Summary, on: Page) -> str:
    if summary.check_mode and RANK[summary.status] < RANK[FAILED]:
        return on.paint("[PREDICTION]", CHANGED)
    return on.paint(f"[{_WORDS[summary.status].upper()}]", summary.status)


def _step(line: Line, step_width: int, check_mode: bool, on: Page) -> Iterator[str]:
    will_act = line.planned > 0 and RANK[line.status] < RANK[FAILED]
    style = CHANGED if will_act or (line.changed and RANK[line.status] <= RANK[UNKNOWN]) else line.status
    word = "would" if style == CHANGED and check_mode else _WORDS[style]
    took = f" ({human_duration(line.duration_seconds)})" if line.duration_seconds >= _WORTH_TELLING_SECONDS else ""
    indent = " " * (2 + _MARK_WIDTH + 1 + step_width + 1)
    first, *others = on.wrapped(f"{line.msg}{_counts(line)}{took}", indent, indent)
    mark = on.paint(f"{word:<{_MARK_WIDTH}}", style)
    yield f"  {mark} {line.step:<{step_width}} {first[len(indent) :]}".rstrip()
    yield from others
    most = _MOST_PLANNED if will_act else _MOST_DETAILS
    for detail in line.details[:most]:
        yield from (on.paint(part, QUIET) for part in on.wrapped(detail, f"{indent}- ", f"{indent}  "))
    if len(line.details) > most:
        yield on.paint(f"{indent}- and {len(line.details) - most} more", QUIET)


def _counts(line: Line) -> str:
    parts = [
        f"{number} {word}"
        for number, word in ((line.failed, "failed"), (line.skipped, "skipped"))
        if number and f"{number} {word}" not in line.msg
    ]
    return f" ({', '.join(parts)})" if parts else ""


def _todos(entries: tuple[Todo, ...], on: Page) -> Iterator[str]:
    for number, todo in enumerate(entries[:_MOST_TODOS], start=1):
        head = f"{number:>3}. "
        body = f"{_names(todo.hosts)}, {todo.step}: {todo.msg}"
        yield from (on.paint(text, todo.status) for text in on.wrapped(body, head, " " * len(head)))
        if todo.next:
            yield from on.wrapped(f"next: {printable(todo.next)}", " " * len(head), " " * (len(head) + 6))
        if todo.command:  # in one line, whatever the width: it is there to be copied
            yield f"{' ' * len(head)}then: {printable(todo.command, 2000)}"
    if len(entries) > _MOST_TODOS:
        yield f"     and {len(entries) - _MOST_TODOS} more"


def _names(hosts: Sequence[str]) -> str:
    """Return some hosts by name and the others counted.

    >>> _names(["a", "b"]), _names(["a", "b", "c", "d", "e", "f", "g"])
    ('a, b', 'a, b, c, d and 3 more')
    """
    named = ", ".join(printable(host, 60) for host in hosts[: _MOST_HOSTS if len(hosts) <= _MOST_HOSTS else 4])
    return f"{named} and {len(hosts) - 4} more" if len(hosts) > _MOST_HOSTS else named


def closing(summary: Summary, entries: tuple[Todo, ...]) -> str:
    """Return the last sentence: what changed, and whether anybody is needed."""
    changed = sum(line.done or 1 for line in summary.lines if line.changed)
    planned = sum(line.planned for line in summary.lines)
    failed = RANK[summary.status] >= RANK[FAILED]
    if summary.check_mode and (planned or changed):
        act = f"Nothing was changed; a real run would do {count_of(planned or changed, 'thing')}"
    elif changed:
        act = f"{count_of(changed, 'thing')} {'was' if changed == 1 else 'were'} done"
    else:
        act = "Nothing was changed" if failed else "Nothing to do"
    needed, unknown = len(urgent(entries)), len(unjudged(entries))
    person = (
        f"{count_of(needed, 'thing')} {'needs' if needed == 1 else 'need'} a person" if needed else "nobody is needed"
    )
    return f"{act}; {person}{f'; {unknown} could not be judged' if unknown else ''}."


def render_header(facts: Mapping[str, str], on: Page) -> list[str]:
    """Return the header of a runbook: its name and purpose, then one line per fact."""
    lines = [on.rule(), on.paint(printable(facts.get("title", "")), BOLD)]
    width = max((len(label) for label in facts if label != "title"), default=0)
    for label, text in facts.items():
        if label != "title" and text:
            indent = " " * (width + 4)
            lines += on.wrapped(printable(text, 1000), f"  {label:<{width}}  ", indent)
    return [*lines, on.rule()]
