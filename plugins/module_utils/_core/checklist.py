# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Lists of the day: what answers by itself, and what a person signs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any, Mapping, Optional, Sequence

from .errors import InvalidValue
from .result import DONE, OK, UNKNOWN, Action, Decision, Finding, Outcome, Step, worst
from .timestamps import parse_rfc3339
from .units import count_of, rfc3339


@dataclass(frozen=True)
class Item:
    """One line of a list. With ``areas`` their verdicts answer it; without, a person signs it."""

    name: str
    title: str
    list: str = ""
    areas: tuple[str, ...] = ()


@dataclass(frozen=True)
class Signature:
    """Who said that an item is done, and when (UTC)."""

    by: str
    at: datetime


@dataclass(frozen=True)
class Signing:
    """What is signed in this run: names of items, and the person."""

    items: tuple[str, ...] = ()
    by: str = ""


def check_items(items: Sequence[Item], which: str, signing: Signing) -> tuple[Item, ...]:
    """Return the items of a list; all of them when it has no name.

    Raises:
        InvalidValue: a name is there twice, nobody signs, or what is signed is no item that a person answers.
    """
    names = [item.name for item in items]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidValue(f"items has {', '.join(twice)} twice")
    lists = sorted({item.list for item in items if item.list})
    if which and which not in lists:
        raise InvalidValue(
            f"list is {which!r}, and no item is on it", hint=f"there are {', '.join(lists) or 'no lists'}"
        )
    signable = {item.name for item in items if not item.areas}
    wrong = sorted(set(signing.items) - signable)
    if wrong:
        raise InvalidValue(
            f"signed has {', '.join(wrong)}, which nobody can sign",
            hint=f"a person signs {', '.join(sorted(signable)) or 'nothing here'}",
        )
    if signing.items and not signing.by:
        raise InvalidValue("signed needs signed_by", hint="say who looked")
    return tuple(item for item in items if which in ("", item.list))


def decide(
    items: Sequence[Item],
    verdicts: Mapping[str, str],
    signing: Signing,
    signatures: Mapping[str, Signature],
    now: datetime,
    zone: tzinfo,
) -> Decision:
    """Return how the items stand; a signature counts on the local day on which it was given.

    The plan is what is signed now. An area that was not looked at leaves its item ``unknown``, and so does a person.
    """
    kept = {name: one for name, one in signatures.items() if _same_day(one.at, now, zone)}
    known = {item.name for item in items}
    new = [name for name in dict.fromkeys(signing.items) if name in known and name not in kept]
    plan = tuple(_action(item, signing.by) for item in items if item.name in new)
    now_signed = {**kept, **{name: Signature(signing.by, now) for name in new}}
    findings = tuple(_answer(item, verdicts, now_signed.get(item.name)) for item in items)
    return Decision(
        _headline(findings),
        plan=plan,
        findings=findings,
        before={"signed": sorted(known & kept.keys())},
        after={"signed": sorted(known & now_signed.keys())},
        extra={"signatures": {name: {"by": one.by, "at": rfc3339(one.at)} for name, one in now_signed.items()}},
    )


def carry_out(decision: Decision) -> Outcome:
    """Return the outcome: a signature is its own work, whoever keeps the steps keeps it."""
    steps = tuple(Step(action.id, DONE, detail=action.reason) for action in decision.plan)
    return Outcome(decision.msg, steps, decision.findings, decision.after)


def _same_day(at: datetime, now: datetime, zone: tzinfo) -> bool:
    return at.astimezone(zone).date() == now.astimezone(zone).date()


def _action(item: Item, by: str) -> Action:
    return Action(f"sign:{item.name}", "sign", item.name, f"{item.title}: signed by {by}")


def _answer(item: Item, verdicts: Mapping[str, str], signature: Optional[Signature]) -> Finding:
    check = f"list_{item.name}"
    if not item.areas:
        if signature is None:
            return Finding(check, UNKNOWN, f"open: {item.title} (a person signs it: signed={item.name})", False)
        return Finding(check, OK, f"{item.title}: signed by {signature.by} at {rfc3339(signature.at)}", True)
    status = worst(verdicts.get(area, UNKNOWN) for area in item.areas)
    missing = [area for area in item.areas if area not in verdicts]
    words = ", ".join(f"{area} {verdicts[area]}" for area in item.areas if area in verdicts)
    left = f"not looked at: {', '.join(missing)}" if missing else ""
    return Finding(check, status, f"{item.title}: {'; '.join(filter(None, (words, left)))}", status == OK)


def _headline(findings: Sequence[Finding]) -> str:
    good = sum(1 for one in findings if one.status == OK)
    open_ones = sum(1 for one in findings if one.msg.startswith("open: "))
    waiting = f", {open_ones} open for a person" if open_ones else ""
    return f"{good} of {count_of(len(findings), 'item')} in order{waiting}" if findings else "the list is empty"


def read_signatures(raw: Mapping[str, Any]) -> dict[str, Signature]:
    """Return earlier signatures from a result; what cannot be read is not a signature."""
    found = {}
    for name, one in raw.items():
        try:
            by, at = str(one["by"]), parse_rfc3339(one["at"])
        except (KeyError, TypeError):
            continue
        if at is not None:
            found[str(name)] = Signature(by, at)
    return found
