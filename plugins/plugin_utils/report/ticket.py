# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report as Markdown for a ticket: short, and nothing from outside is markup, a mention or a reference."""

from __future__ import annotations

import re

from ...module_utils._core.report import Need, ReportData
from ...module_utils._core.report_format import amount, duration, shown_moment
from .page import WORDS, area_title, safe_link

GENERATED = re.compile(r"^As of [^.\n]*\.$", re.MULTILINE)
_SIGNS = re.compile(r"([\\`*_\[\]#|~$]|(?<=:)/(?=/)|(?<=www)\.)", re.IGNORECASE)
_BEGINNING = re.compile(r"^(\d*)([-+.)])")  # a list within the list
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;"}
_MOST = 15


def render_ticket(report: ReportData, generated_at: float) -> str:
    """Return the text."""
    title = " ".join(part for part in (report.product, report.title) if part)
    lines = [f"# {escaped(title)}: {WORDS[report.status]}", "", f"As of {shown_moment(generated_at)}.", ""]
    lines += [f"**{escaped(report.headline)}**", ""]
    for part in (_needs(report), _areas(report), _kpis(report), _protection(report), _runs(report), _incidents(report)):
        lines += part
    return "\n".join(lines).rstrip() + "\n"


def escaped(text: str) -> str:
    r"""Return a text that Markdown shows as it is; HTML in it, mentions and links mean nothing.

    >>> print(escaped("<b> *x* [a](b) @team #1 https://x"))
    &lt;b&gt; \*x\* \[a\](b) &#64;team \#1 https:\//x
    >>> print(escaped("- a_b"), escaped("1. a"))
    \- a\_b 1\. a
    """
    shown = _BEGINNING.sub(r"\1\\\2", _SIGNS.sub(r"\\\1", " ".join(text.splitlines())))
    return "".join(_ENTITIES.get(sign, sign) for sign in shown)


def code(text: str) -> str:
    """Return a text as code, whatever back-ticks are in it.

    >>> code("ls"), code("a`b")
    ('`ls`', '`` a`b ``')
    """
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence, room = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{room}{text}{room}{fence}"


def _listed(title: str, entries: list[str], left: int = 0) -> list[str]:
    more = [f"- and {left} more"] if left > 0 else []
    return [f"## {title}", "", *(f"- {entry}" for entry in entries), *more, ""] if entries else []


def _needs(report: ReportData) -> list[str]:
    return _listed("Needs a person", [_need(one) for one in report.needs[:_MOST]], len(report.needs) - _MOST)


def _need(one: Need) -> str:
    where = ", ".join(escaped(part) for part in (area_title(one.area), one.where) if part)
    link = safe_link(one.link)
    parts = [f"**{WORDS[one.status]}** {escaped(one.msg)} ({where})"]
    parts += [f"run {code(one.command)}"] if one.command else []
    parts += [f"<{link}>"] if link.startswith("http") and not re.search(r"[<>\s]", link) else []
    return "; ".join(parts)


def _areas(report: ReportData) -> list[str]:
    return _listed(
        "Areas", [f"{escaped(area_title(one.title))}: {WORDS[one.status]}, {escaped(one.msg)}" for one in report.areas]
    )


def _kpis(report: ReportData) -> list[str]:
    entries = []
    for one in report.kpis:
        budget = "" if one.budget_left is None else f", error budget left {amount(one.budget_left, '%')}"
        value = escaped(amount(one.value, one.unit))
        entries.append(f"{escaped(one.title)}: {WORDS[one.status]}, {value}{escaped(budget)}")
    return _listed("KPIs", entries)


def _protection(report: ReportData) -> list[str]:
    copies = [
        f"{escaped(one.source)} of {escaped(one.host)}: {WORDS[one.status]}, "
        f"copy of {shown_moment(one.taken)}, proven {shown_moment(one.proven)}"
        for one in report.backups
    ]
    recoveries = [
        f"{escaped(one.name)}: {WORDS[one.status]}, RTO {duration(one.rto)} of {duration(one.rto_target)}, "
        f"RPO {duration(one.rpo)} of {duration(one.rpo_target)}"
        for one in report.objectives
    ]
    forecasts = [
        f"{escaped(one.name)} of {escaped(one.host)}: {WORDS[one.status]}, {escaped(one.msg)}"
        for one in report.forecasts
    ]
    return [*_listed("Backups", copies), *_listed("Recovery", recoveries), *_listed("Capacity", forecasts)]


def _runs(report: ReportData) -> list[str]:
    entries = [
        f"{escaped(one.runbook)}: {WORDS[one.status]}, {escaped(one.msg)}, last {shown_moment(one.last_success)}"
        for one in report.duties
    ]
    return _listed("Scheduled runs", entries)


def _incidents(report: ReportData) -> list[str]:
    entries = [
        f"{escaped(one.title)} ({escaped(one.severity)}), "
        + (f"resolved after {duration(one.took(one.resolved))}" if not one.is_open else "**open**")
        for one in report.incidents[:_MOST]
    ]
    return _listed("Incidents", entries, len(report.incidents) - _MOST)
