"""The runbooks as a user runs them: ansible-playbook against a neglected database and its logs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.lost_hosts import lost_with
from tests.support.playbooks import ROOT, Playbooks, Run
from tests.support.servers import Database, Roles, Server

newest = pytest.mark.majors(minimum=18)  # what has nothing to do with the server's version
WEEKLY = "playbooks/weekly-maintenance.yml"
DATABASE_ONLY = "playbooks/database-maintenance.yml"
LINE = b"2026-01-01T00:00:00Z GET /products/4711 200 0.012 order placed\n"
NEGLECT = """
CREATE TABLE events (id int PRIMARY KEY, body text) WITH (autovacuum_enabled = off);
INSERT INTO events SELECT n, repeat('x', 50) FROM generate_series(1, 20000) AS n;
VACUUM (ANALYZE) events;
UPDATE events SET body = repeat('y', 50);
CREATE TABLE carts (id int PRIMARY KEY, touched timestamptz) WITH (autovacuum_enabled = off);
INSERT INTO carts VALUES (1, now());
VACUUM (ANALYZE) carts;
"""


class Product:
    """A database and a log folder as somebody left them, and an inventory that knows them."""

    def __init__(self, folder: Path, database: Database, role: str) -> None:
        self.folder = folder
        self.database = database
        self.role = role
        self.playbooks = Playbooks(folder)
        self.logs = folder / "logs"
        self.locks = folder / "locks"
        self._sessions: list[Any] = []

    def neglect(self) -> None:
        for statement in NEGLECT.split(";\n"):
            if statement.strip():
                self.database.execute(statement)
        wait_for(lambda: (self.dead_rows(), self.vacuumed()) == (20000, 2))  # up to 14 the statistics arrive later
        self.logs.mkdir()
        (self.logs / "app.log").write_bytes(LINE * 1000)
        held = self.database.connect(self.role, application_name="forgotten", autocommit=False)
        held.cursor().execute("SELECT 1")
        self._sessions.append(held)

    def write_inventory(self, **changes: Any) -> None:
        login = {"login_host": self.database.server.host, "login_port": self.database.server.port}
        rule = {"name": "forgotten", "match": "idle_in_transaction", "older_than": "1s", "action": "terminate"}
        database = {
            "database_login": {**login, "login_user": "postgres", "login_db": self.database.name},
            "database_maintenance_databases": [self.database.name],
            "database_maintenance_session_rules": [{**rule, "applications": ["forgotten"]}],
            "log_management_directories": [],
        }
        app = {"log_management_directories": [{"path": str(self.logs)}], **changes.pop("app1", {})}
        common: dict[str, Any] = {
            "preflight_lock_directory": str(self.locks),
            "preflight_disk_paths": [str(self.folder)],
            "preflight_disk_warning_percent": 100,
            "preflight_disk_critical_percent": 100,
            "preflight_inodes_warning_percent": 100,
            "preflight_inodes_critical_percent": 100,
            "security_updates_enabled": False,
        }
        groups = {"database": {"db1": {**database, **changes.pop("db1", {})}}, "app": {"app1": app}}
        self.playbooks.write_inventory(groups, **{**common, **changes})

    def dead_rows(self) -> int:
        return int(self.database.fetch("SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'events'")[0][0])

    def vacuumed(self) -> int:
        return int(self.database.fetch("SELECT count(*) FROM pg_stat_user_tables WHERE vacuum_count > 0")[0][0])

    def forgotten(self) -> int:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'forgotten'"
        return int(self.database.fetch(query)[0][0])

    def facts(self) -> tuple[Any, ...]:
        """Return what check mode must leave as it is."""
        files = sorted((path.name, path.stat().st_size, path.stat().st_ino) for path in self.logs.iterdir())
        vacuums = self.database.fetch("SELECT relname, vacuum_count, analyze_count FROM pg_stat_user_tables ORDER BY 1")
        return self.dead_rows(), self.forgotten(), files, vacuums

    def leases(self) -> list[str]:
        return sorted(path.name for path in self.locks.iterdir()) if self.locks.exists() else []

    def forget(self) -> None:
        for session in self._sessions:
            session.close()


@pytest.fixture
def product(tmp_path: Path, database: Database, role: Roles) -> Iterator[Product]:
    here = Product(tmp_path, database, role())
    here.neglect()
    here.write_inventory()
    yield here
    here.forget()


def acts(run: Run, host: str) -> dict[str, list[str]]:
    """Return what each step that acts planned, or did, on a host."""
    found: dict[str, list[str]] = {}
    for line in run.summary["hosts"][host]["steps"]:
        found.setdefault(line["step"], []).extend(line["details"])
    return found


def test_predict_do_and_nothing_left(product: Product) -> None:
    before = product.facts()
    check = product.playbooks.run(WEEKLY, "--check", "--diff")
    assert check.rc == 0, check.output
    assert product.facts() == before and product.leases() == []
    assert check.summary["check_mode"] and check.step("db1", "maintenance")["planned"] >= 1
    assert check.step("db1", "sessions")["planned"] == 1 and check.step("app1", "logs")["planned"] >= 1
    assert "[PREDICTION]" in check.page and "a real run would do" in check.page

    real = product.playbooks.run(WEEKLY)
    assert real.rc == 0, real.output
    assert (product.dead_rows(), product.forgotten(), product.leases()) == (0, 0, [])
    for host, step in (("db1", "maintenance"), ("db1", "sessions"), ("app1", "logs")):
        assert real.step(host, step)["done"] == check.step(host, step)["planned"], step
    # An old server is something that a person should know of; nothing that was done is.
    urgent = [todo for todo in real.summary["needs_a_person"] if todo["status"] != "unknown"]
    assert [todo for todo in urgent if todo["step"] != "database"] == [], real.page

    again = product.playbooks.run(WEEKLY)
    assert again.rc == 0 and again.summary["changed"] is False, again.output
    assert "Nothing to do; " in again.page
    assert " changed=0 " in again.output and not any(f" changed={n} " in again.output for n in range(1, 30))


@newest
def test_a_server_that_does_not_answer_stops_the_run_before_it_changes_anything(
    product: Product, throwaway_server: Callable[..., Server]
) -> None:
    gone = throwaway_server()
    port = gone.port
    gone.remove()
    product.write_inventory(db1={"database_login": {"login_host": "127.0.0.1", "login_port": port}})
    before = product.facts()
    run = product.playbooks.run(WEEKLY)
    assert run.rc == 2 and product.leases() == [] and product.facts() == before
    assert run.step("db1", "database")["notices"][0]["check"] == "reachable"
    assert "Connection refused" in run.page and "Nothing was changed; 1 thing needs a person." in run.page
    assert "--limit db1" in run.page


@newest
def test_a_step_that_fails_is_reported_and_the_others_go_on(product: Product) -> None:
    rules = [{"name": "broken", "match": "idle", "older_than": "soon", "action": "observe"}]
    product.write_inventory(db1={"database_maintenance_session_rules": rules})
    run = product.playbooks.run(WEEKLY)
    assert run.rc == 2 and product.leases() == [], run.output
    assert run.step("db1", "sessions")["notices"][0]["check"] == "invalid_value"
    assert run.step("db1", "maintenance")["done"] >= 1 and run.step("app1", "logs")["done"] >= 1
    assert "failed on this host: sessions" in run.output and "report" not in run.steps("db1")
    assert "--limit db1" in run.page


@newest
def test_a_group_whose_only_host_is_lost_does_not_end_the_run_for_the_others(product: Product) -> None:
    report = {"report_dest": str(product.folder / "reports"), "report_product": "shop"}
    product.write_inventory(db1=lost_with("postgresql_sessions", product.folder / "db1"), **report)
    run = product.playbooks.run(WEEKLY)
    assert run.rc == 2 and run.summary["hosts"]["db1"]["status"] == "unreachable", run.output
    assert "failed on this host: sessions, maintenance, reindex, logs, updates, restarts, verify" in run.output
    assert product.vacuumed() == 2, "nothing was done after the loss"
    assert run.step("app1", "logs")["done"] >= 1 and "verify" in run.steps("app1")
    assert run.summary["hosts"]["app1"]["status"] != "unreachable" and "connection reset" in run.page
    assert (product.folder / "reports" / "report.html").exists()
    assert product.leases() == ["maintenance-db1.lease"], "the lost host's lock ends by itself, the others' are free"


def restarts(marker: Path) -> dict[str, Any]:
    commands = {"status": ["true"], "restart": ["touch", str(marker)]}
    service = {"name": marker.name, "manager": "command", "interval": "100ms", "condition": "always"}
    return {"service_restarts_services": [{**service, "commands": commands}]}


@newest
def test_a_host_that_is_lost_while_it_restarts_stops_the_restarts_and_answers_again(product: Product) -> None:
    first, second = product.folder / "first", product.folder / "second"
    blink = lost_with("service_restart", product.folder / "db1", stays=False)
    product.write_inventory(db1={**restarts(first), **blink}, app1=restarts(second))
    run = product.playbooks.run(WEEKLY, "--tags", "restarts")
    assert run.rc == 2 and not first.exists() and not second.exists(), run.output
    assert "not done, because it failed on db1" in run.output and product.leases() == []
    assert "the host was lost: " in run.output and run.step("db1", "restarts")["status"] == "unreachable"


@newest
def test_what_would_begin_after_the_window_is_left_for_the_next_run(product: Product) -> None:
    tomorrow = time.strftime("%a", time.gmtime(time.time() + 2 * 86400)).lower()
    always, later = ({"days": [days], "start": "00:00", "duration": "24h"} for days in ("daily", tomorrow))
    closes = "preflight_step == 'reindex' or (preflight_step == 'restarts' and inventory_hostname == 'app1')"
    windows = f"{{{{ [{later}] if preflight_step is defined and ({closes}) else [{always}] }}}}"
    first, second = product.folder / "first", product.folder / "second"
    product.database.execute("CREATE INDEX bad ON carts (touched)")
    product.database.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'bad'::regclass")
    product.write_inventory(db1=restarts(first), app1=restarts(second), preflight_windows=windows)
    for arguments in (("--check", "--diff"), ()):
        run = product.playbooks.run(WEEKLY, *arguments)
        assert run.rc == 0 and product.leases() == [] and not second.exists(), run.output
        for host, step in (("db1", "reindex"), ("app1", "restarts")):
            line = run.step(host, step)
            assert (line["status"], line["done"], line["planned"]) == ("warning", 0, 0)
            assert f"left for the next run: {step}" in line["msg"] and line["msg"] in run.page
    assert first.exists() and run.step("db1", "maintenance")["done"] >= 1
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'bad'::regclass"
    assert product.database.fetch(valid) == [(False,)]


@newest
def test_a_second_run_is_refused_while_the_first_works(product: Product) -> None:
    go_on = product.folder / "go_on"
    wait = ["sh", "-c", f"until [ -e {go_on} ]; do sleep 0.1; done"]
    service = {"name": "slow", "manager": "command", "interval": "100ms", "commands": {}}
    service["commands"] = {"status": ["test", "-e", str(go_on)], "restart": wait}
    product.write_inventory(app1={"service_restarts_services": [service]})
    first = product.playbooks.start(WEEKLY, "--tags", "restarts")
    try:
        wait_for(lambda: product.leases() == ["maintenance-app1.lease", "maintenance-db1.lease"])
        second = product.playbooks.run(WEEKLY)
    finally:
        go_on.touch()
        output, _unused = first.communicate(timeout=300)
    assert second.rc == 2 and f"pid {first.pid} has been at work here" in second.page, second.output
    assert {notice["check"] for notice in second.step("db1", "lock")["notices"]} == {"lock_busy"}
    assert "Nothing was changed; 2 things need a person" in second.page
    assert first.returncode == 0 and product.leases() == [], output


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@newest
def test_a_run_that_was_killed_leaves_nothing_in_the_way(product: Product) -> None:
    first = product.playbooks.start(WEEKLY)
    wait_for(lambda: len(product.leases()) == 2)
    first.kill()
    first.communicate()
    run = product.playbooks.run(WEEKLY, "--tags", "preflight")
    assert run.rc == 0 and product.leases() == [], run.output
    assert "is taken over from Weekly maintenance of" in run.page


@newest
@pytest.mark.parametrize(
    ("arguments", "db1", "app1"),
    [
        (["--tags", "logs"], ["window", "host"], ["window", "host", "logs"]),
        (["--tags", "sessions"], ["window", "host", "database", "sessions"], ["window", "host"]),
        (["--tags", "preflight"], ["window", "host", "database"], ["window", "host"]),
        (["--limit", "app1"], None, ["window", "host", "logs", "verify"]),
    ],
)
def test_parts_of_the_runbook(
    product: Product, arguments: list[str], db1: list[str] | None, app1: list[str] | None
) -> None:
    run = product.playbooks.run(WEEKLY, *arguments)
    assert run.rc == 0 and product.leases() == [], run.output
    for host, steps in (("db1", db1), ("app1", app1)):
        if steps is None:
            assert host not in run.summary["hosts"]
        else:
            assert [step for step in run.steps(host) if step in ALL_STEPS] == steps


ALL_STEPS = {"window", "host", "database", "maintenance", "reindex", "sessions", "logs", "restarts", "verify"}


@newest
def test_a_closed_window_stops_the_run_and_can_be_overruled(product: Product) -> None:
    tomorrow = time.strftime("%a", time.gmtime(time.time() + 2 * 86400)).lower()
    window = [{"name": "later", "days": [tomorrow], "start": "12:00", "end": "13:00"}]
    product.write_inventory(preflight_windows=window)
    closed = product.playbooks.run(WEEKLY)
    assert closed.rc == 2 and "window_closed" in closed.output and "the next one opens" in closed.page
    overruled = product.playbooks.run(WEEKLY, "--tags", "preflight", "-e", "preflight_window_enforced=false")
    assert overruled.rc == 0, overruled.output
    assert overruled.step("db1", "window")["status"] == "warning"


@newest
def test_an_impossible_window_is_refused(product: Product) -> None:
    product.write_inventory(preflight_windows=[{"days": ["sun"], "start": "04:00", "end": "04:00"}])
    run = product.playbooks.run(WEEKLY)
    assert run.rc == 2 and "impossible_window" in run.output and product.leases() == []


@newest
def test_a_full_disk_stops_the_run(product: Product) -> None:
    product.write_inventory(preflight_disk_free_minimum="900TB")
    run = product.playbooks.run(WEEKLY)
    assert run.rc == 2 and "free room first" in run.page and product.leases() == []


@newest
def test_a_report_that_cannot_be_written_fails_the_run_and_keeps_no_lock(product: Product) -> None:
    product.write_inventory(report_dest=str(product.folder / "reports"), report_product="")
    run = product.playbooks.run(WEEKLY, "--tags", "report")
    assert run.rc == 2 and "product must not be empty" in run.page, run.output
    assert set(run.summary["hosts"]) == {"app1", "db1"} and product.leases() == []


@newest
def test_an_inventory_without_any_group_is_no_error(product: Product) -> None:
    product.playbooks.write_inventory({"other": {"x": {}}})
    run = product.playbooks.run(WEEKLY)
    assert run.rc == 0, run.output


@newest
def test_the_database_runbook(product: Product) -> None:
    check = product.playbooks.run(DATABASE_ONLY, "--check", "--diff")
    assert check.rc == 0 and product.leases() == [], check.output
    run = product.playbooks.run(DATABASE_ONLY)
    assert run.rc == 0 and product.leases() == [], run.output
    assert (product.dead_rows(), product.forgotten()) == (0, 0) and "app1" not in run.summary["hosts"]
    assert product.playbooks.run(DATABASE_ONLY).summary["changed"] is False


@newest
def test_the_playbook_s_name_in_the_collection_works_too(product: Product, tmp_path: Path) -> None:
    """The release has the names with underscores; the collection is found without ansible.cfg."""
    release = tmp_path / "collections" / "ansible_collections" / "oncall" / "runbooks"
    (release / "playbooks").mkdir(parents=True)
    for name in ("plugins", "roles", "meta"):
        (release / name).symlink_to(ROOT / name)
    for name in ("weekly-maintenance.yml", "weekly-maintenance.meta.yml"):
        alias = name.replace("-maintenance", "_maintenance")
        (release / "playbooks" / alias).write_bytes((ROOT / "playbooks" / name).read_bytes())
    (tmp_path / "ansible.cfg").write_text("[defaults]\ncallbacks_enabled = oncall.runbooks.summary\n")
    run = product.playbooks.run(
        "oncall.runbooks.weekly_maintenance",
        "--tags",
        "preflight",
        ANSIBLE_COLLECTIONS_PATH=str(tmp_path / "collections"),
        ANSIBLE_CONFIG=str(tmp_path / "ansible.cfg"),
    )
    assert run.rc == 0, run.output
    assert run.summary["runbook"] == "weekly_maintenance" and "Weekly maintenance" in run.output


@newest
def test_a_summary_that_cannot_be_written_is_told_and_breaks_nothing(product: Product) -> None:
    run = product.playbooks.run(WEEKLY, "--tags", "preflight", ONCALL_SUMMARY_FILE=str(product.folder / "no" / "file"))
    assert run.rc == 0 and "Nothing to do" in run.page
    assert "Callback dispatch 'v2_playbook_on_stats' failed" in run.output and "No such file" in run.output


@newest
def test_a_password_is_nowhere_to_be_seen(product: Product) -> None:
    canary = "c4n4ry-p4ssw0rd"
    login = {"login_host": "127.0.0.1", "login_port": product.database.server.port, "login_user": "postgres"}
    product.write_inventory(db1={"database_login": {**login, "login_password": canary}})
    assert canary in product.playbooks.inventory.read_text()
    run = product.playbooks.run(WEEKLY, "-vvv", "--diff", "--tags", "preflight,maintenance,sessions")
    assert run.rc == 0, run.output[-3000:]
    assert canary not in run.output and canary not in json.dumps(run.summary)
