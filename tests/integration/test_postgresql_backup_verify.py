"""postgresql_backup_verify against real servers: what is proven, what is not, and what is left behind."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._io.throwaway import processes_in
from tests.support.copies import add_copy, add_proof
from tests.support.database_copies import add_database_copy, source_of
from tests.support.modules import run_failed, run_ok
from tests.support.repositories import TestRepository, make_repository
from tests.support.servers import Database, Roles, client_bin_dir, npm_install

MODULE = "postgresql_backup_verify"
WORK_DIR = Path("/var/tmp")

SCHEMA = """
CREATE SCHEMA shop;
CREATE TYPE shop.mood AS ENUM ('sad', 'ok');
CREATE TABLE shop.customers (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE, mood shop.mood);
CREATE TABLE shop.orders (id bigserial PRIMARY KEY, customer int NOT NULL REFERENCES shop.customers, total numeric,
                          twice numeric GENERATED ALWAYS AS (total * 2) STORED, CHECK (total >= 0));
INSERT INTO shop.customers (name, mood) SELECT 'customer ' || g, 'ok' FROM generate_series(1, 200) g;
INSERT INTO shop.orders (customer, total) SELECT 1 + g % 200, g FROM generate_series(1, 5000) g;
CREATE VIEW shop.totals AS SELECT customer, sum(total) AS total FROM shop.orders GROUP BY 1;
CREATE MATERIALIZED VIEW shop.frozen AS SELECT * FROM shop.totals;
CREATE UNIQUE INDEX ON shop.frozen (customer);
CREATE TABLE shop."o d;d 'x'" (a int);
CREATE FUNCTION shop.note() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER {trigger} ON ddl_command_start EXECUTE FUNCTION shop.note();
CREATE PUBLICATION everything FOR TABLE shop.orders;
SELECT lo_from_bytea(0, '\\x00ff10');
"""


@pytest.fixture
def repository(tmp_path: Path) -> TestRepository:
    return make_repository(tmp_path)


@pytest.fixture
def shop(database: Database, role: Roles) -> Database:
    database.execute(SCHEMA.format(trigger=f"note_{database.name}"))
    owner = role()
    database.execute(f"ALTER TABLE shop.orders OWNER TO {owner}; GRANT SELECT ON shop.customers TO {owner}")
    return database


def options(repository: TestRepository, database: Database, **more: Any) -> dict[str, Any]:
    major = database.server.major
    return {
        **repository.options,
        "product": "shop",
        "source_host": "db1",
        "name": database.name,
        "server_bin_dirs": [str(npm_install(major).bin_dir)],
        "client_bin_dirs": [str(client_bin_dir(major))],
        "jobs": 2,
        **more,
    }


def found(result: dict[str, Any]) -> dict[str, str]:
    return {finding["check"]: finding["status"] for finding in result["findings"]}


def verdict_of(repository: TestRepository, copy_id: str) -> str:
    catalog = repository.catalog()
    return catalog.verdict_of(catalog.by_id(copy_id))


def leftovers() -> set[str]:
    return {str(path) for path in WORK_DIR.glob("oncall-throwaway-*")}


@pytest.mark.parametrize("form", ["directory", "stream"])
def test_a_good_copy_is_proven(repository: TestRepository, shop: Database, form: str) -> None:
    before = leftovers()
    copy_id = add_database_copy(repository, shop, form=form)
    planned = run_ok(MODULE, options(repository, shop), check=True)
    assert [action["id"] for action in planned["plan"]] == ["fetch", "load", "check", "proof"]
    assert verdict_of(repository, copy_id) == "unproven"
    result = run_ok(MODULE, options(repository, shop))
    assert result["plan"] == planned["plan"]
    assert result["verdict"] == "ok", result["findings"]
    assert set(found(result).values()) == {"ok"}, result["findings"]
    assert {"rows", "checksums", "sentinel", "sequences", "schema", "grants", "roles", "amcheck"} <= set(found(result))
    assert [step["status"] for step in result["steps"]] == ["done"] * 4
    assert 0 <= result["data_age_seconds"] < 600
    assert min(result[f"{part}_seconds"] for part in ("fetch", "load", "check")) > 0
    assert (result["before"]["verdict"], result["after"]["verdict"]) == ("unproven", "proven")
    assert verdict_of(repository, copy_id) == "proven"
    (proof,) = repository.catalog().proofs
    evidence = json.loads(repository.restic.read_file(proof.id, "/proof.json"))
    assert (evidence["verdict"], evidence["rows"]) == ("ok", result["evidence"]["rows"])
    assert result["changed"] and planned["changed"]
    assert leftovers() == before
