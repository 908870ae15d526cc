# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions after the weekly run: the forgotten ones are ended by the server, the protected one never noticed."""

from __future__ import annotations

import pytest

testinfra_hosts = ["ansible://database"]


@pytest.fixture
def session(sql):
    def named(name):
        return sql(
            "SELECT pid, backend_start::text, application_name, state, query_start::text FROM pg_stat_activity "
            f"WHERE application_name = '{name}'"
        )

    return named


@pytest.mark.parametrize(
    ("name", "unit"), [("checkout-worker", "stuck-session"), ("forgotten-console", "forgotten-console")]
)
def test_forgotten_session_was_ended_by_the_server(host, session, before, generations, name, unit):
    assert session(name) == []
    assert not host.service(unit).is_running
    [pid] = [row["pid"] for row in before["sessions"] if row["application_name"] == name]
    logged = [line for lines in generations("/var/log/postgresql", "postgresql-15-main.log").values() for line in lines]
    last = [line for line in logged if f"[{pid}] " in line][-1]
    assert last.endswith("FATAL:  terminating connection due to administrator command")


def test_row_is_free_again(host):
    update = "BEGIN; SET lock_timeout = '1s'; UPDATE carts SET touched = now() WHERE id = 1; ROLLBACK"
    assert host.run("runuser -u postgres -- psql -Xq -v ON_ERROR_STOP=1 -d shop -c %s", update).succeeded


def test_protected_session_is_the_very_same(host, session, before):
    [was] = [row for row in before["sessions"] if row["application_name"] == "backup-agent"]
    assert session("backup-agent") == [was]
    assert host.service("backup-agent").is_running
