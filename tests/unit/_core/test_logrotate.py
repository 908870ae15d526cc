"""Whether logrotate is alive: its timer, and how long it has been silent."""

from __future__ import annotations

from typing import Any

import pytest

from plugins.module_utils._core.logrotate import logrotate_faults

NOW = 1_800_000_000.0
DEBIAN, REDHAT = "/var/lib/logrotate/status", "/var/lib/logrotate/logrotate.status"
UNITS = """\
Id=logrotate.timer
ActiveState=active
UnitFileState=enabled
Result=success

Id=logrotate.service
ActiveState=inactive
UnitFileState=static
Result=success
"""
# What systemd 252 says of a timer that is not installed.
NO_TIMER = """\
Id=logrotate.timer
ActiveState=inactive
UnitFileState=

Id=logrotate.service
ActiveState=inactive
UnitFileState=
"""


def files(**hours: float | None) -> list[dict[str, Any]]:
    """Return a loop's results of stat: the age of each file in hours, None for one that is not there."""
    return [
        {"item": name, "stat": {"exists": False} if age is None else {"exists": True, "mtime": NOW - age * 3600}}
        for name, age in hours.items()
    ]


def states(debian: float | None = None, redhat: float | None = None) -> list[dict[str, Any]]:
    return files(**{DEBIAN: debian, REDHAT: redhat})


def faults(seen: list[dict[str, Any]], configuration: list[dict[str, Any]] | None = None, units: str = "") -> str:
    return "; ".join(logrotate_faults(seen, configuration or [], units, NOW, 50))


@pytest.mark.parametrize(
    "seen",
    [states(debian=49.9), states(redhat=49.9), states(debian=9000, redhat=1), states(debian=1, redhat=9000)],
)
def test_the_newest_state_that_is_there_counts(seen: list[dict[str, Any]]) -> None:
    assert faults(seen) == ""


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (states(debian=50), f"not written {DEBIAN} for 2 d 2 h"),
        (states(redhat=51), f"not written {REDHAT} for 2 d 3 h"),
        (states(debian=9000, redhat=50), f"not written {REDHAT} for 2 d 2 h"),
    ],
)
def test_a_long_silence_is_a_fault(seen: list[dict[str, Any]], words: str) -> None:
    assert words in faults(seen) and "nothing runs it" in faults(seen)


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        (files(shop=0.1), ""),
        (files(shop=49.9, gone=None), ""),
        (files(shop=50), "since it was configured 2 d 2 h ago"),
        (files(shop=0.1, nginx=600), "since it was configured 25 d ago"),
        (files(gone=None), f"never written {DEBIAN}, {REDHAT}"),
        ([], f"never written {DEBIAN}, {REDHAT}"),
    ],
)
def test_one_that_never_ran_is_given_the_time_since_it_was_configured(
    configuration: list[dict[str, Any]], words: str
) -> None:
    said = faults(states(), configuration)
    assert words in said and bool(said) == bool(words)


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ("", []),
        (UNITS, []),
        (UNITS.replace("=active", "=inactive"), ["logrotate.timer is inactive, not active"]),
        (UNITS.replace("enabled", "disabled"), ["logrotate.timer is disabled, not enabled"]),
        ("exit-code".join(UNITS.rsplit("success", 1)), ["the last run of logrotate.service ended with exit-code"]),
        (UNITS.replace("success", "resources", 1), ["the last run of logrotate.timer ended with resources"]),
        (
            NO_TIMER,
            ["logrotate.timer is inactive, not active", "logrotate.timer is unknown to systemd, not enabled"],
        ),
        (
            "\n\n".join(reversed(UNITS.split("\n\n"))),
            [],
        ),
    ],
)
def test_the_timer_must_wait_and_the_last_run_have_gone_well(units: str, expected: list[str]) -> None:
    assert logrotate_faults(states(debian=1), [], units, NOW, 50) == expected


def test_all_faults_are_told_at_once() -> None:
    assert len(logrotate_faults(states(), [], NO_TIMER, NOW, 50)) == 3
