from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.slow_log_decide import Place, command_of
from plugins.module_utils._core.sql_text import identifier, literal

EVIL = 'ops"; DROP ROLE dba; --'
PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=0x24F).filter(str.isprintable), max_size=63)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["ops"], '"ops"'),
        (["order"], '"order"'),
        (["My Shop", "Umsätze"], '"My Shop"."Umsätze"'),
        ([EVIL], '"ops""; DROP ROLE dba; --"'),
        (["a\nb\x1b"], '"a\\nb\\x1b"'),
    ],
)
def test_a_name_is_one_name_whatever_is_in_it(names: list[str], text: str) -> None:
    assert identifier(*names) == text


@given(PRINTABLE)
def test_a_quoted_name_or_text_ends_where_it_should(text: str) -> None:
    assert re.fullmatch(r'"(?:[^"]|"")*"', identifier(text)) and identifier(text)[1:-1].replace('""', '"') == text
    quoted = literal(text)
    assert re.fullmatch(r"'(?:[^'\\]|'')*'|E'(?:[^'\\]|''|\\\\)*'", quoted)
    assert quoted.lstrip("E")[1:-1].replace("''", "'").replace("\\\\", "\\") == text


@pytest.mark.parametrize(
    ("place", "value", "command"),
    [
        (Place("server", ""), "250", "ALTER SYSTEM SET log_min_duration_statement = '250'"),
        (Place("database", "my-shop"), None, 'ALTER DATABASE "my-shop" RESET log_min_duration_statement'),
        (Place("role", EVIL), "1s", 'ALTER ROLE "ops""; DROP ROLE dba; --" SET log_min_duration_statement = \'1s\''),
        (Place("role", "app"), "1'; x", "ALTER ROLE \"app\" SET log_min_duration_statement = '1''; x'"),
    ],
)
def test_the_statement_of_the_slow_log_can_be_pasted(place: Place, value: str | None, command: str) -> None:
    assert command_of(place, value) == command
