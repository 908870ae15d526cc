from __future__ import annotations

import contextlib
import json
import math
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.log_access import Access, Times
from plugins.module_utils._core.log_groups import Groups
from plugins.module_utils._core.log_lines import Reading, detect, read_entry
from plugins.module_utils._core.log_names import generations, live_only
from plugins.module_utils._core.log_scan import Scan
from plugins.module_utils._core.log_state import BadState, Position, State, parse_state, render_state, shares
from plugins.module_utils._core.log_usual import Memory, Usual, compare

UTC = timezone.utc
NOW = datetime(2026, 11, 21, 14, 30, tzinfo=UTC)
READING = Reading(UTC, NOW)

PYTHON = """2026-11-21 14:00:00 ERROR order 7 failed
Traceback (most recent call last):
  File "x.py", line 3, in f
    raise KeyError("error")
KeyError: 'error'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "x.py", line 5, in g
ValueError: bad error 5
"""
JAVA = """2026-11-21 14:00:01 ERROR [main] com.x.Y - payment failed
java.lang.IllegalStateException: error 17
\tat com.x.Y.f(Y.java:7)
Caused by: java.io.IOException: connection error
\t... 7 more
"""
NODE = """TypeError: Cannot read properties of undefined (reading 'error')
    at f (/srv/app.js:7:3)
    at processTicksAndRejections (node:internal/process/task_queues:95:5) {
  code: 'ERR_X'
}
"""
GO = """panic: runtime error: index out of range [7]

goroutine 1 [running]:
main.f(0x7)
\t/srv/main.go:7 +0x1d
exit status 2
"""
INFO = "2026-11-21 14:00:02 INFO all is well, 0 errors\n"
WARN = "2026-11-21 14:00:03 WARN slow\n"
TRACES = [PYTHON, JAVA, NODE, GO]


def scan(text: str | bytes, form: str = "auto", size: int | None = None, **options: object) -> Scan:
    """Read a text in blocks of whole lines of about so many bytes."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    made = Scan(Groups("api"), options.pop("reading", READING), form, **options)  # type: ignore[arg-type]
    made.start_file(data)
    block = b""
    for line in data.splitlines(keepends=True) if b"\r" not in data else [data]:
        block += line
        if size is not None and len(block) >= size:
            made.feed(block)
            block = b""
    made.feed(block)
    made.flush()
    return made


# --- entries -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trace", TRACES, ids=["python", "java", "node", "go"])
def test_a_stack_trace_is_one_error(trace: str) -> None:
    made = scan(INFO + trace + INFO)
    assert made.errors == 1 and made.lines == (INFO + trace + INFO).count("\n")


def test_the_exception_is_part_of_the_pattern() -> None:
    (group,) = scan(PYTHON).groups
    assert group.pattern == "ERROR order <n> failed | ValueError: bad error <n>"
    (group,) = scan(PYTHON.partition("\n")[2]).groups
    assert group.pattern == "ValueError: bad error <n>"


@given(st.lists(st.sampled_from([*TRACES, INFO, WARN + INFO]), max_size=12), st.integers(1, 400))
def test_where_blocks_end_makes_no_difference(parts: list[str], size: int) -> None:
    whole, pieces = scan("".join(parts)), scan("".join(parts), size=size)
    assert whole.errors == sum(part in TRACES for part in parts)
    assert (pieces.errors, pieces.warnings, pieces.lines) == (whole.errors, whole.warnings, whole.lines)
    assert [vars(group) for group in pieces.groups] == [vars(group) for group in whole.groups]


def test_an_entry_at_the_end_waits_for_what_may_follow() -> None:
    made = scan("")
    made.feed(PYTHON.encode())
    assert made.errors == 0 and made.waiting == len(PYTHON) and made.lines == 0
    made.feed(INFO.encode())
    assert made.errors == 1 and made.waiting == 0
    made.feed(b"2026-11-21 14:00:03 ERROR x\n")
    made.drop_waiting()
    made.flush()
    assert made.errors == 1


def test_an_indented_line_belongs_to_the_one_before() -> None:
    assert scan("2026-11-21 14:00:00 INFO settings:\n  error: x\n\tERROR y\n").errors == 0


def test_what_is_older_is_not_counted() -> None:
    made = Scan(Groups("api"), READING)
    made.since = NOW - timedelta(hours=1)
    text = b"2026-11-21 13:00:00 ERROR old\n2026-11-21 14:00:00 ERROR new\nERROR without a time\n"
    made.start_file(text)
    made.feed(text, last=True)
    assert made.errors == 2 and made.first == NOW - timedelta(hours=1.5)


def test_ignored_texts_are_only_counted() -> None:
    made = scan("ERROR client closed 1\nERROR other\n", ignore=("client closed",))
    assert (made.errors, made.ignored) == (1, 1)


@pytest.mark.parametrize(
    ("line", "level", "message", "at"),
    [
        ({"level": 50, "msg": "m", "time": 1795271400000}, "error", "m", NOW),
        ({"severity": "ERROR", "message": "m", "timestamp": "2026-11-21T14:30:00Z"}, "error", "m", NOW),
        ({"log.level": "error", "message": "m", "@timestamp": "2026-11-21T14:30:00.000Z"}, "error", "m", NOW),
        ({"log": {"level": "error"}, "msg": "m", "ts": 1795271400.0}, "error", "m", NOW),
        ({"level": "error", "err": {"type": "TypeError", "message": "bad"}}, "error", "bad | TypeError", None),
        ({"error": "boom"}, "error", "boom", None),
        ({"level": "info", "error": "none of it", "msg": "m"}, "info", "m", None),
        ({"error": None, "msg": "m"}, None, "m", None),
        ({"level": True, "msg": ["x"]}, None, '["x"]', None),
        ({}, None, "", None),
    ],
)
def test_json_lines_are_read_by_their_fields(
    line: dict[str, object], level: str | None, message: str, at: object
) -> None:
    entry = read_entry([json.dumps(line)], READING)
    assert (entry.level, entry.message, entry.at) == (level, message, at)


@pytest.mark.parametrize("line", ['{"level":"²","msg":"error"}', '{"level":Infinity,"msg":"error"}',
                                  '{"level":"error","time":1' + "0" * 400 + "}"])  # fmt: skip
def test_a_number_that_no_machine_can_hold_does_not_end_the_reading(line: str) -> None:
    assert scan(line + '\n{"level":"error","msg":"the next one"}\n').errors == 1 + line.startswith('{"level":"error"')


def test_json_with_fields_of_its_own() -> None:
    reading = Reading(UTC, NOW, level_field="meta.sev", message_field="text", time_field="when")
    line = json.dumps({"meta": {"sev": "error"}, "text": "m", "when": "2026-11-21 14:30:00", "level": "info"})
    made = scan(line + "\n", reading=reading)
    assert made.errors == 1 and made.groups[0].last == NOW


NESTED = st.dictionaries(st.sampled_from(["level", "error", "x"]), st.text())
LEVELS = st.sampled_from(["info", "error", 30, 50, "warn"])


@given(st.lists(st.fixed_dictionaries({"level": LEVELS, "msg": st.text(), "inner": NESTED})))
def test_the_short_cut_for_json_finds_every_error(lines: list[dict[str, object]]) -> None:
    made = scan("".join(json.dumps(line) + "\n" for line in lines) or "{}\n")
    assert made.errors == sum(line["level"] in ("error", 50) for line in lines)
    assert made.warnings == sum(line["level"] == "warn" for line in lines)


def test_a_level_within_another_object_is_not_the_lines() -> None:
    assert scan('{"inner":{"level":"info"},"level":"error","msg":"m"}\n').errors == 1
    assert scan('{"inner":{"level":"error"},"level":"info","msg":"m"}\n').errors == 0


def test_json_that_only_looks_like_an_error_is_none() -> None:
    hostile = {"level": "info", "msg": '","level":"error","msg":"spoofed'}
    assert scan(json.dumps(hostile) + "\n").errors == 0
    assert scan('{"level":"error","msg":' + "[" * 100000 + "\n").errors == 1  # broken, but it says so
    assert scan('{"level":"error","msg":"plain line in between"}\nERROR: no json\n').errors == 2


def test_rows_of_postgresql_hold_line_ends_and_quotes() -> None:
    def row(severity: str, message: str) -> str:
        quoted = message.replace('"', '""')
        return (
            f'2026-11-21 14:00:00.123 UTC,"app","shop",77,"10.0.0.7:5000",65,1,"SELECT",2026-11-21 13:00:00 UTC,3/7,0,'
            f'{severity},23505,"{quoted}",,,,,,"SELECT ""x""\n'
            '2026-11-21 14:00:00.123 UTC,,,,,,,,,,,ERROR,00000,""spoofed""",,,"","client backend",,0\n'
        )

    text = (
        row("LOG", "an ERROR, in a word")
        + row("ERROR", 'duplicate key "orders_pkey"\nsecond line')
        + row("WARNING", "x")
        + row("FATAL", "y")
    )
    assert detect(text) == "postgresql_csv"
    for size in (None, 10, 300):
        made = scan(text, size=size)
        assert (made.errors, made.warnings) == (2, 1)
        assert {group.pattern for group in made.groups} == {
            "ERROR <n>: duplicate key <text> second line",
            "FATAL <n>: y",
        }


@pytest.mark.parametrize(
    "data",
    [
        b"\0" * 5000 + b"ERROR after a hole\n",
        b"\xff\xfe\x80 ERROR not UTF-8\n",
        b"ERROR \x1b]0;pwned\x07\x1b[2J<script>alert(1)</script>\n",
        b"ERROR " + b"x" * 10_000_000 + b"\n",
        "ERROR wide\n".encode("utf-16-le"),
        b"ERROR carriage\r\n",
        b"ERROR no end",
    ],
    ids=["hole", "latin", "escapes", "10 MB", "utf-16", "crlf", "cut"],
)
def test_rubbish_is_read_and_printed_safely(data: bytes) -> None:
    made = scan(data)
    assert made.errors == 1
    (group,) = made.groups
    assert group.example.isprintable() and group.pattern.isprintable() and len(group.example) <= 500
    assert "\x1b" not in group.example


@given(st.binary(max_size=2000), st.sampled_from(["auto", "plain", "json", "nginx_access", "postgresql_csv", "syslog"]))
def test_no_bytes_are_too_strange(data: bytes, form: str) -> None:
    made = scan(data.replace(b"\r", b"") or b"\n", form)
    assert made.waiting == 0 and made.errors >= 0


# --- access logs -------------------------------------------------------------------------------------------------


def access_line(
    minute: int, status: int, rest: str = '"-" "curl"', request: str = "GET /orders/7?token=x HTTP/1.1"
) -> str:
    return f'10.0.0.{minute % 250} - - [21/Nov/2026:13:{minute:02d}:30 +0000] "{request}" {status} 12 {rest}\n'


def test_failed_requests_are_counted_by_five_minutes() -> None:
    text = "".join(
        access_line(minute, 502 if minute in (20, 21) and at == 0 else 200) for minute in range(60) for at in range(50)
    )
    made = scan(text)
    access = made.access
    assert access is not None and (access.requests, access.failed, made.lines) == (3000, 2, 3000)
    worst = access.worst(100)
    assert worst is not None and (worst.percent, worst.requests) == (0.8, 250)
    assert NOW.replace(hour=13, minute=17) <= worst.start <= NOW.replace(hour=13, minute=20)
    assert access.worst(251) is None
    (group,) = made.groups
    assert group.pattern == "<n> Bad Gateway GET /orders/<n>" and group.count == 2


def test_a_client_cannot_write_lines_or_statuses() -> None:
    spoof = '" 500 [21/Nov/2026:13:00:00 +0000] \\" 500 1'
    made = scan(access_line(1, 200, request='GET /\\" 500 x HTTP/1.1') + access_line(2, 200, rest=f'"-" "x{spoof}"'))
    assert made.access is not None and (made.access.requests, made.access.failed, made.errors) == (2, 0, 0)


@pytest.mark.parametrize(
    "rest", ['"-" "curl" rt={}', '"-" "curl" request_time={} x', '"-" "curl" {}', '"-" "curl" "{}"']
)
def test_request_times_are_found_where_they_are_written(rest: str) -> None:
    text = "".join(access_line(1, 200, rest=rest.format(f"{at / 1000:.3f}")) for at in range(1, 1001))
    access = scan(text).access
    assert access is not None and access.times.count == 1000
    assert access.times.percentile(0.95) == pytest.approx(0.95, rel=0.011)


def test_without_request_times_there_is_no_percentile() -> None:
    access = scan(access_line(1, 200)).access
    assert access is not None and access.times.percentile(0.95) is None


@given(st.lists(st.floats(0.001, 1000), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_off_by_one_percent_at_most(values: list[float], share: float) -> None:
    times = Times()
    for value in values:
        times.add(value)
    exact = sorted(values)[math.ceil(share * len(values)) - 1]
    assert times.percentile(share) == pytest.approx(exact, rel=0.0102)


def test_minutes_are_bounded() -> None:
    access = Access(UTC, NOW)
    for day in range(20, 29):
        block = "".join(
            f'1 - - [{day:02d}/Oct/2026:{hour:02d}:{minute:02d}:00 +0000] "GET /" 200 1\n'
            for hour in range(24)
            for minute in range(60)
        )
        access.feed(block.encode())
    assert access.requests == 9 * 1440 and access.first == datetime(2026, 10, 22, tzinfo=UTC)


# --- what is usual -----------------------------------------------------------------------------------------------


def memory(rates: list[int], hours: float = 24) -> Memory:
    found = Memory()
    for rate in rates:
        found = found.after({"a": rate}, rate, hours)
    return found


def test_a_steady_rate_is_usual_and_a_jump_is_not() -> None:
    usual = memory([100, 110, 95, 105]).groups["a"]
    assert usual.mean == pytest.approx(4.27, abs=0.2) and usual.runs == 4
    assert not compare(120 / 24, 24, usual, 120, 5).unusual
    jump = compare(400 / 24, 24, usual, 400, 5)
    assert jump.unusual and jump.times == pytest.approx(3.9, abs=0.3)


def test_a_short_run_does_not_upset_what_is_usual() -> None:
    usual = memory([100] * 5)
    after = usual.after({"a": 1}, 1, 1 / 60)
    assert after.groups["a"].mean == pytest.approx(usual.groups["a"].mean, rel=0.05)
    assert not compare(60, 1 / 60, usual.groups["a"], 1, 1).unusual


def test_few_errors_are_never_unusual_and_what_is_unknown_is_new() -> None:
    assert not compare(4, 1, None, 4, 5).unusual and compare(5, 1, None, 5, 5) == compare(5, 1, None, 5, 5)
    assert compare(5, 1, None, 5, 5).new and compare(5, 1, None, 5, 5).unusual


def test_a_group_that_is_gone_fades_and_is_forgotten() -> None:
    found = memory([100])
    for _run in range(40):
        found = found.after({}, 0, 24)
    assert found.groups == {} and found.total.runs == 41


def test_the_memory_is_bounded_and_keeps_what_is_there() -> None:
    found = Memory().after({f"old{at}": 1000 for at in range(600)}, 1, 24)
    assert len(found.groups) == 500
    found = found.after({f"new{at}": 1 for at in range(400)}, 1, 24)
    assert len(found.groups) == 500 and sum(id_.startswith("new") for id_ in found.groups) == 400


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(1 / 60, 1000)), min_size=1))
def test_a_usual_level_stays_within_what_was_seen(runs: list[tuple[int, float]]) -> None:
    usual = Usual(0, 0, 0, 0)
    for count, hours in runs:
        usual = usual.after(count / hours, hours)
    rates = [count / hours for count, hours in runs]
    assert min(rates) - 1e-6 <= usual.mean <= max(rates) * (1 + 1e-9) + 1e-6 and usual.deviation >= 0


# --- state and names ---------------------------------------------------------------------------------------------


def test_a_state_is_read_back_from_json() -> None:
    position = Position(1, 2, 300, "ab", 256, "cd", 256, True, 1795271400.125)
    state = State(NOW, {"api|/var/log/x": position}, {"api": "s=1;i=2"}, {"api": memory([3, 4])})
    again = parse_state(json.loads(json.dumps(render_state(state))))
    assert again.at == NOW and again.files == state.files and again.cursors == state.cursors
    assert again.memories["api"].groups["a"].mean == pytest.approx(state.memories["api"].groups["a"].mean, abs=1e-6)
    assert parse_state({}) == parse_state(None) == State()


GOOD = render_state(State(NOW, {"api|/x": Position(1, 2, 3, "ab", 3, "cd", 3)}, {}, {"api": memory([3])}))


@pytest.mark.parametrize(
    "change",
    [{"version": 2}, {"at": None}, {"at": "soon"}, {"files": []}, {"files": {"x": {}}}, {"usual": {"api": {}}},
     {"cursors": 7}, {"files": {"x": {**GOOD["files"]["api|/x"], "offset": -1}}},
     {"files": {"x": {**GOOD["files"]["api|/x"], "head": "../x"}}},
     {"usual": {"api": {"total": ["nan", 0, 1, 1], "groups": {}}}},
     {"usual": {"api": {"total": [1, 0, 1, 1], "groups": {"a": [1]}}}}],
    ids=str,
)  # fmt: skip
def test_what_is_no_state_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(BadState):
        parse_state({**GOOD, **change})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: (
            st.lists(x) | st.dictionaries(st.sampled_from(["version", "at", "files", "usual", "cursors", "a"]), x)
        ),
    )
)
def test_whatever_is_given_is_a_state_or_refused(raw: object) -> None:
    if isinstance(raw, dict):
        raw = {**raw, "version": 1}
    with contextlib.suppress(BadState):
        parse_state(raw)


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 10**9), max_size=8), st.integers(0, 10**9))
def test_shares_give_all_there_is_and_no_more(wanted: dict[str, int], limit: int) -> None:
    given_ = shares(wanted, limit)
    assert sum(given_.values()) <= limit and all(given_[name] <= wanted[name] for name in wanted)
    assert sum(given_.values()) >= min(limit, sum(wanted.values())) - len(wanted)


def test_generations_are_told_from_logs() -> None:
    names = ["app.log", "app.log.1", "app.log.2.gz", "app.log-20261121", "app.log-20261121T074500Z.gz",
             "app-20261121.log.gz", "app.log.bak", "app.logx", "web.log", "app-error.log"]  # fmt: skip
    assert generations("app.log", names) == [
        "app-20261121.log.gz",
        "app.log-20261121",
        "app.log-20261121T074500Z.gz",
        "app.log.1",
        "app.log.2.gz",
    ]
    assert live_only(names) == ["app-error.log", "app.log", "app.log.bak", "app.logx", "web.log"]
    assert live_only(["day-2026-11-20.log", "day-2026-11-21.log"]) == ["day-2026-11-20.log", "day-2026-11-21.log"]
