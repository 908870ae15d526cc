# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What may be done about which sessions: rules as data, and what no rule can reach."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Mapping, Optional, Sequence

from .errors import InvalidValue
from .sessions import IN_TRANSACTION, WORKING, Session, Tree
from .units import human_duration, parse_duration

IDLE, IDLE_IN_TRANSACTION = "idle", "idle_in_transaction"
ACTIVE, TRANSACTION, BLOCKING = "active_longer_than", "transaction_longer_than", "blocking_root"
MATCHES = (IDLE, IDLE_IN_TRANSACTION, ACTIVE, TRANSACTION, BLOCKING)
OBSERVE, CANCEL, TERMINATE = "observe", "cancel", "terminate"
ACTIONS = (OBSERVE, CANCEL, TERMINATE)
REFUSE, LIMIT = "refuse", "limit"

# Applications that do a piece of work and then leave, and (below) ones that stay. They are compared without regard to
# case: what protects may reach too far, never too short.
BATCH_APPLICATIONS = (
    *("pg_dump*", "pg_restore", "pg_basebackup", "pg_rewind", "pg_upgrade", "vacuumdb", "reindexdb", "clusterdb"),
    *("pg_amcheck", "pg_repack*", "pg_squeeze*", "pgbackrest*", "wal-g*", "walg*", "pg_probackup*", "pgcopydb*"),
)
ALWAYS_PROTECTED_APPLICATIONS = (
    "oncall.runbooks*",
    *BATCH_APPLICATIONS,
    *("pg_receivewal", "pg_recvlogical", "barman*", "patroni*", "repmgr*", "pg_auto_failover*", "pgautofailover*"),
    *("stolon*", "pglogical*", "debezium*"),
)
ALWAYS_PROTECTED_ROLES = (
    *("rdsadmin", "rdsrepladmin", "cloudsqladmin", "cloudsqlagent", "cloudsqlreplica", "azuresu"),
    *("supabase_admin", "supabase_replication_admin"),
)

_ADDRESS_PATTERN = re.compile(r"(?=.*[*?\[])[0-9a-f.:*?\[\]!-]+")
_IN_WORDS = {
    IDLE: "idle",
    IDLE_IN_TRANSACTION: "idle in a transaction",
    ACTIVE: "at work on one statement",
    TRANSACTION: "in one transaction",
    BLOCKING: "blocking others",
}


@dataclass(frozen=True)
class Names:
    """Glob patterns that a name must match, and ones that it must not; ``wanted`` None means any."""

    wanted: Optional[tuple[str, ...]] = None
    unwanted: tuple[str, ...] = ()

    def admits(self, name: str) -> bool:
        """Tell whether a name is meant.

        >>> Names(("app*",), ("app_admin",)).admits("app_web"), Names(("app*",), ("app_admin",)).admits("app_admin")
        (True, False)
        """
        return (self.wanted is None or matches_any(name, self.wanted)) and not matches_any(name, self.unwanted)


@dataclass(frozen=True)
class Clients:
    """Client addresses that are meant, and ones that are not: networks, glob patterns, or ``local`` (a Unix socket)."""

    wanted: Optional[tuple[str, ...]] = None
    unwanted: tuple[str, ...] = ()

    def admits(self, client: Optional[str]) -> bool:
        """Tell whether an address is meant.

        >>> Clients(("10.0.0.0/8", "local")).admits("10.1.2.3"), Clients(None, ("10.0.0.5",)).admits("10.0.0.5")
        (True, False)
        """
        meant = self.wanted is None or any(_is_client(client, text) for text in self.wanted)
        return meant and not any(_is_client(client, text) for text in self.unwanted)


@dataclass(frozen=True)
class Rule:
    """One rule; ``older_than`` in seconds."""

    name: str
    match: str
    older_than: float
    action: str = OBSERVE
    roles: Names = Names()
    databases: Names = Names()
    applications: Names = Names()
    clients: Clients = Clients()

    def condition(self) -> str:
        """Return what the rule is about, in words.

        >>> Rule("old", IDLE, 300).condition()
        'idle for more than 5 min'
        """
        return f"{_IN_WORDS[self.match]} for more than {human_duration(self.older_than)}"

    def lasted(self, session: Session, tree: Optional[Tree]) -> Optional[float]:
        """Return for how many seconds the rule's condition has held for a session; None when it does not apply."""
        seconds = _lasting(self.match, session, tree)
        if seconds is None or seconds <= self.older_than or not self._is_about(session):
            return None
        return seconds

    def since(self, session: Session) -> Optional[datetime]:
        """Return when the rule's condition began, where the server keeps it."""
        if self.match in (IDLE, IDLE_IN_TRANSACTION):
            return session.state_change
        if self.match == ACTIVE:
            return session.query_start
        return session.xact_start if self.match == TRANSACTION else None

    def may_be_about(self, session: Session) -> bool:
        """Tell whether a session can be meant by what is visible to everybody: role, database and application."""
        return (
            self.roles.admits(session.role)
            and self.databases.admits(session.database)
            and self.applications.admits(session.application)
        )

    def _is_about(self, session: Session) -> bool:
        return self.may_be_about(session) and self.clients.admits(session.client)


@dataclass(frozen=True)
class Policy:
    """The rules in order (the first that matches a session decides), what they cannot reach, and the ceilings.

    ``grace`` and ``terminate_timeout`` in seconds; ``max_share`` is a part of max_connections.
    """

    rules: tuple[Rule, ...]
    protect_roles: tuple[str, ...] = ()
    protect_applications: tuple[str, ...] = ()
    include_superusers: bool = False
    max_sessions: int = 10
    max_share: float = 0.25
    on_excess: str = REFUSE
    grace: float = 10.0
    terminate_timeout: float = 30.0

    def cap(self, max_connections: int) -> int:
        """Return how many sessions one run may end."""
        return min(self.max_sessions, int(self.max_share * max_connections))

    def protection(self, session: Session) -> Optional[str]:
        """Return why no rule may touch a session, or None."""
        applications = [p.lower() for p in ALWAYS_PROTECTED_APPLICATIONS + self.protect_applications]
        checks = (
            (session.own, "it is this module's own session"),
            (matches_any(session.application.lower(), applications), f"application {session.application} is protected"),
            (matches_any(session.role, ALWAYS_PROTECTED_ROLES + self.protect_roles), "its role is protected"),
            (session.superuser and not self.include_superusers, "its role is a superuser (include_superusers)"),
            (bool(session.slot), f"it reads from replication slot {session.slot}"),
            (session.holds_backup, "it holds an online backup"),
        )
        return next((reason for holds, reason in checks if holds), None)


def matches_any(name: str, patterns: Sequence[str]) -> bool:
    """Tell whether a name matches one of some glob patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _lasting(match: str, session: Session, tree: Optional[Tree]) -> Optional[float]:
    if match == IDLE:
        return session.ages.state if session.state == "idle" else None
    if match == IDLE_IN_TRANSACTION:
        return session.ages.state if session.state in IN_TRANSACTION else None
    if match == ACTIVE:
        return session.ages.query if session.state in WORKING else None
    if match == TRANSACTION:
        return session.ages.transaction
    return _blocking_for(session, tree)


def _blocking_for(session: Session, tree: Optional[Tree]) -> Optional[float]:
    """Return for how long others have waited for a root: not longer than its transaction, for they queued before it."""
    if tree is None or tree.longest is None or session.ages.transaction is None:
        return tree.longest if tree else None
    return min(tree.longest, session.ages.transaction)


def _is_client(client: Optional[str], text: str) -> bool:
    if client is None or text == "local":
        return client is None and text == "local"
    network = _network(text)
    return fnmatchcase(client, text) if network is None else ipaddress.ip_address(client) in network


def _network(text: str) -> Any:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


# --- from options ------------------------------------------------------------------------------------------------


def parse_policy(options: Mapping[str, Any]) -> Policy:
    """Return the policy that a module's options describe.

    Raises:
        InvalidValue: an option means nothing or contradicts another; the message names it.
    """
    rules = tuple(_parse_rule(rule, f"rules[{index}]") for index, rule in enumerate(options["rules"]))
    names = [rule.name for rule in rules]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise _invalid("rules", f"two rules are named {twice[0]!r}", "give each rule a name of its own")
    if options["max_sessions"] < 1:
        raise _invalid("max_sessions", "it must be 1 or more", "leave rules empty to only look")
    if not 0 < options["max_share"] <= 1:
        raise _invalid(
            "max_share", f"it must be more than 0 and at most 1, not {options['max_share']:g}", "0.25 = 25 %"
        )
    grace = parse_duration(options["grace"], "grace")
    if grace <= 0 and any(rule.action == CANCEL for rule in rules):
        raise _invalid("grace", "a rule cancels, and a cancel needs time", "write for example 10s")
    terminate_timeout = parse_duration(options["terminate_timeout"], "terminate_timeout")
    if terminate_timeout <= 0:
        raise _invalid("terminate_timeout", "it must be more than 0", "a process needs time to end: 30s")
    return Policy(
        rules=rules,
        protect_roles=tuple(options["protect_roles"]),
        protect_applications=tuple(options["protect_applications"]),
        include_superusers=options["include_superusers"],
        max_sessions=options["max_sessions"],
        max_share=options["max_share"],
        on_excess=options["on_excess"],
        grace=grace,
        terminate_timeout=terminate_timeout,
    )


def _parse_rule(rule: Mapping[str, Any], where: str) -> Rule:
    older_than = parse_duration(rule["older_than"], f"{where}.older_than")
    if older_than <= 0:
        raise _invalid(f"{where}.older_than", "it must be more than 0", "write for example 5m")
    if rule["action"] == CANCEL and rule["match"] not in (ACTIVE, BLOCKING):
        raise _invalid(
            f"{where}.action",
            f"cancel has no effect on a session that is {_IN_WORDS[rule['match']]}",
            "cancel ends a statement; end the session with action terminate",
        )
    if not rule["name"].strip():
        raise _invalid(f"{where}.name", "it is empty", "name the rule: findings and messages use it")
    _check_addresses(rule, where)
    return Rule(
        name=rule["name"],
        match=rule["match"],
        older_than=older_than,
        action=rule["action"],
        roles=Names(*_patterns(rule, "roles", where)),
        databases=Names(*_patterns(rule, "databases", where)),
        applications=Names(*_patterns(rule, "applications", where)),
        clients=Clients(*_patterns(rule, "clients", where)),
    )


def _patterns(rule: Mapping[str, Any], key: str, where: str) -> tuple[Optional[tuple[str, ...]], tuple[str, ...]]:
    wanted = rule[key]
    if wanted is not None and not wanted:
        raise _invalid(f"{where}.{key}", "an empty list means nobody", f"leave {key} out to mean any")
    return None if wanted is None else tuple(wanted), tuple(rule[f"exclude_{key}"] or ())


def _check_addresses(rule: Mapping[str, Any], where: str) -> None:
    for key in ("clients", "exclude_clients"):
        for text in rule[key] or ():
            if text != "local" and _network(text) is None and not _ADDRESS_PATTERN.fullmatch(text):
                raise _invalid(
                    f"{where}.{key}",
                    f"{text!r} is no address, network, glob pattern or the word local",
                    "write 10.0.0.5, 10.0.0.0/8 (no host bits), 10.0.*, 2001:db8::/32 or local; names are not resolved",
                )


def _invalid(option: str, problem: str, hint: str) -> InvalidValue:
    return InvalidValue(f"{option}: {problem}", hint=hint)
