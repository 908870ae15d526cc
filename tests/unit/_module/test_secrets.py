from __future__ import annotations

import pytest

from plugins.module_utils._module.secrets import secrets_of

CASES = [
    ({"login_password": "pw1"}, {"pw1"}),
    ({"redis_password": "pw2"}, {"pw2"}),
    ({"dsn": "postgresql://u:p%40ss@h/db"}, {"p%40ss", "p@ss"}),
    ({"dsn": "host=h password=plain user=u"}, {"plain"}),
    ({"dsn": "host=h password='with blank' user=u"}, {"with blank"}),
    ({"dsn": r"host=h password='it\'s' user=u"}, {"it's"}),
    ({"dsn": "host = h password = spaced"}, {"spaced"}),
    ({"dsn": "postgresql://h/db?user=u&password=query%21"}, {"query%21", "query!"}),
    ({"connect_params": {"password": "inner"}}, {"inner"}),
    ({"probes": [{"type": "sql", "dsn": "postgresql://u:deep@h/db"}]}, {"deep"}),
    ({"endpoints": [{"username": "u", "password": "p"}]}, {"p", "dTpw"}),
    ({"apis": [{"bearer_token": "b"}, {"oauth": {"client_id": "i", "client_secret": "s"}}]}, {"b", "s", "aTpz"}),
    ({"apis": [{"secret_query": {"apikey": "a b+c"}}]}, {"a b+c", "a+b%2Bc"}),
    ({"path": "/var/log"}, set()),
]


@pytest.mark.parametrize(("params", "expected"), CASES)
def test_every_form_of_a_password_is_found(params, expected):
    assert expected <= set(secrets_of(params))


def test_a_connection_string_that_cannot_be_read_is_a_secret_as_a_whole():
    assert "postgresql://u:x@[broken/db" in secrets_of({"dsn": "postgresql://u:x@[broken/db"})
