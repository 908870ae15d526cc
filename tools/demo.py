"""The demo: a neglected product on a throwaway PostgreSQL 18, the weekly maintenance that mends it, and a restore.

    python tools/demo.py up       make it, unless it is there, run the weekly maintenance and, once, a restore
    python tools/demo.py clean    stop it and remove every trace

Everything that runs or is written lives in one temporary folder, whose name .demo/state.json remembers.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools.embedded_postgres import (  # noqa: E402
    PostgresUnavailable,
    Server,
    clear,
    free_port,
    new_run_directory,
    process_start,
    wheel_install,
)

DEMO = ROOT / ".demo"
STATE = DEMO / "state.json"
VARIABLES = DEMO / "vars.json"
PLAYBOOK = "playbooks/weekly-maintenance.yml"
INVENTORY = "inventories/demo"
DATABASE, OWNER, OPERATOR = "shop", "shop", "ops"
APP, WORKER = "shop", "shop-worker"
LOG_LINE = b"2026-01-01T00:00:00Z GET /products/4711 200 0.012 order placed\n"
DAY_SECONDS = 86400
# Autovacuum on, as in a real product, but it comes after the demo.
SETTINGS = {"autovacuum_naptime": "1d", "max_connections": "40", "track_io_timing": "on"}


def say(text: str) -> None:
    print(text, flush=True)


# --- making it ------------------------------------------------------------------------------------------------------


def up() -> int:
    if is_up(read_state()):
        say("The demo is up already: running the weekly maintenance again.\n")
    else:
        clean_up(read_state())
        make()
    state = read_state()
    went_well = run_playbook(PLAYBOOK, state)
    if went_well and not state.get("drilled"):
        went_well = drill(state)
    if went_well:
        say("\nNow the daily look, and the report of everything until here.\n")
        went_well = run_playbook("playbooks/daily-operations.yml", state)
    say(NEXT if went_well else TROUBLE)
    return 0 if went_well else 1


def read_state() -> dict[str, Any]:
    try:
        return dict(json.loads(STATE.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}


def is_up(state: dict[str, Any]) -> bool:
    return bool(state.get("ready")) and all(is_alive(process) for process in state["processes"] if process["lasts"])


def is_alive(process: dict[str, Any]) -> bool:
    return process_start(process["pid"]) == process["start"]


def make() -> None:
    DEMO.mkdir(exist_ok=True)
    work = new_run_directory()
    state: dict[str, Any] = {"work": str(work), "processes": [], "ready": False}
    keep(state)
    say(f"Making a neglected product in {work}")
    python = plain_python(work)
    server = make_server(work, state)
    make_database(server)
    say("  sessions: three idle ones, and one that forgot its transaction")
    hold_sessions(server, python, work, state)
    say("  logs: current ones of 20 MB and more, rotated ones of a year; the application holds its log open")
    make_logs(work / "product" / "logs")
    ports = {APP: free_port(), WORKER: free_port()}
    write_settings(work / "product" / "shop.env")
    start_app(work, python, ports[APP], state)
    say(f"  services: {APP} runs; {WORKER} has died in the night")
    (work / "product" / f"{WORKER}.pid").write_text("")
    write_variables(work, python, server, ports)
    keep({**state, "ready": True})


def keep(state: dict[str, Any]) -> None:
    partial = STATE.with_suffix(".partial")
    partial.write_text(json.dumps(state, indent=2), encoding="utf-8")
    partial.replace(STATE)


def remember(state: dict[str, Any], pid: int, lasts: bool) -> None:
    """Write down a process that was started, before anything else can go wrong."""
    state["processes"].append({"pid": pid, "start": process_start(pid), "lasts": lasts})
    keep(state)


def plain_python(work: Path) -> Path:
    """Return this interpreter under a path without odd characters: Ansible puts it on a shell's command line."""
    (work / "venv").symlink_to(Path(sys.executable).parent.parent)
    return work / "venv" / "bin" / Path(sys.executable).name


def make_server(work: Path, state: dict[str, Any]) -> Server:
    install = wheel_install(18)
    say(f"  PostgreSQL {install.version}, database {DATABASE}")
    server = Server(install, settings=SETTINGS, run_directory=work)
    server.start()
    assert server.pid is not None
    remember(state, server.pid, lasts=True)
    return server


def make_database(server: Server) -> None:
    statements = (
        f"CREATE ROLE {OWNER} LOGIN",
        f"CREATE ROLE {OPERATOR} LOGIN",
        f"GRANT pg_monitor, pg_signal_backend, pg_maintain, pg_read_all_data TO {OPERATOR}",
        f"CREATE DATABASE {DATABASE} OWNER {OWNER}",
        f"GRANT CREATE ON DATABASE {DATABASE} TO {OPERATOR}",  # for the row that a backup writes first
    )
    with session(server, "postgres", "postgres") as run:
        for statement in statements:
            run(statement)
    say("  tables: dead rows, stale statistics, a bloated index, a partitioned parent that was never analyzed")
    with session(server, DATABASE, OWNER) as run:
        for statement in (ROOT / "tools" / "demo_shop.sql").read_text(encoding="utf-8").split(";\n"):
            if statement.strip():
                run(statement)
    make_invalid_index(server)


def make_invalid_index(server: Server) -> None:
    """Leave what CREATE INDEX CONCURRENTLY leaves behind when it runs out of time."""
    import psycopg2

    say("  an invalid index, left by CREATE INDEX CONCURRENTLY when it ran out of time")
    with session(server, DATABASE, OWNER) as hold, session(server, DATABASE, OWNER) as run:
        hold("BEGIN")
        hold("LOCK TABLE products IN ROW EXCLUSIVE MODE")
        run("SET statement_timeout = '200ms'")
        with contextlib.suppress(psycopg2.errors.QueryCanceled):
            run("CREATE INDEX CONCURRENTLY products_name_idx ON products (name)")
        hold("ROLLBACK")


@contextlib.contextmanager
def session(server: Server, dbname: str, user: str) -> Iterator[Any]:
    connection = server.connect(dbname, user)
    try:
        yield connection.cursor().execute
    finally:
        connection.close()


def hold_sessions(server: Server, python: Path, work: Path, state: dict[str, Any]) -> None:
    process = subprocess.Popen(
        [python, ROOT / "tools" / "demo_sessions.py", server.dsn(DATABASE, OWNER)], cwd=work,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    remember(state, process.pid, lasts=False)
    assert process.stdout is not None
    if not process.stdout.readline():
        raise RuntimeError("the demo's sessions could not be opened")
    process.stdout.close()


def make_logs(folder: Path) -> None:
    folder.mkdir(parents=True)
    write_log(folder / f"{APP}.log", LOG_LINE * 400_000, 0)
    write_log(folder / f"{WORKER}.log", LOG_LINE * 350_000, 0)
    for number in range(1, 4):
        write_log(folder / f"{APP}.log.{number}", LOG_LINE * 20_000, number * 7)
    for number in range(4, 53):
        write_log(folder / f"{APP}.log.{number}.gz", gzip.compress(LOG_LINE * 2_000, 1), number * 7)
    write_log(folder / "keep.txt", b"not a log\n", 400)


def write_settings(path: Path) -> None:
    """Write what an application's environment file looks like."""
    path.touch(mode=0o600)
    path.write_text(f"PORT=3000\nSESSION_KEY={secrets.token_hex(16)}\n", encoding="utf-8")


def write_log(path: Path, content: bytes, age_days: int) -> None:
    path.write_bytes(content)
    moment = time.time() - age_days * DAY_SECONDS
    os.utime(path, (moment, moment))


def start_app(work: Path, python: Path, port: int, state: dict[str, Any]) -> None:
    script = work / "demo_app.py"
    shutil.copyfile(ROOT / "tools" / "demo_app.py", script)
    subprocess.run([python, script, "start", APP, work / "product", str(port)], check=True)
    remember(state, int((work / "product" / f"{APP}.pid").read_text()), lasts=False)


def write_variables(work: Path, python: Path, server: Server, ports: dict[str, int]) -> None:
    """Write what the demo's inventory needs to know."""
    variables = {
        "python": str(python),
        "work": str(work),
        "port": server.port,
        "script": str(work / "demo_app.py"),
        "product": str(work / "product"),
        "app_port": ports[APP],
        "worker_port": ports[WORKER],
        "bin": str(server.bin_dir),
        "report": str(DEMO / "report"),
        "repository_password": secrets.token_urlsafe(24),
    }
    VARIABLES.write_text(json.dumps(variables, indent=2), encoding="utf-8")


# --- using it -------------------------------------------------------------------------------------------------------


def run_playbook(playbook: str, state: dict[str, Any], *arguments: str) -> bool:
    """Run a playbook as a user would; tell whether it went well."""
    work = Path(state["work"])
    python = work / "venv" / "bin" / Path(sys.executable).name
    say(" ".join(("ansible-playbook", "-i", INVENTORY, playbook, *arguments)))
    command = [python, "-m", "ansible", "playbook", "-i", INVENTORY, playbook, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment(work), check=False).returncode == 0


def drill(state: dict[str, Any]) -> bool:
    """Back the product up, prove the copies, damage the database, restore it, and print what was measured."""
    if shutil.which("restic") is None:
        say(NO_RESTIC)
        return True
    say("\nNow the backups: copy, prove, damage, restore.\n")
    if not run_playbook("playbooks/backup.yml", state, "-e", "backup_repository_create=true"):
        return False
    if not run_playbook("playbooks/backup-verify.yml", state):
        return False
    orders = count_orders(state)
    damage(state)
    say(f"\nSomebody deletes all {orders} orders.\n")
    if not run_playbook("playbooks/recovery/restore-database.yml", state, "-e", f"confirm={DATABASE}"):
        return False
    summary = json.loads((DEMO / "summary.json").read_text(encoding="utf-8"))
    acts = [line for line in summary["hosts"]["demo-db"]["steps"] if line["step"] == "act"]
    say("\n".join(("", "RTO, outage and RPO (age of the data) as measured", *(f"  {line['msg']}" for line in acts))))
    say(f"  {count_orders(state)} of {orders} orders are back")
    keep({**state, "drilled": True})
    say("\nNothing of a restored database was ever vacuumed.\n")
    return run_playbook("playbooks/database-maintenance.yml", state) and count_orders(state) == orders


def count_orders(state: dict[str, Any]) -> int:
    with shop(state) as cursor:
        cursor.execute("SELECT count(*) FROM orders")
        return int(cursor.fetchone()[0])


def damage(state: dict[str, Any]) -> None:
    with shop(state) as cursor:
        cursor.execute("TRUNCATE orders CASCADE")


@contextlib.contextmanager
def shop(state: dict[str, Any]) -> Iterator[Any]:
    """Give a cursor in the demo's database."""
    import psycopg2

    port = json.loads(VARIABLES.read_text(encoding="utf-8"))["port"]
    connection = psycopg2.connect(host="127.0.0.1", port=port, dbname=DATABASE, user=OWNER)
    connection.autocommit = True
    try:
        yield connection.cursor()
    finally:
        connection.close()


def environment(work: Path) -> dict[str, str]:
    """Return an environment in which Ansible writes nothing outside the demo's folder."""
    ours = {
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_HOME": str(work / "ansible"),
        "ANSIBLE_LOCAL_TEMP": str(work / "ansible" / "local"),
        "ANSIBLE_REMOTE_TMP": str(work / "ansible" / "tmp"),
        "ANSIBLE_ASYNC_DIR": str(work / "ansible" / "async"),
        "ONCALL_SUMMARY_FILE": str(DEMO / "summary.json"),
        "ONCALL_JOURNAL_URL": f"sqlite:///{DEMO / 'journal.db'}",
        "ONCALL_JOURNAL_SPOOL": str(DEMO / "spool"),
        "PYTHONPYCACHEPREFIX": str(work / "pycache"),
        "LC_ALL": "C.UTF-8",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PG"))}
    return {**kept, **ours}


NEXT = f"""
What to look at next
  make demo                                               again: the second run finds nothing to do
  .venv/bin/ansible-playbook -i {INVENTORY} {PLAYBOOK} --check --diff
  .demo/report/report.html                                the report, in a browser: no network is needed
  .venv/bin/python -m tools.journal --url sqlite:///{DEMO.relative_to(ROOT)}/journal.db runs
  .venv/bin/ansible-playbook -i {INVENTORY} playbooks/recovery/undo-restore.yml -e confirm={DATABASE} --check
  docs/runbooks/                                          the runbooks' pages
  {INVENTORY}/ and inventories/example/               what to write for hosts of your own
  make demo-clean                                         stops the demo and removes every trace

The demo leaves out the security updates: this machine is yours.
"""
NO_RESTIC = """
The backups are left out: restic is not installed. Type this, then make demo again:
    sudo apt-get update && sudo apt-get install -y --no-install-recommends restic
"""
TROUBLE = """
That did not go well: the summary above says why. `make demo-clean` removes the demo.
"""


# --- removing it ----------------------------------------------------------------------------------------------------


def clean() -> int:
    state = read_state()
    clean_up(state)
    remove_tools()
    say("The demo is gone." if state else "There is no demo.")
    return 0


def clean_up(state: dict[str, Any]) -> None:
    if state:
        work = Path(state["work"])
        stop_processes(state, work)
        clear(work)
        shutil.rmtree(work, ignore_errors=True)
    shutil.rmtree(DEMO, ignore_errors=True)


def stop_processes(state: dict[str, Any], work: Path) -> None:
    """Stop what was started, by its recorded process; the services also by the pid files that a restart renewed."""
    for name in (APP, WORKER):
        script = work / "demo_app.py"
        if script.exists():
            subprocess.run([sys.executable, script, "stop", name, work / "product", "0"], check=False)
    for process in reversed(state["processes"]):
        if is_alive(process) and not process["lasts"]:
            os.kill(process["pid"], signal.SIGTERM)


def remove_tools() -> None:
    """Remove the virtual environment and the cache too, when nothing but the demo was ever set up here."""
    stamp = ROOT / ".venv" / "stamp"
    if stamp.exists() and not any(line.startswith("dev ") for line in stamp.read_text().splitlines()):
        real = (ROOT / ".venv").resolve()
        shutil.rmtree(real, ignore_errors=True)
        if (ROOT / ".venv").is_symlink():
            (ROOT / ".venv").unlink()
            with contextlib.suppress(OSError):  # other clones have theirs there
                real.parent.rmdir()
        shutil.rmtree(ROOT / ".cache", ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["up", "clean"])
    try:
        return {"up": up, "clean": clean}[parser.parse_args().action]()
    except PostgresUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. `make demo` goes on, `make demo-clean` removes everything.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
