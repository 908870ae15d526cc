"""postgresql_sessions on real servers: the ladder of a module, each kind of rule, and whom no rule reaches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.modules import run_failed, run_ok
from tests.support.servers import Database, Roles
from tests.support.sessions import Client, Clients, finding, options, outcomes, rule


@pytest.fixture
def clients(database: Database, role: Roles) -> Iterator[Clients]:
    opened = Clients(database, role())
    yield opened
    opened.close()


@pytest.fixture
def table(database: Database) -> str:
    database.execute("CREATE TABLE public.stock (id int PRIMARY KEY, n int)")
    database.execute("INSERT INTO public.stock SELECT i, 0 FROM generate_series(1, 9) i")
    database.execute("GRANT ALL ON public.stock TO PUBLIC")
    return "public.stock"


# --- bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [
        ({"match": "sleepy"}, "invalid_arguments", "sleepy"),
        ({"action": "kill"}, "invalid_arguments", "kill"),
        ({"older": "5m"}, "invalid_arguments", "older"),
        ({"older_than": "soon"}, "invalid_value", "rules[0].older_than"),
        ({"older_than": "0s"}, "invalid_value", "rules[0].older_than"),
        ({"match": "idle", "action": "cancel"}, "invalid_value", "cancel has no effect"),
        ({"roles": []}, "invalid_value", "rules[0].roles"),
        ({"clients": ["10.0.0.1/8"]}, "invalid_value", "10.0.0.1/8"),
        ({"exclude_clients": ["db.example"]}, "invalid_value", "db.example"),
    ],
)
def test_a_rule_that_means_nothing_is_named_before_anything_is_asked(
    wrong: dict[str, Any], code: str, words: str
) -> None:
    sound = {"name": "idle", "match": "idle", "older_than": "5m", "action": "terminate"}
    given = {"dsn": "host=127.0.0.1 port=1", "rules": [{**sound, **wrong}]}
    failed = run_failed("postgresql_sessions", given)
    assert failed["failure"]["code"] == code and words in failed["msg"]


def test_no_server_is_a_failure_with_a_code() -> None:
    nowhere = {"dsn": "host=127.0.0.1 port=1 dbname=x user=y", "rules": []}
    assert run_failed("postgresql_sessions", nowhere)["failure"]["code"] == "connection_failed"


# --- the ladder --------------------------------------------------------------------------------------------------


def test_the_plan_of_check_mode_is_what_the_real_run_does(database: Database, clients: Clients) -> None:
    idle, other = clients().aged(), clients("batch").begin().aged()
    fresh_rules = (rule(database, "idle_in_transaction", applications=["batch"]), rule(database, "idle", name="web"))
    given = options(database, *fresh_rules)

    checked = run_ok("postgresql_sessions", given, check=True, diff=True)
    assert idle.alive and other.alive and checked["steps"] == []
    assert checked["changed"] and outcomes(checked) == {idle.pid: "planned", other.pid: "planned"}
    assert checked["diff"]["before"]["web"] == [f"pid {idle.pid} {clients.user}@{database.name} (web)"]

    done = run_ok("postgresql_sessions", given)
    assert done["plan"] == checked["plan"] and done["after"] == checked["after"]
    assert [step["status"] for step in done["steps"]] == ["done", "done"]
    assert done["changed"] and outcomes(done) == {idle.pid: "terminated", other.pid: "terminated"}
    assert not idle.alive and not other.alive
    assert done["msg"].startswith("2 sessions terminated")

    again = run_ok("postgresql_sessions", given)
    assert not again["changed"] and again["plan"] == [] and again["sessions"] == []
    assert finding(again, "rule:web")["status"] == "ok" and again["msg"] == "no session to end"


def test_a_row_tells_who_since_when_and_what_without_literals(database: Database, clients: Clients) -> None:
    client = clients('we"b; --').begin("SELECT 'secret of a customer', 42").aged()
    looked = run_ok("postgresql_sessions", options(database, rule(database, "idle_in_transaction", "observe")))
    (row,) = looked["sessions"]
    assert not looked["changed"] and client.alive and row["outcome"] == "observed"
    assert (row["pid"], row["role"], row["database"]) == (client.pid, clients.user, database.name)
    assert (row["application"], row["client"], row["state"]) == ('we"b; --', "127.0.0.1", "idle in transaction")
    assert row["query"] == "SELECT ?, ?" and row["age_seconds"]["state"] > 0.2
    assert row["age_seconds"]["connected"] >= row["age_seconds"]["transaction"] >= row["age_seconds"]["state"]
    assert finding(looked, "rule:idle_in_transaction")["status"] == "warning"
    assert finding(looked, "oldest_transaction")["value"] > 0.2


# --- each kind of rule -------------------------------------------------------------------------------------------


def test_idle_time_counts_from_the_end_of_the_last_statement(database: Database, clients: Clients) -> None:
    connected_first, idle_first = clients().aged(), clients()
    connected_first.run("SELECT 1")
    for client in (idle_first, connected_first):
        client.aged()
    only_the_longest = options(database, rule(database, "idle"), max_sessions=1, on_excess="limit")
    looked = run_ok("postgresql_sessions", only_the_longest, check=True)
    assert outcomes(looked) == {idle_first.pid: "planned", connected_first.pid: "over_cap"}


def test_an_aborted_transaction_is_idle_in_transaction(database: Database, clients: Clients) -> None:
    client = clients()
    with pytest.raises(Exception, match="division"):
        client.begin("SELECT 1/0")
    assert client.aged().state == "idle in transaction (aborted)"
    done = run_ok("postgresql_sessions", options(database, rule(database, "idle_in_transaction")))
    assert outcomes(done) == {client.pid: "terminated"} and not client.alive


@pytest.mark.parametrize("action", ["cancel", "terminate"])
def test_a_long_statement_is_cancelled_and_its_session_lives(database: Database, clients: Clients, action: str) -> None:
    client = clients().start("SELECT pg_sleep(60)").aged()
    done = run_ok("postgresql_sessions", options(database, rule(database, "active_longer_than", action)))
    assert outcomes(done) == {client.pid: "cancelled"} and done["changed"]
    assert client.join() == ["57014"] and client.alive and client.state == "idle"


def test_without_grace_it_is_terminated_at_once(database: Database, clients: Clients) -> None:
    client = clients().start("SELECT pg_sleep(60)").aged()
    done = run_ok("postgresql_sessions", options(database, rule(database, "active_longer_than"), grace="0s"))
    assert outcomes(done) == {client.pid: "terminated"} and len(client.join()) == 1 and not client.alive


SWALLOWS_CANCELS = """
DO $$ BEGIN
  LOOP
    BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END;
  END LOOP;
END $$
"""


def test_a_session_that_swallows_cancels_is_terminated(database: Database, clients: Clients) -> None:
    client = clients().start(SWALLOWS_CANCELS).aged()
    only_cancel = options(database, rule(database, "active_longer_than", "cancel"), grace="300ms")
    failed = run_failed("postgresql_sessions", only_cancel)
    assert failed["failure"]["code"] == "verification_failed" and outcomes(failed) == {client.pid: "still_running"}
    assert [step["status"] for step in failed["steps"]] == ["failed"] and not failed["changed"] and client.alive

    both = options(database, rule(database, "active_longer_than"), grace="300ms")
    planned = run_ok("postgresql_sessions", both, check=True)["plan"]
    assert "pg_cancel_backend" in planned[0]["command"] and "pg_terminate_backend" in planned[0]["command"]
    assert outcomes(run_ok("postgresql_sessions", both)) == {client.pid: "terminated"}
    assert len(client.join()) == 1 and not client.alive


def test_a_transaction_counts_whatever_the_session_does_in_it(database: Database, clients: Clients) -> None:
    busy = clients().begin().aged()
    busy.run("SELECT 1")
    patient = rule(database, "transaction_longer_than", exclude_applications=["psql"])
    done = run_ok("postgresql_sessions", options(database, patient))
    assert outcomes(done) == {busy.pid: "terminated"} and not busy.alive


def test_only_the_root_of_a_queue_is_ended_and_the_tree_is_told(
    database: Database, clients: Clients, table: str
) -> None:
    root = clients("root").begin(f"UPDATE {table} SET n = 1 WHERE id = 1")
    middle = clients("middle").begin(f"UPDATE {table} SET n = 2 WHERE id = 2")
    middle.start(f"UPDATE {table} SET n = 2 WHERE id = 1", wait_for="Lock")
    last = clients("last").start(f"UPDATE {table} SET n = 3 WHERE id = 2", wait_for="Lock").aged()
    bystander = clients("bystander").begin().aged()
    given = options(database, rule(database, "blocking_root"))

    checked = run_ok("postgresql_sessions", given, check=True)
    (row,) = checked["sessions"]
    assert row["pid"] == root.pid and {b["pid"] for b in row["blocked"]} == {middle.pid, last.pid}
    assert {b["pid"]: b["blocked_by"] for b in row["blocked"]} == {middle.pid: [root.pid], last.pid: [middle.pid]}
    assert row["blocked"][0]["waiting_seconds"] > 0.2 and "UPDATE" in row["blocked"][0]["query"]
    assert f"pid {root.pid}" in finding(checked, "blocked_sessions")["msg"]

    done = run_ok("postgresql_sessions", given)
    assert outcomes(done) == {root.pid: "terminated"} and not root.alive
    middle.connection.commit()
    assert middle.join() == [] and last.join() == [] and middle.alive and last.alive and bystander.alive
    assert not run_ok("postgresql_sessions", given)["changed"]


def test_a_root_at_work_is_cancelled_one_that_is_idle_is_not(database: Database, clients: Clients, table: str) -> None:
    root = clients("root").begin(f"UPDATE {table} SET n = 1 WHERE id = 1")
    victim = clients("victim").start(f"UPDATE {table} SET n = 2 WHERE id = 1", wait_for="Lock").aged()
    given = options(database, rule(database, "blocking_root", "cancel"))
    left = run_ok("postgresql_sessions", given)
    assert outcomes(left) == {root.pid: "no_effect"} and left["plan"] == [] and not left["changed"]

    root.start("SELECT pg_sleep(60)")
    assert outcomes(run_ok("postgresql_sessions", given)) == {root.pid: "cancelled"}
    assert root.join() == ["57014"] and root.alive and victim.join() == []


def test_a_prepared_transaction_that_blocks_is_named_and_nobody_is_ended(
    database: Database, clients: Clients, table: str
) -> None:
    preparing = clients("preparing").begin(f"UPDATE {table} SET n = 1 WHERE id = 1")
    preparing.run("PREPARE TRANSACTION 'left behind'")
    victim = clients("victim").start(f"UPDATE {table} SET n = 2 WHERE id = 1", wait_for="Lock").aged()
    looked = run_ok("postgresql_sessions", options(database, rule(database, "blocking_root")))
    assert looked["plan"] == [] and "a prepared transaction" in finding(looked, "blocked_sessions")["msg"]
    database.execute("ROLLBACK PREPARED 'left behind'")
    assert victim.join() == []


# --- whom a rule is about ----------------------------------------------------------------------------------------


def test_the_first_rule_that_matches_decides(database: Database, clients: Clients) -> None:
    spared, ended = clients("report").aged(), clients("web").aged()
    first = rule(database, "idle", "observe", name="reports", applications=["rep*"])
    done = run_ok("postgresql_sessions", options(database, first, rule(database, "idle", name="rest")))
    assert outcomes(done) == {spared.pid: "observed", ended.pid: "terminated"}
    assert spared.alive and not ended.alive


def test_roles_applications_and_clients_are_told_apart(database: Database, clients: Clients, role: Roles) -> None:
    hostile = [role(name=name) for name in ('x"; DROP TABLE t; --', "two\nlines", "a*[b", "ü" * 31)]
    victims = [clients(user=name).aged() for name in hostile]
    spared = clients().aged()
    by_role = rule(database, "idle", roles=[*hostile[:2], "a[*][[]b", "ü" * 31], clients=["127.0.0.0/8"])
    done = run_ok("postgresql_sessions", options(database, by_role))
    assert set(outcomes(done)) == {victim.pid for victim in victims} and done["msg"].startswith("4 sessions terminated")
    assert not any(victim.alive for victim in victims) and spared.alive

    for nobody in ({"clients": ["local"]}, {"exclude_clients": ["127.0.0.*"]}, {"exclude_roles": [clients.user]}):
        assert run_ok("postgresql_sessions", options(database, rule(database, "idle", **nobody)))["plan"] == []
    assert spared.alive


def test_a_client_on_the_unix_socket_is_local(database: Database, clients: Clients) -> None:
    here, there = clients(host=str(database.server.socket_dir)).aged(), clients().aged()
    done = run_ok("postgresql_sessions", options(database, rule(database, "idle", clients=["local"])))
    assert outcomes(done) == {here.pid: "terminated"} and there.alive and not here.alive


def test_the_protected_survive_whatever_the_rules_say(
    database: Database, clients: Clients, role: Roles, tmp_path: Any
) -> None:
    backup = clients("pg_dump").begin().aged()
    colleague = clients("oncall.runbooks postgresql_maintenance").aged()
    named = clients("Billing Run").aged()
    trusted = clients(user=role(name="trusted_batch")).aged()
    admin = clients.superuser().aged()
    online = clients.superuser("script")
    function = "pg_backup_start" if database.server.major >= 15 else "pg_start_backup"
    arguments = "'x', true" if database.server.major >= 15 else "'x', true, false"
    online.run(f"SELECT {function}({arguments})")
    online.aged()
    in_transaction = clients.superuser("script").begin(f"SELECT {function}({arguments})").aged()
    every = [
        rule(database, match, databases=["*"]) for match in ("idle", "idle_in_transaction", "transaction_longer_than")
    ]
    guarded = {"protect_applications": ["billing*"], "protect_roles": ["trusted_*"]}

    done = run_ok("postgresql_sessions", options(database, *every, **guarded))
    assert not done["changed"] and set(outcomes(done).values()) == {"protected"}
    survivors = (backup, colleague, named, trusted, online, in_transaction)
    assert {client.pid for client in (*survivors, admin)} <= set(outcomes(done))

    done = run_ok("postgresql_sessions", options(database, *every, include_superusers=True, **guarded))
    assert outcomes(done)[admin.pid] == "terminated"
    assert outcomes(done)[online.pid] == outcomes(done)[in_transaction.pid] == "protected"
    assert all(client.alive for client in survivors) and not admin.alive


def test_a_session_that_reads_from_a_slot_is_protected(database: Database, clients: Clients) -> None:
    writer = clients("writer").begin("SELECT txid_current()")
    reader = clients.superuser("consumer")
    reader.start("SELECT pg_create_logical_replication_slot('changes', 'pgoutput')", wait_for="Lock").aged()
    given = options(database, rule(database, "active_longer_than"), include_superusers=True)
    looked = run_ok("postgresql_sessions", given)
    assert outcomes(looked) == {reader.pid: "protected"} and "slot changes" in looked["sessions"][0]["reason"]
    writer.connection.rollback()
    assert reader.join() == [] and reader.alive


# --- the ceilings ------------------------------------------------------------------------------------------------


def test_more_than_one_run_may_end_is_refused_and_nothing_is_done(database: Database, clients: Clients) -> None:
    victims = [clients().aged() for _unused in range(3)]
    given = options(database, rule(database, "idle"), max_sessions=2)
    for check in (True, False):
        failed = run_failed("postgresql_sessions", given, check=check)
        assert failed["failure"]["code"] == "blast_cap_exceeded" and failed["failure"]["details"]["sessions"] == 3
        assert not failed["changed"] and len(failed["sessions"]) == 3 and failed["plan"] == []
    assert all(victim.alive for victim in victims)
    tiny = {**given, "max_sessions": 50, "max_share": 0.02}
    assert run_failed("postgresql_sessions", tiny)["failure"]["details"]["cap"] == 2


def test_up_to_the_ceiling_the_oldest_go_first(database: Database, clients: Clients) -> None:
    victims: list[Client] = []
    for _unused in range(3):
        victims.append(clients().aged(0.05))
    victims[-1].aged()
    done = run_ok("postgresql_sessions", options(database, rule(database, "idle"), max_sessions=2, on_excess="limit"))
    assert [outcomes(done)[victim.pid] for victim in victims] == ["terminated", "terminated", "over_cap"]
    assert [victim.alive for victim in victims] == [False, False, True]
    assert done["status"] == "warning" and "1 over the ceiling" in done["msg"]
