from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.module_utils._core.redact import MASK, printable, redact_query, redact_text, redact_value

SECRET_TEXTS = [
    "postgresql://app:hunter2hunter2@db.example/shop",
    "redis://:hunter2hunter2@cache:6379/0",
    "host=db password=hunter2hunter2 user=app",
    "password='hunter2hunter2 with blanks'",
    'PGPASSWORD="x" password = "hunter2hunter2"',
    "Authorization: Bearer hunter2hunter2",
    "api_key=hunter2hunter2&x=1",
    "ALTER ROLE app PASSWORD 'hunter2hunter2'",
    "CREATE ROLE app LOGIN PASSWORD $$hunter2hunter2$$",
    "token: hunter2hunter2",
]
QUERIES = [
    ("SELECT 1", "SELECT ?"),
    ("SELECT * FROM t1 WHERE a = 'it''s' AND b = -1.5e3", "SELECT * FROM t1 WHERE a = ? AND b = ?"),
    ("UPDATE x SET y = E'a\\'b' /* secret */ WHERE id=$1", "UPDATE x SET y = ? WHERE id=$1"),
    ("SELECT $tag$ secret $tag$, 'cut off by track_activity_query_si", "SELECT ?, ?"),
    ("SELECT\n\t2 -- secret\n+ 3", "SELECT ? + ?"),
    ('SELECT "col 1" FROM "T2"', 'SELECT "col ?" FROM "T2"'),
]


@pytest.mark.parametrize("text", SECRET_TEXTS)
def test_secrets_that_look_like_secrets_are_masked(text):
    assert "hunter2hunter2" not in redact_text(text)


@given(st.text(min_size=4, max_size=20), st.text(max_size=30), st.text(max_size=30))
def test_a_known_secret_never_survives(secret, before, after):
    value = {"a": [before + secret + after], secret: {"b": (secret,)}, "n": 5}
    if secret not in MASK:
        assert secret not in repr(redact_value(value, [secret])).replace(MASK, "")


@pytest.mark.parametrize(("query", "shape"), QUERIES)
def test_a_query_keeps_its_shape_and_loses_its_literals(query, shape):
    assert redact_query(query) == shape


def test_a_long_query_is_cut():
    assert len(redact_query("SELECT " + "x, " * 1000, limit=100)) == 100


@given(st.text())
def test_printable_text_has_no_control_characters(text):
    assert all(c.isprintable() for c in printable(text))
