"""postgresql_health_info in a test: look, and read one check out of what it says."""

from __future__ import annotations

from typing import Any

from plugins.module_utils._core.postgres_health_facts import DEFAULT_LIMITS
from tests.support.modules import run_ok
from tests.support.servers import SUPERUSER, Database, Server

NAME = "postgresql_health_info"
# 27 and more: what every look at a primary says something about, when it may see everything.
ALWAYS = {
    "reachable", "connections", "free_connections", "reserved_connections", "long_transactions", "idle_in_transaction",
    "lock_waits", "blocked_sessions", "prepared_transactions", "slots_inactive", "slots_retained", "slots_lost",
    "slots_safe", "archiver", "xid_age", "multixact_age", "cache_hit", "deadlocks", "temp_bytes", "transactions",
    "rollbacks", "database_size", "checksum_failures", "query_mean", "slow_statements", "checkpoints", "autovacuum",
    "autovacuum_workers", "autovacuum_overdue", "sequences", "invalid_indexes", "pending_restart", "uptime", "slow_log",
}  # fmt: skip


def look(where: Database | Server, user: str = SUPERUSER, **more: Any) -> dict[str, Any]:
    """Look at a server; nothing is ever changed or planned."""
    dsn = where.dsn(user=user)
    result = run_ok(NAME, {"dsn": dsn, **more})
    assert not result["changed"] and result["plan"] == [] and result["steps"] == []
    return result


def found(result: dict[str, Any], check: str) -> list[dict[str, Any]]:
    """Return the findings of one check."""
    return [one for one in result["findings"] if one["check"] == check]


def status(result: dict[str, Any], check: str) -> str:
    """Return the verdict of a check that said one thing."""
    (one,) = found(result, check)
    return str(one["status"])


def words(result: dict[str, Any], check: str) -> str:
    """Return all that a check said."""
    return " / ".join(one["msg"] for one in found(result, check))


def sample(result: dict[str, Any], metric: str, **labels: str) -> float:
    """Return one sample."""
    (value,) = [one["value"] for one in result["samples"] if one["metric"] == metric and one["labels"] == labels]
    return float(value)


def only(*checks: str, **limits: Any) -> dict[str, Any]:
    """Return the limits that switch every other check off: a test that is about one of them is quick."""
    return {**{name: False for name in DEFAULT_LIMITS if name not in checks and name not in limits}, **limits}
