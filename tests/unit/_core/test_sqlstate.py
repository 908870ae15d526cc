from __future__ import annotations

import pytest

from plugins.module_utils._core.sqlstate import meaning_of

CASES = [
    ("28P01", "authentication_failed"),
    ("3D000", "database_missing"),
    ("42501", "insufficient_privilege"),
    ("53100", "disk_full"),
    ("57P01", "server_gone"),
    ("57P05", "server_gone"),
    ("25P03", "server_gone"),
    ("25P04", "server_gone"),
    ("08003", "server_gone"),
    ("58030", "server_system_error"),
    ("22P02", "database_failed"),
    ("", "server_gone"),
]


@pytest.mark.parametrize(("state", "code"), CASES)
def test_a_state_has_a_stable_code_and_a_hint(state, code):
    meaning = meaning_of(state)
    assert meaning.code == code and meaning.hint
