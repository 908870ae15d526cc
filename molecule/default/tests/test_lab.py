# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab itself: without these promises no drill on it means anything."""

from __future__ import annotations

import subprocess

import pytest


def podman(*args):
    subprocess.run(["podman", *args], check=True, capture_output=True, text=True)


@pytest.fixture
def other(facts):
    [name] = set(facts["groups"]["lab"]) - {facts["inventory_hostname"]}
    return name


def answers(host, other):
    try:
        return host.run("curl --silent --fail --max-time 2 --output /dev/null http://%s/", other).succeeded
    except RuntimeError:  # ssh itself failed
        return False


@pytest.mark.parametrize("unit", ["postgresql@15-main", "nginx", "redis-server", "ssh"])
def test_services_run_under_systemd(host, unit):
    assert host.service(unit).is_running


def test_no_unit_has_failed(host):
    assert host.check_output("systemctl --failed --plain --no-legend") == ""


def test_hosts_have_their_own_name_and_find_each_other(host, other, facts):
    assert host.check_output("hostname") == facts["inventory_hostname"]
    assert host.check_output("getent ahostsv4 %s", other).split()[0] != facts["ansible_host"]
    assert answers(host, other)


def test_database_speaks_utf8(host):
    assert host.check_output("sudo -u postgres psql -XAtc 'show server_encoding'") == "UTF8"


def test_converge_wrote_as_the_database_owner(host, facts):
    written = host.file("/var/lib/postgresql/lab")
    assert (written.user, written.mode) == ("postgres", 0o600)
    assert written.content_string == f"{facts['inventory_hostname']}\n"


def test_no_host_has_a_package_source(host):
    assert host.check_output("apt-get indextargets") == ""


def test_partition_and_healing(host, other, facts, wait_until):
    """A host that is cut off keeps running, and comes back under its own address."""
    podman("network", "disconnect", facts["lab_network"], facts["lab_container"])
    try:
        inside = subprocess.run(
            ["podman", "exec", facts["lab_container"], "curl", "-s", "--max-time", "2", f"http://{other}/"], check=False
        )
        assert inside.returncode != 0
    finally:
        address = f"--ip {facts['ansible_host']} --mac-address {facts['lab_mac']} --alias {facts['inventory_hostname']}"
        podman("network", "connect", *address.split(), facts["lab_network"], facts["lab_container"])
    wait_until(lambda: answers(host, other), "the healed host reaches the other one")


def test_lost_host_and_return(host, facts, wait_until):
    """A host that lost power boots again under its own address."""
    boot = host.check_output("stat -c %Y /proc/1")
    podman("kill", facts["lab_container"])
    podman("wait", facts["lab_container"])  # a container that still counts as running is not started
    podman("start", facts["lab_container"])

    def is_back():
        try:
            return host.run("systemctl is-system-running --wait").stdout.strip() == "running"
        except RuntimeError:
            return False

    wait_until(is_back, "the host has booted", deadline=60)
    assert host.check_output("stat -c %Y /proc/1") != boot


def test_a_failed_unit_is_seen_by_the_health_of_the_host(host, call):
    """What systemd really prints, which no other test can have."""
    assert call("oncall.runbooks.host_health_info", window="200ms")["host"]["failed_units"] == []
    host.check_output("sudo systemd-run --unit=lab-broken --wait --quiet /bin/false; true")
    try:
        result = call("oncall.runbooks.host_health_info", window="200ms")
        [broken] = [one for one in result["findings"] if one["check"] == "failed_units"]
        assert broken["status"] == "warning" and "lab-broken.service" in broken["msg"]
    finally:
        host.check_output("sudo systemctl reset-failed lab-broken")
