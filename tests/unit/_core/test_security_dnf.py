"""What dnf 4.14 and rpm print, recorded with a repository that has advisories."""

from __future__ import annotations

from pathlib import Path

import pytest

from plugins.module_utils._core.errors import CommandFailed
from plugins.module_utils._core.security_dnf import (
    failure_code,
    install_command,
    kernels,
    newest,
    parse_advisories,
    parse_check,
    parse_rpms,
    pending,
)
from plugins.module_utils._core.security_updates import Update

RECORDED = Path(__file__).resolve().parents[2] / "data" / "dnf"


def recorded(name: str) -> str:
    return (RECORDED / f"{name}.txt").read_text(encoding="utf-8")


def test_pending_has_the_installed_version_the_target_and_the_advisory() -> None:
    found = pending(
        parse_check(recorded("check_update")), parse_advisories(recorded("updateinfo")), parse_rpms(recorded("rpm_qa"))
    )
    assert found == (
        Update("curl.noarch", "7.76.1-23.el9", "7.76.1-26.el9", "RHSA-2024:0002 Moderate/Sec."),
        Update("kernel-core.noarch", "5.14.0-362.el9", "5.14.0-427.el9", "RHSA-2024:0002 Moderate/Sec."),
        Update("openssl.noarch", "1:3.0.7-24.el9", "1:3.0.7-27.el9", "RHSA-2024:0001 Important/Sec."),
    )


def test_the_command_names_exact_versions() -> None:
    fix = Update("openssl.x86_64", "1:3.0.7-24.el9", "1:3.0.7-27.el9", "")
    assert install_command([fix]) == (
        *("dnf", "--assumeyes", "--setopt=exit_on_lock=True", "upgrade", "openssl-1:3.0.7-27.el9.x86_64"),
    )


def test_long_names_are_wrapped_and_obsoletes_are_no_updates() -> None:
    text = (
        "\na-package-with-a-name-that-does-not-fit-into-its-column.noarch\n"
        "                        1.0-2.el9            baseos\n"
        "curl.x86_64             7.76.1-26.el9        baseos\n"
        "Obsoleting Packages\nnew.x86_64  1  baseos\n    old.x86_64  1  @baseos\n"
    )
    assert parse_check(text) == {
        "a-package-with-a-name-that-does-not-fit-into-its-column.noarch": "1.0-2.el9",
        "curl.x86_64": "7.76.1-26.el9",
    }


def test_words_that_are_no_table_are_an_error() -> None:
    with pytest.raises(CommandFailed) as failed:
        parse_check("curl.x86_64 7.76.1-26.el9\n")
    assert failed.value.code == "output_unreadable"


def test_the_kernel_that_was_installed_last_is_the_newest() -> None:
    rows = "kernel-core\t0\t5.14.0\t427.el9\tx86_64\t200\nkernel-core\t0\t5.14.0\t362.el9\tx86_64\t100\n"
    assert newest(parse_rpms(rows))["kernel-core.x86_64"].evr == "5.14.0-427.el9"
    assert kernels(parse_rpms(rows)) == {
        "5.14.0-427.el9.x86_64": "5.14.0-427.el9",
        "5.14.0-362.el9.x86_64": "5.14.0-362.el9",
    }


@pytest.mark.parametrize(
    ("rc", "output", "code"),
    [
        (200, "Error: locked", "lock_busy"),
        (
            1,
            "Error: This command has to be run with superuser privileges (under the root user).",
            "insufficient_privilege",
        ),
        (1, "Error: Failed to download metadata for repo 'gone': Cannot download repomd.xml", "download_failed"),
        (1, "  At least 100MB more space needed on the / filesystem.", "disk_full"),
        (1, "Error: \n Problem: nothing provides x", "unmet_dependencies"),
        (1, "something new", "command_failed"),
    ],
)
def test_what_dnf_says_has_a_stable_code(rc: int, output: str, code: str) -> None:
    assert failure_code(rc, output) == code
