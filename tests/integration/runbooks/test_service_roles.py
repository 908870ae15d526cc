"""The roles service_restarts and security_updates, run by ansible-playbook."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_service_restart import TOKEN, Product
from tests.support.debian import SECURITY, TOOLS, Debian
from tests.support.playbooks import Playbooks, Run

PLAY = """
- name: Roles
  hosts: app
  gather_facts: false
  serial: 1
  any_errors_fatal: true
  tags: [act, restarts]
  tasks:
    - name: Role
      ansible.builtin.import_role:
        name: oncall.runbooks.{role}
"""


@pytest.fixture
def playbooks(tmp_path: Path) -> Playbooks:
    return Playbooks(tmp_path)


def play(playbooks: Playbooks, role: str, *arguments: str) -> Run:
    path = playbooks.folder / f"{role}.yml"
    path.write_text(PLAY.format(role=role))
    return playbooks.run(path, "-vvv", *arguments)


def changes(run: Run) -> dict[str, int]:
    """Return the number of changed tasks by host, as the recap has them."""
    return {
        host: int(count) for host, count in re.findall(r"^(\S+) +: ok=\d+ +changed=(\d+)", run.output, re.MULTILINE)
    }


@pytest.fixture
def shops(tmp_path: Path) -> Iterator[list[Product]]:
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made.append(Product(tmp_path / name))
        assert made[-1].do("start") == 0
    yield made
    for shop in made:
        shop.do("stop")


def service(shop: Product, **more: Any) -> dict[str, Any]:
    return {**shop.options(), "name": shop.folder.name, **more}


def restart(playbooks: Playbooks, services: list[dict[str, Any]], *arguments: str, **variables: Any) -> Run:
    hosts = {"app1": {"service_restarts_services": services}, "app2": {}}
    playbooks.write_inventory({"app": hosts}, **variables)
    return play(playbooks, "service_restarts", *arguments)


def test_services_are_restarted_where_that_is_needed(playbooks: Playbooks, shops: list[Product]) -> None:
    one, two = shops
    two.do("stop")
    services = [service(one), service(two)]
    planned = restart(playbooks, services, "--check", "--diff", "--tags", "restarts")
    assert planned.rc == 0 and changes(planned) == {"app1": 1, "app2": 0}, planned.output
    assert two.pid is None

    kept = one.pid
    done = restart(playbooks, services, "--tags", "restarts")
    assert done.rc == 0 and one.pid == kept and two.pid is not None, done.output
    again = restart(playbooks, services)
    assert again.rc == 0 and changes(again) == {"app1": 0, "app2": 0}, again.output
    for run in (planned, done, again):
        assert TOKEN not in run.output


def test_the_first_service_that_does_not_come_back_ends_the_list_and_the_play(
    playbooks: Playbooks, shops: list[Product]
) -> None:
    one, two = shops
    one.mood(busy=True)
    old = two.pid
    failed = restart(playbooks, [service(one, deadline="3s"), service(two)], service_restarts_condition="always")
    assert failed.rc != 0 and two.pid == old and "not_ready" in failed.output
    assert "app2" not in failed.output[failed.output.index("PLAY RECAP") :]
    assert TOKEN not in failed.output


def test_a_service_may_say_itself_when_it_is_restarted(playbooks: Playbooks, shops: list[Product]) -> None:
    one, two = shops
    old = [one.pid, two.pid]
    assert restart(playbooks, [service(one, condition="always"), service(two)]).rc == 0
    assert one.pid != old[0] and two.pid == old[1]


@pytest.mark.parametrize(
    "change", [{"service_restarts_condition": "sometimes"}, {"service_restarts_services": "nginx"}]
)
def test_wrong_variables_are_refused_before_anything_is_done(playbooks: Playbooks, change: dict[str, Any]) -> None:
    playbooks.write_inventory({"app": {"app1": change}})
    run = play(playbooks, "service_restarts")
    assert run.rc != 0 and "Validation of arguments failed" in run.output


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Debian]:
    if any(shutil.which(tool) is None for tool in TOOLS):
        pytest.skip("apt and dpkg are Debian's: they are not on this machine")
    (tmp_path / "debian").mkdir()
    made = Debian(tmp_path / "debian", monkeypatch)
    made.install("openssl", "1.0")
    made.publish(SECURITY, "openssl", "1.1")
    made.update()
    yield made
    made.cut_off()


def update(playbooks: Playbooks, *arguments: str, **variables: Any) -> Run:
    playbooks.write_inventory({"app": {"app1": {"security_updates_min_free": "1MB", **variables}}})
    return play(playbooks, "security_updates", *arguments)


def test_security_updates_are_only_reported_by_default(playbooks: Playbooks, debian: Debian) -> None:
    run = update(playbooks)
    assert run.rc == 0 and changes(run) == {"app1": 0} and "1 security update pending" in run.output, run.output
    assert debian.versions() == {"openssl": "1.0"}


def test_security_updates_are_installed_when_allowed_and_the_second_run_is_quiet(
    playbooks: Playbooks, debian: Debian
) -> None:
    allowed = {"security_updates_apply": True, "security_updates_refresh": True}
    planned = update(playbooks, "--check", "--diff", **allowed)
    assert planned.rc == 0 and "openssl=1.1" in planned.output and debian.versions() == {"openssl": "1.0"}
    done = update(playbooks, **allowed)
    assert done.rc == 0 and changes(done) == {"app1": 1} and debian.versions() == {"openssl": "1.1"}, done.output
    again = update(playbooks, **allowed)
    assert again.rc == 0 and changes(again) == {"app1": 0}, again.output


def test_security_updates_can_be_switched_off(playbooks: Playbooks, debian: Debian) -> None:
    run = update(playbooks, security_updates_enabled=False, security_updates_apply=True)
    assert run.rc == 0 and debian.versions() == {"openssl": "1.0"}
