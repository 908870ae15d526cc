"""A database, Redis and files come back by the recovery runbooks, and go again by their undo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.modules import run_ok
from tests.support.playbooks import Playbooks, Run
from tests.support.redis_copies import back_up, live_options
from tests.support.redis_servers import KEYS, TestRedis, fill, redis_servers
from tests.support.repositories import TestRepository, make_repository
from tests.support.servers import Database, client_bin_dir

FORTH = "playbooks/recovery/restore-database.yml"
BACK = "playbooks/recovery/undo-restore.yml"
CLEAN = "playbooks/recovery/clean-restores.yml"


class Product:
    """A database with a copy, damaged since."""

    def __init__(self, folder: Path, database: Database, repository: TestRepository) -> None:
        self.database = database
        self.playbooks = Playbooks(folder)
        self.tools = str(client_bin_dir(database.server.major))
        server = database.server
        host = {
            "database_login": {"login_host": server.host, "login_port": server.port, "login_user": "postgres"},
            "recovery_client_bin_dirs": [self.tools],
        }
        common: dict[str, Any] = {
            "backup_product": "shop",
            "backup_repository": repository.options,
            "preflight_lock_directory": str(folder / "locks"),
        }
        self.playbooks.write_inventory({"database": {"db1": host}}, **common)

    def rows(self) -> int:
        return int(self.database.fetch("SELECT count(*) FROM orders")[0][0])

    def run(self, playbook: str, *arguments: str) -> Run:
        return self.playbooks.run(playbook, *arguments)


@pytest.fixture
def product(tmp_path: Path, database: Database) -> Iterator[Product]:
    repository = make_repository(tmp_path)
    made = Product(tmp_path, database, repository)
    database.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    database.execute("INSERT INTO orders SELECT generate_series(1, 500)")
    options = {
        **repository.options,
        "dsn": database.dsn(),
        "product": "shop",
        "source_host": "db1",
        "databases": [database.name],
        "client_bin_dirs": [made.tools],
        "staging_dir": str(tmp_path),
    }
    run_ok("postgresql_backup", options)
    database.execute("DELETE FROM orders WHERE id > 100")
    yield made
    names = database.fetch("SELECT datname FROM pg_database WHERE datname LIKE %s", f"{database.name}\\_%")
    for (name,) in names:
        maintenance = Database(database.server, "postgres")
        maintenance.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        Database(database.server, name).drop()


def test_a_database_comes_back_and_goes_again(product: Product) -> None:
    confirm = ("-e", f"confirm={product.database.name}")
    unconfirmed = product.run(FORTH, "-e", f"database={product.database.name}")
    assert unconfirmed.rc != 0 and "not started" in unconfirmed.output, unconfirmed.output
    assert "confirm" in unconfirmed.output and product.rows() == 100
    unsaid = product.run(BACK, "-e", f"database={product.database.name}")
    assert unsaid.rc != 0 and "not started" in unsaid.output, unsaid.output
    looked = product.run(FORTH, "-e", f"database={product.database.name}", "--check")
    assert "not started" not in looked.output, looked.output

    check = product.run(FORTH, *confirm, "--check", "--diff")
    assert check.rc == 0, check.output
    assert product.rows() == 100 and check.step("db1", "act")["planned"] >= 1

    went = product.run(FORTH, *confirm)
    assert went.rc == 0, went.output
    assert product.rows() == 500
    assert "outage" in went.page and "data" in went.page

    back = product.run(BACK, *confirm)
    assert back.rc == 0, back.output
    assert product.rows() == 100


def test_a_time_without_a_copy_is_told_and_nothing_is_touched(product: Product) -> None:
    run = product.run(FORTH, "-e", f"confirm={product.database.name}", "-e", "at=20200101-000000")
    assert run.rc != 0 and "no_copy_old_enough" in run.output, run.output
    assert product.rows() == 100


def test_what_restores_kept_is_dropped_when_it_is_old_and_the_last_one_only_on_request(product: Product) -> None:
    name, server = product.database.name, Database(product.database.server, "postgres")
    confirm, now = ("-e", f"confirm={name}"), ("-e", "recovery_keep=0s")

    def beside() -> list[str]:
        names = server.fetch("SELECT datname FROM pg_database WHERE datname LIKE %s ORDER BY 1", f"{name}\\_%")
        return [one for (one,) in names]

    for playbook in (FORTH, BACK, FORTH):
        run = product.run(playbook, *confirm)
        assert run.rc == 0, run.output
    left = beside()
    assert len(left) == 2, left

    week = product.run(CLEAN, *confirm)
    assert week.rc == 0 and beside() == left, week.output
    unconfirmed = product.run(CLEAN, "-e", f"database={name}", *now)
    assert unconfirmed.rc != 0 and "confirm" in unconfirmed.page and beside() == left, unconfirmed.output
    check = product.run(CLEAN, *confirm, *now, "--check")
    assert check.rc == 0 and check.step("db1", "act")["planned"] == 1 and beside() == left, check.output

    went = product.run(CLEAN, *confirm, *now)
    assert went.rc == 0, went.output
    (last,) = beside()
    assert last in left and product.run(BACK, *confirm, "--check").step("db1", "act")["planned"] >= 1
    all_of_it = product.run(CLEAN, *confirm, *now, "-e", "recovery_keep_last=false")
    assert all_of_it.rc == 0 and beside() == [] and product.rows() == 500, all_of_it.output


def test_a_copy_goes_into_another_database_that_is_confirmed_by_its_own_name(product: Product) -> None:
    name = product.database.name
    other = f"{name}_then"
    wanted = ("-e", f"database={name}", "-e", f"recovery_target={other}")
    wrong = product.run(FORTH, *wanted, "-e", f"confirm={name}")
    assert wrong.rc != 0 and f"confirm: {other}" in wrong.output, wrong.output
    went = product.run(FORTH, *wanted, "-e", f"confirm={other}")
    assert went.rc == 0 and product.rows() == 100, went.output
    assert Database(product.database.server, other).fetch("SELECT count(*) FROM orders")[0][0] == 500


@pytest.mark.parametrize("playbook", [FORTH, BACK, CLEAN])
def test_a_server_that_is_not_the_one_of_the_inventory_is_left_alone(product: Product, playbook: str) -> None:
    chosen = ("-e", f"confirm={product.database.name}", "--check")
    run = product.run(playbook, *chosen, "-e", "recovery_fingerprint=7000000000000000001")
    assert run.rc != 0 and "fingerprint_mismatch" in run.output, run.output
    ((own,),) = product.database.fetch("SELECT system_identifier::text FROM pg_control_system()")
    same = product.run(playbook, *chosen, "-e", f'{{"recovery_fingerprint": {{"system_identifier": "{own}"}}}}')
    assert "fingerprint_mismatch" not in same.output, same.output
    assert same.rc == 0 or "no_kept_database" in same.output, same.output


def playbooks_of(folder: Path, group: str, host: str, repository: TestRepository, **variables: Any) -> Playbooks:
    playbooks = Playbooks(folder)
    common: dict[str, Any] = {"backup_product": "shop", "backup_repository": repository.options}
    playbooks.write_inventory({group: {host: variables}}, **common, preflight_lock_directory=str(folder / "locks"))
    return playbooks


def keys_of(server: TestRedis) -> int:
    return sum(one["keys"] for one in server.client().info("keyspace").values())


def test_redis_comes_back_and_goes_again(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    with redis_servers(tmp_path / "servers") as make:
        server: TestRedis = make("cache", password="cache-secret-83")
        fill(server)
        back_up(repository, server)
        server.client().flushall()
        server.client().set("since", "then")
        commands = live_options(repository, server)
        playbooks = playbooks_of(
            tmp_path, "cache", "cache1", repository,
            redis_login=server.options,
            recovery_redis_stop_command=commands["stop_command"],
            recovery_redis_start_command=commands["start_command"],
        )  # fmt: skip
        unconfirmed = playbooks.run("playbooks/recovery/restore-redis.yml")
        assert unconfirmed.rc != 0 and "confirm" in unconfirmed.output and keys_of(server) == 1, unconfirmed.output
        elsewhere = ("-e", "recovery_source_host=cache-staging", "-e", "confirm=cache-staging")
        for playbook in ("restore-redis", "undo-restore-redis"):
            staging = playbooks.run(f"playbooks/recovery/{playbook}.yml", *elsewhere)
            assert staging.rc != 0 and "confirm=cache1" in staging.output and keys_of(server) == 1, staging.output
            assert "not started" in staging.output
        confirm = ("-e", "confirm=cache1")
        check = playbooks.run("playbooks/recovery/restore-redis.yml", *confirm, "--check", "--diff")
        assert check.rc == 0 and check.step("cache1", "act")["planned"] >= 1 and keys_of(server) == 1, check.output
        went = playbooks.run("playbooks/recovery/restore-redis.yml", *confirm)
        assert went.rc == 0 and keys_of(server) == KEYS, went.output
        server.client().set("by a client", "at work")
        busy = playbooks.run("playbooks/recovery/restore-redis.yml", *confirm, "--tags", "verify")
        assert busy.rc == 0, busy.output
        server.client().flushall()
        emptied = playbooks.run("playbooks/recovery/restore-redis.yml", *confirm, "--tags", "verify")
        assert emptied.rc != 0 and "gone since" in emptied.output, emptied.output
        back = playbooks.run("playbooks/recovery/undo-restore-redis.yml", *confirm)
        assert back.rc == 0 and keys_of(server) == 1, back.output
        server.client().set("since the undo", "then")
        again = playbooks.run("playbooks/recovery/undo-restore-redis.yml", *confirm)
        assert again.rc == 0 and keys_of(server) == 2, again.output


def test_files_come_back_and_go_again(tmp_path: Path) -> None:
    repository, files = make_repository(tmp_path), tmp_path / "etc" / "shop"
    files.mkdir(parents=True)
    (files / "env").write_text("good")
    source = {"product": "shop", "source_host": "app1", "name": "shop"}
    run_ok("config_backup", {**repository.options, **source, "paths": [str(files)]})
    (files / "env").write_text("spoilt")
    where = {"recovery_config_roots": [str(files)], "recovery_config_undo_dir": str(tmp_path / "undo")}
    playbooks = playbooks_of(tmp_path, "app", "app1", repository, **where)
    restore, undo = "playbooks/recovery/restore-config.yml", "playbooks/recovery/undo-restore-config.yml"
    chosen = ("-e", "files=shop", "-e", "confirm=app1")
    unconfirmed = playbooks.run(restore, *chosen[:2])
    assert unconfirmed.rc != 0 and (files / "env").read_text() == "spoilt", unconfirmed.output
    for playbook in (restore, undo):
        staging = playbooks.run(playbook, *chosen[:2], "-e", "recovery_source_host=app2", "-e", "confirm=app2")
        assert staging.rc != 0 and "confirm=app1" in staging.output and "not started" in staging.output, staging.output
    check = playbooks.run(restore, *chosen, "--check", "--diff")
    assert check.rc == 0 and (files / "env").read_text() == "spoilt", check.output
    went = playbooks.run(restore, *chosen)
    assert went.rc == 0 and (files / "env").read_text() == "good", went.output
    (files / "env").write_text("written again by a service")
    spoilt = playbooks.run(restore, *chosen, "--tags", "verify")
    assert spoilt.rc != 0 and "changed by somebody since" in spoilt.output, spoilt.output
    (files / "env").write_text("good")
    back = playbooks.run(undo, *chosen)
    assert back.rc == 0 and (files / "env").read_text() == "spoilt", back.output
