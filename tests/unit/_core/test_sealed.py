from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.errors import PreconditionFailed
from plugins.module_utils._core.sealed import reading_manifest, seal, unseal

FACTS = st.dictionaries(st.text().filter(lambda name: name != "format"), st.text() | st.integers() | st.none())


@given(FACTS, st.booleans())
def test_facts_come_back_as_they_were(facts: dict[str, Any], any_bytes: bool) -> None:
    assert unseal(seal(facts, 3, any_bytes=any_bytes), 3) == facts


def test_a_name_that_is_no_utf_8_can_be_written_down() -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    text = seal({"path": name}, 1, any_bytes=True)
    assert text.isascii() and unseal(text, 1)["path"] == name


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "{}", '{"format": 2}', '{"format": "1"}', '"format"'])
def test_what_is_no_such_file_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"another format|line 1"):
        unseal(text, 1)


@pytest.mark.parametrize("error", [ValueError("a\x1b[31m"), KeyError("a"), TypeError("a"), AttributeError("a")])
def test_a_damaged_manifest_says_what_to_do(error: Exception) -> None:
    with pytest.raises(PreconditionFailed) as raised, reading_manifest():
        raise error
    assert raised.value.code == "manifest_unreadable" and raised.value.hint and "\x1b" not in raised.value.message


def test_another_error_is_not_taken_for_damage() -> None:
    with pytest.raises(ZeroDivisionError), reading_manifest():
        json.loads("1")
        raise ZeroDivisionError
