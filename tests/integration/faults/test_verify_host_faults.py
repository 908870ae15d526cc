"""Faults of the host on which a copy is verified: never a false ok, and nothing left of a run that died."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._io.clock import SystemClock, wait_until
from plugins.module_utils._io.throwaway import workplace
from plugins.module_utils._io.workspace import clear, processes_in
from tests.support.database_copies import add_database_copy
from tests.support.faults import fault
from tests.support.modules import run_ok
from tests.support.repositories import TestRepository, make_repository
from tests.support.restic_lock import living_lock
from tests.support.servers import Database, Server, client_bin_dir
from tests.support.verify import MODULE, found, leftovers, options, verdict_of, work_dir

ROOT = Path(__file__).resolve().parents[3]
STAGE = "verify"
BAD = "verdict critical, and the catalog calls the copy bad"
UNKNOWN = "verdict unknown, never ok; the catalog keeps what it knew"

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


def expect_unknown(
    repository: TestRepository, database: Database, copy_id: str, code: str, **more: Any
) -> dict[str, Any]:
    result = run_ok(MODULE, options(repository, database, **more))
    assert result["verdict"] == "unknown", result["findings"]
    (finding,) = [one for one in result["findings"] if one["check"] == "restore"]
    assert (finding["status"], finding["value"]) == ("unknown", code)
    assert verdict_of(repository, copy_id) == "unproven"
    return result


@fault("repository locked by another run", STAGE, "verified all the same; that the proof was not written is unknown")
def test_a_locked_repository(repository: TestRepository, shop: Database, tmp_path: Path) -> None:
    copy_id = add_database_copy(repository, shop)
    with living_lock(repository, tmp_path / "other"):
        result = run_ok(MODULE, options(repository, shop))
    assert (result["verdict"], found(result)["proof"], result["status"]) == ("ok", "unknown", "unknown")
    assert verdict_of(repository, copy_id) == "unproven"


# --- this host --------------------------------------------------------------------------------------------------


@fault("no server of the copy's major or newer on the verifying host", STAGE, UNKNOWN)
def test_no_server(repository: TestRepository, shop: Database, tmp_path: Path) -> None:
    copy_id = add_database_copy(repository, shop)
    result = expect_unknown(repository, shop, copy_id, "command_missing", server_bin_dirs=[str(tmp_path)])
    assert (result["plan"], result["changed"]) == ([], False)
    assert f"postgresql-{shop.server.major}" in result["msg"]


@fault("pg_restore older than the copy", STAGE, UNKNOWN)
def test_an_old_client(repository: TestRepository, shop: Database) -> None:
    copy_id = add_database_copy(repository, shop, tools={"pg_dump": "99.1"})
    expect_unknown(repository, shop, copy_id, "client_too_old")


@fault("no room for a verification", STAGE, UNKNOWN)
def test_no_room(repository: TestRepository, shop: Database) -> None:
    copy_id = add_database_copy(repository, shop, size_bytes=1 << 60)
    expect_unknown(repository, shop, copy_id, "not_enough_space")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    mounted: list[Path] = []

    def mount(size: int) -> Path:
        folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "none", folder], check=True)
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", folder], check=True)
        folder.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to mount")
@pytest.mark.parametrize("megabytes", [1, 90], ids=["fetch", "load"])
@fault("disk full in the middle of a verification", STAGE, UNKNOWN)
def test_the_disk_fills_up(
    repository: TestRepository, shop: Database, small_disk: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch, megabytes: int,
) -> None:  # fmt: skip
    """The room is measured on another disk, so that it is found out while the work goes on."""
    shop.execute("INSERT INTO noise SELECT g, md5(g::text) || md5((-g)::text) FROM generate_series(1, 500000) g")
    copy_id = add_database_copy(repository, shop)
    folder = small_disk(megabytes << 20)
    much = type("Usage", (), {"free": 1 << 50})
    monkeypatch.setattr("plugins.module_utils._module.backup_verify.shutil.disk_usage", lambda _path: much)
    result = run_ok(MODULE, options(repository, shop, work_dir=str(folder)))
    assert result["verdict"] == "unknown", result["findings"]
    assert verdict_of(repository, copy_id) == "unproven"
    assert list(folder.iterdir()) == []


@fault(
    "extension of the copy not installed on the verifying host", STAGE, "verdict unknown, with the package to install"
)
@pytest.mark.majors(minimum=16)
def test_an_extension_that_this_host_has_not(repository: TestRepository, shop: Database) -> None:
    shop.execute("CREATE EXTENSION hstore; CREATE TABLE tags (t hstore); INSERT INTO tags VALUES ('a=>1')")
    copy_id = add_database_copy(repository, shop)
    bare = str(client_bin_dir(shop.server.major))  # a server without contrib
    result = run_ok(MODULE, options(repository, shop, server_bin_dirs=[bare]))
    assert (result["verdict"], found(result)["extensions"]) == ("unknown", "unknown"), result["findings"]
    assert "critical" not in {status for check, status in found(result).items() if check != "proof_age"}
    assert "hstore is not installed on this host" in json.dumps(result["findings"])
    assert verdict_of(repository, copy_id) == "unproven"


@fault("a copy that is bad, on a host without one of its extensions", STAGE, BAD)
@pytest.mark.majors(minimum=16)
def test_a_missing_extension_excuses_nothing_else(repository: TestRepository, shop: Database) -> None:
    shop.execute("CREATE EXTENSION hstore; CREATE TABLE tags (t hstore); INSERT INTO tags VALUES ('a=>1')")
    copy_id = add_database_copy(repository, shop, damage=lambda: shop.execute("DELETE FROM orders WHERE id = 7"))
    result = run_ok(MODULE, options(repository, shop, server_bin_dirs=[str(client_bin_dir(shop.server.major))]))
    assert (result["verdict"], found(result)["rows"]) == ("critical", "critical")
    assert verdict_of(repository, copy_id) == "bad"


# --- the run itself ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def running(repository: TestRepository, database: Database) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Start a verification as a process of its own and give it once its server is at work."""
    before = leftovers()
    program = "import sys, json; from tests.support.modules import run_module; print(json.dumps(run_module(%r, %r)))"
    code = program % (MODULE, options(repository, database))
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        mine: list[Path] = []

        def serves() -> bool:
            mine[:] = [Path(path) for path in leftovers() - before]
            return any((path / "p" / "data" / "postmaster.pid").exists() for path in mine)

        wait_until(serves, "the throwaway server", 120, SystemClock(), every=0.01)
        yield process, mine[0]
    finally:
        process.kill()
        process.communicate()


@fault("kill -9 of a verification", STAGE, "its server ends and its folder goes away; the catalog keeps what it knew")
def test_kill_9(repository: TestRepository, shop: Database) -> None:
    copy_id = add_database_copy(repository, shop)
    with running(repository, shop) as (process, folder):
        process.kill()
        wait_until(lambda: not folder.exists(), "the guard", 60, SystemClock())
    assert processes_in(folder) == set()
    assert verdict_of(repository, copy_id) == "unproven"


@fault("kill -9 of a verification and of its guard", STAGE, "the next run ends the server and removes the folder")
def test_kill_9_of_the_guard_too(repository: TestRepository, shop: Database) -> None:
    add_database_copy(repository, shop)
    with running(repository, shop) as (process, folder):
        guards = [pid for pid in children_of(process.pid) if not in_folder(pid, folder)]
        for pid in guards:
            os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()
        assert folder.exists() and processes_in(folder)
        assert run_ok(MODULE, options(repository, shop))["verdict"] == "ok"
    assert not folder.exists() and not processes_in(folder)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def in_folder(pid: int, folder: Path) -> bool:
    return str(Path(f"/proc/{pid}/cwd").readlink()).startswith(str(folder))


@fault("SIGTERM to a verification", STAGE, "fails with stopped, nothing is left; the catalog keeps what it knew")
def test_sigterm(repository: TestRepository, shop: Database) -> None:
    copy_id = add_database_copy(repository, shop)
    with running(repository, shop) as (process, folder):
        process.terminate()
        result = json.loads(process.communicate(timeout=120)[0])
    assert (result["failed"], result["failure"]["code"]) == (True, "stopped")
    assert not folder.exists()
    assert verdict_of(repository, copy_id) == "unproven"


@fault("a copied postmaster.pid that names a living server", STAGE, "the living server is left alone")
def test_a_copied_pid_file_stops_nobody(server: Server) -> None:
    with workplace(str(work_dir()), None) as place:
        (place.private / "data").mkdir()
        (place.private / "data" / "postmaster.pid").write_text((server.data_dir / "postmaster.pid").read_text())
        pid = server.pid
        clear(place.folder)
    assert pid is not None and server.pid == pid
