# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Choose which sessions a policy ends: one verdict for each session that a rule matches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Mapping, Optional

from .result import Action
from .sessions import WORKING, Activity, Rights, Session, Tree, blocking_trees
from .sessions_policy import CANCEL, OBSERVE, TERMINATE, Policy, Rule
from .sessions_statements import signal_statement
from .sql_text import identifier
from .units import rfc3339

PLANNED, OBSERVED, PROTECTED = "planned", "observed", "protected"
NOT_PERMITTED, NO_EFFECT, OVER_CAP = "not_permitted", "no_effect", "over_cap"


@dataclass(frozen=True)
class Choice:
    """A session, the first rule that matches it, for how many seconds that has held, and what is to become of it.

    ``rungs`` are the signals in the order in which they are tried.
    """

    session: Session
    rule: Rule
    seconds: float
    verdict: str
    reason: str = ""
    tree: Optional[Tree] = None
    rungs: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Return the id of its action in the plan."""
        return f"{self.rule.action}:{self.session.pid}"

    def action(self) -> Action:
        """Return its entry in the plan; nothing in it changes while the session stays as it is."""
        since = self.rule.since(self.session)
        began = "" if since is None else f" (since {rfc3339(since)})"
        return Action(
            id=self.id,
            action=self.rule.action,
            target=self.session.label(),
            reason=f"rule {self.rule.name}: {self.rule.condition()}{began}",
            command="; ".join(signal_statement(rung, self.session, self.rule).shown() for rung in self.rungs),
        )


def choose(activity: Activity, policy: Policy) -> tuple[Choice, ...]:
    """Return a verdict for each session that a rule matches, in the order of the rules, the oldest first in each.

    More than the ceiling are all still planned here: see cap_exceeded() and limited().
    """
    trees = blocking_trees(activity.sessions)
    chosen = [_choice(session, policy, trees, activity.rights) for session in activity.sessions if session.readable]
    order = {rule.name: index for index, rule in enumerate(policy.rules)}
    found = [choice for choice in chosen if choice is not None]
    return tuple(sorted(found, key=lambda c: (order[c.rule.name], -c.seconds, c.session.pid)))


def planned(choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
    """Return those that are to be ended."""
    return tuple(choice for choice in choices if choice.verdict == PLANNED)


def limited(choices: tuple[Choice, ...], cap: int, reason: str) -> tuple[Choice, ...]:
    """Return the choices with all beyond the ceiling left alone for a reason."""
    beyond = {choice.session.pid for choice in planned(choices)[cap:]}
    return tuple(replace(c, verdict=OVER_CAP, reason=reason) if c.session.pid in beyond else c for c in choices)


def _choice(session: Session, policy: Policy, trees: Mapping[int, Tree], rights: Rights) -> Optional[Choice]:
    tree = trees.get(session.pid)
    for rule in policy.rules:
        seconds = rule.lasted(session, tree)
        if seconds is not None:
            verdict, reason = _verdict(session, rule, policy, rights)
            return Choice(session, rule, seconds, verdict, reason, tree, _rungs(session, rule, policy.grace))
    return None


def _verdict(session: Session, rule: Rule, policy: Policy, rights: Rights) -> tuple[str, str]:
    protection = policy.protection(session)
    if protection is not None:
        return PROTECTED, protection
    if rule.action == OBSERVE:
        return OBSERVED, ""
    if not session.may_signal:
        return NOT_PERMITTED, needed_right(session, rights)
    if rule.action == CANCEL and session.state not in WORKING:
        return NO_EFFECT, "it waits for its client, and a cancel has no effect on that: use action terminate"
    return PLANNED, ""


def needed_right(session: Session, rights: Rights) -> str:
    """Return what the role that looks would need to signal a session."""
    if session.superuser:
        return "only a superuser may signal a superuser's session"
    return f"GRANT pg_signal_backend (or {identifier(session.role)}) TO {identifier(rights.role)}"


def _rungs(session: Session, rule: Rule, grace: float) -> tuple[str, ...]:
    if rule.action != TERMINATE:
        return () if rule.action == OBSERVE else (CANCEL,)
    return (CANCEL, TERMINATE) if session.state in WORKING and grace > 0 else (TERMINATE,)
