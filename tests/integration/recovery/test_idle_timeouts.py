"""Sessions of backups and restores that wait outlive the limits that a server has for idle ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from psycopg2 import sql

from plugins.module_utils._io.backup_survey import Survey
from plugins.module_utils._io.postgres import Target
from tests.support.repositories import make_repository
from tests.support.restores import ROWS, Shop
from tests.support.servers import Database, Roles, administer
from tests.support.sessions import eventually

pytestmark = pytest.mark.majors(minimum=14)  # idle_session_timeout

# Computed again while it is loaded, by one of two jobs; then each has an index of this table to build.
SLOW = """
CREATE FUNCTION public.slow(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
IF current_database() LIKE '%restored%' THEN PERFORM pg_catalog.pg_sleep(3); END IF; RETURN i; END $$;
CREATE TABLE late (id int PRIMARY KEY, twin int GENERATED ALWAYS AS (public.slow(id)) STORED);
INSERT INTO late (id) VALUES (1);
CREATE INDEX ON late (twin);
CREATE INDEX ON late (twin, id)
"""


def impatient(database: Database, role: Roles) -> str:
    """Return a superuser whose sessions are ended when they have been idle for a second."""
    name = role()
    for words in ("ALTER ROLE {} SUPERUSER", "ALTER ROLE {} SET idle_session_timeout = '1s'",
                  "ALTER ROLE {} SET idle_in_transaction_session_timeout = '1s'"):  # fmt: skip
        administer(database.server, sql.SQL(words).format(sql.Identifier(name)))
    return name


def test_a_restore_takes_longer_than_a_session_may_be_idle(database: Database, role: Roles, tmp_path: Path) -> None:
    shop = Shop(database, make_repository(tmp_path), tmp_path)
    try:
        shop.fill()
        database.execute(SLOW)
        shop.copy()
        shop.user = impatient(database, role)
        done = shop.restore()
        assert done["seconds"]["load"] >= 3 and shop.orders() == ROWS
    finally:
        shop.remove()


def test_every_database_of_a_backup_may_wait_for_its_turn(database: Database, role: Roles) -> None:
    user = impatient(database, role)
    parameters = {"host": database.server.host, "port": database.server.port, "user": user, "dbname": "postgres"}
    survey = Survey(Target(parameters, "test"), [database.name])
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND now() - state_change > '2s'"
    try:
        survey.candidates({})
        eventually(lambda: database.fetch(waiting, user) == [(2,)], "both sessions to be idle for long")
        assert survey.session(database.name).fetch("SELECT 1 AS one") == [{"one": 1}]
    finally:
        survey.close()
