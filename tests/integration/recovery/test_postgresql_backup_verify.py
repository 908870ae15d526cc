"""postgresql_backup_verify against real servers: what is proven, what is not, and what is left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from psycopg2 import sql

from tests.support.backups import backup_options
from tests.support.copies import add_copy, add_proof
from tests.support.database_copies import add_database_copy, source_of
from tests.support.every_object import EVERY_OBJECT, HOSTILE_NAMES
from tests.support.modules import run_failed, run_ok
from tests.support.repositories import TestRepository, make_repository
from tests.support.servers import Database, Roles, client_bin_dir, random_name
from tests.support.tablespaces import tablespace
from tests.support.verify import MODULE, found, leftovers, options, verdict_of

SCHEMA = """
CREATE SCHEMA shop;
CREATE TYPE shop.mood AS ENUM ('sad', 'ok');
CREATE TABLE shop.customers (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE,
                             mood shop.mood);
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
CREATE SUBSCRIPTION {trigger} CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p WITH (connect = false);
CREATE EXTENSION hstore;
CREATE DOMAIN shop.percent AS int CHECK (VALUE BETWEEN 0 AND 100);
CREATE TABLE shop.log (at timestamptz, share shop.percent, tags public.hstore) PARTITION BY RANGE (at);
CREATE TABLE shop.log_2026 PARTITION OF shop.log FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE shop.log_rest PARTITION OF shop.log DEFAULT;
CREATE INDEX ON shop.log (at);
INSERT INTO shop.log SELECT '2026-12-30'::timestamptz + g * '1 h'::interval, g, 'a=>1' FROM generate_series(1, 90) g;
ALTER TABLE shop.customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON shop.customers USING (name = current_user);
CREATE RULE quiet AS ON DELETE TO shop.log_rest DO INSTEAD NOTHING;
CREATE UNLOGGED TABLE shop.sessions (id uuid PRIMARY KEY);
COMMENT ON TABLE shop.orders IS 'it''s; "all"';
SELECT lo_from_bytea(0, '\\x00ff10');
"""


@pytest.fixture
def repository(tmp_path: Path) -> TestRepository:
    return make_repository(tmp_path)


@pytest.fixture
def shop(database: Database, role: Roles) -> Iterator[Database]:
    name = f"note_{database.name}"
    database.execute(SCHEMA.format(trigger=name))
    owner = role()
    database.execute(f"ALTER TABLE shop.orders OWNER TO {owner}; GRANT SELECT ON shop.customers TO {owner}")
    yield database
    database.execute(f"DROP EVENT TRIGGER {name}")
    database.execute(f"ALTER SUBSCRIPTION {name} SET (slot_name = NONE)")
    database.execute(f"DROP SUBSCRIPTION {name}")


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


@pytest.mark.parametrize("mode", ["directory", "stream"])
def test_what_the_backup_module_wrote_is_proven(
    repository: TestRepository, shop: Database, tmp_path: Path, mode: str
) -> None:
    written = run_ok("postgresql_backup", backup_options(shop, repository, tmp_path, mode=mode))
    asked = options(repository, shop, client_bin_dirs=[str(client_bin_dir(18))])
    result = run_ok(MODULE, asked)
    assert result["verdict"] == "ok", result["findings"]
    assert found(result)["sentinel"] == "ok"
    assert found(run_ok(MODULE, {**asked, "verify": False})) == {"backup_age": "ok", "proof_age": "ok"}
    assert [copy["snapshot"] for copy in written["copies"]] == [result["copy"]["id"]]


def test_what_was_only_looked_at_changes_nothing(repository: TestRepository, database: Database) -> None:
    copy_id = add_database_copy(repository, database)
    result = run_ok(MODULE, options(repository, database, verify=False))
    assert (result["plan"], result["changed"], result["verdict"]) == ([], False, None)
    assert found(result) == {"backup_age": "ok", "proof_age": "critical"}
    assert result["copy"]["id"] == copy_id


def test_ages_are_judged(repository: TestRepository, database: Database) -> None:
    now, source = datetime.now(timezone.utc), source_of(database)
    asked = options(repository, database, verify=False, max_age="2h", max_proof_age="3d")
    result = run_ok(MODULE, asked)
    assert (found(result), result["status"]) == ({"copy_missing": "critical"}, "critical")
    old = add_copy(repository, now - timedelta(hours=5), source)
    add_proof(repository, old, now - timedelta(hours=4), "ok", source)
    assert found(run_ok(MODULE, asked)) == {"backup_age": "critical", "proof_age": "ok"}
    add_copy(repository, now - timedelta(hours=1), source)
    assert found(run_ok(MODULE, asked)) == {"backup_age": "ok", "proof_age": "ok"}
    assert found(run_ok(MODULE, {**asked, "max_proof_age": "1h"})) == {"backup_age": "ok", "proof_age": "critical"}
    assert found(run_ok(MODULE, {**asked, "max_age": "0", "max_proof_age": "0"}))["backup_age"] == "ok"
    add_copy(repository, now + timedelta(hours=1), source)
    assert found(run_ok(MODULE, asked)) == {"backup_age": "ok", "proof_age": "ok", "clock_skew": "warning"}


def test_a_copy_that_was_proven_and_then_found_bad_is_no_copy_whoever_is_asked(
    repository: TestRepository, database: Database
) -> None:
    now, source = datetime.now(timezone.utc), source_of(database)
    copy_id = add_copy(repository, now - timedelta(hours=3), source)
    add_proof(repository, copy_id, now - timedelta(hours=2), "ok", source)
    asked = options(repository, database, verify=False)
    assert found(run_ok(MODULE, asked)) == {"backup_age": "ok", "proof_age": "ok"}
    add_proof(repository, copy_id, now - timedelta(hours=1), "critical", source)
    result = run_ok(MODULE, asked)
    assert found(result) == {"backup_age": "critical", "proof_age": "critical", "copy_bad": "critical"}
    catalog = run_ok("backup_catalog_info", repository.options)
    assert found(catalog) == {"repository": "ok", **found(result)}


def test_the_newest_copy_is_taken_even_when_it_is_known_to_be_bad(
    repository: TestRepository, database: Database
) -> None:
    now, source = datetime.now(timezone.utc), source_of(database)
    database.execute("CREATE TABLE t AS SELECT g FROM generate_series(1, 10) g")
    good = add_database_copy(repository, database, taken_at=(now - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"))
    bad = add_database_copy(repository, database, damage=lambda: database.execute("DELETE FROM t WHERE g = 3"))
    add_proof(repository, bad, now, "critical", source)
    result = run_ok(MODULE, options(repository, database))
    assert (result["copy"]["id"], result["verdict"]) == (bad, "critical")
    at = (now - timedelta(minutes=30)).strftime("%Y%m%d-%H%M%S")
    assert run_ok(MODULE, options(repository, database, at=at))["copy"]["id"] == good
    result = run_ok(MODULE, options(repository, database, snapshot=good[:10], write_proof=False))
    assert (result["copy"]["id"], result["verdict"], result["proof"]) == (good, "ok", None)
    assert [action["id"] for action in result["plan"]] == ["fetch", "load", "check"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"at": "yesterday"}, "invalid_value"),
        ({"at": "20200101-000000"}, "no_copy_old_enough"),
        ({"snapshot": "0000"}, "no_copy"),
        ({"at": "20200101-000000", "snapshot": "0000"}, "invalid_arguments"),
        ({"max_age": "soon"}, "invalid_value"),
        ({"jobs": 0}, "invalid_value"),
        ({"run_as": "nobody-by-this-name"}, "invalid_value"),
        ({"work_dir": "/no/such/folder"}, "invalid_value"),
        ({"repository_password": "not-the-one"}, "wrong_key"),
        ({"repository": "/no/such/repository"}, "repository_missing"),
    ],
)
def test_bad_input_says_so(repository: TestRepository, database: Database, change: dict[str, str], code: str) -> None:
    add_database_copy(repository, database)
    assert run_failed(MODULE, {**options(repository, database), **change})["failure"]["code"] == code


def test_a_snapshot_of_another_source_is_refused(repository: TestRepository, database: Database) -> None:
    other = add_copy(repository, datetime.now(timezone.utc))
    assert run_failed(MODULE, options(repository, database, snapshot=other))["failure"]["code"] == "invalid_value"


@pytest.mark.majors(maximum=17)
def test_a_newer_server_will_do_where_that_major_is_not_here(repository: TestRepository, database: Database) -> None:
    database.execute("CREATE TABLE t AS SELECT g FROM generate_series(1, 10) g")
    copy_id = add_database_copy(repository, database)
    newer = str(client_bin_dir(18))  # it has no contrib, and so no amcheck
    result = run_ok(MODULE, options(repository, database, server_bin_dirs=[newer], client_bin_dirs=[newer]))
    assert (result["verdict"], found(result)["server"], found(result)["amcheck"]) == ("ok", "warning", "unknown")
    assert verdict_of(repository, copy_id) == "proven"


def test_a_locale_that_is_not_here_is_said(repository: TestRepository, shop: Database) -> None:
    def elsewhere(folder: Path) -> None:
        path = folder / "manifest.json"
        facts = json.loads(path.read_text())
        facts["server"].update(collate="xx_YY.UTF-8", ctype="xx_YY.UTF-8")
        path.write_text(json.dumps(facts))

    add_database_copy(repository, shop, on_folder=elsewhere)
    result = run_ok(MODULE, options(repository, shop, amcheck="none"))
    assert (result["verdict"], found(result)["locale"], "amcheck" in found(result)) == ("ok", "warning", False)


def test_every_kind_of_object(repository: TestRepository, database: Database, role: Roles) -> None:
    database.execute(EVERY_OBJECT.replace("{role}", role()))
    for name in HOSTILE_NAMES:
        quoted = '"' + name.replace('"', '""') + '"'
        database.execute(sql.SQL("CREATE TABLE {}").format(sql.SQL(f"{quoted} ({quoted} serial PRIMARY KEY)")))
    add_database_copy(repository, database)
    result = run_ok(MODULE, options(repository, database))
    assert result["verdict"] == "ok", result["findings"]
    assert found(result).pop("constraints") == "warning"  # one was not valid in the source either


def test_names_of_every_kind(repository: TestRepository, database: Database, role: Roles) -> None:
    name = random_name("o'x \"; DROP")
    owner = role(name=name)
    quoted = '"' + name.replace('"', '""') + '"'
    database.execute(f"CREATE SCHEMA {quoted}; CREATE TABLE {quoted}.{quoted} ({quoted} serial PRIMARY KEY)")
    database.execute(f"INSERT INTO {quoted}.{quoted} DEFAULT VALUES; ALTER SCHEMA {quoted} OWNER TO {quoted}")
    add_database_copy(repository, database)
    result = run_ok(MODULE, options(repository, database))
    assert result["verdict"] == "ok", (owner, result["findings"])


def test_a_tablespace_of_its_own_is_not_needed_and_told(repository: TestRepository, database: Database) -> None:
    with tablespace(database.server) as name:
        database.execute(f"CREATE TABLE orders TABLESPACE {name} AS SELECT generate_series(1, 100) AS id")
        add_database_copy(repository, database)
        database.execute("DROP TABLE orders")
    result = run_ok(MODULE, options(repository, database))
    assert result["verdict"] == "ok", result["findings"]
    assert [name in one["msg"] for one in result["findings"] if one["check"] == "tablespaces"] == [True]
