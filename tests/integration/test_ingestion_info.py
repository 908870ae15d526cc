"""ingestion_info on real servers: sources that deliver and sources that do not, and what cannot be looked at."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.modules import run_failed, run_ok
from tests.support.servers import SUPERUSER, Database, Roles
from tests.support.sessions import finding

NAME = "ingestion_info"
LOCAL_ZONE = "Asia/Kolkata"  # ahead of UTC, and no hour comes twice
SCHEMA = """
CREATE TABLE public.events (
    source text, at timestamptz, local timestamp, written text, day date, epoch bigint, ok boolean, status int, key text
);
"""
FILL = f"""
INSERT INTO public.events
SELECT %s, t, t AT TIME ZONE '{LOCAL_ZONE}', to_char(t AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), t::date,
       extract(epoch FROM t)::bigint, i %% 50 <> 0, CASE WHEN i %% 50 = 0 THEN 500 ELSE 200 END, i::text
  FROM generate_series(1, %s) i, LATERAL (SELECT now() - make_interval(secs => %s + i * 3000.0 / %s) AS t) moment
"""
TABLE = {
    "table": "events",
    "time_column": "at",
    "source_column": "source",
    "success_column": "ok",
    "key_columns": ["key"],
}


@pytest.fixture
def events(database: Database) -> Database:
    database.execute(SCHEMA)
    return database


def fill(database: Database, source: str = "spotify", count: int = 1500, newest: float = 60) -> None:
    """Write so many events into the last hour, of which 2 % failed; the newest is so many seconds old."""
    database.execute(FILL, source, count, newest, count)


def look(database: Database, *sources: dict[str, Any], user: str = SUPERUSER, **more: Any) -> dict[str, Any]:
    named = [{"name": "spotify", **source} for source in sources]
    result = run_ok(NAME, {"dsn": database.dsn(user), "sources": named, **more})
    assert not result["changed"] and result["plan"] == [] and result["area"] == "ingestion"
    return result


def own(**queries: str) -> dict[str, Any]:
    return {"queries": queries, "limits": {check: False for check in ALL - {measure_of(name) for name in queries}}}


ALL = {"events", "success", "freshness", "duplicates", "drop"}


def measure_of(query: str) -> str:
    return "freshness" if query == "last_event" else query


def status(result: dict[str, Any], check: str, source: str = "spotify") -> str:
    return str(finding(result, f"{check}:{source}")["status"])


def words(result: dict[str, Any], check: str, source: str = "spotify") -> str:
    return str(finding(result, f"{check}:{source}")["msg"])


# --- sources that deliver, and that do not -----------------------------------------------------------------------


def test_a_source_that_delivers_is_ok_with_its_numbers(events: Database) -> None:
    fill(events)
    result = look(events, {**TABLE, "usual": 1400})
    assert result["status"] == "ok" and result["msg"] == "all 6 checks ok"
    (row,) = result["sources"]
    assert row["events"] == 1500 and row["events_per_hour"] == 1500 and row["success_percent"] == 98
    assert row["duplicates_percent"] == 0 and 1 <= row["minutes_since_last_event"] < 3 and row["problems"] == {}
    samples = {sample["metric"]: sample for sample in result["samples"]}
    assert set(samples) == {f"ingestion.{check}" for check in ALL}
    assert samples["ingestion.events"] == {
        "metric": "ingestion.events", "value": 1500, "unit": "per_hour", "labels": {"source": "spotify"},
    }  # fmt: skip
    assert run_ok(NAME, {"dsn": events.dsn(), "sources": [{"name": "spotify", **TABLE}]}, check=True)["sources"]


def test_a_slow_source_and_a_dead_one_are_told_apart(events: Database) -> None:
    fill(events, count=600)
    fill(events, "dead", newest=20000)
    result = look(events, {**TABLE, "usual": 2400}, {"name": "dead", **TABLE})
    assert status(result, "events") == "warning" and finding(result, "events:spotify")["value"] == 600
    assert status(result, "drop") == "warning" and "75 % below the usual 2,400" in words(result, "drop")
    assert status(result, "events", "dead") == status(result, "freshness", "dead") == "critical"
    assert status(result, "success", "dead") == status(result, "duplicates", "dead") == "unknown"
    assert "no event to judge" in words(result, "success", "dead")
    assert result["msg"].startswith("2 critical: dead: 0 events/h") and "last event 5 h 33 min ago" in result["msg"]


def test_failures_and_duplicates_are_told(events: Database) -> None:
    fill(events, count=1500)
    events.execute("UPDATE public.events SET ok = NULL, status = 500 WHERE key::int %% 10 = 0".replace("%%", "%"))
    events.execute("UPDATE public.events SET key = '7' WHERE key::int <= 100")
    result = look(events, TABLE, {**TABLE, "name": "again", "source_value": "spotify", "success_column": "status",
                                  "success_values": ["200", "201"]})  # fmt: skip
    assert status(result, "success") == "warning" and finding(result, "success:spotify")["value"] == 90
    assert finding(result, "success:again")["value"] == 90
    assert status(result, "duplicates") == "critical" and finding(result, "duplicates:spotify")["value"] == 6.6


def test_keys_that_are_null_are_the_same_key(events: Database) -> None:
    fill(events, count=100)
    events.execute("UPDATE public.events SET key = NULL")
    assert look(events, TABLE)["sources"][0]["duplicates_percent"] == 99


def test_a_stale_source_is_told_by_its_age(events: Database) -> None:
    fill(events, newest=4000)
    result = look(events, TABLE)
    assert status(result, "freshness") == "warning" and 4000 <= finding(result, "freshness:spotify")["value"] < 4200
    assert status(look(events, {**TABLE, "limits": {"freshness": {"warning": 9000}}}), "freshness") == "ok"


def test_own_queries_are_bound_and_mixed_with_the_table(events: Database) -> None:
    fill(events, 'it\'s "50%" {x}; DROP', 1200)
    queries = {
        "events": "SELECT count(*) FROM public.events WHERE source = %(source)s AND at >= %(since)s AND at < %(until)s"
        " AND source LIKE '%%50!%%%%' ESCAPE '!'; -- a comment",
        "last_event": "select max(at) as q from public.events where source = %(source)s",
    }
    result = look(events, {**TABLE, "name": 'it\'s "50%" {x}; DROP', "queries": queries})
    assert result["sources"][0]["events"] == 1200 and result["sources"][0]["success_percent"] == 98
    assert result["status"] == "ok"


@pytest.mark.parametrize("column", ["at", "local", "written"])
def test_every_kind_of_time_is_read_in_its_time_zone(events: Database, column: str) -> None:
    fill(events, count=1200, newest=90)
    zone = LOCAL_ZONE if column == "local" else "UTC"
    own_query = {"last_event": f"SELECT max({column}) FROM public.events"}
    result = look(
        events,
        {**TABLE, "time_column": column, "timezone": zone},
        {
            **TABLE,
            "time_column": column,
            "timezone": zone,
            "name": "own",
            "source_value": "spotify",
            "queries": own_query,
        },
    )
    assert result["status"] == "ok", result["findings"]
    for row in result["sources"]:
        assert row["events"] == 1200 and 1.5 <= row["minutes_since_last_event"] < 4


# --- what cannot be looked at ------------------------------------------------------------------------------------


def test_a_wrong_time_zone_shows_as_a_time_in_the_future(events: Database) -> None:
    fill(events, count=1200)
    result = look(events, {**TABLE, "time_column": "local", "timezone": "UTC"})
    assert status(result, "freshness") == "unknown" and "in the future" in words(result, "freshness")
    assert "time zone is not UTC" in words(result, "freshness")


def test_a_clock_that_is_a_little_ahead_is_no_trouble(events: Database) -> None:
    fill(events, count=1200, newest=-30)
    assert status(look(events, TABLE), "freshness") == "ok"
    assert status(look(events, TABLE, max_clock_skew="1s"), "freshness") == "unknown"


def test_no_event_ever_is_unknown_not_ok(events: Database) -> None:
    result = look(events, TABLE)
    assert status(result, "freshness") == "unknown" and "no event at all" in words(result, "freshness")
    assert status(result, "events") == "critical" and result["sources"][0]["last_event"] is None


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("SELECT 1 WHERE false", "no row"),
        ("SELECT 1 UNION ALL SELECT 2", "more than one row"),
        ("SELECT i FROM generate_series(1, 100000) i", "more than one row"),
        ("SELECT 1, 2", "2 columns"),
        ("SELECT NULL", "nothing (NULL)"),
        ("SELECT 'many'", "no number"),
        ("SELECT true", "no number"),
        ("SELECT -1", "0 or more"),
        ("SELECT 'NaN'::float8", "no number"),
        ("SELECT count(*) FROM public.nowhere", "does not exist"),
        ("SELECT count(*) FROM events", "does not exist"),
        ("SELECT 1/0", "division by zero"),
        ("SELEC 1", "syntax error"),
        ("DELETE FROM public.events", "syntax error"),
        ("WITH x AS (DELETE FROM public.events RETURNING 1) SELECT count(*) FROM x", "top level"),
        ("SELECT setval('public.counter', 5)", "read-only transaction"),
        ("SELECT E'<script>\\x1b[31m'", "no number"),
    ],
)
def test_a_query_that_gives_no_number_is_unknown(events: Database, query: str, problem: str) -> None:
    events.execute("CREATE SEQUENCE public.counter; INSERT INTO public.events (source) VALUES ('x')")
    result = look(events, own(events=query), own(events="SELECT 2000") | {"name": "good"})
    assert status(result, "events") == "unknown" and problem in words(result, "events"), result["findings"]
    assert "\x1b" not in json.dumps(result, ensure_ascii=False)
    assert status(result, "events", "good") == "ok"
    assert events.fetch("SELECT count(*) FROM public.events") == [(1,)]


@pytest.mark.parametrize(
    "query",
    ["SELECT 5", "SELECT now()::date", "SELECT 'yesterday'", "SELECT 'infinity'::timestamptz", "SELECT now()::time",
     "SELECT '0044-03-15 BC'::timestamp", "SELECT '20000-01-01'::timestamp", "SELECT true"],
)  # fmt: skip
def test_what_is_no_moment_is_unknown(events: Database, query: str) -> None:
    result = look(events, own(last_event=query))
    assert status(result, "freshness") == "unknown" and "no timestamp" in words(result, "freshness")


@pytest.mark.parametrize("query", ["SELECT 101", "SELECT -0.1"])
def test_what_is_no_percentage_is_unknown(events: Database, query: str) -> None:
    result = look(events, own(success=query, duplicates=query))
    assert status(result, "success") == status(result, "duplicates") == "unknown"
    assert "between 0 and 100" in words(result, "success")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"table": "nowhere"}, "there is no table public.nowhere"),
        ({"schema": "nowhere"}, "there is no table nowhere.events"),
        ({"time_column": "when"}, "has no column when"),
        ({"source_column": "nobody"}, "has no column nobody"),
        ({"time_column": "epoch"}, "is bigint, not a timestamp"),
        ({"time_column": "day"}, "is date, not a timestamp"),
        ({"time_column": "key"}, "invalid input syntax"),
    ],
)
def test_a_table_that_is_not_as_the_inventory_says(events: Database, changes: dict[str, Any], problem: str) -> None:
    fill(events)
    result = look(events, {**TABLE, **changes})
    assert {status(result, check) for check in ALL - {"drop"}} == {"unknown"}, result["findings"]
    assert all(problem in text for text in result["sources"][0]["problems"].values()), result["sources"]


def test_what_the_inventory_leaves_out_is_unknown_until_it_is_switched_off(events: Database) -> None:
    fill(events)
    bare = {"table": "events", "time_column": "at"}
    result = look(events, bare)
    assert status(result, "success") == "unknown" and "success_column or queries.success" in words(result, "success")
    assert "limits.duplicates: false" in words(result, "duplicates") and status(result, "events") == "ok"
    off = look(events, bare, limits={"success": False, "duplicates": False})
    assert off["status"] == "ok" and len(off["findings"]) == 3
    on_again = look(events, {**bare, "limits": {"success": {}}}, limits={"success": False, "duplicates": False})
    assert status(on_again, "success") == "unknown"


def test_names_are_quoted_by_the_server(database: Database) -> None:
    hostile = 'e"; DROP TABLE x; -- %s {0} \n Ü'
    quoted = '"' + hostile.replace('"', '""') + '"'
    database.execute(f"CREATE SCHEMA {quoted}")
    database.execute(
        f'CREATE TABLE {quoted}.{quoted} ({quoted} timestamptz, "source%s" int, "%(k)s" text)'.replace(
            "%", "%%"
        ).replace("%%", "%")
    )
    database.execute(f"INSERT INTO {quoted}.{quoted} SELECT now(), 7, 'k' FROM generate_series(1, 10)")
    result = look(database, {"schema": hostile, "table": hostile, "time_column": hostile, "source_column": "source%s",
                             "source_value": "7", "key_columns": ["%(k)s"]}, limits={"success": False})  # fmt: skip
    assert result["sources"][0]["problems"] == {} and result["sources"][0]["duplicates_percent"] == 90


def test_without_the_right_to_read_it_says_which(events: Database, role: Roles) -> None:
    fill(events)
    stranger = role()
    result = look(
        events, TABLE, {"name": "own", "queries": {"events": "SELECT count(*) FROM public.events"}}, user=stranger
    )
    assert status(result, "events") == "unknown" == result["status"]
    assert f'GRANT SELECT ON "public"."events" TO "{stranger}"' in words(result, "events")
    assert f'GRANT SELECT ON what the query reads TO "{stranger}"' in words(result, "events", "own")
    events.execute(f"GRANT SELECT ON public.events TO {stranger}")
    assert look(events, TABLE, user=stranger)["status"] == "ok"


def test_a_slow_query_leaves_the_others(events: Database) -> None:
    fill(events)
    slow = {"name": "slow", **own(events="SELECT 1 FROM pg_catalog.pg_sleep(60)")}
    result = look(events, slow, TABLE, statement_timeout="200ms")
    assert status(result, "events", "slow") == "unknown" and "statement timeout" in words(result, "events", "slow")
    assert status(result, "events") == "ok"


def test_the_time_for_everything_is_bounded(events: Database) -> None:
    sources = [{**own(events="SELECT 1 FROM pg_catalog.pg_sleep(60)"), "name": f"slow{at}"} for at in range(5)]
    result = look(events, *sources, timeout="400ms")
    assert {found["status"] for found in result["findings"] if found["check"] != "database"} == {"unknown"}
    assert "used up" in words(result, "events", "slow4") and "raise timeout" in words(result, "events", "slow4")


def test_a_connection_that_is_lost_leaves_what_was_read(events: Database) -> None:
    kill = "SELECT pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid())"
    result = look(
        events,
        own(events="SELECT 2000"),
        {**own(events=kill), "name": "kill"},
        {**own(events="SELECT 1"), "name": "last"},
    )
    assert status(result, "events") == "ok"
    assert status(result, "events", "kill") == status(result, "events", "last") == "unknown"


def test_a_database_that_does_not_answer_is_unknown(database: Database) -> None:
    sources = [{"name": "spotify", **TABLE}, {"name": "eventbrite", **TABLE}]
    result = run_ok(NAME, {"login_host": "127.0.0.1", "login_port": 1, "sources": sources})
    assert result["status"] == "unknown" and [found["check"] for found in result["findings"]] == ["database"]
    assert [row["status"] for row in result["sources"]] == ["unknown"] * 2 and result["samples"] == []
    gone = run_ok(NAME, {"dsn": database.dsn("no_such_role"), "sources": sources})
    assert gone["status"] == "unknown" and "no_such_role" in gone["msg"]


# --- hours -------------------------------------------------------------------------------------------------------


def test_a_source_that_sleeps_is_judged_by_its_active_hours(events: Database) -> None:
    """It was active for two hours until five hours ago, by the database's clock."""
    ((start,),) = events.fetch("SELECT to_char(now() AT TIME ZONE 'UTC' - interval '7 hours', 'HH24:MI')")
    fill(events, newest=5 * 3600 + 100)
    active = [{"start": start, "duration": "2h"}]
    result = look(events, {**TABLE, "active": active})
    assert status(result, "events") == "ok" and "ago until now" in words(result, "events"), result["findings"]
    assert status(result, "freshness") == "ok" and "of it active" in words(result, "freshness")
    assert result["sources"][0]["minutes_since_last_event"] > 300
    assert status(look(events, TABLE), "freshness") == "critical"


# --- bad inventory -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "more", "option"),
    [
        ({}, {}, "sources[0] has neither queries nor a table"),
        ({"table": "events"}, {}, "sources[0].time_column"),
        ({"time_column": "at", "queries": {"events": "SELECT 1"}}, {}, "sources[0].time_column"),
        ({**TABLE, "source_column": None, "source_value": "x"}, {}, "sources[0].source_value"),
        ({**TABLE, "success_column": None, "success_values": ["x"]}, {}, "sources[0].success_values"),
        ({**TABLE, "timezone": "Mars/Olympus"}, {}, "sources[0].timezone"),
        ({**TABLE, "usual": 0}, {}, "sources[0].usual"),
        ({**TABLE, "usual": "many"}, {}, "usual"),
        ({**TABLE, "name": " "}, {}, "sources[0].name"),
        ({**TABLE, "limits": {"rate": {}}}, {}, "sources[0].limits"),
        ({**TABLE, "limits": {"events": {"warning": "few"}}}, {}, "sources[0].limits.events.warning"),
        ({**TABLE, "active": [{"start": "25:00", "end": "26:00"}]}, {}, "sources[0].active[0].start"),
        ({**TABLE, "active": [{"start": "04:00"}]}, {}, "sources[0].active[0]"),
        ({**TABLE, "active": [{"start": "04:00", "end": "05:00", "days": ["noday"]}]}, {}, "sources[0].active[0].days"),
        ({"queries": {"events": " ; "}}, {}, "sources[0].queries.events"),
        ({"queries": {"events": "SELECT 1; DROP TABLE x"}}, {}, "sources[0].queries.events holds more than one"),
        ({"queries": {"events": "SELECT '50%'"}}, {}, "sources[0].queries.events"),
        ({"queries": {"events": "SELECT %(id)s"}}, {}, "sources[0].queries.events"),
        ({"queries": {"rate": "SELECT 1"}}, {}, "rate"),
        (TABLE, {"window": "0"}, "window"),
        (TABLE, {"window": "soon"}, "window"),
        (TABLE, {"timeout": "0"}, "timeout"),
        (TABLE, {"max_clock_skew": "a bit"}, "max_clock_skew"),
        (TABLE, {"limits": {"events": {"warning": 10, "critical": 20}}}, "limits.events"),
    ],
)
def test_bad_inventory_is_refused_with_the_options_name(
    source: dict[str, Any], more: dict[str, Any], option: str
) -> None:
    given = {"dsn": "host=127.0.0.1 port=1", "sources": [{"name": "spotify", **source}], **more}
    result = run_failed(NAME, given)
    assert option in result["msg"] and result["failure"]["code"] in (
        "invalid_value", "invalid_arguments", "impossible_window"
    )  # fmt: skip


def test_no_source_and_the_same_source_twice_are_refused() -> None:
    assert "sources is empty" in run_failed(NAME, {"dsn": "host=127.0.0.1 port=1", "sources": []})["msg"]
    twice = [{"name": "spotify", **TABLE}] * 2
    assert "spotify" in run_failed(NAME, {"dsn": "host=127.0.0.1 port=1", "sources": twice})["msg"]
