"""What apt and dpkg print, recorded with apt 2.6 and dpkg 1.21."""

from __future__ import annotations

from pathlib import Path

import pytest

from plugins.module_utils._core.security_apt import (
    failure_code,
    install_command,
    is_security,
    kernels,
    lock_holder,
    parse_audit,
    parse_changes,
    parse_installed,
    parse_installed_sizes,
    parse_offers,
    parse_paths,
    parse_sizes,
    parse_sources,
    pending,
    reading,
    simulate_command,
    update_command,
)
from plugins.module_utils._core.security_updates import Change, Package, Update

RECORDED = Path(__file__).resolve().parents[2] / "data" / "apt"
PATTERNS = ["debian-security", "*-security"]
UBUNTU = """Package files:
 100 /var/lib/dpkg/status
     release a=now
 500 http://mirror.example/ubuntu jammy-security/main amd64 Packages
     release v=22.04,o=Ubuntu,a=jammy-security,n=jammy,l=Ubuntu,c=main,b=amd64
     origin mirror.example
 500 http://mirror.example/ubuntu jammy-updates/main amd64 Packages
     release v=22.04,o=Ubuntu,a=jammy-updates,n=jammy,l=Ubuntu,c=main,b=amd64
     origin mirror.example
 510 https://esm.example/infra/ubuntu jammy-infra-security/main amd64 Packages
     release v=22.04,o=UbuntuESM,a=jammy-infra-security,n=jammy,l=UbuntuESM,c=main,b=amd64
     origin esm.example
Pinned packages:
     openssl -> 3.0.2 with priority 1001
"""


def recorded(name: str) -> str:
    return (RECORDED / f"{name}.txt").read_text(encoding="utf-8")


def installed() -> dict[str, Package]:
    return parse_installed(recorded("dpkg_query"), "amd64")


def test_dpkgs_names_become_apts() -> None:
    assert installed()["libssl3"] == Package("libssl3", "3.0.19-1~deb12u2", False, True, 6029 * 1024)
    text = "libc6:amd64\t2.36\tii \t1\nlibc6:i386\t2.36\thi \t1\nold\t1\trc \t\nnew\t1\tiU \t2\nhalf\t1\tiF \t2\n"
    packages = parse_installed(text, "amd64")
    assert {name: (p.held, p.whole) for name, p in packages.items()} == {
        "libc6": (False, True),
        "libc6:i386": (True, True),
        "new": (False, False),
        "half": (False, False),
    }


def test_sources_are_known_by_their_names() -> None:
    sources = parse_sources(recorded("policy_sources"))
    security = [name for name, names in sources.items() if is_security(names, PATTERNS)]
    assert security == ["http://mirror.example/debian-security bookworm-security/main amd64 Packages"]
    assert sources[security[0]] == ("Debian-Security", "oldstable-security", "bookworm-security", "Debian")
    ubuntu = parse_sources(UBUNTU)
    assert sorted(name.split()[1] for name, names in ubuntu.items() if is_security(names, PATTERNS)) == [
        "jammy-infra-security/main",
        "jammy-security/main",
    ]


def test_pending_is_what_a_security_archive_has_newer() -> None:
    found = pending(
        parse_offers(recorded("policy_packages")), parse_sources(recorded("policy_sources")), installed(), PATTERNS
    )
    assert found == (
        Update("ca-certificates", "20230311+deb12u1", "20250419~deb12u2", "Debian-Security"),
        Update("libssl3", "3.0.19-1~deb12u2", "3.0.22-1~deb12u2", "Debian-Security"),
        Update("openssl", "3.0.19-1~deb12u2", "3.0.22-1~deb12u2", "Debian-Security"),
        Update("tzdata", "2025b-0+deb12u2", "2026f-0+deb12u1", "Debian-Security"),
    )


def offer(candidate: str, *versions: tuple[str, str]) -> str:
    rows = "".join(
        f" {'***' if version == '1' else '   '} {version} 500\n        500 {source}\n" for version, source in versions
    )
    return f"pkg:\n  Installed: 1\n  Candidate: {candidate}\n  Version table:\n{rows}"


SECURITY_LINE, STABLE_LINE = "http://s s-security/main amd64 Packages", "http://s s/main amd64 Packages"
SOURCES = {SECURITY_LINE: ("", "s-security", "", ""), STABLE_LINE: ("", "s", "", "")}


@pytest.mark.parametrize(
    ("text", "held", "expected"),
    [
        (offer("2", ("2", SECURITY_LINE), ("1", STABLE_LINE)), False, ("2", "")),
        (offer("3", ("3", STABLE_LINE), ("2", SECURITY_LINE), ("1", STABLE_LINE)), False, ("2", "")),
        (offer("4", ("4", SECURITY_LINE), ("2", SECURITY_LINE), ("1", STABLE_LINE)), False, ("4", "")),
        (offer("2", ("2", STABLE_LINE), ("1", STABLE_LINE)), False, None),
        (offer("1", ("1", STABLE_LINE), ("0", SECURITY_LINE)), False, None),
        (offer("1", ("1", SECURITY_LINE)), False, None),
        (offer("1", ("2", SECURITY_LINE), ("1", STABLE_LINE)), False, ("2", "pinned to 1")),
        (offer("(none)", ("2", SECURITY_LINE), ("1", STABLE_LINE)), False, ("2", "pinned to (none)")),
        (offer("2", ("2", SECURITY_LINE), ("1", STABLE_LINE)), True, ("2", "held")),
        (offer("20250419", ("20250419", SECURITY_LINE), ("1", STABLE_LINE)), False, ("20250419", "")),
        (offer("2", ("2", SECURITY_LINE), ("1", STABLE_LINE)).replace("2 500", "2 500 (phased 10%)"), False, ("2", "")),
    ],
)
def test_a_fix_is_pending_whatever_else_is_offered(text: str, held: bool, expected: tuple[str, str] | None) -> None:
    found = pending(parse_offers(text), SOURCES, {"pkg": Package("pkg", "1", held, True, 0)}, PATTERNS)
    assert [(update.target, update.blocked) for update in found] == ([expected] if expected else [])


def test_a_simulation_names_each_change_once() -> None:
    changes = parse_changes(recorded("simulate"))
    assert [change.name for change in changes] == ["tzdata", "libssl-dev", "libssl3", "openssl"]
    assert changes[2] == Change(
        "libssl3", "3.0.19-1~deb12u2", "3.0.22-1~deb12u2", "Debian-Security:12/oldstable-security"
    )
    new = "Inst linux-image-6.1.0-40-amd64 (6.1.153-1 Debian:12.15/oldstable, Debian-Security:12/s [amd64])\n"
    assert parse_changes(new) == (
        Change("linux-image-6.1.0-40-amd64", "", "6.1.153-1", "Debian:12.15/oldstable, Debian-Security:12/s"),
    )


def test_sizes_are_bytes() -> None:
    assert parse_sizes(recorded("print_uris")) == 307832 + 2450160 + 2039888 + 1441784
    assert parse_installed_sizes(recorded("show")) == {"libssl3": 6042 * 1024, "tzdata": 2571 * 1024}


def test_paths_are_unquoted() -> None:
    assert parse_paths("lists='/var/lib/apt/lists/'\nstatus='/it'\\''s'\n") == {
        "lists": "/var/lib/apt/lists/",
        "status": "/it's",
    }


def test_packages_that_dpkg_complains_about_are_named() -> None:
    text = (
        "The following packages are only half configured, probably due to problems\n"
        "configuring them the first time.  The configuration should be retried using\n"
        "dpkg --configure <package> or the configure menu option in dselect:\n"
        " zlib                 compression library\n"
        " zlib1g:amd64         compression library - runtime\n"
        "\n"
    )
    assert parse_audit(text) == ("zlib", "zlib1g:amd64")
    assert parse_audit("") == ()


def test_kernels_are_the_images_that_are_wholly_installed() -> None:
    def package(name: str, whole: bool = True) -> Package:
        return Package(name, "6.1.153-1", False, whole, 0)

    names = ["linux-image-6.1.0-40-amd64", "linux-image-amd64", "linux-image-6.1.0-40-amd64-dbg", "bash"]
    names.append("linux-image-unsigned-6.8.0-31-generic")
    assert kernels([*map(package, names), package("linux-image-6.1.0-41-amd64", False)]) == {
        "6.1.0-40-amd64": "6.1.153-1",
        "6.8.0-31-generic": "6.1.153-1",
    }


def test_commands_are_exact() -> None:
    fixes = [Update("a", "1", "2", ""), Update("b", "1", "3", "")]
    assert install_command(fixes, 30) == (
        *("apt-get", "--quiet", "--yes", "-o", "Dpkg::Options::=--force-confdef"),
        *("-o", "Dpkg::Options::=--force-confold", "-o", "DPkg::Lock::Timeout=30"),
        *("--only-upgrade", "--no-remove", "install", "a=2", "b=3"),
    )
    assert simulate_command(fixes)[-5:] == ("--only-upgrade", "--no-remove", "install", "a=2", "b=3")
    assert update_command()[-1] == "update" and "APT::Update::Error-Mode=any" in update_command()
    assert reading(("apt-cache", "policy")) == ("apt-cache", "policy")
    own = ("-o", "Dir::State::lists=/x", "-o", "Dir::Cache::pkgcache=")
    assert reading(("apt-cache", "policy"), "/x") == ("apt-cache", *own, "policy")
    kept = ("-o", "Dir::Cache::pkgcache=/c/pkgcache.bin", "-o", "Dir::Cache::srcpkgcache=/c/srcpkgcache.bin")
    assert reading(("apt-cache", "policy"), None, "/c") == ("apt-cache", *kept, "policy")
    assert reading(("apt-cache", "policy"), "/x", "/c") == ("apt-cache", *own[:2], *kept, "policy")


@pytest.mark.parametrize(
    ("output", "code"),
    [
        ("E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 42 (apt)", "lock_busy"),
        (
            "E: Could not open lock file /var/lib/dpkg/lock-frontend - open (13: Permission denied)",
            "insufficient_privilege",
        ),
        (
            "E: Could not open lock file /var/lib/dpkg/lock-frontend - open (13: Permission denied)\n"
            "E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), are you root?",
            "insufficient_privilege",
        ),
        (
            "E: List directory /var/lib/apt/lists/partial is missing. - Acquire (13: Permission denied)",
            "insufficient_privilege",
        ),
        ("x: Permission denied\ndpkg: error processing package zlib (--configure):", "packages_failed"),
        ("dpkg: error: requested operation requires superuser privilege", "insufficient_privilege"),
        ("E: Failed to fetch http://x/y.deb  404  Not Found", "download_failed"),
        ("E: You don't have enough free space in /var/cache/apt/archives/.", "disk_full"),
        ("dpkg: error processing archive x: cannot copy: No space left on device", "disk_full"),
        ("dpkg: error processing package zlib (--configure):", "packages_failed"),
        ("E: dpkg was interrupted, you must manually run 'dpkg --configure -a'", "packages_broken"),
        ("The following packages have unmet dependencies:", "unmet_dependencies"),
        ("E: Packages need to be removed but remove is disabled.", "unmet_dependencies"),
        ("something new", "command_failed"),
    ],
)
def test_what_apt_says_has_a_stable_code(output: str, code: str) -> None:
    assert failure_code(output) == code


def test_a_lock_is_held_by_somebody() -> None:
    text = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 4711 (unattended-upgr)\nE: Unable"
    assert lock_holder(text) == "process 4711 (unattended-upgr)"
    assert lock_holder("E: nothing of the kind") == ""
