"""pg_restore with several jobs, which take no account of each other's locks on partitioned indexes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from plugins.module_utils._core.backup_load import LoadError
from plugins.module_utils._core.backup_proof import host_trouble
from plugins.module_utils._io.backup_load import Load, load_dump
from plugins.module_utils._io.postgres import Target
from plugins.module_utils._io.postgres_tools import Tool, login
from tests.support.servers import Database, Server

PARTITIONED = """
CREATE TABLE event (id int, at int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE event_old PARTITION OF event FOR VALUES FROM (0) TO (10) PARTITION BY LIST (id);
CREATE TABLE event_old_1 PARTITION OF event_old DEFAULT;
CREATE TABLE note (event_id int, event_at int, FOREIGN KEY (event_id, event_at) REFERENCES event);
INSERT INTO event VALUES (1, 1);
INSERT INTO note VALUES (1, 1);
"""
# The words and the code of the server's own; a sequence remembers what a transaction that is rolled back has seen.
VICTIM = """
CREATE SEQUENCE seen;
CREATE FUNCTION be_the_victim() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
  IF current_query() ~ '{pattern}' THEN
    IF nextval('public.seen') <= {times} THEN
      RAISE EXCEPTION 'deadlock detected' USING ERRCODE = 'deadlock_detected';
    END IF;
  END IF;
END $$;
CREATE EVENT TRIGGER victim ON ddl_command_start EXECUTE FUNCTION be_the_victim();
"""
NOT_VALID = """
SELECT (SELECT count(*) FROM pg_index WHERE NOT indisvalid), (SELECT count(*) FROM pg_constraint WHERE contype = 'f')
"""


Loading = Callable[[str, int, bool], tuple[LoadError, ...]]


@pytest.fixture
def target(server: Server) -> Iterator[Database]:
    made = Database.create(server)
    yield made
    made.drop()


@pytest.fixture
def load(server: Server, database: Database, target: Database, tmp_path: Path) -> Loading:
    """Dump a database and load it into another one, where a statement is the victim of a deadlock some times."""
    database.execute(PARTITIONED)
    dump = tmp_path / "dump"
    program = [server.client_bin_dir / "pg_dump", "--format=directory", f"--file={dump}", database.dsn()]
    subprocess.run(program, check=True)

    def load_with_a_victim(pattern: str, times: int, stop_at_error: bool) -> tuple[LoadError, ...]:
        target.execute(VICTIM.format(pattern=pattern, times=times))
        tool = Tool(str(server.client_bin_dir / "pg_restore"), server.major, server.version)
        parameters = {"host": server.host, "port": server.port, "user": server.superuser}
        with login(Target(parameters, "test")) as entry:
            return load_dump(Load(tool, entry, target.name, 2, 60.0, stop_at_error=stop_at_error), str(dump))

    return load_with_a_victim


@pytest.mark.parametrize("stop_at_error", [True, False])
@pytest.mark.parametrize("pattern", ["ALTER INDEX .*event_old_1_pkey", "ALTER INDEX", "FOREIGN KEY"])
def test_a_deadlock_of_the_jobs_is_no_damage(
    load: Loading, target: Database, pattern: str, stop_at_error: bool
) -> None:
    """What needs the victim, as a foreign key its primary key, fails with it and comes back with it."""
    assert load(pattern, 1, stop_at_error) == ()
    assert target.fetch(NOT_VALID) == [(0, 3)] and target.fetch("SELECT count(*) FROM note") == [(1,)]


def test_a_deadlock_that_comes_again_is_an_error_and_trouble_of_the_host(load: Loading) -> None:
    errors = load("FOREIGN KEY", 9, True)
    assert [error.entry.split()[3:5] for error in errors] == [["FK", "CONSTRAINT"]] and host_trouble(errors)
