# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Is there a repository, and does the key that was put aside open it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from .errors import InvalidValue, PreconditionFailed
from .result import CRITICAL, OK, Action, Decision, Finding

CREATE, ADD_KEY = "create", "add_escrow_key"
ESCROW_USER = "oncall-escrow"  # what restic's list of keys shows for it


@dataclass(frozen=True)
class Facts:
    """``escrow_opens`` None: there is no escrow key to try, or no repository to try it on."""

    location: str
    exists: bool
    escrow_opens: Optional[bool] = None


@dataclass(frozen=True)
class Policy:
    """``create``: what is missing may be made, the repository and the escrow key."""

    create: bool
    escrow: bool


def check_passwords(password: str, escrow: str) -> None:
    """Make sure that the escrow key is a second key.

    Raises:
        InvalidValue: it is the same password: whoever loses the one has lost both.
    """
    if escrow and password == escrow:
        raise InvalidValue(
            "the escrow key has the password of the repository", hint="give it another one, and keep it elsewhere"
        )


def decide(facts: Facts, policy: Policy) -> Decision:
    """Return what is missing.

    Raises:
        PreconditionFailed: there is no repository and none may be made (code ``repository_missing``).
    """
    if not facts.exists and not policy.create:
        raise PreconditionFailed(
            f"there is no repository at {facts.location}",
            code="repository_missing",
            hint="check the location, and whether its disk is mounted; for a new repository create=true, once",
        )
    plan = []
    if not facts.exists:
        plan.append(Action(CREATE, CREATE, facts.location, "there is none", "restic init"))
    adding = policy.escrow and policy.create and not facts.escrow_opens
    if adding:
        plan.append(
            Action(ADD_KEY, ADD_KEY, facts.location, "the escrow key does not open the repository",
                   f"restic key add --user {ESCROW_USER} --new-password-file FILE")
        )  # fmt: skip
    return Decision(
        msg=_line(facts, plan),
        plan=tuple(plan),
        findings=findings(facts, policy, will_be_added=adding),
        before=state(facts),
        after={"exists": True, "escrow_opens": adding or facts.escrow_opens},
    )


def findings(facts: Facts, policy: Policy, will_be_added: bool = False) -> tuple[Finding, ...]:
    """Return what is true of the repository; in a prediction a key that will be added counts as there."""
    found = [Finding("repository", OK, f"the repository at {facts.location} opens")] if facts.exists else []
    if policy.escrow and (facts.escrow_opens or will_be_added):
        found.append(Finding("escrow_key", OK, "the escrow key opens the repository", True))
    elif policy.escrow:
        msg = "the escrow key does not open the repository: whoever loses the other key has lost every backup"
        found.append(Finding("escrow_key", CRITICAL, msg, False))
    return tuple(found)


def state(facts: Facts) -> dict[str, Optional[bool]]:
    """Return what the diff is made of."""
    return {"exists": facts.exists, "escrow_opens": facts.escrow_opens}


def _line(facts: Facts, plan: list[Action]) -> str:
    if plan:
        return f"to do at {facts.location}: {', '.join(action.action for action in plan)}"
    if facts.escrow_opens is None:
        return f"the repository at {facts.location} opens"
    keys = "with both keys" if facts.escrow_opens else "but not with the escrow key"
    return f"the repository at {facts.location} opens, {keys}"
