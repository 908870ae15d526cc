"""A streaming standby for a test."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable

from tests.support.servers import SUPERUSER, Database, Server
from tests.support.sessions import eventually
from tools.embedded_postgres import give_to_server_account

RECEIVER = "SELECT pid FROM pg_stat_wal_receiver WHERE status = 'streaming'"


def standby_of(primary: Server, throwaway_server: Callable[..., Server], **settings: str) -> Server:
    """Start a copy of a server that follows it, with these settings, and wait until it streams."""
    standby = throwaway_server(start=False, settings={**settings, "primary_conninfo": primary.dsn()})
    shutil.rmtree(standby.data_dir)
    tool = str(primary.client_bin_dir / "pg_basebackup")
    login = ["-h", primary.host, "-p", str(primary.port), "-U", SUPERUSER]
    subprocess.run([tool, *login, "-D", str(standby.data_dir), "--checkpoint=fast"], check=True)
    (standby.data_dir / "standby.signal").touch()
    give_to_server_account(standby.directory)
    standby.start()
    eventually(lambda: Database(standby, "postgres").fetch(RECEIVER), "the standby to stream")
    return standby
