"""security_updates with the real apt and dpkg, on a Debian of the test's own."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._io import security_apt
from plugins.module_utils._io.clock import SystemClock
from plugins.module_utils._io.command import Completed, SystemCommands
from tests.support.debian import SECURITY, STABLE, TOOLS, Debian
from tests.support.modules import run_failed, run_ok

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in TOOLS), reason="apt and dpkg are Debian's: they are not on this machine"
)
APPLY = {"apply": True}


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Debian]:
    """openssl has a fix in the security archive, tree only a newer version in stable."""
    made = Debian(tmp_path, monkeypatch)
    for name in ("openssl", "tree"):
        made.install(name, "1.0")
    made.publish(SECURITY, "openssl", "1.1")
    made.publish(STABLE, "tree", "2.0")
    made.update()
    yield made
    made.cut_off()


def call(**options: Any) -> dict[str, Any]:
    return {"manager": "apt", "min_free": "1MB", "lock_timeout": "1s", **options}


def by_check(result: dict[str, Any]) -> dict[str, str]:
    return {finding["check"]: finding["status"] for finding in result["findings"]}


def states(result: dict[str, Any]) -> dict[str, str]:
    return {update["name"]: update["state"] for update in result["updates"]}


def reasons(result: dict[str, Any]) -> dict[str, str]:
    return {update["name"]: update["reason"] for update in result["updates"]}


def test_what_is_pending_is_reported_and_nothing_is_done(debian: Debian) -> None:
    before = debian.snapshot()
    result = run_ok("security_updates", call())
    assert not result["changed"] and result["plan"] == []
    assert states(result) == {"openssl": "pending"}
    assert by_check(result)["security_updates"] == "warning" and by_check(result)["package_lists"] == "ok"
    assert result["before"] == result["after"] == {"pending": 1, "versions": {}}
    assert debian.snapshot() == before


class CountedCommands(SystemCommands):
    """The programs of this host; what was asked of apt is kept."""

    def __init__(self) -> None:
        self.asked: list[Sequence[str]] = []

    def run(self, argv: Sequence[str], **options: Any) -> Completed:
        if "policy" in argv:
            self.asked.append(argv)
        return super().run(argv, **options)


@pytest.mark.parametrize("room", [True, False])
def test_what_apt_parsed_is_kept_for_the_look_where_the_host_keeps_nothing(
    debian: Debian, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: bool
) -> None:
    """As in images of containers; when there is no room for it, the look only takes longer."""
    with (tmp_path / "apt.conf").open("a") as config:
        config.write('Dir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\n')
    if not room:
        monkeypatch.setattr(security_apt, "_CACHE_ROOM", 10**18)
    commands = CountedCommands()
    manager = security_apt.Apt(commands, SystemClock(), ("*",))
    facts = manager.read(None)
    kept = {
        next((Path(word.partition("=")[2]) for word in argv if "::pkgcache=" in word), None) for argv in commands.asked
    }
    assert len(commands.asked) == 2 and [update.name for update in facts.updates] == ["openssl", "tree"]
    assert len(kept) == 1 and all(file.stat().st_size for file in kept if file) and (None not in kept) == room
    manager.close()
    assert not any(file.exists() for file in kept if file)


def test_check_mode_shows_the_plan_the_real_run_carries_it_out_and_the_second_has_nothing_to_do(debian: Debian) -> None:
    before = debian.snapshot()
    planned = run_ok("security_updates", call(**APPLY), check=True, diff=True)
    assert debian.snapshot() == before and planned["changed"] and planned["steps"] == []
    assert [action["id"] for action in planned["plan"]] == ["install", "upgrade:openssl"]
    assert planned["plan"][0]["command"].endswith("--only-upgrade --no-remove install openssl=1.1")
    assert states(planned) == {"openssl": "planned"}

    done = run_ok("security_updates", call(**APPLY), diff=True)
    assert done["plan"] == planned["plan"] and done["changed"]
    assert [step["status"] for step in done["steps"]] == ["done", "done"]
    assert debian.versions() == {"openssl": "1.1", "tree": "1.0"}
    assert done["after"] == planned["after"] == {"pending": 0, "versions": {"openssl": "1.1"}}
    assert by_check(done)["security_updates"] == "ok" and states(done) == {"openssl": "installed"}

    again = run_ok("security_updates", call(**APPLY))
    assert not again["changed"] and again["plan"] == [] and "no security update is pending" in again["msg"]


def test_a_fix_that_a_newer_version_has_overtaken_is_still_pending(debian: Debian) -> None:
    debian.publish(STABLE, "openssl", "1.2")
    debian.update()
    result = run_ok("security_updates", call(**APPLY))
    assert debian.versions()["openssl"] == "1.1" and states(result) == {"openssl": "installed"}


def test_an_update_brings_along_what_it_needs(debian: Debian) -> None:
    debian.publish(SECURITY, "openssl", "1.3", Depends="provider (>= 1)")
    debian.publish(STABLE, "provider", "1.0")
    debian.update()
    result = run_ok("security_updates", call(**APPLY))
    assert {action["id"] for action in result["plan"]} == {"install", "upgrade:openssl", "add:provider"}
    assert debian.versions()["provider"] == "1.0"


def test_a_held_package_is_a_finding_and_stays(debian: Debian) -> None:
    debian.hold("openssl")
    result = run_ok("security_updates", call(**APPLY))
    assert not result["changed"] and reasons(result) == {"openssl": "held"}
    assert by_check(result)["blocked_update"] == "warning" and by_check(result)["security_updates"] == "warning"
    assert debian.versions()["openssl"] == "1.0"


def test_a_pinned_package_is_a_finding_and_stays(debian: Debian) -> None:
    pin = "Package: openssl\nPin: version 1.0\nPin-Priority: 1001\n"
    (debian.root / "etc/apt/preferences").write_text(pin)
    result = run_ok("security_updates", call(**APPLY))
    assert not result["changed"] and reasons(result) == {"openssl": "pinned to 1.0"}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"exclude": ["openss*"]}, "excluded"),
        ({"only": ["nginx*"]}, "not among only"),
        ({"only": ["*"], "exclude": ["openssl"]}, "excluded"),
    ],
)
def test_what_is_left_out_is_named(debian: Debian, options: dict[str, Any], reason: str) -> None:
    result = run_ok("security_updates", call(**APPLY, **options))
    assert not result["changed"] and reasons(result) == {"openssl": reason}
    assert by_check(result)["security_updates"] == "warning", "it is pending all the same"


@pytest.mark.parametrize("fields", [{"Depends": "nowhere"}, {"Conflicts": "tree"}], ids=["missing", "removal"])
def test_one_update_that_does_not_fit_keeps_no_other_from_its_fix(debian: Debian, fields: dict[str, str]) -> None:
    debian.install("curl", "1.0")
    debian.publish(SECURITY, "curl", "1.1", **fields)
    debian.update()
    result = run_ok("security_updates", call(**APPLY))
    assert debian.versions() == {"openssl": "1.1", "curl": "1.0", "tree": "1.0"}
    assert reasons(result)["curl"].startswith("kept back: ") and by_check(result)["blocked_update"] == "warning"


def test_more_changes_than_allowed_are_refused(debian: Debian) -> None:
    debian.publish(SECURITY, "openssl", "1.3", Depends="provider")
    debian.publish(STABLE, "provider", "1.0")
    debian.update()
    for check in (True, False):
        result = run_failed("security_updates", call(**APPLY, max_packages=1), check=check)
        assert result["failure"]["code"] == "over_limit" and debian.versions()["openssl"] == "1.0"
    assert run_ok("security_updates", call(**APPLY, max_packages=2))["changed"]


def test_an_installation_that_breaks_half_way_keeps_what_was_done(debian: Debian) -> None:
    debian.install("zlib", "1.0")
    debian.publish(SECURITY, "zlib", "1.1", postinst="echo no room; exit 7")
    debian.update()
    result = run_failed("security_updates", call(**APPLY))
    assert result["failure"]["code"] == "packages_failed" and result["changed"]
    steps = {step["id"]: step["status"] for step in result["steps"]}
    assert steps == {"install": "failed", "upgrade:openssl": "done", "upgrade:zlib": "failed"}
    assert result["after"]["versions"] == {"openssl": "1.1", "zlib": ""} and result["after"]["pending"] == 1
    assert any("no room" in line for line in result["failure"]["details"]["output"])

    broken = run_ok("security_updates", call())
    assert by_check(broken)["package_state"] == "critical" and broken["status"] == "critical"
    refused = run_failed("security_updates", call(**APPLY))
    assert refused["failure"]["code"] == "packages_broken" and refused["failure"]["details"]["packages"] == ["zlib"]


@pytest.mark.parametrize(
    ("program", "ends_well", "code", "steps", "after"),
    [
        ("dpkg-query", True, "command_failed", {"install": "done"}, {}),
        ("dpkg-query", False, "packages_failed", {"install": "failed"}, {}),
        (
            *("apt-cache", True, "command_failed", {"install": "done", "upgrade:openssl": "done"}),
            {"pending": 0, "versions": {"openssl": "1.2"}},
        ),
    ],
)
def test_what_was_done_is_not_lost_when_nobody_can_look_afterwards(
    debian: Debian,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    program: str,
    ends_well: bool,
    code: str,
    steps: dict[str, str],
    after: dict[str, Any],
) -> None:
    """The new version's own script takes the program away by which is looked."""
    broken, folder = tmp_path / "broken", tmp_path / "programs"
    folder.mkdir()
    wrapper = folder / program
    wrapper.write_text(f'#!/bin/sh\n[ ! -e {broken} ] || exit 100\nexec {shutil.which(program)} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    debian.publish(SECURITY, "openssl", "1.2", postinst=f"touch {broken}; exit {0 if ends_well else 7}")
    debian.update()
    result = run_failed("security_updates", call(**APPLY))
    assert result["failure"]["code"] == code and result["changed"]
    assert {step["id"]: step["status"] for step in result["steps"]} == steps and result["after"] == after
    assert by_check(result) == {"security_updates": "unknown"} and result["status"] == "unknown"
    assert "not read again" in result["findings"][0]["msg"] and program in result["findings"][0]["msg"]
    assert ("look afterwards failed" in result["msg"]) == ends_well


def test_a_busy_package_manager_is_named_and_waited_for(debian: Debian) -> None:
    with debian.busy() as pid:
        planned = run_ok("security_updates", call(**APPLY), check=True)
        assert by_check(planned)["package_lock"] == "warning"
        result = run_failed("security_updates", call(**APPLY))
        assert result["failure"]["code"] == "lock_busy" and not result["changed"]
        assert f"process {pid} (python" in result["msg"]
        assert {step["status"] for step in result["steps"]} == {"failed", "skipped"}
    assert run_ok("security_updates", call(**APPLY))["changed"]


def test_a_configuration_file_that_was_changed_stays(debian: Debian) -> None:
    debian.install("nginx", "1.0", conf="default\n")
    (debian.root / "etc/nginx.conf").write_text("ours\n")
    debian.publish(SECURITY, "nginx", "1.1", conf="new default\n")
    debian.update()
    run_ok("security_updates", call(**APPLY))
    assert debian.versions()["nginx"] == "1.1"
    assert (debian.root / "etc/nginx.conf").read_text() == "ours\n"


def test_a_full_disk_is_known_before(debian: Debian) -> None:
    for check in (True, False):
        result = run_failed("security_updates", call(**APPLY, min_free="1000000TB"), check=check)
        assert result["failure"]["code"] == "disk_full" and debian.versions()["openssl"] == "1.0"


def test_a_package_that_cannot_be_downloaded_changes_nothing(debian: Debian) -> None:
    next((debian.archive / SECURITY).glob("openssl*.deb")).unlink()
    result = run_failed("security_updates", call(**APPLY))
    assert result["failure"]["code"] == "download_failed" and not result["changed"]
    assert debian.versions()["openssl"] == "1.0"


# Package lists


def test_check_mode_knows_what_a_refresh_would_bring_and_leaves_the_lists(debian: Debian) -> None:
    debian.publish(SECURITY, "openssl", "1.5")
    before = debian.snapshot()
    options = call(**APPLY, refresh=True, cache_valid_time="0s")
    planned = run_ok("security_updates", options, check=True)
    assert debian.snapshot() == before
    assert [action["id"] for action in planned["plan"]] == ["refresh", "install", "upgrade:openssl"]
    assert "openssl=1.5" in planned["plan"][1]["command"]
    done = run_ok("security_updates", options)
    assert [action["command"] for action in done["plan"]] == [action["command"] for action in planned["plan"]]
    assert debian.versions()["openssl"] == "1.5"


def test_fresh_lists_are_not_renewed(debian: Debian) -> None:
    assert run_ok("security_updates", call(refresh=True, cache_valid_time="1h"))["plan"] == []


def test_an_archive_that_has_nothing_new_makes_the_lists_young_again(debian: Debian) -> None:
    began = time.time()
    assert run_ok("security_updates", call(refresh=True, cache_valid_time="0s"))["changed"]
    assert run_ok("security_updates", call())["lists_age_seconds"] < time.time() - began
    debian.cut_off()
    answered = min(file.stat().st_ctime for file in (debian.root / "var/lib/apt/lists").glob("*_Release"))
    asked = time.time()
    failed = run_ok("security_updates", call(refresh=True, cache_valid_time="0s"))
    debian.serve()
    assert failed["lists_age_seconds"] >= asked - answered, "a refresh that failed makes nothing young"


def test_lists_that_cannot_be_renewed_are_unknown_and_never_ok(debian: Debian) -> None:
    run_ok("security_updates", call(**APPLY))
    debian.cut_off()
    try:
        result = run_ok("security_updates", call(refresh=True, cache_valid_time="0s"))
    finally:
        debian.serve()
    assert result["plan"] == [] and not result["changed"]
    assert by_check(result)["package_lists"] == by_check(result)["security_updates"] == "unknown"
    assert "could not be renewed" in result["findings"][0]["msg"] and "unknown" in result["msg"]


def test_lists_that_are_too_old_prove_nothing(debian: Debian) -> None:
    run_ok("security_updates", call(**APPLY))
    stale = run_ok("security_updates", call(lists_warning_age="0s", lists_critical_age="1ms"))
    assert by_check(stale)["package_lists"] == "critical" and by_check(stale)["security_updates"] == "unknown"
    aging = run_ok("security_updates", call(lists_warning_age="0s", lists_critical_age="1d"))
    assert by_check(aging)["package_lists"] == "warning" and by_check(aging)["security_updates"] == "ok"


def test_no_security_archive_is_unknown_and_never_ok(debian: Debian) -> None:
    debian.sources(STABLE)
    debian.update()
    result = run_ok("security_updates", call())
    assert by_check(result)["security_updates"] == by_check(result)["package_lists"] == "unknown"
    assert "no security archive" in result["findings"][0]["msg"]


def test_lists_that_were_never_read_are_unknown(debian: Debian) -> None:
    shutil.rmtree(debian.root / "var/lib/apt/lists")
    (debian.root / "var/lib/apt/lists/partial").mkdir(parents=True)
    result = run_ok("security_updates", call())
    assert by_check(result)["security_updates"] == "unknown" and result["lists_age_seconds"] is None


def test_another_archive_can_be_declared_a_security_archive(debian: Debian) -> None:
    assert states(run_ok("security_updates", call(origins=["stable"]))) == {"tree": "pending"}


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"manager": "apk"}, "invalid_arguments"),
        ({"nonsense": 1}, "invalid_arguments"),
        ({"cache_valid_time": "soon"}, "invalid_value"),
        ({"lock_timeout": "soon"}, "invalid_value"),
        ({"timeout": "soon"}, "invalid_value"),
        ({"min_free": "much"}, "invalid_value"),
        ({"max_packages": -1}, "invalid_value"),
        ({"lists_warning_age": "9d"}, "invalid_value"),
        ({"origins": []}, "invalid_value"),
    ],
)
def test_bad_input_has_a_stable_code(options: dict[str, Any], code: str) -> None:
    assert run_failed("security_updates", call(**options))["failure"]["code"] == code


def test_a_package_manager_that_is_not_there_is_said(debian: Debian, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(debian.root))
    assert run_failed("security_updates", call())["failure"]["code"] == "command_missing"
