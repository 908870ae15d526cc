# SPDX-License-Identifier: GPL-3.0-or-later
"""Services after the weekly run: they serve, and a restart that would hurt is refused."""

from __future__ import annotations

import pytest

testinfra_hosts = ["ansible://app"]

RESTART = "oncall.runbooks.service_restart"
HEALTH = {"type": "http", "url": "http://localhost/health", "json": {"status": "ok"}}


def shown(host, unit, what):
    return host.check_output("systemctl show -P %s %s", what, unit)


@pytest.mark.parametrize("unit", ["postgresql@15-main", "nginx", "redis-server", "shop", "legacy", "tls-agent"])
def test_service_runs_and_starts_at_boot(host, unit):
    assert host.service(unit).is_running
    assert host.service(unit).is_enabled


@pytest.mark.parametrize("unit", ["postgresql@15-main", "nginx", "redis-server", "shop", "legacy"])
def test_service_that_needed_nothing_was_not_restarted(host, before, unit):
    assert shown(host, unit, "InvocationID") == before["units"][unit]


def test_service_with_a_replaced_program_was_restarted(host, before):
    assert shown(host, "tls-agent", "InvocationID") != before["units"]["tls-agent"]
    assert host.check_output("readlink /proc/%s/exe", shown(host, "tls-agent", "MainPID")) == "/usr/lib/shop-tls/agent"


def test_customers_are_served_through_the_proxy(host):
    assert host.check_output("curl -sf http://localhost/health") == '{"status": "ok"}'


def test_cache_answers(host):
    assert host.check_output("redis-cli ping") == "PONG"


def test_security_update_is_installed_and_nothing_else(host):
    versions = host.check_output("dpkg-query -W -f '${Package} ${Version}\n' shop-tls shop-themes")
    assert versions.splitlines() == ["shop-themes 1.0", "shop-tls 1.1"]


def test_unit_without_a_process_is_not_proved_by_its_state(call):
    """It is `active (exited)`, whatever the cluster that it stands for does."""
    assert call(RESTART, name="postgresql")["failure"]["code"] == "invalid_value"


@pytest.fixture
def crash_loop(host):
    host.check_output("systemctl start crashloop")
    yield
    host.check_output("systemctl stop crashloop")


def test_crash_loop_is_a_failure(call, crash_loop):
    """The unit is `active` most of the time, and systemctl restart exits with 0."""
    result = call(RESTART, name="crashloop", deadline="10s")
    assert result["failure"]["code"] == "crash_loop"


@pytest.fixture
def broken_configuration(host):
    host.check_output("echo 'listen 80' > /etc/nginx/conf.d/broken.conf")
    yield
    host.check_output("rm /etc/nginx/conf.d/broken.conf")


def test_service_with_a_broken_configuration_is_left_alone(host, call, broken_configuration):
    pid = shown(host, "nginx", "MainPID")
    result = call(RESTART, name="nginx", config_check=["nginx", "-t"], probes=[HEALTH])
    assert result["failure"]["code"] == "config_invalid"
    assert "broken.conf" in str(result["failure"])
    assert shown(host, "nginx", "MainPID") == pid
    assert host.run("curl -sf http://localhost/health").succeeded


@pytest.fixture
def canary(host):
    """An application of the tests' own: the product's are left as the runbook left them."""
    host.check_output("systemctl start canary")
    yield {"type": "http", "url": "http://127.0.0.1:8081/health", "json": {"status": "ok"}}
    host.check_output("systemctl stop canary")


@pytest.fixture
def lame_canary(host, canary):
    """It answers 200 and is not well: the gate has to read what it says."""
    folder = "/run/systemd/system/canary.service.d"
    lame = "[Service]\nEnvironment=SHOP_STATUS=starting\n"
    host.check_output(f"mkdir -p {folder} && printf %s > {folder}/lame.conf && systemctl daemon-reload", lame)
    yield canary
    host.check_output(f"rm -r {folder} && systemctl daemon-reload")


def test_application_that_never_gets_ready_is_a_failure(host, call, lame_canary):
    result = call(RESTART, name="canary", deadline="5s", interval="0.5s", probes=[lame_canary])
    assert result["failure"]["code"] == "not_ready"
    assert host.run("curl -sf http://127.0.0.1:8081/health").succeeded


def test_restart_passes_its_gate(host, call, canary):
    """The counterpart of the refusals: what is well gets restarted and says so."""
    pid = shown(host, "canary", "MainPID")
    result = call(RESTART, name="canary", deadline="20s", interval="0.5s", probes=[canary])
    assert result["changed"] and "failure" not in result
    assert {step["status"] for step in result["steps"]} == {"done"}
    assert shown(host, "canary", "MainPID") != pid
