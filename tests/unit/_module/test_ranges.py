from __future__ import annotations

from typing import Any

import pytest

from plugins.module_utils._core.errors import DatabaseFailed, InvalidValue, OpsError
from plugins.module_utils._module.http_options import each_by_name
from plugins.module_utils._module.ranges import bounded, check_ranges, positive_duration
from plugins.module_utils._module.upkeep_options import raise_when_cut_short, upkeep_options

UPKEEP = {
    "databases": ["shop"], "jobs": 2, "lock_attempts": 3, "cancel_at_end": False, "budget": "90m",
    "window_end": " 06:00 ", "maintenance_work_mem": "1GB",
}  # fmt: skip


@pytest.mark.parametrize("value", [1, 64])
def test_both_ends_are_within_the_bounds(value: int) -> None:
    assert bounded({"jobs": value}, "jobs", 1, 64) == value


@pytest.mark.parametrize("value", [0, 65, -1])
def test_what_is_out_of_bounds_is_named(value: int) -> None:
    with pytest.raises(InvalidValue, match=rf"^jobs must be between 1 and 64, not {value}$"):
        bounded({"jobs": value}, "jobs", 1, 64)
    with pytest.raises(InvalidValue, match=r"^overrides\[3\]\.jobs must be"):
        check_ranges({"jobs": value}, {"jobs": (1, 64)}, "overrides[3].")


def test_what_is_not_given_is_in_order() -> None:
    check_ranges({"jobs": None}, {"jobs": (1, 64), "limit": (1, 10_000)})


@pytest.mark.parametrize(("text", "words"), [("0s", "longer than nothing"), ("soon", "interval")])
def test_a_duration_is_longer_than_nothing(text: str, words: str) -> None:
    assert positive_duration({"interval": "2m"}, "interval") == 120
    with pytest.raises(InvalidValue, match=words):
        positive_duration({"interval": text}, "interval")


def test_the_options_that_vacuuming_and_reindexing_share() -> None:
    read = upkeep_options(UPKEEP, {"vacuum_cost_limit": "200"})
    assert read["settings"] == {"vacuum_cost_limit": "200", "maintenance_work_mem": "1048576kB"}
    assert (read["budget"], read["window_end"], read["databases"]) == (5400, "06:00", ("shop",))
    none = upkeep_options({**UPKEEP, "budget": None, "window_end": None, "maintenance_work_mem": None}, {})
    assert (none["budget"], none["window_end"], none["settings"]) == (None, None, {})


@pytest.mark.parametrize("size", ["1MB", "2047GB"])
def test_the_memory_that_a_server_takes(size: str) -> None:
    assert upkeep_options({**UPKEEP, "maintenance_work_mem": size}, {})["settings"]


@pytest.mark.parametrize("size", ["1023kB", "2048GB", "0"])
def test_the_memory_that_no_server_takes(size: str) -> None:
    with pytest.raises(InvalidValue, match="maintenance_work_mem must be between"):
        upkeep_options({**UPKEEP, "maintenance_work_mem": size}, {})


def test_a_run_that_was_cut_short_fails_and_keeps_what_was_done() -> None:
    partial = {"changed": True}
    raise_when_cut_short("maintain", "2 of 3 tables done", None, False, partial)
    fatal = OpsError("it is gone", code="connection_lost", hint="look", details={"a": 1})
    with pytest.raises(DatabaseFailed, match=r"^maintain: 2 of 3 tables done, then: it is gone$") as raised:
        raise_when_cut_short("maintain", "2 of 3 tables done", fatal, True, partial)
    assert raised.value.failure() == fatal.failure() and raised.value.partial == partial
    with pytest.raises(OpsError, match=r"^maintain: stopped by a signal, 2 of 3 tables done$") as stopped:
        raise_when_cut_short("maintain", "2 of 3 tables done", None, True, partial)
    assert stopped.value.code == "interrupted" and stopped.value.partial == partial


def _read(name: str, one: dict[str, Any]) -> str:
    if one["bad"]:
        raise InvalidValue("it is bad", hint="mend it")
    return name.upper()


@pytest.mark.parametrize(
    ("names", "bad", "words"),
    [
        ([], False, "^apis names nothing to ask$"),
        (["a", "a"], False, r"^api 2 \(a\): there are two of this name$"),
        (["a"], True, r"^api 1 \(a\): it is bad$"),
    ],
)
def test_a_list_that_cannot_be_asked_says_which_of_it(names: list[str], bad: bool, words: str) -> None:
    with pytest.raises(InvalidValue, match=words):
        each_by_name("api", names, [{"bad": bad} for _name in names], _read)


def test_a_list_is_read_in_its_order() -> None:
    assert each_by_name("api", ["b", "a"], [{"bad": False}] * 2, _read) == ("B", "A")
