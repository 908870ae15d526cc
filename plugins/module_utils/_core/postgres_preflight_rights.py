# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What a role will not be able to do in a run, in words, and what it would need."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Callable, Iterator

from .postgres_preflight_facts import Facts, Grants
from .redact import printable
from .result import OK, WARNING, Finding
from .units import count_of

STEPS = ("maintenance", "reindex", "sessions", "readings")


@dataclass(frozen=True)
class Lack:
    """One thing that a step will not do for want of a right."""

    step: str
    what: str
    needs: str

    def as_result(self) -> dict[str, str]:
        """Return its entry in the result."""
        return asdict(self)


def lacks_of(facts: Facts) -> tuple[Lack, ...]:
    """Return everything that the role will not be able to do."""
    if facts.grants is None:
        return ()
    return tuple(lack for look in _LOOKS for lack in look(facts, facts.grants))


def rights_findings(facts: Facts) -> tuple[Finding, ...]:
    """Return one reading for each step."""
    lacks = lacks_of(facts)
    return tuple(_finding(step, [lack for lack in lacks if lack.step == step]) for step in STEPS)


def _finding(step: str, lacks: list[Lack]) -> Finding:
    if not lacks:
        return Finding(f"rights:{step}", OK, f"{step}: no right is missing", 0, "rights", 1)
    text = "; ".join(f"{lack.what}: {lack.needs}" for lack in lacks)
    return Finding(f"rights:{step}", WARNING, f"{step}: {text}", len(lacks), "rights", 1)


def _maintenance(facts: Facts, grants: Grants) -> Iterator[Lack]:
    if grants.maintainable < grants.tables:
        yield Lack("maintenance", _of_tables(grants.tables - grants.maintainable, grants, "vacuumed"), _owner(facts))


def _reindex(facts: Facts, grants: Grants) -> Iterator[Lack]:
    if grants.reindexable < grants.tables:
        yield Lack(
            "reindex", f"indexes of {_of_tables(grants.tables - grants.reindexable, grants, 'rebuilt')}", _owner(facts)
        )
    if grants.readable < grants.tables and not grants.has("pg_read_all_data"):
        unread = _of_tables(grants.tables - grants.readable, grants, "estimated for bloat")
        needs = "grant SELECT on them" if facts.server and facts.server.major < 14 else "grant pg_read_all_data"
        yield Lack("reindex", unread, needs)


def _sessions(_facts: Facts, grants: Grants) -> Iterator[Lack]:
    if not grants.has("pg_read_all_stats"):
        yield Lack("sessions", "other roles' sessions stay hidden", "grant pg_monitor or pg_read_all_stats")
    if not grants.has("pg_signal_backend"):
        yield Lack("sessions", "other roles' sessions are not ended", "grant pg_signal_backend")


def _readings(facts: Facts, _grants: Grants) -> Iterator[Lack]:
    unknown = [database.name for database in facts.databases or () if database.size_bytes is None]
    if unknown:
        names = ", ".join(printable(name, 60) for name in unknown[:5])
        what = f"the size of {count_of(len(unknown), 'database')} is not known ({names})"
        yield Lack("readings", what, "grant pg_read_all_stats or CONNECT")
    if facts.server and not facts.server.data_directory:
        yield Lack("readings", "the data directory is not known", "grant pg_monitor or pg_read_all_settings")


_LOOKS: tuple[Callable[[Facts, Grants], Iterator[Lack]], ...] = (_maintenance, _reindex, _sessions, _readings)


def _of_tables(count: int, grants: Grants, done: str) -> str:
    return f"{count} of {count_of(grants.tables, 'table')} will not be {done}"


def _owner(facts: Facts) -> str:
    if facts.server and facts.server.major >= 17:
        return "grant pg_maintain (or MAINTAIN on them), with USAGE on their schemas"
    return "use their owner, or a role that is a member of it"
