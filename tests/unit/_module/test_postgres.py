from __future__ import annotations

import pytest

from plugins.module_utils._core.errors import InvalidValue
from plugins.module_utils._module.postgres import postgres_spec, postgres_target

DEFAULTS = {name: option.get("default") for name, option in postgres_spec().options.items()}

CASES = [
    ({}, {"dbname": "postgres"}),
    ({"login_host": "db", "login_port": 6000, "login_db": "shop"}, {"host": "db", "port": 6000, "dbname": "shop"}),
    ({"login_unix_socket": "/run/pg"}, {"host": "/run/pg", "dbname": "postgres"}),
    ({"service": "shop"}, {"service": "shop"}),
    ({"dsn": "postgresql://ops:p%40ss@db:6000/shop?sslmode=require"},
     {"user": "ops", "password": "p@ss", "host": "db", "port": "6000", "dbname": "shop", "sslmode": "require"}),
    ({"dsn": "host=db user=ops", "login_db": "other"}, {"host": "db", "user": "ops", "dbname": "other"}),
    ({"connect_params": {"connect_timeout": 3}}, {"connect_timeout": 3, "dbname": "postgres"}),
]  # fmt: skip


@pytest.mark.parametrize(("options", "expected"), CASES)
def test_options_become_libpq_parameters(options, expected):
    assert postgres_target({**DEFAULTS, **options}, "x").parameters == expected


def test_a_dsn_that_cannot_be_read_is_refused_without_showing_it():
    with pytest.raises(InvalidValue) as refused:
        postgres_target({**DEFAULTS, "dsn": "postgresql://ops:hunter2@[db"}, "x")
    assert refused.value.code == "invalid_value" and "hunter2" not in str(refused.value)


def test_the_label_has_no_password():
    target = postgres_target({**DEFAULTS, "dsn": "postgresql://ops:hunter2@db:6000/shop"}, "x")
    assert target.label() == "db:6000"


def test_a_time_out_that_is_no_duration_is_refused_by_name():
    with pytest.raises(InvalidValue, match="lock_timeout"):
        postgres_target({**DEFAULTS, "lock_timeout": "soon"}, "x")
