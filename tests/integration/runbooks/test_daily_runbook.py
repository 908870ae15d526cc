"""The daily look at a product: one screen, a verdict by area, the right exit status, and a memory."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from plugins.module_utils._core.backup import Source
from tests.support.copies import add_copy
from tests.support.playbooks import ROOT, Playbooks, Run
from tests.support.redis_servers import redis_servers
from tests.support.repositories import make_repository
from tests.support.servers import Database, Roles

DAILY = ROOT / "playbooks" / "daily-operations.yml"
CHECKLIST = [
    {"name": "endpoints", "title": "Health endpoints answer", "list": "morning", "areas": ["availability"]},
    {"name": "tickets", "title": "Support tickets are read", "list": "morning"},
    {"name": "priorities", "title": "Priorities of tomorrow are set", "list": "evening"},
]
DOWN = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
KPIS = [
    {
        "name": "answer_time",
        "source": {"metric": "availability.latency.p95", "aggregate": "max"},
        "unit": "seconds",
        "warning": 2,
        "critical": 5,
        "max_age": "1h",
        "interval": "1h",
    }
]


class Product:
    """A database, a Redis server, a log, and a web page that can be broken."""

    def __init__(self, folder: Path, database: Database, redis_port: int) -> None:
        self.playbooks = Playbooks(folder)
        self.status = 200
        self.log = folder / "app.log"
        self.log.write_text("2026-11-21T08:00:00Z INFO started\n")
        self.report = folder / "report"
        self.web = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        Thread(target=self.web.serve_forever, daemon=True).start()
        address = database.server
        self.variables: dict[str, Any] = {
            "database_login": {
                "login_host": address.host,
                "login_port": address.port,
                "login_user": address.superuser,
                "login_db": database.name,
            },
            "redis_login": {"redis_port": redis_port},
            "health_left_out": ["security"],
            "health_host": {"window": "100ms"},
            "health_logs": {"sources": [{"name": "app", "paths": [str(self.log)]}]},
            "health_availability": {"endpoints": [{"name": "home", "url": self.url, "requests": 2}]},
            "health_kpis": KPIS,
            "health_checklist": CHECKLIST,
            "report_product": "shop",
            "report_dest": str(self.report),
        }
        self.write()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.web.server_port}/"

    def write(self, **more: Any) -> None:
        groups = {"database": {"db1": {}}, "cache": {"cache1": {}}, "app": {"app1": {}}}
        self.playbooks.write_inventory(groups, **{**self.variables, **more})

    def run(self, *arguments: str) -> Run:
        return self.playbooks.run(DAILY, *arguments)

    def journal(self, query: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.playbooks.journal) as connection:
            return connection.execute(query).fetchall()

    def samples(self, metric: str, host: str) -> list[float]:
        query = (
            "SELECT value FROM samples JOIN series ON series.id = series_id"
            f" WHERE metric = '{metric}' AND host = '{host}' ORDER BY at"
        )
        return [value for (value,) in self.journal(query)]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        product = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(product.status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_args: object) -> None:
                pass

        return Handler


@pytest.fixture
def product(tmp_path: Path, database: Database) -> Iterator[Product]:
    with redis_servers(tmp_path) as redis:
        made = Product(tmp_path, database, redis().port)
        yield made
        made.web.shutdown()


def areas_of(run: Run) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for host in run.summary["hosts"].values():
        for line in host["steps"]:
            if line["area"]:
                found.setdefault(line["area"], []).append(line["status"])
    return found


def test_every_area_is_looked_at_and_a_bad_one_fails_the_run(product: Product) -> None:
    well = product.run("-e", "health_fail_on=never")
    assert well.rc == 0, well.output
    assert areas_of(well).keys() >= {"availability", "database", "redis", "host", "logs", "kpis"}
    assert len(areas_of(well)["host"]) == 3
    assert not well.summary["changed"], "a look changes nothing, and a page about it is no change"

    product.status = 500
    broken = product.run()
    assert broken.rc != 0, broken.output
    assert "CRITICAL availability" in broken.page
    assert any(todo["step"] == "availability" for todo in broken.summary["needs_a_person"]), broken.page

    runs = product.journal("SELECT runbook, status FROM runs ORDER BY started_at")
    assert [run[0] for run in runs] == ["daily-operations", "daily-operations"]
    assert runs[1][1] in ("critical", "failed")
    assert product.journal("SELECT count(*) FROM samples")[0][0] > 50
    page = (product.report / "report.html").read_text()
    assert "availability" in page and "shop" in page


def test_the_second_run_remembers_the_first(product: Product) -> None:
    first = product.run("-e", "health_fail_on=never", "--limit", "db1:app1")
    assert first.rc == 0, first.output
    names = {name for (name,) in product.journal("SELECT name FROM states")}
    assert names >= {"database.counters", "host.counters"}, names
    with product.log.open("a") as log:
        log.write("2026-11-21T09:00:00Z ERROR payment 4711 was refused\n")
    second = product.run("-e", "health_fail_on=never", "--limit", "db1:app1")
    assert second.rc == 0, second.output
    assert product.samples("logs.lines", "app1") == [1, 1], "a line was read twice, or not at all"
    assert [bool(rate) for rate in product.samples("logs.errors", "app1")] == [False, True]


def test_the_lists_of_the_day(product: Product) -> None:
    sign = json.dumps({"health_signed": ["tickets"], "health_signed_by": "anna", "health_list": "morning"})
    product.write(health_fail_on="never")
    limit = ("--limit", "app1:localhost")
    signed = product.run(*limit, "-e", sign)
    assert signed.rc == 0, signed.output
    checklist = [f for f in product.journal("SELECT check_name, status FROM findings") if f[0].startswith("list_")]
    assert ("list_tickets", "ok") in checklist and not any(name == "list_priorities" for name, _s in checklist)
    again = product.run(*limit, "-e", "health_list=morning")
    assert "signed by anna" in json.dumps(product.journal("SELECT msg FROM findings ORDER BY id DESC LIMIT 60"))
    evening = product.run(*limit, "-e", "health_list=evening")
    assert again.rc == evening.rc == 0 and "open: Priorities of tomorrow are set" in evening.page


@pytest.mark.parametrize(
    ("variables", "word"),
    [
        ({"health_availability": {"endpoints": [{"name": "home", "url": "ftp://x/"}]}}, "areas.availability"),
        ({"health_external_apis": {"apis": [{"name": "spotify"}]}}, "areas.external_apis"),
        ({"health_kpis": [{**KPIS[0], "critical": 1}]}, "kpis"),
        ({"health_resources": [{"name": "disk"}]}, "resources"),
        ({"health_database": {"limits": {"connections": {"warning": "many"}}}}, "areas.database: limits.connections"),
    ],
)
def test_bad_inventory_is_refused_before_anything_is_looked_at(
    product: Product, variables: dict[str, Any], word: str
) -> None:
    product.write(**variables)
    run = product.run()
    assert run.rc != 0 and word in run.page, run.output
    assert "ACT" not in run.output.replace("FACT", "")
    assert product.journal("SELECT count(*) FROM samples") == [(0,)]


def test_a_host_that_does_not_answer_is_the_worst(product: Product) -> None:
    hosts = {"app1": {}, "app2": DOWN}
    product.playbooks.write_inventory({"app": hosts}, **{**product.variables, "health_fail_on": "never"})
    run = product.run()
    assert run.rc != 0 and run.summary["status"] in ("unreachable", "failed"), run.output
    assert "app2" in run.page and areas_of(run)["host"]


def test_slow_queries_that_no_lost_host_logs_are_no_success(product: Product) -> None:
    product.playbooks.write_inventory({"database": {"db1": DOWN}}, **product.variables)
    asked = ("--tags", "slow_log", "-e", "health_slow_log_for=15m")
    run = product.playbooks.run(ROOT / "playbooks" / "performance-check.yml", *asked)
    assert run.rc != 0 and run.summary["status"] == "unreachable", run.output


@pytest.mark.parametrize(
    "runbook", ["daily-operations", "system-health", "capacity-planning", "performance-check", "event-ingestion"]
)
def test_when_every_host_is_lost_the_product_is_still_looked_at(product: Product, runbook: str) -> None:
    lists = [*CHECKLIST, {"name": "hosts", "title": "Hosts are well", "list": "morning", "areas": ["host"]}]
    ingestion = {"sources": [{"name": "shop", "queries": {"events": "SELECT 1500"}}]}
    product.variables |= {"health_checklist": lists, "health_fail_on": "never", "health_ingestion": ingestion}
    groups = {"database": {"db1": DOWN}, "cache": {"cache1": DOWN}}
    product.playbooks.write_inventory(groups, **product.variables)
    asked = ("-e", "health_slow_log_for=15m")
    run = product.playbooks.run(ROOT / "playbooks" / f"{runbook}.yml", *asked)
    assert run.rc != 0 and run.summary["status"] == "unreachable", run.output
    lost = {host: of_host for host, of_host in run.summary["hosts"].items() if host != "localhost"}
    assert "db1" in lost, run.output
    assert {line["status"] for of_host in lost.values() for line in of_host["steps"]} == {"unreachable"}, run.output
    (todo,) = (one for one in run.summary["needs_a_person"] if one["status"] in ("unreachable", "failed"))
    assert set(todo["hosts"]) == set(lost) and todo["next"] and todo["command"], todo
    assert (product.report / "report.html").exists()
    looked = areas_of(run).keys()
    if runbook == "daily-operations":
        assert looked >= {"availability", "kpis"}
        answers = dict(product.journal("SELECT check_name, status FROM findings WHERE check_name LIKE 'list_%'"))
        assert (answers["list_hosts"], answers["list_endpoints"]) == ("unknown", "ok")
    elif runbook != "capacity-planning":
        assert "kpis" in looked


def test_a_look_that_failed_is_told_once_with_its_reason(product: Product) -> None:
    groups = {"cache": {"cache1": {"ansible_python_interpreter": "/no/such/python"}}, "app": {"app1": {}}}
    lists = [{"name": "caches", "title": "Caches are well", "areas": ["redis"]}]
    product.playbooks.write_inventory(groups, **{**product.variables, "health_checklist": lists})
    run = product.run("-e", "health_fail_on=never")
    assert run.rc != 0 and run.summary["status"] == "failed", run.output
    (line,) = run.summary["hosts"]["cache1"]["steps"]
    assert line["status"] == "failed" and "/no/such/python" in line["msg"], line
    assert areas_of(run).keys() >= {"host", "availability", "kpis"}
    assert product.journal("SELECT status FROM findings WHERE check_name = 'list_caches'") == [("unknown",)]


def test_a_host_left_out_of_the_run_leaves_its_items_unknown(product: Product) -> None:
    lists = [{"name": area, "title": area, "areas": [area]} for area in ("logs", "redis", "availability")]
    product.write(health_checklist=lists, health_fail_on="never")
    run = product.run("--limit", "app1:localhost")
    assert run.rc == 0, run.output
    answers = dict(product.journal("SELECT check_name, status FROM findings WHERE check_name LIKE 'list_%'"))
    assert answers == {"list_logs": "unknown", "list_redis": "unknown", "list_availability": "ok"}


def test_what_the_inventory_wants_copied_and_has_no_copy_is_critical(product: Product, tmp_path: Path) -> None:
    """A copy of something else in the repository must not make it ok."""
    repository = make_repository(tmp_path / "copies")
    product.variables |= {"backup_repository": repository.options, "health_backups": {"max_proof_age": "0"}}
    lists = [{"name": "backups", "title": "Backups are young", "areas": ["backups"]}]
    product.write(health_checklist=lists, health_fail_on="never")
    own = ("--tags", "product,objectives")
    empty = product.run(*own)
    assert areas_of(empty)["backups"] == ["critical"] and "no copy at all" in empty.page, empty.output

    add_copy(repository, datetime.now(timezone.utc), Source("shop", "db1", "postgresql", "app"))
    product.playbooks.write_inventory(
        {"database": {"db1": {"backup_databases": ["app"]}}, "cache": {"cache1": {"backup_redis": True}}},
        **{**product.variables, "health_checklist": lists, "health_fail_on": "never", "backup_product": "shop"},
    )
    partly = product.run(*own)
    assert areas_of(partly)["backups"] == ["critical"], partly.output
    assert "shop redis redis of cache1: the repository has no copy of it" in partly.page, partly.output
    bad = product.journal("SELECT count(*) FROM findings WHERE check_name = 'list_backups' AND status = 'critical'")
    assert bad == [(2,)]

    add_copy(repository, datetime.now(timezone.utc), Source("shop", "cache1", "redis", "redis"))
    assert areas_of(product.run(*own))["backups"] == ["ok"]


def test_the_deeper_looks(product: Product) -> None:
    """Each runbook by itself, one after the other, on the same product."""
    product.write(
        health_fail_on="never",
        health_ingestion={"sources": [{"name": "shop", "queries": {"events": "SELECT 1500"}}]},
        health_external_apis={"apis": [{"name": "vendor", "url": product.url, "requests": 1}]},
        health_resources=[
            {
                "name": "root",
                "source": {"metric": "host.disk.used_percent", "labels": {"mount": "/"}},
                "unit": "%",
                "limit": 100,
                "warning": "30d",
                "critical": "7d",
            }
        ],
    )
    looked = {}
    for name in ("system-health", "performance-check", "event-ingestion", "external-apis", "capacity-planning"):
        run = product.playbooks.run(ROOT / "playbooks" / f"{name}.yml", "-e", "health_host_window=1s")
        assert run.rc == 0, run.output
        looked[name] = areas_of(run).keys()
    assert looked["system-health"] >= {"host", "availability", "kpis"}
    assert looked["performance-check"] >= {"database", "redis"}
    assert looked["event-ingestion"] >= {"ingestion"}
    assert looked["external-apis"] >= {"external_apis"}
    assert looked["capacity-planning"] >= {"host", "database", "capacity"}


def test_the_closer_look_reads_the_error_rate_and_leaves_other_logs_to_the_daily_one(product: Product) -> None:
    access = product.playbooks.folder / "access.log"
    line = '192.0.2.7 - - [21/Nov/2026:08:00:0{} +0000] "GET / HTTP/1.1" {} 12 "-" "curl"\n'
    access.write_text("".join(line.format(number % 10, 502 if number < 3 else 200) for number in range(200)))
    logs = {"sources": [{"name": "web", "paths": [str(access)], "format": "nginx_access"}], "since": "9999d"}
    groups = {"proxy": {"proxy1": {"health_logs": logs}}, "app": {"app1": {}}}
    product.playbooks.write_inventory(groups, **product.variables)
    run = product.playbooks.run(ROOT / "playbooks" / "system-health.yml", "-e", "health_host_window=100ms")
    read = {line["host"] for host in run.summary["hosts"].values() for line in host["steps"] if line["area"] == "logs"}
    assert read == {"proxy1"}, run.output
    assert product.samples("logs.error_percent", "proxy1") == [1.5]
    assert run.rc != 0 and "logs is critical" in run.output, "1.5 % is beyond 1 % in five minutes"


def test_slow_statements_are_logged_for_a_while_and_not_longer(product: Product, database: Database) -> None:
    check = ROOT / "playbooks" / "performance-check.yml"
    own = ("--tags", "slow_log")
    on = product.playbooks.run(check, *own, "-e", "health_slow_log_for=30m", "-e", "health_slow_log_over=400ms")
    assert on.rc == 0 and on.summary["changed"], on.output
    query = "SELECT setting FROM pg_settings WHERE name = 'log_min_duration_statement'"
    assert database.fetch(query) == [("400",)]
    off = product.playbooks.run(check, *own, "-e", "health_slow_log_for=0")
    assert off.rc == 0 and off.summary["changed"], off.output
    assert database.fetch(query) != [("400",)]


def test_slow_statements_of_one_database_are_logged_where_the_server_is_not_ours(
    product: Product, database: Database, role: Roles
) -> None:
    """As on a managed server: the owner of a database may set it there, and nowhere else."""
    owner = role()
    database.execute(f"ALTER DATABASE {database.name} OWNER TO {owner}")
    if database.server.major >= 15:
        database.execute(f"GRANT SET ON PARAMETER log_min_duration_statement TO {owner}")
    product.variables["database_login"]["login_user"] = owner
    product.write(health_fail_on="never")
    check = ROOT / "playbooks" / "performance-check.yml"
    refused = product.playbooks.run(check, "-e", "health_slow_log_for=30m")
    assert refused.rc != 0 and "failed on this host: slow_log" in refused.output, refused.output
    assert "database" in areas_of(refused) and "redis" in areas_of(refused), "the look happens all the same"
    (todo,) = [one for one in refused.summary["needs_a_person"] if one["step"] == "slow_log"]
    assert "of the whole server" in todo["msg"] and todo["next"]
    if database.server.major < 15:
        return  # there only a superuser sets it
    limit = ("-e", "health_slow_log_for=30m", "-e", "health_slow_log_scope=database", "--limit", "db1:localhost")
    on = product.playbooks.run(check, *limit)
    assert on.rc == 0 and on.summary["changed"], on.output
    query = "SELECT count(*) FROM pg_db_role_setting WHERE setconfig::text LIKE '%log_min_duration_statement%'"
    assert database.fetch(query) == [(1,)]
    off = product.playbooks.run(check, "--tags", "slow_log", "-e", "health_slow_log_for=0")
    assert off.rc == 0 and database.fetch(query) == [(0,)], off.output
