# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Decide about slow-query logging: on for a bounded time, off, or nothing to do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Iterator, Optional

from .errors import PreconditionFailed
from .result import OK, WARNING, Action, Decision, Finding
from .slow_log import DATABASE, ROLE, SERVER, SETTING, Marker
from .sql_text import identifier, literal
from .units import count_of, human_duration, rfc3339

TURN_ON, TURN_OFF, FORGET = "turn_on", "turn_off", "forget"
LONGEST_SECONDS = 86400.0


@dataclass(frozen=True)
class Place:
    """Where it is set: the whole server (``name`` empty), one database or one role."""

    scope: str
    name: str = ""

    @property
    def id(self) -> str:
        """Return its name in a plan."""
        return f"{self.scope}:{self.name}" if self.name else self.scope

    @property
    def words(self) -> str:
        """Return it for people."""
        return f"{self.scope} {self.name}" if self.name else "the whole server"


@dataclass(frozen=True)
class Noted:
    """A marker with the database at which it stands, and the value that is stored at its place now."""

    marker: Marker
    database: str
    stored: Optional[str]

    @property
    def place(self) -> Place:
        """Return where it is set."""
        return Place(self.marker.scope, self.marker.name)


@dataclass(frozen=True)
class Facts:
    """What is true on the server. ``now`` in seconds of the Unix epoch, ``stored`` at the place that was asked for.

    ``effective`` is the threshold in milliseconds that sessions there get now (-1: nothing is logged). ``overrides``
    are the databases and roles with a setting of their own, ``sessions`` how many sessions of the place are open.
    """

    now: float
    database: str
    stored: Optional[str]
    effective: int
    noted: tuple[Noted, ...] = ()
    overrides: tuple[str, ...] = ()
    sessions: int = 0


@dataclass(frozen=True)
class Wish:
    """What is wanted. ``place`` None (only to turn off) means everywhere; ``threshold`` in milliseconds."""

    on: bool
    place: Optional[Place]
    threshold: int = 250
    seconds: float = 900.0
    extend: bool = False


def decide(facts: Facts, wish: Wish) -> Decision:
    """Return what is to be done.

    Raises:
        PreconditionFailed: it is on already with another threshold (code ``already_on``).
    """
    late = [one for one in facts.noted if one.marker.until <= facts.now]
    if not wish.on or wish.place is None:
        chosen = [one for one in facts.noted if wish.place in (None, one.place) or one in late]
        plan = tuple(_off(one) for one in chosen)
        msg = f"to be turned off: {_named(chosen)}" if chosen else "no slow-query logging of ours is on"
        return _decision(facts, wish, plan, msg)
    mine = next((one for one in facts.noted if one.place == wish.place), None)
    others = tuple(_off(one) for one in late if one is not mine)
    reason = _reason_to_turn_on(facts, wish, mine)
    plan = (*others, _on(wish.place, wish, reason)) if reason else others
    return _decision(facts, wish, plan, reason or _nothing(facts, wish, mine))


def _reason_to_turn_on(facts: Facts, wish: Wish, mine: Optional[Noted]) -> str:
    """Return why it is turned on, or an empty text when there is nothing to do."""
    wanted = f"log statements from {wish.threshold} ms on, for {human_duration(wish.seconds)}"
    if mine is None:
        return "" if 0 <= facts.effective <= wish.threshold else wanted
    if mine.marker.until <= facts.now or mine.stored != str(mine.marker.threshold):
        return wanted
    if wish.extend:
        longer = facts.now + wish.seconds > mine.marker.until + 1.0
        return wanted if longer or mine.marker.threshold != wish.threshold else ""
    if mine.marker.threshold != wish.threshold:
        raise PreconditionFailed(
            f"turn on slow-query logging: it is on already, from {mine.marker.threshold} ms on, until "
            f"{_moment(mine.marker.until)}",
            code="already_on",
            hint="set extend=true to change it, or turn it off first with state=absent",
        )
    return ""


def _nothing(facts: Facts, wish: Wish, mine: Optional[Noted]) -> str:
    if mine is not None:
        return f"slow-query logging is on already, until {_moment(mine.marker.until)}"
    return f"statements from {facts.effective} ms on are logged anyway"


def _on(place: Place, wish: Wish, reason: str) -> Action:
    return Action(f"{TURN_ON}:{place.id}", TURN_ON, place.id, reason, command_of(place, str(wish.threshold)))


def _off(noted: Noted) -> Action:
    marker, place = noted.marker, noted.place
    if noted.stored != str(marker.threshold):
        now = "nothing" if noted.stored is None else noted.stored
        reason = f"somebody has set it to {now} meanwhile: that stays as it is"
        return Action(f"{FORGET}:{place.id}", FORGET, place.id, reason)
    return Action(f"{TURN_OFF}:{place.id}", TURN_OFF, place.id, "its time is over, or it is no longer wanted",
                  command_of(place, marker.previous))  # fmt: skip


def command_of(place: Place, value: Optional[str]) -> str:
    """Return the statement for people; the driver quotes when it is carried out.

    >>> command_of(Place("database", "shop"), None)
    'ALTER DATABASE "shop" RESET log_min_duration_statement'
    """
    name = identifier(place.name)
    what = {SERVER: "ALTER SYSTEM", DATABASE: f"ALTER DATABASE {name}", ROLE: f"ALTER ROLE {name}"}[place.scope]
    return f"{what} RESET {SETTING}" if value is None else f"{what} SET {SETTING} = {literal(value)}"


def _named(chosen: list[Noted]) -> str:
    return ", ".join(one.marker.words() for one in chosen)


def _moment(epoch: float) -> str:
    return rfc3339(datetime.fromtimestamp(epoch, timezone.utc))


# --- the result ---------------------------------------------------------------------------------------------------


def _decision(facts: Facts, wish: Wish, plan: tuple[Action, ...], msg: str) -> Decision:
    turns_on = any(action.action == TURN_ON for action in plan)
    gone = {action.target for action in plan if action.action in (TURN_OFF, FORGET)}
    left = [one for one in facts.noted if one.place.id not in gone]
    after = sorted({one.place.id for one in left} | ({wish.place.id} if turns_on and wish.place else set()))
    before = sorted(one.place.id for one in facts.noted)
    until = [one.marker.until for one in left] + ([facts.now + wish.seconds] if turns_on else [])
    return Decision(
        msg,
        plan,
        tuple(findings(facts, wish, bool(turns_on or (wish.on and left)))),
        {"on": before},
        {"on": after},
        result_of(until, wish, turns_on or bool(left)),
    )


def result_of(until: list[float], wish: Wish, logging: bool) -> dict[str, Any]:
    """Return the module's own keys."""
    return {"logging": logging, "until": _moment(max(until)) if until else "", "threshold_ms": wish.threshold}


def findings(facts: Facts, wish: Wish, logging: bool) -> Iterator[Finding]:
    """Yield what people have to know: who is not logged although it is on, and who goes on although it is off."""
    if wish.on and wish.place is not None and wish.place.scope == SERVER and logging:
        many = f"{', '.join(facts.overrides[:10])}: these have a {SETTING} of their own, which wins"
        words = many if facts.overrides else "no database or role has a setting of its own"
        status = WARNING if facts.overrides else OK
        yield Finding("overridden", status, words, len(facts.overrides), "count", 1)
    if wish.place is not None and wish.place.scope != SERVER:
        words = f"{count_of(facts.sessions, 'session')} of {wish.place.id} open: only new ones follow the change"
        yield Finding("open_sessions", WARNING if facts.sessions else OK, words, facts.sessions, "count", 1)
