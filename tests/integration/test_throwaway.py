"""Throwaway servers: who runs them, what they can reach, and that nothing of them stays."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from plugins.module_utils._core.errors import CommandFailed, InvalidValue, PreconditionFailed
from plugins.module_utils._core.throwaway import server_settings
from plugins.module_utils._io.clock import SystemClock
from plugins.module_utils._io.command import SystemCommands
from plugins.module_utils._io.throwaway import (
    find_server,
    host_resources,
    server_account,
    throwaway_server,
    workplace,
)
from plugins.module_utils._io.workspace import processes_in
from tests.support.servers import client_bin_dir, npm_install
from tests.support.verify import work_dir


def test_a_server_is_private_fast_and_gone_afterwards(major: int) -> None:
    tool = find_server(SystemCommands(), major, [str(npm_install(major).bin_dir)])
    account = server_account(None)
    settings = server_settings(major, host_resources(), 2)
    with workplace(str(work_dir()), account) as place:
        assert (place.private.stat().st_mode & 0o777, place.own.stat().st_mode & 0o777) == (0o700, 0o700)
        with throwaway_server(tool, place, "odd-Name.1", settings, timeout=60, clock=SystemClock()) as server:
            assert len(processes_in(place.folder)) > 1
            with server.connect() as session:
                shown = session.fetch("SELECT name, setting FROM pg_catalog.pg_settings")
                found = {row["name"]: row["setting"] for row in shown}
                assert (found["fsync"], found["listen_addresses"], found["wal_level"]) == ("off", "", "minimal")
                assert session.fetch("SELECT current_user AS name")[0]["name"] == "odd-Name.1"
                session.execute("CREATE TEMP TABLE lines (line text)")
                session.execute("COPY lines FROM PROGRAM 'id -u; cut -d: -f1 -s /proc/self/net/dev'")
                lines = [row["line"].strip() for row in session.fetch("SELECT line FROM pg_temp.lines")]
        assert processes_in(place.folder) == set()
    assert not place.folder.exists()
    assert lines[0] == str(account.uid if account else os.geteuid()) and lines[0] != "0"
    if account is not None and subprocess.run(["unshare", "--net", "true"], check=False).returncode == 0:
        assert [name for name in lines[1:] if name not in ("Inter-|", "face |")] == ["lo"]


def test_a_server_that_does_not_start_says_why(major: int) -> None:
    tool = find_server(SystemCommands(), major, [str(npm_install(major).bin_dir)])
    settings = {**server_settings(major, host_resources(), 2), "shared_buffers": "nonsense"}
    with (
        pytest.raises(CommandFailed, match="nonsense"),
        workplace(str(work_dir()), server_account(None)) as place,
        throwaway_server(tool, place, "postgres", settings, timeout=60, clock=SystemClock()),
    ):
        pass
    assert not place.folder.exists()


def test_the_next_newer_server_is_found(tmp_path: Path) -> None:
    folders = [str(npm_install(13).bin_dir), str(npm_install(18).bin_dir)]
    assert find_server(SystemCommands(), 13, folders).major == 13
    assert find_server(SystemCommands(), 14, folders).major == 18
    with pytest.raises(PreconditionFailed) as failure:
        find_server(SystemCommands(), 19, folders)
    assert failure.value.code == "command_missing" and "postgresql-19" in str(failure.value.hint)
    (tmp_path / "postgres").symlink_to(client_bin_dir(18) / "postgres")
    with pytest.raises(PreconditionFailed, match="initdb"):
        find_server(SystemCommands(), 18, [str(tmp_path)])


def test_a_folder_that_will_not_do_is_refused(tmp_path: Path) -> None:
    account = server_account(None)
    long = tmp_path / ("x" * 90)
    long.mkdir()
    with pytest.raises(InvalidValue, match="too long"), workplace(str(long), account):
        pass
    if account is not None:
        closed = Path(tempfile.mkdtemp(dir=work_dir()))
        with pytest.raises(InvalidValue, match="cannot get to"), workplace(str(closed), account):
            pass
        closed.rmdir()
