"""Backups beside PostgreSQL's own tools and pgBackRest: wall time, CPU, size, memory, and 24 hours of them.

One database of more than 1 GB (a large append-mostly table of compressible rows, a randomly updated one that does not
compress, and keys on both); every tool copies it in turn in one run, a copy is restored and verified, and further ones
are made after changes. Then each of the two tables in a database of its own is copied every hour for a day while it
changes by 1 % an hour. Last, the memory of a copy is compared with that of a tenth of the data.

    python -m benchmarks.backup [--megabytes 1200] [--runs 3] [--hours 24] [--release 15]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.reporting import Comparison, print_table, write_json
from tools.embedded_postgres import SUPERUSER, Server, client_bin_dir, npm_install, server_account

ROOT = Path(__file__).resolve().parent.parent
JOBS = 2
MODES = ("directory", "stream")
MIB = 1 << 20
PASSWORD = "benchmark"
SETTINGS = {
    "fsync": "on",
    "full_page_writes": "on",
    "shared_buffers": "128MB",
    "autovacuum": "off",
    "max_wal_size": "4GB",
    "wal_level": "replica",
    "archive_mode": "on",  # pgBackRest insists; only while it has its turn is anything archived
}
AS_INSTALLED = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "128MB"}
# About 230 bytes a row that compress well, and 330 that do not.
MORE_EVENTS = """
INSERT INTO events
SELECT g, timestamptz '2026-01-01Z' + g * interval '1 second', (ARRAY['view', 'cart', 'order', 'refund'])[1 + g % 4],
       jsonb_build_object('session', md5((g / 20)::text), 'path', '/products/' || g % 5000, 'agent', 'Mozilla/5.0',
                          'referrer', 'https://shop.example/search?q=' || g % 300, 'ms', g % 977)
  FROM generate_series({first}, {rows}) g
"""
EVENTS = f"""
CREATE TABLE events (id bigint PRIMARY KEY, at timestamptz NOT NULL, kind text NOT NULL, body jsonb NOT NULL);
{MORE_EVENTS.strip()};
CREATE INDEX ON events (at);
"""
ACCOUNTS = """
CREATE TABLE accounts (id bigint PRIMARY KEY, balance numeric NOT NULL, token text NOT NULL);
INSERT INTO accounts
SELECT g, (g::bigint * 7919) % 100000,
       (SELECT string_agg(md5(random()::text || g || n), '') FROM generate_series(1, 9) n)
  FROM generate_series(1, {rows}) g;
"""
EVENT_BYTES, ACCOUNT_BYTES = 230, 330
UPDATE = "UPDATE accounts SET balance = balance + 1, token = md5(random()::text) || token WHERE random() < 0.01"
OURS = """
import json, resource, sys, time
from tests.support.modules import run_ok
module, arguments = sys.argv[1], json.loads(sys.argv[2])
began = time.monotonic()
result = run_ok(module, arguments)
inside = time.monotonic() - began
peak = lambda who: resource.getrusage(who).ru_maxrss / 1024
json.dump({"inside": inside, "status": result["status"], "msg": result["msg"], "changed": result["changed"],
           "own_mb": peak(resource.RUSAGE_SELF), "children_mb": peak(resource.RUSAGE_CHILDREN)}, sys.stdout)
"""


@dataclass
class Samples:
    """What the runs of one variant took: seconds, CPU seconds of client and server together, MB that it wrote."""

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    size: list[float] = field(default_factory=list)


class Lab:
    """A server, a folder for what is written, and every tool."""

    def __init__(self, release: str, work: Path) -> None:
        self.server = Server(npm_install(release), settings=SETTINGS)
        self.tools = client_bin_dir(int(release))
        self.work = work

    def sql(self, statement: str, dbname: str) -> list[tuple[Any, ...]]:
        connection = self.server.connect(dbname)
        try:
            cursor = connection.cursor()
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def make(self, dbname: str, megabytes: float, *tables: str) -> None:
        """Make a database of about this size before indexes, shared evenly among its tables."""
        self.sql(f"CREATE DATABASE {dbname}", "postgres")
        share = megabytes * MIB / len(tables)
        for text in tables:
            rows = int(share / (EVENT_BYTES if text is EVENTS else ACCOUNT_BYTES))
            for statement in text.format(first=1, rows=rows).split(";\n"):
                if statement.strip():
                    self.sql(statement, dbname)
        self.sql("VACUUM (ANALYZE)", dbname)
        self.sql("CHECKPOINT", dbname)

    def where(self) -> list[str]:
        return ["-h", self.server.host, "-p", str(self.server.port), "-U", self.server.superuser]

    def server_cpu(self) -> float:
        """Return CPU seconds of the backends that have ended (proc(5): fields 16 and 17 of the postmaster)."""
        fields = Path(f"/proc/{self.server.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")

    def measure(self, argv: list[str | Path], samples: Samples | None, result: Path, user: bool = False) -> str:
        """Run one command and note what it took; the size is that of ``result``."""
        os.sync()
        before = self.server_cpu()
        began = time.monotonic()
        account = server_account() if user else {}
        process = subprocess.Popen(
            [str(part) for part in argv], cwd=ROOT if not user else "/", stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, **account,
        )  # fmt: skip
        output, errors = process.communicate()
        seconds = time.monotonic() - began
        if process.returncode:
            raise RuntimeError(f"{argv[0]} ended with {process.returncode}: {(errors or output)[-2000:]}")
        if samples is not None:
            samples.seconds.append(seconds)
            samples.cpu.append(self.server_cpu() - before + children_cpu())
            samples.size.append(size_of(result) / 1e6)
        return output

    def ours(self, module: str, **options: Any) -> list[str | Path]:
        """Return the command that runs one of our modules in a process of its own."""
        return [sys.executable, "-c", OURS, module, json.dumps(options)]


def archive_by(server: Server, command: str) -> None:
    """Set what archives the WAL of a server."""
    with contextlib.closing(server.connect()) as connection:
        cursor = connection.cursor()
        cursor.execute("ALTER SYSTEM SET archive_command = %s", [command])
        cursor.execute("SELECT pg_reload_conf()")


_children = [0.0]


def children_cpu() -> float:
    """Return CPU seconds of the programs that have ended since the last call."""
    times = os.times()
    now = times.children_user + times.children_system
    spent, _children[0] = now - _children[0], now
    return spent


def size_of(path: Path) -> int:
    """Return what lies under a path, in bytes."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def backup_options(lab: Lab, dbname: str, repository: Path, mode: str = "directory") -> dict[str, Any]:
    """Return the options of our backup."""
    staging = lab.work / "staging"
    staging.mkdir(exist_ok=True)
    return {
        "dsn": lab.server.dsn(dbname),
        "databases": [dbname],
        "product": "shop",
        "source_host": "db1",
        "repository": str(repository),
        "repository_password": PASSWORD,
        "restic_cache_dir": str(lab.work / "cache"),
        "staging_dir": str(staging),
        "mode": mode,
        "jobs": JOBS,
        "client_bin_dirs": [str(lab.tools)],
    }


def first_copies(lab: Lab, runs: int) -> dict[str, Samples]:
    """Copy the whole database with every tool, in turn, each time from nothing."""
    variants = variants_of(lab)
    samples = {name: Samples() for name in variants}
    for number in range(runs):
        for name, (command, result, user) in variants.items():
            shutil.rmtree(result, ignore_errors=True)
            result.unlink(missing_ok=True)
            children_cpu()
            lab.measure(command(), samples[name], result, user)
            print(f"run {number + 1}: {name} {samples[name].seconds[-1]:.1f} s", file=sys.stderr, flush=True)
    return samples


Variant = tuple[Callable[[], list[str | Path]], Path, bool]


def variants_of(lab: Lab) -> dict[str, Variant]:
    """Return each tool with its command, what it writes, and whether it must be the server's user."""
    dump, work = lab.tools / "pg_dump", lab.work
    plain = [*lab.where(), "-d", "shop"]
    variants: dict[str, Variant] = {
        "pg_dump -Fc": (lambda: [dump, *plain, "-Fc", "-f", work / "fc"], work / "fc", False),
        "pg_dump -Fd -j2": (lambda: [dump, *plain, "-Fd", f"-j{JOBS}", "-f", work / "fd"], work / "fd", False),
        "ours, directory": (lambda: lab.ours("postgresql_backup", **backup_options(lab, "shop", work / "directory")),
                            work / "directory", False),
        "ours, stream": (
            lambda: lab.ours("postgresql_backup", **backup_options(lab, "shop", work / "stream", "stream")),
            work / "stream", False,
        ),
        # server-lz4 is what a server of a distribution would be asked for; the embedded ones are built without it.
        "pg_basebackup gzip:1": (
            lambda: [lab.tools / "pg_basebackup", *lab.where(), "-D", work / "base", "-Ft", "--checkpoint=fast",
                     "--compress=server-gzip:1", "-Xfetch"],
            work / "base", False,
        ),
    }  # fmt: skip
    return {**variants, **pgbackrest_variants(lab)}


def pgbackrest_variants(lab: Lab) -> dict[str, Variant]:
    """Return pgBackRest full and incremental, set up for this server; nothing where it cannot serve it."""
    if not has_pgbackrest(lab):
        return {}
    common = archive_to_pgbackrest(lab, lab.server)
    lab.measure([*common, "backup", "--type=full"], None, lab.work, user=True)
    nothing = lab.work / "none"
    return {
        "pgBackRest full lz4": (lambda: [*common, "backup", "--type=full"], nothing, True),
        "pgBackRest incremental": (lambda: [*common, "backup", "--type=incr"], nothing, True),
    }


def has_pgbackrest(lab: Lab) -> bool:
    """Tell whether pgBackRest is here and serves this major."""
    return shutil.which("pgbackrest") is not None and lab.server.major <= 15


def archive_to_pgbackrest(lab: Lab, server: Server) -> list[str | Path]:
    """Let a server archive its WAL with pgBackRest, and return the command for its stanza."""
    place = server.directory / "pgbackrest"
    for name in ("repo", "log", "lock", "spool"):
        (place / name).mkdir(parents=True)
    configuration = place / "pgbackrest.conf"
    configuration.write_text(
        f"[global]\nrepo1-path={place}/repo\nlog-path={place}/log\nlock-path={place}/lock\nspool-path={place}/spool\n"
        f"process-max={JOBS}\nstart-fast=y\ncompress-type=lz4\nrepo1-bundle=y\nrepo1-retention-full=1\n"
        f"[main]\npg1-path={server.data_dir}\npg1-port={server.port}\n"
        f"pg1-socket-path={server.socket_dir}\npg1-user={SUPERUSER}\n"
    )
    if account := server_account():
        subprocess.run(["chown", "-R", f"{account['user']}:{account['group']}", place], check=True)
    common: list[str | Path] = ["pgbackrest", f"--config={configuration}", "--stanza=main"]
    archive_by(server, f"pgbackrest --config={configuration} --stanza=main archive-push %p")
    lab.measure([*common, "stanza-create"], None, place, user=True)
    return common


def hours(lab: Lab, dbname: str, change: Callable[[int], str], count: int) -> tuple[Samples, list[float]]:
    """Copy a database every hour while it changes; return the samples and the repository's MB after each."""
    repository, samples, grown = lab.work / f"hourly-{dbname}", Samples(), []
    for hour in range(count):
        if hour:
            lab.sql(change(hour), dbname)
        lab.measure(lab.ours("postgresql_backup", **backup_options(lab, dbname, repository)), samples, repository)
        grown.append(samples.size[-1])
    print(f"{dbname}: {count} copies, {grown[0]:.0f} MB, then {grown[-1]:.0f} MB", file=sys.stderr, flush=True)
    return samples, grown


def day(lab: Lab, megabytes: int, count: int) -> Iterator[Comparison]:
    """Measure 24 hourly copies of each kind of table."""
    half = megabytes / 4
    lab.make("appends", half, EVENTS)
    lab.make("updates", half, ACCOUNTS)
    changes = {
        "appends": (appended(lab, "appends"), 2.0),
        "updates": (lambda _hour: UPDATE, None),
    }
    for dbname, (change, target) in changes.items():
        plain = Samples()
        for _unused in range(3):
            lab.measure([lab.tools / "pg_dump", *lab.where(), "-d", dbname, "-Fc", "-f", lab.work / "one"], plain,
                        lab.work / "one")  # fmt: skip
        samples, grown = hours(lab, dbname, change, count)
        name = f"{dbname}, 1 % an hour"
        yield Comparison(f"space of {count} copies, {name}", "MB", [grown[-1]], "of the first", [grown[0]], target)
        yield Comparison(f"each later copy, {name}", "s", samples.seconds[1:], "pg_dump -Fc", plain.seconds, 0.45)


def appended(lab: Lab, dbname: str) -> Callable[[int], str]:
    """Return the statement that lets the append-mostly table grow by 1 % of what it has now, hour by hour."""
    rows = lab.sql("SELECT max(id) FROM events", dbname)[0][0]

    def rows_at(hour: int) -> int:
        return int(rows * (1 + hour / 100))

    return lambda hour: MORE_EVENTS.format(first=rows_at(hour - 1) + 1, rows=rows_at(hour))


def later(lab: Lab, runs: int, change: Callable[[int], str]) -> Samples:
    """Copy the whole database again and again into the repository that has it already."""
    samples = Samples()
    for number in range(runs):
        lab.sql(change(number + 1), "shop")
        lab.measure(lab.ours("postgresql_backup", **backup_options(lab, "shop", lab.work / "directory")), samples,
                    lab.work / "directory")  # fmt: skip
    return samples


def restores(lab: Lab, runs: int) -> list[Comparison]:
    """Restore and verify a copy in a throwaway server, beside a plain pg_restore.

    The plain one goes into a server with default settings, and into one that archives its WAL besides, as the server
    of a product does.
    """
    ours = Samples()
    plain = {"default": Samples(), **({"archiving": Samples()} if has_pgbackrest(lab) else {})}
    options = backup_options(lab, "shop", lab.work / "directory")
    wanted = ("product", "source_host", "repository", "repository_password", "restic_cache_dir", "client_bin_dirs")
    verify = {key: options[key] for key in wanted}
    verify |= {"name": "shop", "server_bin_dirs": [str(lab.server.bin_dir)], "jobs": JOBS}
    for _unused in range(runs):
        for kind, samples in plain.items():
            plain_restore(lab, samples, archives=kind == "archiving")
        answer = json.loads(lab.measure(lab.ours("postgresql_backup_verify", **verify), ours, lab.work / "fd"))
        if answer["status"] not in ("ok", "warning"):
            raise RuntimeError(answer["msg"])
    what, targets = f"pg_restore -j{JOBS} alone, ", {"default": 0.85}
    return [
        Comparison("restore and verify", "s", ours.seconds, what + kind, samples.seconds, targets.get(kind))
        for kind, samples in plain.items()
    ]


def plain_restore(lab: Lab, samples: Samples, archives: bool) -> None:
    """Load the dump into an empty server."""
    settings = {**AS_INSTALLED, **({"archive_mode": "on"} if archives else {})}
    with Server(npm_install(str(lab.server.major)), settings=settings) as other:
        if archives:
            archive_to_pgbackrest(lab, other)
        target = ["-h", other.host, "-p", str(other.port), "-U", other.superuser, "-d", "postgres"]
        lab.measure([lab.tools / "pg_restore", *target, f"-j{JOBS}", lab.work / "fd"], samples, lab.work / "fd")


def memory(lab: Lab, megabytes: int) -> list[Comparison]:
    """Compare the peak memory of a backup of a database with that of one ten times as large."""
    lab.make("tenth", megabytes / 10, EVENTS, ACCOUNTS)
    peaks: dict[str, dict[str, dict[str, Any]]] = {"tenth": {}, "shop": {}}
    for dbname in peaks:
        for mode in MODES:
            repository = lab.work / f"memory-{dbname}-{mode}"
            output = lab.measure(lab.ours("postgresql_backup", **backup_options(lab, dbname, repository, mode)), None,
                                 repository)  # fmt: skip
            peaks[dbname][mode] = json.loads(output)
            shutil.rmtree(repository)
    return [
        Comparison(f"peak memory, {mode}, {what}, 10 x the data", "MB", [peaks["shop"][mode][key]], "a tenth of it",
                   [peaks["tenth"][mode][key]], target)
        for mode in MODES
        for what, key, target in (("module", "own_mb", 1.25), ("its largest program", "children_mb", None))
    ]  # fmt: skip


def measure_all(lab: Lab, options: argparse.Namespace) -> list[Comparison]:
    """Return every comparison."""
    archive_by(lab.server, "true")
    lab.make("shop", options.megabytes, EVENTS, ACCOUNTS)
    size = lab.sql("SELECT pg_database_size('shop')", "postgres")[0][0]
    print(f"database: {size / 1e6:.0f} MB", file=sys.stderr, flush=True)
    first = first_copies(lab, options.runs)
    archive_by(lab.server, "true")
    plain = first["pg_dump -Fc"]
    found = []
    for name, samples in first.items():
        if name != "pg_dump -Fc":
            target = 0.6 if name.startswith("ours, directory") else None
            found.append(Comparison(f"first copy: {name}", "s", samples.seconds, "pg_dump -Fc", plain.seconds, target))
            found.append(Comparison(f"  CPU of it: {name}", "s", samples.cpu, "pg_dump -Fc", plain.cpu))
            if any(samples.size):
                found.append(Comparison(f"  size of it: {name}", "MB", samples.size, "pg_dump -Fc", plain.size))
    found += restores(lab, options.runs)  # of what pg_dump wrote, before anything changes
    changes = {"1 % appended": appended(lab, "shop"), "1 % of one table updated at random": lambda _number: UPDATE}
    for name, change in changes.items():
        again = later(lab, options.runs, change)
        found.append(Comparison(f"later copy, {name}", "s", again.seconds, "pg_dump -Fc", plain.seconds, 0.45))
        found.append(Comparison(f"  CPU of it: {name}", "s", again.cpu, "pg_dump -Fc", plain.cpu))
    return [*found, *day(lab, options.megabytes, options.hours), *memory(lab, options.megabytes)]


def main() -> None:
    """Run everything, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1200, help="rows of the database, before indexes")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--release", default="15", help="15: the newest that Debian 12's pgBackRest serves")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="backup-benchmark-") as folder:
        lab = Lab(options.release, Path(folder))
        lab.server.start()
        try:
            comparisons = measure_all(lab, options)
        finally:
            lab.server.remove()
    print(f"\nPostgreSQL {lab.server.version}, {options.megabytes} MB of rows")
    print_table(comparisons)
    print(f"\n{write_json('backup', comparisons, vars(options))}")


if __name__ == "__main__":
    main()
