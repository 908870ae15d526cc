"""Faults of copies, of the repository and of this host, as a verification meets them: never a false ok."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._core.backup_manifest import Sentinel
from tests.support.database_copies import add_database_copy, read_tar, rewrite_facts, write_tar
from tests.support.faults import fault
from tests.support.modules import run_failed, run_ok
from tests.support.repositories import TestRepository, make_repository
from tests.support.servers import Database, Roles
from tests.support.verify import MODULE, found, leftovers, options, verdict_of

STAGE = "verify"
BAD = "verdict critical, and the catalog calls the copy bad"

SCHEMA = """
CREATE TABLE customers (id serial PRIMARY KEY, name text NOT NULL);
CREATE TABLE orders (id bigserial PRIMARY KEY, customer int REFERENCES customers, total numeric);
INSERT INTO customers (name) SELECT 'customer ' || g FROM generate_series(1, 50) g;
INSERT INTO orders (customer, total) SELECT 1 + g % 50, g FROM generate_series(1, 3000) g;
CREATE TABLE noise AS SELECT g, md5(g::text) || md5((-g)::text) AS v FROM generate_series(1, 30000) g;
"""


@pytest.fixture
def repository(tmp_path: Path) -> TestRepository:
    return make_repository(tmp_path)


@pytest.fixture
def shop(database: Database) -> Database:
    database.execute(SCHEMA)
    return database


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = leftovers()
    yield
    assert leftovers() == before


def expect_bad(repository: TestRepository, database: Database, copy_id: str, *checks: str) -> dict[str, Any]:
    result = run_ok(MODULE, options(repository, database))
    assert (result["verdict"], result["status"]) == ("critical", "critical"), result["findings"]
    assert {found(result)[check] for check in checks} == {"critical"}, result["findings"]
    assert "DOES NOT RESTORE" in result["msg"]
    assert verdict_of(repository, copy_id) == "bad"
    return result


# --- copies that are not what their facts say -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "checks"),
    [
        ("DELETE FROM orders WHERE id = 1234", ["rows", "checksums"]),
        ("INSERT INTO noise VALUES (0, 'more')", ["rows"]),
        ("UPDATE orders SET total = total + 1 WHERE id = 1234", ["checksums"]),
        ("SELECT setval('orders_id_seq', 17)", ["sequences"]),
        ("ALTER SEQUENCE orders_id_seq RESTART", ["sequences"]),
        ("DROP TABLE noise", ["tables", "schema"]),
        ("CREATE TABLE surplus (a int)", ["tables", "schema"]),
        (
            "ALTER TABLE orders DROP CONSTRAINT orders_customer_fkey;"
            "ALTER TABLE orders ADD CONSTRAINT orders_customer_fkey FOREIGN KEY (customer) REFERENCES customers "
            "NOT VALID",
            ["constraints", "schema"],
        ),
        ("ALTER TABLE orders DROP CONSTRAINT orders_pkey", ["schema"]),
        ("GRANT SELECT ON orders TO pg_monitor", ["grants"]),
        ("TRUNCATE oncall_runbooks.backup_sentinel", ["sentinel", "rows"]),
    ],
)  # fmt: skip
@fault("a dump that differs from the facts that were taken with it", STAGE, BAD)
def test_a_dump_that_is_not_what_was_there(
    repository: TestRepository, shop: Database, statement: str, checks: list[str]
) -> None:
    copy_id = add_database_copy(repository, shop, damage=lambda: shop.execute(statement))
    expect_bad(repository, shop, copy_id, *checks)


@fault("sentinel row that is not in the restored database", STAGE, BAD)
def test_a_sentinel_of_another_time(repository: TestRepository, shop: Database) -> None:
    copy_id = add_database_copy(repository, shop, sentinel=Sentinel("none", "2026-01-01T00:00:00.000000Z"))
    expect_bad(repository, shop, copy_id, "sentinel")


@fault("role missing in the globals of a copy", STAGE, BAD)
def test_a_role_is_missing(repository: TestRepository, shop: Database, role: Roles) -> None:
    owner = role()
    shop.execute(f"ALTER TABLE orders OWNER TO {owner}")

    def forget(folder: Path) -> None:
        path = folder / "globals.sql"
        path.write_text("".join(line for line in path.read_text().splitlines(True) if owner not in line))

    copy_id = add_database_copy(repository, shop, on_folder=forget)
    result = expect_bad(repository, shop, copy_id, "roles", "restore")
    assert owner in json.dumps(result["findings"])


def cut_data(folder: Path) -> None:
    largest = max((folder / "dump").glob("*.dat"), key=lambda path: path.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 2)


def flip_data(folder: Path) -> None:
    """Turn one letter of a text into another one: what an uncompressed dump restores without a word."""
    largest = max((folder / "dump").glob("*.dat"), key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    place = re.search(rb"\t[0-9a-f]{64}\n", data).start() + 5  # type: ignore[union-attr]
    data[place] ^= 1
    largest.write_bytes(data)


@pytest.mark.parametrize(
    "change",
    [
        cut_data,
        flip_data,
        lambda folder: (folder / "dump" / "toc.dat").unlink(),
        lambda folder: os.truncate(folder / "dump" / "toc.dat", 1000),
        lambda folder: max((folder / "dump").glob("*.dat")).unlink(),
        lambda folder: (folder / "globals.sql").unlink(),
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: (folder / "manifest.json").write_text("{}"),
        lambda folder: os.truncate(folder / "manifest.json", 500),
    ],
    ids=[
        "data cut",
        "data flipped",
        "no toc",
        "toc cut",
        "no data",
        "no globals",
        "no facts",
        "empty facts",
        "facts cut",
    ],
)
@fault("a part of a copy that was cut, changed or left out before it was stored", STAGE, BAD)
def test_a_dump_that_was_damaged_before_it_was_stored(
    repository: TestRepository, shop: Database, change: Callable[[Path], object]
) -> None:
    copy_id = add_database_copy(repository, shop, on_folder=change)
    result = run_ok(MODULE, options(repository, shop))
    assert result["verdict"] == "critical", result["findings"]
    assert verdict_of(repository, copy_id) == "bad"


Members = list[tuple[str, bytes]]


@pytest.mark.parametrize(
    "change",
    [
        lambda members: members[:-1],
        lambda members: members[:-2],
        lambda members: members[:3] + members[4:],
        lambda members: [*members[:3], members[4], members[3], *members[5:]],
        lambda members: [*members[:3], (members[3][0], members[3][1][:-1] + b"\0"), *members[4:]],
        lambda members: [*members, members[-1]],
    ],
    ids=["no seal", "no end", "piece missing", "pieces swapped", "piece changed", "more after the seal"],
)
@fault("a stream that is not what was sealed", STAGE, BAD)
def test_a_stream_that_is_not_what_was_sealed(
    repository: TestRepository, shop: Database, change: Callable[[Members], Members]
) -> None:
    def rewrite(folder: Path) -> None:
        write_tar(folder / "stream.tar", change(read_tar(folder / "stream.tar")))

    copy_id = add_database_copy(repository, shop, form="stream", on_folder=rewrite)
    expect_bad(repository, shop, copy_id, "restore")


@fault("a stream that was torn before it was stored", STAGE, BAD)
def test_a_torn_stream(repository: TestRepository, shop: Database) -> None:
    def tear(folder: Path) -> None:
        os.truncate(folder / "stream.tar", (folder / "stream.tar").stat().st_size * 2 // 3)

    copy_id = add_database_copy(repository, shop, form="stream", on_folder=tear)
    expect_bad(repository, shop, copy_id, "restore")


@fault("contents of another database under the tags of this one", STAGE, BAD)
def test_contents_of_another_database(repository: TestRepository, shop: Database) -> None:
    copy_id = add_database_copy(repository, shop, on_folder=rewrite_facts(database="another"))
    expect_bad(repository, shop, copy_id, "restore")


# --- the repository ---------------------------------------------------------------------------------------------


def largest_pack(repository: TestRepository) -> Path:
    pack = max(repository.location.glob("data/*/*"), key=lambda path: path.stat().st_size)
    pack.chmod(0o600)
    return pack


def flip_pack(repository: TestRepository) -> None:
    pack = largest_pack(repository)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)


def cut_pack(repository: TestRepository) -> None:
    pack = largest_pack(repository)
    os.truncate(pack, pack.stat().st_size // 2)


def flip_tree(repository: TestRepository) -> None:
    """Damage the smallest pack, which holds the folders: restic's cache has a sound one of it."""
    pack = min(repository.location.glob("data/*/*"), key=lambda path: path.stat().st_size)
    pack.chmod(0o600)
    data = bytearray(pack.read_bytes())
    data[10] ^= 1
    pack.write_bytes(data)


@pytest.mark.parametrize(
    ("form", "damage"),
    [
        ("directory", flip_pack),
        ("directory", cut_pack),
        ("directory", flip_tree),
        ("directory", lambda repository: largest_pack(repository).unlink()),  # restic tries again for a minute
        ("stream", flip_pack),
        ("stream", cut_pack),
        ("stream", flip_tree),
    ],
    ids=["flipped", "cut", "tree flipped", "gone", "stream flipped", "stream cut", "stream tree flipped"],
)
@fault("a pack of the repository that is damaged or gone", STAGE, BAD)
def test_a_damaged_pack(
    repository: TestRepository, shop: Database, form: str, damage: Callable[[TestRepository], object]
) -> None:
    copy_id = add_database_copy(repository, shop, form=form)
    damage(repository)
    result = expect_bad(repository, shop, copy_id, "restore")
    (finding,) = [one for one in result["findings"] if one["check"] == "restore"]
    assert finding["value"] == "repository_damaged"


@fault("an index file of the repository that is gone", STAGE, "verdict critical, code repository_damaged")
def test_a_deleted_index(repository: TestRepository, shop: Database) -> None:
    add_database_copy(repository, shop)
    for path in (repository.location / "index").iterdir():
        path.unlink()
    result = run_ok(MODULE, options(repository, shop))
    (finding,) = [one for one in result["findings"] if one["check"] == "restore"]
    assert (result["verdict"], finding["value"]) == ("critical", "repository_damaged")


@fault("snapshot file of the repository that is damaged", STAGE, "status critical, even when another copy is proven")
def test_a_damaged_snapshot(repository: TestRepository, shop: Database) -> None:
    older = add_database_copy(repository, shop, taken_at="2026-01-01T00:00:00Z")
    newest = add_database_copy(repository, shop)
    result = run_ok(MODULE, options(repository, shop, **repository.damage_snapshot(newest)))
    assert (result["copy"]["id"], result["verdict"], result["status"]) == (older, "ok", "critical")
    assert found(result)["snapshots_unreadable"] == "critical"
    result = run_ok(MODULE, options(repository, shop))  # restic's cache still has the sound one
    assert (result["copy"]["id"], result["verdict"]) == (newest, "critical")


@fault("wrong key of the repository for a verification", STAGE, "the module fails with wrong_key; nothing is written")
def test_a_wrong_key(repository: TestRepository, shop: Database) -> None:
    add_database_copy(repository, shop)
    asked = options(repository, shop, repository_password="not-it")
    assert run_failed(MODULE, asked)["failure"]["code"] == "wrong_key"
