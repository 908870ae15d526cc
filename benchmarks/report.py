"""The report of a year: wall time, peak memory and size of the page for hourly samples of many hosts.

The journal is filled as the runs of a year leave it: raw samples, their roll-ups, and the findings of a month.

    python -m benchmarks.report [--hosts 50] [--days 365] [--runs 3] [--directory DIR]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.reporting import Comparison, print_table, write_json
from plugins.module_utils._io.journal_write import open_writer

ROOT = Path(__file__).resolve().parent.parent
DAY, HOUR = 86400, 3600
SECONDS, MEGABYTES, PAGE_MEGABYTES = 5.0, 300.0, 2.0
METRICS = (
    ("host.cpu.used_percent", "percent", 1),
    ("host.cpu.iowait_percent", "percent", 1),
    ("host.memory.used_percent", "percent", 1),
    ("host.memory.available", "bytes", 1),
    ("host.disk.used_percent", "percent", 2),
    ("host.disk.used", "bytes", 2),
    ("host.load.per_cpu", "ratio", 1),
    ("host.processes", "count", 1),
    ("database.connections.used_percent", "percent", 1),
    ("database.cache_hit_percent", "percent", 1),
    ("database.commits", "per_second", 1),
    ("database.size_bytes", "bytes", 1),
    ("database.replication.lag", "seconds", 1),
    ("redis.memory.used_percent", "percent", 1),
    ("redis.hit_ratio", "percent", 1),
    ("availability.latency.p95", "seconds", 1),
    ("availability.up", "ratio", 1),
    ("external_apis.error_percent", "percent", 1),
)
CHECKS = 25
FINDING_DAYS = 30
OURS = """
import json, sys, time
began = time.monotonic()
from plugins.module_utils._module.report import report_spec
from plugins.plugin_utils.here import run_here
from plugins.plugin_utils.report.operation import Report
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
checked = ArgumentSpecValidator(report_spec().options).validate(json.loads(sys.argv[1]))
assert not checked.error_messages, checked.error_messages
inside = time.monotonic()
result = run_here(Report, checked.validated_parameters, False, False)
assert not result.get("failed"), result
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
taken = {"inside": time.monotonic() - inside, "cpu": time.process_time()}
json.dump({**taken, "peak_kb": peak, "sizes": result["sizes_bytes"]}, sys.stdout)
"""


@dataclass
class Samples:
    """What the runs took: seconds of the whole process, of the CPU, of the module, MB at the peak, MB of the page."""

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    inside: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    page: list[float] = field(default_factory=list)


def fill(file: Path, hosts: int, days: int, now: int) -> None:
    """Write a journal: its tables by our own code, its many rows by SQL."""
    with open_writer(f"sqlite:///{file}"):
        pass
    begin = (now // DAY - days) * DAY
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        series = list(write_series(connection, hosts))
        connection.executemany(
            "INSERT INTO runs VALUES (?, 'daily-operations', ?, ?, 'ok', 0, 'timer', 'ops1', '', 'inventories/shop', "
            "'', '', ?, 0, 'all checks ok', '0.1.0')",
            ((f"r{at}", at, at + 90, hosts) for at in range(begin, now, HOUR)),
        )
        connection.executemany("INSERT INTO samples VALUES (?, ?, ?, ?)", readings(series, begin, now))
        connection.execute(
            "INSERT INTO sample_days (series_id, day, count, minimum, maximum, mean, last, last_at) "
            "SELECT series_id, CAST(at / 86400 AS INTEGER) AS day, count(*), min(value), max(value), avg(value), "
            "value, max(at) FROM samples GROUP BY series_id, day"
        )
        connection.executemany(
            "INSERT INTO findings (run_id, at, host, area, check_name, status, value_text, unit, msg) "
            "VALUES (?, ?, ?, ?, ?, ?, '', '', ?)",
            findings(hosts, max(begin, now - FINDING_DAYS * DAY), now),
        )
        connection.execute(
            "INSERT INTO newest_findings (host, area, check_name, at, run_id) "
            "SELECT host, area, check_name, max(at), run_id FROM findings GROUP BY host, area, check_name"
        )
        connection.commit()


def write_series(connection: sqlite3.Connection, hosts: int) -> Iterator[int]:
    """Write the series of all hosts and yield their numbers."""
    number = 0
    for host in range(hosts):
        for metric, unit, objects in METRICS:
            for item in range(objects):
                number += 1
                labels = json.dumps({"mount": f"/data{item}"} if objects > 1 else {}, separators=(",", ":"))
                row = (number, metric, f"app{host:03}", labels, unit)
                connection.execute("INSERT INTO series VALUES (?, ?, ?, ?, ?)", row)
                yield number


def readings(series: list[int], begin: int, now: int) -> Iterator[tuple[int, float, float, str]]:
    """Yield a reading of every series and hour: a daily wave, and a trend."""
    wave = [math.sin(hour / 24 * math.tau) for hour in range(24)]
    for number in series:
        for index, at in enumerate(range(begin, now, HOUR)):
            yield number, float(at), 40 + 20 * wave[index % 24] + index * 0.002 + number % 17, f"r{at}"


def findings(hosts: int, since: int, now: int) -> Iterator[tuple[Any, ...]]:
    """Yield the findings of all checks, hosts and hours; one in a hundred is bad."""
    areas = ("host", "database", "redis", "availability", "logs")
    for at in range(since - since % HOUR, now, HOUR):
        for host in range(hosts):
            for check in range(CHECKS):
                status = "warning" if (host * CHECKS + check) % 100 == 7 else "ok"
                area = areas[check % len(areas)]
                msg = f"check {check} reads {40 + check} % of what is allowed"
                yield f"r{at}", float(at), f"app{host:03}", area, f"check_{check}", status, msg


def measure(file: Path, folder: Path, runs: int) -> Samples:
    """Write the report in a process of its own, again and again."""
    samples = Samples()
    options = {
        "product": "Shop",
        "journal_url": f"sqlite:///{file}",
        "schedule": [{"runbook": "daily-operations", "every": "1h"}],
    }
    for run in range(runs):
        arguments = json.dumps({**options, "dest": str(folder / f"out{run}")})
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", OURS, arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
        samples.seconds.append(time.monotonic() - began)
        if done.returncode:
            raise RuntimeError(f"the report failed: {done.stderr[-2000:]}")
        result = json.loads(done.stdout)
        samples.cpu.append(result["cpu"])
        samples.inside.append(result["inside"])
        samples.memory.append(result["peak_kb"] / 1024)
        samples.page.append(result["sizes"]["html"] / 1e6)
        print(f"run {run + 1}: {samples.seconds[-1]:.2f} s, {samples.memory[-1]:.0f} MB", file=sys.stderr, flush=True)
    return samples


def main() -> int:
    """Return 1 when a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=50)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--directory", type=Path, help="where the journal is made (default: a temporary directory)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="report-") as name:
        folder = Path(name)
        began = time.monotonic()
        fill(folder / "journal.db", options.hosts, options.days, int(time.time()))
        size = (folder / "journal.db").stat().st_size
        print(f"journal of {size / 1e6:.0f} MB made in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        samples = measure(folder / "journal.db", folder, options.runs)
    comparisons = [
        Comparison("report of a year, whole process", "s", samples.seconds, "our limit", [SECONDS], 1.0),
        Comparison("CPU of the whole process", "s", samples.cpu, "our limit", [SECONDS], 1.0),
        Comparison("inside the module", "s", samples.inside, "our limit", [SECONDS], 1.0),
        Comparison("peak memory", "MB", samples.memory, "our limit", [MEGABYTES], 1.0),
        Comparison("size of the page", "MB", samples.page, "our limit", [PAGE_MEGABYTES], 1.0),
    ]
    print_table(comparisons)
    settings = {"hosts": options.hosts, "days": options.days, "metrics": len(METRICS), "journal_bytes": size}
    print(write_json("report", comparisons, settings))
    return 1 if any(one.verdict == "MISSED" for one in comparisons) else 0


if __name__ == "__main__":
    sys.exit(main())
