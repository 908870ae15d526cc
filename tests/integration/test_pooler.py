"""A real pgbouncer between us and the server: refused, because time-outs and locks would reach other clients."""

from __future__ import annotations

import shutil
import socket
import subprocess

import psycopg2
import pytest

from plugins.module_utils._core.errors import PreconditionFailed
from plugins.module_utils._io import postgres
from plugins.module_utils._io.clock import SystemClock, wait_until
from tools.embedded_postgres import free_port, give_to_server_account, new_run_directory, server_account

CONFIGURATION = """[databases]
{name} = host={host} port={port} dbname={name} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {pooler_port}
auth_type = any
unix_socket_dir =
pool_mode = {mode}
"""


@pytest.fixture(params=["transaction", "session"])
def pooler(request, database):
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")
    assert program, "pgbouncer is not installed: apt-get install -y --no-install-recommends pgbouncer"
    directory, port = new_run_directory(), free_port()
    configuration = directory / "pgbouncer.ini"
    configuration.write_text(
        CONFIGURATION.format(
            name=database.name,
            host=database.server.host,
            port=database.server.port,
            pooler_port=port,
            mode=request.param,
        )
    )
    give_to_server_account(directory)
    with (directory / "log").open("w") as log:
        process = subprocess.Popen([program, str(configuration)], cwd=directory, stderr=log, **server_account())
    wait_until(lambda: listens(port), "pgbouncer", 10, SystemClock())
    yield port
    process.terminate()
    process.wait(10)
    shutil.rmtree(directory)


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_pooler_is_recognised_and_refused_unless_allowed(database, pooler):
    parameters = {"host": "127.0.0.1", "port": pooler, "dbname": database.name, "user": "postgres"}
    psycopg2.connect(**parameters).close()
    with pytest.raises(PreconditionFailed) as refused:
        postgres.connect(postgres.Target(parameters, "oncall.runbooks test"))
    assert refused.value.code == "pooler_detected" and "direct address" in refused.value.hint
    with postgres.connect(postgres.Target(parameters, "oncall.runbooks test", allow_pooler=True)) as opened:
        assert opened.fetch("SELECT 1 AS one") == [{"one": 1}]
