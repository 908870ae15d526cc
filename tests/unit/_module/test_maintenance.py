"""The whole module against a made-up server: whatever the tables are and do, plan, steps and verdict agree."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.errors import DatabaseFailed, OpsError
from plugins.module_utils._core.maintenance_facts import Facts, ServerFacts, TableFacts
from plugins.module_utils._core.result import Decision, render_decision, render_outcome
from plugins.module_utils._io import maintenance_queries as queries
from plugins.module_utils._io import maintenance_work
from plugins.module_utils._io.progress import ProgressFile
from plugins.module_utils._module import maintenance
from plugins.module_utils._module.maintenance_options import maintenance_spec
from plugins.module_utils._module.postgres import postgres_spec
from plugins.module_utils._module.run import Task

NOW = datetime(2026, 11, 21, 2, 0, tzinfo=timezone.utc)
FINE, LOCKED, DENIED, DROPPED, BROKEN = "fine", "locked", "denied", "dropped", "broken"
ERRORS = {LOCKED: "lock_timeout", DROPPED: "object_missing", BROKEN: "index_corrupted"}


class Clock:
    """Time that only passes when somebody sleeps; the wall clock may be set back."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.wall = NOW

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass
class MadeUpServer:
    """Tables and what becomes of a statement that touches them."""

    tables: dict[int, TableFacts]
    fates: dict[int, str]
    clock: Clock
    major: int = 18
    gone_after: int | None = None
    statements: list[str] = field(default_factory=list)

    def facts(self) -> Facts:
        listed = tuple(self.tables.values())
        return Facts(ServerFacts(self.major * 10000), NOW, listed, table_count=len(listed))

    def run(self, statement: str) -> list[str]:
        """Do to the tables what PostgreSQL does: one after the other, up to the first error."""
        self.statements.append(statement)
        if self.gone_after is not None and len(self.statements) > self.gone_after:
            raise DatabaseFailed("the connection was lost", code="server_gone")
        oids = [int(number) for number in re.findall(r"public\.t(\d+)", statement)]
        notices = []
        for oid in oids:
            fate = self.fates[oid]
            if fate == DENIED or (fate == LOCKED and "SKIP_LOCKED" in statement):
                notices.append(f"WARNUNG: »t{oid}« wird übersprungen")
            elif fate in ERRORS:
                raise DatabaseFailed("no", code=ERRORS[fate], details={"notices": notices})
            else:
                self._count(oid, statement)
        return notices

    def _count(self, oid: int, statement: str) -> None:
        table, vacuum, analyze = self.tables[oid], statement.startswith("VACUUM"), "ANALYZE" in statement
        self.tables[oid] = replace(
            table,
            vacuum_count=table.vacuum_count + vacuum,
            analyze_count=table.analyze_count + analyze,
            **({"dead_rows": 0, "inserted_rows": 0, "last_vacuum": NOW} if vacuum else {}),
            **({"modified_rows": 0, "last_analyze": NOW} if analyze else {}),
            **({"xid_age": 0} if "FREEZE" in statement else {}),
        )


class Session:
    closed = False
    reported_pid = 1
    major = 18

    def __init__(self, server: MadeUpServer, dbname: str) -> None:
        self._server, self.dbname, self.major = server, dbname, server.major

    def fetch(self, query: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        if query == queries.COUNTERS:
            tables = [self._server.tables[oid] for oid in parameters[0]]
            return [{"oid": t.oid, "vacuum_count": t.vacuum_count, "analyze_count": t.analyze_count} for t in tables]
        return [{"got": True, "alive": 0}] if "advisory" in query or query == queries.ALIVE else []

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[str]:
        return self._server.run(statement) if statement.startswith(("VACUUM (F", "VACUUM", "ANALYZE")) else []

    def cancel(self) -> None: ...

    def close(self) -> None: ...


class Collector:
    def __init__(self, server: MadeUpServer) -> None:
        self._server = server
        self.about = type("About", (), {"server": server.facts().server, "cost_delay_ms": 0.0, "cost_limit": 200})

    def collect(self, _policy: Any, _lock: str, _also: Any = None) -> Facts:
        return self._server.facts()

    def session(self, name: str) -> Any:
        return Session(self._server, name)

    def keep_only(self, _names: set[str]) -> None: ...

    def close(self) -> None: ...


def parameters(**options: Any) -> dict[str, Any]:
    spec = maintenance_spec().merge(postgres_spec())
    return {**{name: option.get("default") for name, option in spec.options.items()}, **options}


def operation(patch: pytest.MonkeyPatch, server: MadeUpServer, **options: Any) -> maintenance.Maintenance:
    patch.setattr(maintenance, "Collector", lambda _target, _wanted: Collector(server))
    patch.setattr(maintenance_work, "connect", lambda _target, name: Session(server, name))
    patch.setattr(maintenance_work, "backoff", lambda _attempt, _share: 0.0)
    progress = ProgressFile(None, server.clock.monotonic)
    return maintenance.Maintenance(Task(parameters(**options), server.clock, None, progress))  # type: ignore[arg-type]


@st.composite
def servers(draw: st.DrawFn) -> MadeUpServer:
    tables, fates = {}, {}
    for oid in range(1, draw(st.integers(0, 12)) + 1):
        tables[oid] = TableFacts(
            "shop", oid, "public", f"t{oid}", f"public.t{oid}", rows=1000, live_rows=1000,
            pages=draw(st.integers(1, 3000)), last_analyze=NOW, last_vacuum=draw(st.none() | st.just(NOW)),
            dead_rows=draw(st.sampled_from([0, 500])), modified_rows=draw(st.sampled_from([0, 500])),
            xid_age=draw(st.sampled_from([5, 160_000_000])), may_maintain=draw(st.integers(0, 4)) > 0,
        )  # fmt: skip
        fates[oid] = draw(st.sampled_from([FINE, FINE, FINE, LOCKED, DENIED, DROPPED, BROKEN]))
    return MadeUpServer(tables, fates, Clock(), draw(st.sampled_from([13, 15, 18])))


def carry_out(subject: maintenance.Maintenance) -> tuple[Decision, dict[str, Any]]:
    """Return the decision and the result, whether it came as such or with a failure."""
    decision = subject.decide()
    if not decision.plan:
        return decision, render_decision(decision)
    try:
        return decision, render_outcome(decision, subject.apply(decision))
    except OpsError as error:
        return decision, {**error.partial, "failed": error.code}


@given(servers(), st.integers(1, 3))
def test_plan_steps_and_what_really_happened_agree(server: MadeUpServer, jobs: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        before = dict(server.tables)
        predicted = render_decision(operation(patch, server, jobs=jobs, lock_attempts=2).decide())
        assert server.statements == [] and server.tables == before

        decision, result = carry_out(operation(patch, server, jobs=jobs, lock_attempts=2))
        assert result["plan"] == predicted["plan"]
        assert predicted["changed"] is bool(result["plan"])
        if not decision.plan:
            return
        assert [step["id"] for step in result["steps"]] == [action["id"] for action in result["plan"]]
        changed = {f"public.t{oid}" for oid, table in server.tables.items() if table != before[oid]}
        done = {entry["table"] for entry in result["tables"] if entry["status"] == "done"}
        assert done == changed
        assert result["changed"] is bool(done)
        broken = [entry for entry in result["tables"] if entry["status"] == "failed"]
        assert bool(broken) is ("failed" in result)
        for entry in result["tables"]:
            fate = server.fates[int(entry["table"].removeprefix("public.t"))]
            assert entry["status"] != "done" or (fate == FINE and entry["code"] == "")
            assert entry["status"] != "failed" or fate == BROKEN
            assert entry["status"] != "skipped" or entry["code"]

        rest, _result = carry_out(operation(patch, server, jobs=jobs, lock_attempts=1))
        again = {action.target.split()[-1] for action in rest.plan}
        assert not again & done


def needy(number: int, **changes: Any) -> dict[int, TableFacts]:
    return {
        oid: TableFacts("shop", oid, "public", f"t{oid}", f"public.t{oid}", rows=1000, live_rows=1000, pages=10 * oid,
                        dead_rows=500, last_analyze=NOW, **changes)
        for oid in range(1, number + 1)
    }  # fmt: skip


def test_a_server_that_goes_away_keeps_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {oid: replace(table, pages=2000 + oid) for oid, table in needy(4).items()}  # each in its own statement
    server = MadeUpServer(tables, dict.fromkeys(tables, FINE), Clock(), gone_after=2)
    _decision, result = carry_out(operation(monkeypatch, server, jobs=1))
    assert result["failed"] == "server_gone"
    assert [step["status"] for step in result["steps"]] == ["done", "done", "failed", "skipped"]
    assert result["changed"] is True


def test_a_look_afterwards_that_fails_takes_nothing_away_from_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = needy(2)
    server = MadeUpServer(tables, dict.fromkeys(tables, FINE), Clock())
    subject = operation(monkeypatch, server)
    decision = subject.decide()

    def fail(*_unused: Any) -> Facts:
        raise DatabaseFailed("canceling statement due to statement timeout", code="cancelled")

    monkeypatch.setattr(Collector, "collect", fail)
    result = render_outcome(decision, subject.apply(decision))
    assert result["changed"] and [step["status"] for step in result["steps"]] == ["done", "done"]
    assert [(found["check"], found["status"]) for found in result["findings"]] == [("tables", "unknown")]


def test_a_clock_that_is_set_back_does_not_prolong_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The window is counted in seconds that never jump: what was allowed at the start is what there is."""
    tables = needy(2)
    server = MadeUpServer(tables, dict.fromkeys(tables, FINE), Clock())
    subject = operation(monkeypatch, server, window_end="02:10Z")
    decision = subject.decide()
    server.clock.wall = NOW.replace(year=2020)
    server.clock.seconds = 601.0
    outcome = subject.apply(decision)
    assert [step.status for step in outcome.steps] == ["skipped", "skipped"]
    assert server.statements in ([], ["VACUUM (ONLY_DATABASE_STATS)"])


def test_waiting_for_a_lock_never_goes_beyond_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Passing(Clock):
        def monotonic(self) -> float:
            self.seconds += 0.05
            return self.seconds

    tables = needy(1)
    server = MadeUpServer(tables, dict.fromkeys(tables, LOCKED), Passing())
    subject = operation(monkeypatch, server, budget="10s", lock_attempts=100, jobs=1)
    outcome = subject.apply(subject.decide())
    assert [step.status for step in outcome.steps] == ["skipped"]
    assert "estimated" in outcome.steps[0].detail
