"""log_errors_info on real files and a real journal: every line once, whatever becomes of the log; hostile content."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.support.modules import run_failed, run_ok

NAME = "log_errors_info"
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else, or mount")


class Log:
    """A log whose lines are numbered errors, and the runs that read it: each has the state of the one before."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state: dict[str, Any] = {}
        self.written = 0
        self.ticks = time.time() - 1000
        self.counted = 0
        path.touch()
        self.settle()

    def write(self, lines: int = 3, words: str = "ERROR order failed", end: str = "\n") -> None:
        with self.path.open("a") as log:
            for _line in range(lines):
                self.written += 1
                log.write(f"{stamp()} {words} {self.written}{end}")
        self.settle()

    def settle(self) -> None:
        """Give the log the time of its last write by a clock of the test's own: no two writes are in one tick of it."""
        self.ticks += 1
        if self.path.exists():
            os.utime(self.path, (self.ticks, self.ticks))

    def read(self, **options: Any) -> dict[str, Any]:
        result = look([self.path], previous=self.state, **options)
        self.state = json.loads(json.dumps(result["state"]))
        self.counted += result["sources"][0]["errors"]
        return result

    def rotate(self, how: str) -> None:
        first = self.path.with_name(self.path.name + ".1")
        for number in range(99, 0, -1):
            for suffix in ("", ".gz"):
                older = self.path.with_name(f"{self.path.name}.{number}{suffix}")
                if older.exists():
                    older.rename(self.path.with_name(f"{self.path.name}.{number + 1}{suffix}"))
        if how == "copytruncate":
            shutil.copy2(self.path, first)
            os.truncate(self.path, 0)
            self.settle()
            return
        self.path.rename(first)
        if how == "gzip":
            packed = Path(f"{first}.gz")
            packed.write_bytes(gzip.compress(first.read_bytes()))
            shutil.copystat(first, packed)
            first.unlink()
        if how != "without create":
            self.path.touch()
        self.settle()


def stamp(ago: float = 0) -> str:
    return (datetime.now(timezone.utc) - timedelta(seconds=ago)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def look(paths: list[Any], source: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    sources = [{"name": "api", "paths": [str(path) for path in paths], **(source or {})}]
    result = run_ok(NAME, {"sources": sources, **options})
    assert result["area"] == "logs"
    return result


def statuses(result: dict[str, Any], check: str) -> list[str]:
    return [found["status"] for found in result["findings"] if found["check"] == f"{check}:api"]


def words(result: dict[str, Any], check: str) -> str:
    return " / ".join(found["msg"] for found in result["findings"] if found["check"] == f"{check}:api")


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "api.log")


# --- each line once ----------------------------------------------------------------------------------------------


def test_a_run_goes_on_where_the_last_one_stopped(log: Log) -> None:
    log.write(5)
    first = log.read()
    assert first["sources"][0]["errors"] == first["sources"][0]["lines"] == 5 and not first["changed"]
    (group,) = first["groups"]
    assert (
        group["pattern"] == "ERROR order failed <n>"
        and group["count"] == 5
        and group["first_seen"] <= group["last_seen"]
    )
    assert log.read()["sources"][0]["lines"] == 0
    log.write(2)
    assert log.read()["sources"][0]["errors"] == 2


@pytest.mark.parametrize("how", ["create", "copytruncate", "gzip", "without create"])
@pytest.mark.parametrize("tail", [0, 3])
def test_a_rotation_loses_and_doubles_nothing(log: Log, how: str, tail: int) -> None:
    log.write(400)
    log.read()
    for _round in range(3):
        log.write(tail)
        log.rotate(how)
        log.write(4)
        assert statuses(log.read(), "readable") == ["ok"]
        assert log.counted == log.written
    log.rotate(how)
    log.write(1)
    log.rotate(how)
    log.write(1)
    log.read()
    assert log.counted == log.written


def test_a_log_that_is_packed_later_is_known_again(log: Log) -> None:
    log.write(300)
    log.read()
    log.write(5)
    log.rotate("create")
    log.write(2)
    older = Path(f"{log.path}.1")
    packed = Path(f"{older}.gz")
    packed.write_bytes(gzip.compress(older.read_bytes()))
    log.read()  # both are there: the packing has not ended
    older.unlink()
    log.write(1)
    log.read()
    assert log.counted == log.written


@pytest.mark.parametrize("seed", range(8))
def test_a_log_that_is_rotated_at_random_is_counted_to_the_line(log: Log, seed: int) -> None:
    chance = random.Random(seed)
    log.read()
    for _step in range(60):
        deed = chance.choice(["write", "write", "read", "rotate"])
        if deed == "write":
            log.write(chance.randrange(1, 40))
        elif deed == "read":
            log.read()
            assert log.counted == log.written
        else:
            log.rotate(chance.choice(["create", "copytruncate", "gzip"]))
    log.read()
    assert log.counted == log.written


def test_a_log_that_grows_while_it_is_read(log: Log) -> None:
    log.write(100)
    stop = threading.Event()

    def grow() -> None:
        with log.path.open("a", buffering=1) as file:
            while not stop.is_set():
                log.written += 1
                file.write(f"{stamp()} ERROR order failed {log.written}\n")

    writer = threading.Thread(target=grow)
    writer.start()
    for _run in range(5):
        log.read()
    stop.set()
    writer.join()
    log.settle()
    moment = log.path.stat().st_mtime - 10
    os.utime(log.path, (moment, moment))
    log.read()
    assert log.counted == log.written


def test_the_beginning_of_a_line_waits_for_its_end(log: Log) -> None:
    log.write(1)
    with log.path.open("a") as file:
        file.write("ERROR half a li")
    log.settle()
    assert log.read()["sources"][0]["errors"] == 1
    with log.path.open("a") as file:
        file.write("ne\nERROR next\n")
    log.settle()
    assert {group["pattern"] for group in log.read()["groups"]} == {"ERROR half a line", "ERROR next"}


def test_a_stack_trace_that_is_being_written_is_counted_once(log: Log) -> None:
    with log.path.open("a") as file:
        file.write(f"{stamp()} ERROR order failed\nTraceback (most recent call last):\n")
    os.utime(log.path)
    assert log.read()["sources"][0]["errors"] == 0
    with log.path.open("a") as file:
        file.write('  File "x.py", line 3, in f\nValueError: bad error 7\n')
    log.settle()
    os.utime(log.path, (log.path.stat().st_mtime - 10,) * 2)
    (group,) = log.read()["groups"]
    assert group["count"] == 1 and group["pattern"] == "ERROR order failed | ValueError: bad error <n>"


# --- what cannot be read -----------------------------------------------------------------------------------------


def test_a_rotated_part_that_is_gone_is_unknown(log: Log) -> None:
    log.write(5)
    log.read()
    log.write(5)
    log.path.unlink()
    log.path.touch()
    log.write(2)
    result = log.read()
    assert statuses(result, "readable") == ["unknown"] and "no rotated file holds" in words(result, "readable")
    assert result["sources"][0]["errors"] == 2 and log.read()["sources"][0]["problems"] == []


def test_a_log_that_disappears_is_unknown(log: Log) -> None:
    log.write(5)
    log.read()
    log.path.unlink()
    text = words(log.read(), "readable")
    assert "names no file" in text and "is gone" in text


def test_a_packed_part_that_is_cut_or_of_another_kind_is_unknown(log: Log) -> None:
    log.write(3000)
    log.read()
    log.write(3000)
    log.rotate("gzip")
    packed = Path(f"{log.path}.1.gz")
    packed.write_bytes(packed.read_bytes()[:-2000])
    os.utime(packed, (log.ticks, log.ticks))
    result = log.read()
    assert statuses(result, "readable") == ["unknown"]
    log.write(3)
    log.rotate("create")
    Path(f"{log.path}.1").rename(Path(f"{log.path}.1.zst"))
    result = log.read()
    assert "only .gz can" in words(result, "readable")


def test_no_file_is_unknown_and_nothing_is_ok_for_it(tmp_path: Path) -> None:
    result = look([tmp_path / "*.log"])
    assert result["status"] == "unknown" and [found["check"] for found in result["findings"]] == ["readable:api"]
    assert result["samples"] == [] and "names no file" in result["msg"]


@AS_ROOT
def test_without_the_right_the_group_is_named(tmp_path: Path) -> None:
    paths = {"group": tmp_path / "group.log", "alone": tmp_path / "alone.log", "folder": tmp_path / "shut" / "x.log"}
    paths["folder"].parent.mkdir()
    for path in paths.values():
        path.write_text("ERROR x\n")
    shutil.chown(paths["group"], "root", "adm")
    paths["group"].chmod(0o640)
    paths["alone"].chmod(0o600)
    shutil.chown(paths["folder"].parent, "root", "adm")
    paths["folder"].parent.chmod(0o750)
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.stat().st_mode & 0o005 != 0o005 and parent != parent.parent:
            parent.chmod(parent.stat().st_mode | 0o011)
    code = (
        "import os, sys, json; os.setgroups([]); os.setgid(65534); os.setuid(65534); os.environ['USER'] = 'nobody'\n"
        "from plugins.module_utils._io.log_open import find_logs, open_log\n"
        "for path in sys.argv[1:]:\n"
        "    found = find_logs([path])\n"
        "    print(*found.problems)\n"
        "    for real in found.paths:\n"
        "        try:\n"
        "            with open_log(real): print('read')\n"
        "        except Exception as error: print(error)\n"
    )
    importing = "import plugins.module_utils._io.log_open\n"  # before the rights are gone
    ran = subprocess.run(
        [sys.executable, "-c", importing + code, *map(str, paths.values())],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert "is for the group adm: usermod -aG adm" in ran.stdout
    assert "alone.log is for root alone (mode 0600)" in ran.stdout
    assert "shut is for the group adm" in ran.stdout and "read\n" not in ran.stdout.split()


@pytest.mark.parametrize("kind", ["link", "folder link", "pipe", "directory"])
def test_what_leads_astray_is_not_read(tmp_path: Path, kind: str) -> None:
    secret = tmp_path / "elsewhere"
    secret.mkdir()
    (secret / "secret.log").write_text("ERROR secret\n")
    place = tmp_path / "logs"
    (place / "app").mkdir(parents=True)
    if kind == "link":
        (place / "app" / "x.log").symlink_to(secret / "secret.log")
    elif kind == "folder link":
        (place / "app").rmdir()
        (place / "app").symlink_to(secret)
    elif kind == "pipe":
        os.mkfifo(place / "app" / "x.log")
    else:
        (place / "app" / "x.log").mkdir()
    result = look([place / "*" / "*.log"])
    assert statuses(result, "readable") == ["unknown"] and result["groups"] == [] and result["sources"][0]["logs"] == 0
    assert any(text in words(result, "readable") for text in ("symbolic link to", "is a pipe", "is a directory"))


def test_a_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "api-20261121.log").write_text("ERROR x\n")
    (tmp_path / "current").symlink_to("api-20261121.log")
    result = look([tmp_path / "current"])
    assert result["sources"][0]["errors"] == 1 and statuses(result, "readable") == ["ok"]


# --- bounds ------------------------------------------------------------------------------------------------------


def test_of_too_much_the_newest_is_read_and_the_rest_is_told(log: Log) -> None:
    log.write(1000)
    result = log.read(max_bytes="10kB")
    row = result["sources"][0]
    assert 100 < row["errors"] < 250 and row["skipped_bytes"] == log.path.stat().st_size - 10240
    assert statuses(result, "unread") == ["warning"] and "were not read (max_bytes)" in words(result, "unread")
    assert result["groups"][0]["example"].endswith(str(1000 - row["errors"] + 1))
    assert log.read()["sources"][0]["lines"] == 0


def test_what_there_was_no_time_for_is_left_for_the_next_run(log: Log) -> None:
    log.write(50)
    log.read()
    log.write(30000)
    result = log.read(timeout="1ms")
    assert result["sources"][0]["left_bytes"] > 0 and "left for the next run (timeout)" in words(result, "unread")
    log.read()
    assert log.counted == log.written


def test_a_line_of_ten_megabytes_and_a_hole_are_bounded(log: Log) -> None:
    with log.path.open("wb") as file:
        file.truncate(20_000_000)
        file.seek(20_000_000)
        file.write(b"\nERROR " + b"x" * 10_000_000 + b"\nERROR after \xff\xfe\n")
    log.settle()
    result = log.read()
    assert result["sources"][0]["errors"] == 2
    with log.path.open("ab") as file:
        file.write(b"ERROR endless " + b"y" * 5_000_000)
    log.settle()
    assert log.read()["sources"][0]["errors"] == 1
    with log.path.open("ab") as file:
        file.write(b"yyy ERROR still the same line\nERROR next\n")
    log.settle()
    assert [group["pattern"] for group in log.read()["groups"]] == ["ERROR next"]


def test_hostile_lines_reach_the_result_as_printable_text(log: Log) -> None:
    with log.path.open("wb") as file:
        file.write(b"ERROR <script>alert(1)</script> \x1b]0;pwned\x07\x1b[2J\x9b31m {{ 7*7 }} =cmd() \xe2\x80\xae\n")
        file.write(b"ERROR postgres://app:s3cret@db/shop password=hunter2 failed\n")
    log.settle()
    result = log.read()
    text = json.dumps(result, ensure_ascii=False)
    assert not set("\x1b\x07\x9b\u202e") & set(text) and "s3cret" not in text and "hunter2" not in text
    assert any("<script>" in group["example"] for group in result["groups"])


# --- what is usual -----------------------------------------------------------------------------------------------


def hours_pass(log: Log, hours: float) -> None:
    """Make the last run as old."""
    log.state["at"] = stamp(hours * 3600)


def test_new_errors_and_spikes_are_told_from_what_is_usual(log: Log) -> None:
    log.write(24)
    first = log.read()
    assert statuses(first, "error_spike") == statuses(first, "new_errors") == ["unknown"]
    assert "0 of 3 runs" in words(first, "new_errors")
    for _run in range(3):
        hours_pass(log, 24)
        log.write(24)
        log.read()
    hours_pass(log, 24)
    log.write(26)
    log.write(4, "ERROR rarely seen")
    usual = log.read()
    assert statuses(usual, "error_spike") == statuses(usual, "new_errors") == ["ok"], usual["findings"]
    hours_pass(log, 24)
    log.write(200)
    log.write(6, "FATAL disk on fire")
    result = log.read()
    assert set(statuses(result, "error_spike")) == {"warning"} and "times the usual 1" in words(result, "error_spike")
    assert statuses(result, "new_errors") == ["warning"] and "FATAL disk on fire" in words(result, "new_errors")
    rows = {row["pattern"]: row for row in result["groups"]}
    assert rows["FATAL disk on fire <n>"]["new"] and rows["FATAL disk on fire <n>"]["level"] == "critical"
    assert rows["ERROR order failed <n>"]["times_usual"] > 7
    assert any(sample["metric"] == "logs.new_errors" and sample["value"] == 1 for sample in result["samples"])


def test_a_usual_rate_can_be_given(log: Log) -> None:
    log.write(100)
    result = log.read(usual={"ERROR order failed <n>": 0.1}, minimum_runs=1)
    assert statuses(result, "error_spike") == ["unknown", "critical"]


# --- access logs -------------------------------------------------------------------------------------------------


def access(path: Path, requests: int, failed: int, ago: float = 600, seconds: float = 0.1) -> None:
    moment = (datetime.now(timezone.utc) - timedelta(seconds=ago)).strftime("%d/%b/%Y:%H:%M:%S +0000")
    with path.open("a") as log:
        for at in range(requests):
            status = 502 if at < failed else 200
            log.write(
                f'10.0.0.1 - - [{moment}] "GET /orders/{at}?token=s3cret HTTP/1.1" {status} 5 "-" "" rt={seconds:.3f}\n'
            )


@pytest.mark.parametrize(
    ("failed", "seconds", "percent", "five", "latency"),
    [(0, 0.1, "ok", "ok", "ok"), (2, 2.5, "warning", "ok", "warning"), (6, 7, "warning", "warning", "critical"),
     (20, 0.1, "warning", "critical", "ok")],
)  # fmt: skip
def test_the_error_rate_has_the_handbooks_limits(
    tmp_path: Path, failed: int, seconds: float, percent: str, five: str, latency: str
) -> None:
    access(tmp_path / "access.log", 1000, failed, seconds=seconds)
    result = look([tmp_path / "access.log"])
    assert statuses(result, "error_percent") == [percent] and statuses(result, "error_percent_5min") == [five]
    assert statuses(result, "latency_p95") == [latency]
    assert result["sources"][0]["failed_requests"] == failed and "s3cret" not in json.dumps(result)
    metrics = {sample["metric"] for sample in result["samples"]}
    assert {"logs.error_percent", "logs.error_percent_5min", "logs.latency.p95", "logs.requests"} <= metrics


def test_five_bad_minutes_are_not_hidden_by_a_good_day(tmp_path: Path) -> None:
    access(tmp_path / "access.log", 20000, 0, ago=40000)
    access(tmp_path / "access.log", 500, 15, ago=3600)
    result = look([tmp_path / "access.log"])
    assert statuses(result, "error_percent") == ["ok"] and statuses(result, "error_percent_5min") == ["critical"]
    assert result["sources"][0]["worst_5min_percent"] == 3


def test_too_few_requests_make_no_rate(tmp_path: Path) -> None:
    access(tmp_path / "access.log", 5, 5)
    result = look([tmp_path / "access.log"])
    assert statuses(result, "error_percent") == statuses(result, "error_percent_5min") == ["unknown"]
    (tmp_path / "empty.log").touch()
    nothing = look([tmp_path / "empty.log"], {"format": "nginx_access"})
    assert statuses(nothing, "error_percent") == ["unknown"] and statuses(nothing, "latency_p95") == ["unknown"]


# --- the state file ----------------------------------------------------------------------------------------------


def test_the_state_file_is_a_step_that_check_mode_leaves_out(log: Log, tmp_path: Path) -> None:
    log.write(7)
    file = tmp_path / "state.json"
    given = {"sources": [{"name": "api", "paths": [str(log.path)]}], "state_file": str(file)}
    planned = run_ok(NAME, given, check=True, diff=True)
    assert planned["changed"] and not file.exists() and planned["sources"][0]["errors"] == 7
    real = run_ok(NAME, given, diff=True)
    assert real["plan"] == planned["plan"] and [step["status"] for step in real["steps"]] == ["done"]
    assert file.stat().st_mode & 0o777 == 0o600 and list(tmp_path.glob("*.partial")) == []
    log.write(2)
    for _run in range(2):
        assert run_ok(NAME, given, check=True)["sources"][0]["errors"] == 2
    assert run_ok(NAME, given)["sources"][0]["errors"] == 2 and run_ok(NAME, given)["sources"][0]["errors"] == 0


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 99}', "7", "[" * 100000])
def test_a_state_file_that_is_none_is_told_and_replaced(log: Log, tmp_path: Path, content: str) -> None:
    log.write(7)
    file = tmp_path / "state.json"
    file.write_text(content)
    given = {"sources": [{"name": "api", "paths": [str(log.path)]}], "state_file": str(file)}
    broken = run_ok(NAME, given)
    state = [found for found in broken["findings"] if found["check"] == "state"]
    assert broken["sources"][0]["errors"] == 7 and (not content or content == "[]" or state[0]["status"] == "unknown")
    assert run_ok(NAME, given)["sources"][0]["errors"] == 0


def test_a_state_file_of_others_is_not_relied_on(log: Log, tmp_path: Path) -> None:
    log.write(7)
    target = tmp_path / "target.json"
    target.write_text("{}")
    link = tmp_path / "state.json"
    link.symlink_to(target)
    given = {"sources": [{"name": "api", "paths": [str(log.path)]}], "state_file": str(link)}
    assert any("cannot be opened" in found["msg"] for found in run_ok(NAME, given, check=True)["findings"])
    run_ok(NAME, given)
    assert target.read_text() == "{}" and not link.is_symlink()
    link.chmod(0o666)
    assert any("owner alone" in found["msg"] for found in run_ok(NAME, given, check=True)["findings"])


def test_a_state_that_cannot_be_saved_fails_with_what_was_read(log: Log, tmp_path: Path) -> None:
    log.write(1)
    given = {"sources": [{"name": "api", "paths": [str(log.path)]}], "state_file": str(tmp_path / "nowhere" / "x")}
    failed = run_failed(NAME, given)
    assert failed["failure"]["code"] == "state_not_saved" and failed["groups"][0]["count"] == 1


# --- journald ----------------------------------------------------------------------------------------------------


JOURNALD = """
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/log/journal/$(cat /etc/machine-id)
/lib/systemd/systemd-journald & daemon=$!
until [ -S /run/systemd/journal/socket ]; do sleep 0.05; done
for at in 1 2 3; do
    printf 'PRIORITY=3\\nMESSAGE=payment %s failed\\nOBJECT_SYSTEMD_UNIT=api.service\\n\\n' $at | logger --journald
done
printf 'PRIORITY=6\\nMESSAGE=ERROR \\033[31mby its text\\nOBJECT_SYSTEMD_UNIT=api.service\\n\\n' | logger --journald
printf 'PRIORITY=6\\nMESSAGE=all is well\\nOBJECT_SYSTEMD_UNIT=api.service\\n\\n' | logger --journald
printf 'PRIORITY=3\\nMESSAGE=of another unit\\nOBJECT_SYSTEMD_UNIT=web.service\\n\\n' | logger --journald
journalctl --sync
kill $daemon; wait $daemon || true
cp -r /run/log/journal/. "$0"
"""


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal that a real journald wrote, in a mount namespace of its own."""
    place = tmp_path_factory.mktemp("journal")
    if os.geteuid() != 0 or not Path("/lib/systemd/systemd-journald").exists() or not Path("/etc/machine-id").exists():
        pytest.skip("only root can run a journald of its own, and systemd must be there")
    made = subprocess.run(
        ["unshare", "-m", "bash", "-c", JOURNALD, str(place)], capture_output=True, text=True, check=False, timeout=60
    )
    assert made.returncode == 0, made.stderr
    return place


def of_journal(journal: Path, units: list[str], **options: Any) -> dict[str, Any]:
    return look([], {"journal_units": units, "journal_directory": str(journal)}, **options)


def test_the_journal_of_a_unit_is_read_once(journal: Path) -> None:
    first = of_journal(journal, ["api.service"])
    row = first["sources"][0]
    assert (row["errors"], row["lines"], row["logs"]) == (4, 5, 1), first
    patterns = {group["pattern"]: group for group in first["groups"]}
    assert patterns["payment <n> failed"]["count"] == 3 and patterns["payment <n> failed"]["first_seen"]
    again = of_journal(journal, ["api.service"], previous=first["state"])
    assert again["sources"][0]["lines"] == 0 and statuses(again, "readable") == ["ok"]
    assert again["state"]["cursors"] == first["state"]["cursors"]


def test_only_so_many_entries_of_a_journal_are_read(journal: Path) -> None:
    result = of_journal(journal, ["api.service"], max_entries=2)
    assert result["sources"][0]["lines"] == 2 and "only the newest 2 entries" in words(result, "readable")


def test_a_unit_without_entries_and_a_journal_that_is_none_are_unknown(journal: Path, tmp_path: Path) -> None:
    nobody = of_journal(journal, ["nobody.service"])
    assert statuses(nobody, "readable") == ["unknown"] and "no entry of nobody.service" in nobody["msg"]
    nothing = of_journal(tmp_path / "nowhere", ["api.service"])
    assert statuses(nothing, "readable") == ["unknown"]


def test_a_cursor_of_another_journal_does_not_stop_the_reading(journal: Path) -> None:
    state = of_journal(journal, ["api.service"])["state"]
    state["cursors"] = {"api": "nonsense"}
    state["at"] = stamp(3600)
    assert of_journal(journal, ["api.service"], previous=state)["sources"][0]["errors"] == 4


def test_without_journalctl_it_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    result = look([], {"journal_units": ["api.service"]})
    assert statuses(result, "readable") == ["unknown"] and "journalctl" in result["msg"]


def test_a_journal_that_answers_never_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "journalctl"
    fake.write_text("#!/bin/sh\nexec sleep 60\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    result = look([], {"journal_units": ["api.service"]}, timeout="500ms")
    assert statuses(result, "readable") == ["unknown"] and "no end after" in result["msg"]


def test_who_may_not_see_the_journal_is_told_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "journalctl"
    hint = "Hint: You are currently not seeing messages from other users and the system."
    fake.write_text(f"#!/bin/sh\necho '{hint}' >&2\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert "usermod -aG systemd-journal" in look([], {"journal_units": ["api.service"]})["msg"]


# --- bad options -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "more", "option"),
    [
        ({"paths": []}, {}, "sources[0] has neither paths nor journal_units"),
        ({"paths": ["logs/*.log"]}, {}, "sources[0].paths"),
        ({"name": "a|b"}, {}, "sources[0].name"),
        ({"name": ""}, {}, "sources[0].name"),
        ({"timezone": "Mars/Olympus"}, {}, "sources[0].timezone"),
        ({"journal_directory": "/x"}, {}, "sources[0].journal_directory"),
        ({"journal_units": [" "]}, {}, "sources[0].journal_units"),
        ({"ignore": [""]}, {}, "sources[0].ignore"),
        ({"format": "syslog", "level_field": "x"}, {}, "sources[0].level_field"),
        ({"format": "odd"}, {}, "format"),
        ({"paths": [], "journal": True, "format": "nginx_access"}, {}, "sources[0].format"),
        ({}, {"since": "0"}, "since"),
        ({}, {"timeout": "soon"}, "timeout"),
        ({}, {"max_bytes": "much"}, "max_bytes"),
        ({}, {"max_entries": 0}, "max_entries"),
        ({}, {"minimum_runs": 0}, "minimum_runs"),
        ({}, {"top": -1}, "top"),
        ({}, {"usual": {"x": "often"}}, "usual['x']"),
        ({}, {"limits": {"odd": {}}}, "limits"),
        ({}, {"previous": {"version": 1}}, "previous"),
        ({}, {"previous": {"x": 1}}, "previous"),
        ({}, {"previous": {"version": 1, "x": 1}, "state_file": "/x"}, "previous and state_file"),
    ],
)
def test_bad_options_are_refused_by_name(source: dict[str, Any], more: dict[str, Any], option: str) -> None:
    given = {"sources": [{"name": "api", "paths": ["/var/log/x.log"], **source}], **more}
    failed = run_failed(NAME, given)
    assert option in failed["msg"] and failed["failure"]["code"] in ("invalid_value", "invalid_arguments")
    assert run_failed(NAME, {"sources": []})["failure"]["code"] == "invalid_value"
    assert "twice" in run_failed(NAME, {"sources": [{"name": "x", "journal": True}] * 2})["msg"]


def test_two_sources_and_two_files_share_the_bytes(tmp_path: Path) -> None:
    for name in ("a.log", "b.log"):
        (tmp_path / name).write_text("ERROR x\n" * 1000)
    given = [{"name": name, "paths": [str(tmp_path / "*.log")]} for name in ("one", "two")]
    result = run_ok(NAME, {"sources": given, "max_bytes": "16kB"})
    assert [row["logs"] for row in result["sources"]] == [2, 2] and sum(
        row["bytes"] for row in result["sources"]
    ) <= 16384
    assert len(result["state"]["files"]) == 4
