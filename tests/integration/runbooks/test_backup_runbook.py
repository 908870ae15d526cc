"""The backup runbooks as a user runs them: a database, a Redis server and files, copied, proven, and thinned out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._core.backup import Source
from tests.support.copies import add_copy, add_proof, snapshots
from tests.support.lost_hosts import lost_with
from tests.support.playbooks import Playbooks, Run
from tests.support.redis_servers import TestRedis, fill, redis_servers
from tests.support.repositories import PASSWORD, TestRepository, make_repository
from tests.support.servers import Database, client_bin_dir

pytestmark = pytest.mark.majors(minimum=18)  # the modules' own tests run on every major
BACKUP, VERIFY = "playbooks/backup.yml", "playbooks/backup-verify.yml"
ESCROW, CACHE_PASSWORD, TOKEN = "escrow-secret-91ab", "cache-secret-83", "env-secret-4711"
CREATE = ("-e", "backup_repository_create=true")


class Product:
    """A database, a cache and an application's files, and an inventory that knows them."""

    def __init__(self, folder: Path, database: Database, redis: TestRedis) -> None:
        self.folder, self.database, self.redis = folder, database, redis
        self.playbooks = Playbooks(folder)
        self.repository: TestRepository = make_repository(folder, create=False)
        self.locks = folder / "locks"
        self.files = folder / "shop"
        self.files.mkdir()
        (self.files / ".env").write_text(f"TOKEN={TOKEN}\n")
        database.execute("CREATE TABLE orders (id int PRIMARY KEY, body text)")
        database.execute("INSERT INTO orders SELECT n, repeat('x', 20) FROM generate_series(1, 1000) AS n")
        (folder / "staging").mkdir()
        (folder / "staging").chmod(0o755)
        folder.chmod(0o755)

    def write_inventory(self, **changes: Any) -> None:
        server = self.database.server
        login = {"login_host": server.host, "login_port": server.port, "login_user": "postgres"}
        common = {
            "backup_product": "shop",
            "backup_repository": self.repository.options,
            "backup_repository_packages": [],
            "backup_repository_escrow_password": ESCROW,
            "backup_staging_dir": str(self.folder / "staging"),
            "backup_database_client_bin_dirs": [str(client_bin_dir(18))],
            "backup_verify_client_bin_dirs": [str(client_bin_dir(18))],
            "backup_verify_server_bin_dirs": [str(server.bin_dir)],
            "preflight_lock_directory": str(self.locks),
            "preflight_disk_paths": [str(self.folder)],
            "preflight_disk_critical_percent": 100,
            "preflight_inodes_critical_percent": 100,
        }
        database = {
            "database_login": {**login, "login_db": self.database.name},
            "backup_databases": [self.database.name],
        }
        groups = {
            "database": {"db1": {**database, **changes.pop("db1", {})}},
            "cache": {"cache1": {"backup_redis": True, "redis_login": self.redis.options}},
            "app": {
                "app1": {
                    "backup_config": [{"name": "shop", "paths": [str(self.files)]}],
                    **changes.pop("app1", {}),
                }
            },
            "proxy": changes.pop("proxy", {}),
        }
        self.playbooks.write_inventory(groups, **{**common, **changes})

    def copies(self) -> list[tuple[str, str, str]]:
        """Return host, kind and verdict of each copy."""
        catalog = self.repository.catalog()
        return sorted((one.source.host, one.source.kind, catalog.verdict_of(one)) for one in catalog.copies)


@pytest.fixture
def product(tmp_path: Path, database: Database) -> Iterator[Product]:
    with redis_servers(tmp_path / "redis") as make:
        redis: Callable[..., TestRedis] = make
        server = redis(password=CACHE_PASSWORD)
        fill(server)
        here = Product(tmp_path, database, server)
        here.write_inventory()
        yield here


KINDS = [("app1", "config"), ("cache1", "redis"), ("db1", "postgresql")]


def shows_a_secret(*runs: Run) -> bool:
    text = "".join(run.output + json.dumps(run.summary) for run in runs)
    return any(secret in text for secret in (PASSWORD, ESCROW, CACHE_PASSWORD, TOKEN))


def test_predict_copy_and_prove(product: Product) -> None:
    check = product.playbooks.run(BACKUP, "--check", "--diff", *CREATE)
    assert check.rc == 0 and not product.repository.location.exists(), check.output[-4000:]
    assert check.step("db1", "database")["planned"] >= 1 and check.step("cache1", "redis")["planned"] >= 1

    first = product.playbooks.run(BACKUP, *CREATE)
    assert first.rc == 0, first.output[-6000:]
    assert product.copies() == [(*kind, "unproven") for kind in KINDS] and list(product.locks.iterdir()) == []
    never_proven = [notice for notice in first.step("db1", "verify")["notices"] if notice["check"] == "proof_age"]
    assert never_proven and never_proven[0]["status"] == "critical"

    proven = product.playbooks.run(VERIFY)
    assert proven.rc == 0, proven.output[-6000:]
    assert product.copies() == [(*kind, "proven") for kind in KINDS] and list(product.locks.iterdir()) == []
    assert not shows_a_secret(check, first, proven)


def test_old_copies_go_when_new_ones_came(product: Product) -> None:
    product.repository.restic.create()
    source = Source("shop", "db1", "postgresql", product.database.name)
    now = datetime.now(timezone.utc)
    old = {days: add_copy(product.repository, now - timedelta(days=days), source) for days in (2, 3, 4)}
    add_proof(product.repository, old[4], now, "ok", source)
    keep = {"backup_keep_hourly": 0, "backup_keep_daily": 1, "backup_keep_proven": 1, "backup_max_removals": "2"}
    product.write_inventory(**keep, backup_repository_escrow_password="")
    there = snapshots(product.repository)

    planned = product.playbooks.run(BACKUP, "--check", "--diff", "--tags", "retention")
    assert planned.rc == 0 and snapshots(product.repository) == there, planned.output[-4000:]
    assert planned.step("db1", "retention")["planned"] == 2  # the copy in between, and its room
    run = product.playbooks.run(BACKUP)
    assert run.rc == 0, run.output[-6000:]
    assert run.step("db1", "retention")["done"] == 3
    assert snapshots(product.repository) & set(old.values()) == {old[4]}
    assert product.copies() == sorted([*((*kind, "unproven") for kind in KINDS), (*KINDS[2], "proven")])
    predicted = product.playbooks.run(VERIFY, "--check", "--diff")
    assert predicted.rc == 0 and predicted.step("db1", "database")["planned"] >= 1, predicted.output[-4000:]
    assert len(product.copies()) == 4 and not shows_a_secret(planned, run, predicted)


def test_what_cannot_be_copied_is_told_and_the_others_have_their_copies(product: Product) -> None:
    lost = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    product.write_inventory(db1={"backup_databases": ["nowhere"]}, proxy={"proxy1": lost})
    run = product.playbooks.run(BACKUP, *CREATE)
    assert run.rc != 0 and run.summary["hosts"]["proxy1"]["steps"][0]["status"] != "ok", run.output[-4000:]
    assert run.step("db1", "database")["notices"][0]["check"] == "database_missing"
    assert product.copies() == [(*kind, "unproven") for kind in KINDS[:2]]
    assert "copy_missing" in {notice["check"] for notice in run.step("db1", "verify")["notices"]}
    assert "no copy is removed, because of db1, proxy1" in run.output and list(product.locks.iterdir()) == []


def test_a_group_whose_only_host_is_lost_does_not_keep_the_others_from_their_copies(product: Product) -> None:
    product.write_inventory(db1=lost_with("postgresql_backup", product.folder / "db1"))
    run = product.playbooks.run(BACKUP, *CREATE)
    assert run.rc == 2 and run.summary["hosts"]["db1"]["status"] == "unreachable", run.output[-4000:]
    assert product.copies() == [(*kind, "unproven") for kind in KINDS[:2]]
    assert "no copy is removed, because of db1" in run.output
    assert [path.name for path in product.locks.iterdir()] == ["backup-db1.lease"]


def test_a_database_host_that_names_no_database_is_no_success(product: Product) -> None:
    only = ("--tags", "act", "--limit", "db1", *CREATE)
    product.write_inventory(db1={"backup_databases": [], "backup_database": [product.database.name]})  # misspelt
    run = product.playbooks.run(BACKUP, *only)
    assert run.rc != 0 and "name them in backup_databases" in run.page, run.output[-4000:]
    product.write_inventory(db1={"backup_databases": [], "backup_nothing": True})
    meant = product.playbooks.run(BACKUP, *only)
    assert meant.rc == 0 and product.copies() == [], meant.output[-4000:]


def test_a_database_host_of_which_nothing_is_proven_is_no_success(product: Product) -> None:
    product.repository.restic.create()
    common = {"backup_repository_escrow_password": ""}
    nothing = {"backup_databases": []}
    product.write_inventory(db1={**nothing, "backup_database": [product.database.name]}, **common)  # misspelt
    run = product.playbooks.run(VERIFY, "--limit", "db1")
    assert run.rc != 0 and "name them in backup_databases" in run.page, run.output[-4000:]
    product.write_inventory(db1={**nothing, "backup_nothing": True}, **common)
    meant = product.playbooks.run(VERIFY, "--limit", "db1")
    assert meant.rc == 0, meant.output[-4000:]


def test_without_a_repository_nothing_is_made_unasked(product: Product) -> None:
    run = product.playbooks.run(BACKUP)
    assert run.rc == 2 and "repository_missing" in run.output and not product.repository.location.exists()


def test_uploads_are_copied_and_proven_and_an_empty_disk_is_no_copy(product: Product) -> None:
    uploads, staging = product.folder / "uploads", product.folder / "beside"
    for folder in (uploads, staging):
        folder.mkdir()
    for number in range(3):
        (uploads / f"{number}.jpg").write_bytes(bytes([number]) * 1000)
    entry = {"name": "uploads", "paths": [str(uploads)], "staging_dir": str(staging), "min_files": 3}
    product.write_inventory(app1={"backup_uploads": [entry]}, backup_repository_escrow_password="")
    product.repository.restic.create()
    only = ("--limit", "app1", "--skip-tags", "retention")
    run = product.playbooks.run(BACKUP, *only)
    assert run.rc == 0 and run.step("app1", "uploads")["done"] == 1, run.output[-6000:]
    assert "uploads: 3 files" in " ".join(run.output.split()) and list(staging.iterdir()) == []
    proven = product.playbooks.run(VERIFY, "--limit", "app1")
    assert proven.rc == 0, proven.output[-6000:]
    names = {copy.source.name: copy.id for copy in product.repository.catalog().copies}
    assert set(names) == {"shop", "uploads"} and product.copies() == [("app1", "config", "proven")] * 2

    for path in uploads.iterdir():
        path.unlink()
    (uploads / "lost+found").mkdir()
    empty = product.playbooks.run(BACKUP, *only)
    assert empty.rc != 0 and empty.step("app1", "uploads")["notices"][0]["check"] == "too_few_files", empty.output
    assert [copy.source.name for copy in product.repository.catalog().copies].count("uploads") == 1
