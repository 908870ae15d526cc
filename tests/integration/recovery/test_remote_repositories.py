"""Backup, catalog, verification and restore of a database over S3, SFTP and ssh, as over a local folder."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from plugins.module_utils._io.process import started
from tests.support.backups import backup_options
from tests.support.modules import run_failed, run_ok
from tests.support.remote_repositories import (
    KEY,
    PASSWORD,
    CommandLines,
    RemoteRepository,
    s3_repository,
    sftp_repository,
)
from tests.support.repositories import TestRepository
from tests.support.restores import ROWS, Shop
from tests.support.servers import Database
from tests.support.sshd import Sshd, sshd_place
from tests.support.verify import options as verify_options

pytestmark = pytest.mark.majors(minimum=18)  # the modules' own tests run on every major
SECRETS = (PASSWORD, KEY)
Make = Callable[[Path], AbstractContextManager[RemoteRepository]]


@contextmanager
def ssh_repository(folder: Path) -> Iterator[RemoteRepository]:
    """Give a place behind a real sshd."""
    client = folder / "client"
    client.mkdir()
    with sshd_place(client) as place, place.running():
        yield over_ssh(place, folder / "cache")


def over_ssh(place: Sshd, cache: Path) -> RemoteRepository:
    location = f"sftp:{place.user}@vault:{place.files}/shop"
    return RemoteRepository(location, {}, place.files / "shop", cache, str(place.config))


@pytest.fixture(params=[s3_repository, sftp_repository, ssh_repository], ids=["s3", "sftp", "ssh"])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TestRepository]:
    make: Make = request.param
    with make(tmp_path) as made:
        yield cast(TestRepository, made)  # its options, its catalog and its restic are all that is asked of it here


@pytest.fixture
def shop(database: Database, repository: TestRepository, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(database, repository, tmp_path)
    made.fill()
    yield made
    made.remove()


def backup(shop: Shop, **more: Any) -> dict[str, Any]:
    return backup_options(shop.database, shop.repository, shop.folder / "staging", **more)


@pytest.mark.parametrize("mode", ["directory", "stream"])
def test_there_and_back(shop: Shop, mode: str) -> None:
    with CommandLines() as lines:
        results = [run_ok("postgresql_backup", backup(shop, mode=mode))]
        (copy,) = results[0]["copies"]
        looked = run_ok("backup_catalog_info", {**shop.repository.options, "facts": True})
        assert [one["id"] for one in looked["copies"]] == [copy["snapshot"]] and looked["status"] != "unknown"
        verified = run_ok("postgresql_backup_verify", verify_options(shop.repository, shop.database))
        assert (verified["verdict"], verified["copy"]["id"]) == ("ok", copy["snapshot"]), verified["findings"]
        catalog = shop.repository.catalog()
        assert catalog.verdict_of(catalog.by_id(copy["snapshot"])) == "proven"
        shop.spoil()
        restored = shop.restore()
        assert restored["changed"] and shop.orders() == ROWS
        results += [looked, verified, restored]
    assert any(line.startswith("restic backup") for line in lines.seen)
    shown = "\n".join(lines.seen) + json.dumps(results)
    assert [secret for secret in SECRETS if secret in shown] == []


def test_whoever_is_ended_takes_the_lock_along(repository: TestRepository) -> None:
    """Also where that needs a connection, which is a program of its own."""
    restic = repository.restic
    restic.create()
    with started(restic.stdin_program("stream", host="db1", tags=()), stdin=subprocess.PIPE) as process:
        process.stdin.write(os.urandom(300_000))  # more than a pipe holds: it reads when it has its lock
        process.stdin.flush()
        assert len(restic.locks()) == 1
    assert restic.locks() == [] and restic.snapshots() == ()


def files_of(repository: RemoteRepository) -> list[str]:
    return sorted(str(path) for path in repository.files.rglob("*") if path.is_file())


def test_another_host_key_is_refused(database: Database, tmp_path: Path) -> None:
    with sshd_place(tmp_path) as place:
        good = over_ssh(place, tmp_path / "cache")
        asked = backup_options(database, cast(TestRepository, good), tmp_path / "staging")
        with place.running():
            run_ok("postgresql_backup", asked)
        before = files_of(good)
        place.change_host_key()
        with place.running():
            for known in (True, False):
                if not known:
                    (tmp_path / "known_hosts").unlink()
                failed = run_failed("postgresql_backup", asked)
                assert failed["failure"]["code"] == "host_key_refused", failed
                looked = run_ok("backup_catalog_info", good.options)
                assert looked["status"] == "unknown" and looked["copies"] == [], looked
            assert files_of(good) == before and not (tmp_path / "known_hosts").exists()
            place.trust()
            run_ok("postgresql_backup", asked)


def test_a_place_that_cannot_be_reached_is_not_an_empty_one(shop: Shop) -> None:
    run_ok("postgresql_backup", backup(shop))
    good = cast(RemoteRepository, shop.repository)
    programs = shop.folder / "refusing"
    programs.mkdir()
    (programs / "ssh").write_text(
        "#!/bin/sh\necho 'ssh: connect to host vault port 22: Connection refused' >&2\nexit 255\n"
    )
    (programs / "ssh").chmod(0o755)
    environment = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"}
    environment["PATH"] = f"{programs}:{os.environ['PATH']}"
    wrong = replace(good, environment=environment, cache=shop.folder / "another cache")
    before = sorted(path.name for path in (good.files / "snapshots").rglob("*"))
    failed = run_failed("postgresql_backup", {**backup(shop), **wrong.options})
    assert failed["failure"]["code"] == "repository_unreachable", failed
    assert sorted(path.name for path in (good.files / "snapshots").rglob("*")) == before
    looked = run_ok("backup_catalog_info", wrong.options)
    assert looked["status"] == "unknown", looked
