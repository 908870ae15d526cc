"""Faults of names that are not in the encoding of the database that is asked: as they were, or not called complete."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.backups import MODULE, backup_options, manifest_of
from tests.support.faults import fault
from tests.support.modules import run_failed, run_ok
from tests.support.repositories import TestRepository, make_repository
from tests.support.restores import ROWS, Shop
from tests.support.servers import Database, Server
from tests.support.verify import options as verify_options

LATIN = "CREATE DATABASE {} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"
MUELLER = "m\u00fcller"


@pytest.fixture
def repository(tmp_path: Path) -> TestRepository:
    return make_repository(tmp_path)


@pytest.fixture
def server(throwaway_server: Callable[..., Server]) -> Server:
    """A server with two databases in LATIN1: the one of the product, and the one to log in to."""
    server = throwaway_server()
    for name in ("shop", "desk"):
        Database(server, "postgres").execute(LATIN.format(name))
    return server


@fault(
    "role_named_in_latin1",
    "backup: globals",
    "the copy holds the name as it is, is proven, and a restore makes the role anew",
)
def test_a_role_of_a_server_in_latin1(server: Server, repository: TestRepository, tmp_path: Path) -> None:
    shop = Shop(Database(server, "shop"), repository, tmp_path)
    shop.fill()
    shop.database.execute(f'CREATE ROLE "{MUELLER}"; ALTER TABLE orders OWNER TO "{MUELLER}"')
    done = run_ok(MODULE, backup_options(Database(server, "desk"), repository, tmp_path / "s", databases=["shop"]))
    assert manifest_of(repository, done["copies"][0])["globals"] == "complete"

    tools = {"client_bin_dirs": shop.options["client_bin_dirs"]}
    proof = run_ok("postgresql_backup_verify", verify_options(repository, shop.database, **tools))
    assert proof["verdict"] == "ok", [one for one in proof["findings"] if one["status"] != "ok"]

    shop.database.execute(f'DROP OWNED BY "{MUELLER}"; DROP ROLE "{MUELLER}"')
    restored = shop.restore(maintenance_db="desk", create_roles=True)
    assert restored["kept"]
    owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'orders'"
    assert shop.database.fetch(owner) == [(MUELLER,)] and shop.orders() == ROWS


@fault(
    "globals_in_another_encoding",
    "backup: globals",
    "left out with a warning, or it fails where they are required; never a copy with a mangled name that is complete",
)
@pytest.mark.parametrize(
    ("made", "code"),
    [(f'CREATE ROLE "{MUELLER}"', "dump_failed"), (f"COMMENT ON ROLE postgres IS '{MUELLER}'", "undecodable")],
)
def test_globals_are_not_in_the_encoding_of_the_log_in(
    server: Server, repository: TestRepository, tmp_path: Path, made: str, code: str
) -> None:
    Database(server, "desk").execute(made)
    utf8 = Database.create(server)
    utf8.execute("CREATE TABLE item AS SELECT 1 AS id")
    options = backup_options(utf8, repository, tmp_path / "staging")
    done = run_ok(MODULE, options)
    assert [one["status"] for one in done["findings"] if one["check"] == "globals"] == ["warning"], done
    (copy,) = done["copies"]
    assert manifest_of(repository, copy)["globals"].startswith("left out: ")
    assert repository.restic.read_file(copy["snapshot"], "/globals.sql") == ""
    failed = run_failed(MODULE, {**options, "globals": "required"})
    assert failed["failure"]["code"] == code, failed
    assert code != "undecodable" or "COMMENT ON ROLE postgres IS 'm\\x" in failed["msg"]
