"""The inventory's own questions in postgresql_health_info: answers, verdicts, and what they must not be able to do."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.postgres_health import found, look, only, sample, status, words
from tests.support.servers import Database, Roles


def asked(database: Database, user: str | None = None, **question: Any) -> dict[str, Any]:
    more = {"user": user} if user else {}
    return look(database, limits=only(), queries=[{"name": "orders", **question}], **more)


@pytest.fixture
def shop(database: Database) -> Database:
    database.execute("CREATE TABLE public.orders (state text, country text, total numeric)")
    database.execute("INSERT INTO orders VALUES ('waiting', 'de', 9.5), ('waiting', 'de', 1), ('sent', 'fr', 2)")
    database.execute("GRANT SELECT ON orders TO PUBLIC")
    return database


def test_a_number_is_judged_and_kept_and_tables_need_no_schema(shop: Database, role: Roles) -> None:
    result = asked(shop, role(), query="SELECT count(*) FROM orders;", warning=3, critical=9, labels={"shop": "eu"})
    (one,) = found(result, "custom_orders")
    assert (one["status"], one["value"], one["warning"], one["critical"]) == ("warning", 3, 3, 9)
    assert "of eu: 3 count" in one["msg"] and sample(result, "database.custom.orders", shop="eu") == 3


def test_less_can_be_worse_and_a_metric_can_be_the_business_s(shop: Database) -> None:
    result = asked(shop, query="SELECT sum(total) FROM orders", area="business", direction="lower_is_worse",
                   warning=100, critical=20)  # fmt: skip
    assert status(result, "custom_orders") == "critical" and sample(result, "business.orders") == 12.5


def test_each_row_is_a_reading_of_its_own(shop: Database) -> None:
    query = "SELECT count(*) AS value, country FROM orders GROUP BY country"
    result = asked(shop, query=query, warning=2)
    assert {(one["msg"], one["status"]) for one in found(result, "custom_orders")} == {
        ("orders of de: 2 count", "warning"),
        ("orders of fr: 1 count", "ok"),
    }
    assert sample(result, "database.custom.orders", country="de") == 2
    many = asked(shop, query="SELECT i AS value, i::text AS n FROM generate_series(1, 1000000) i")
    assert len(found(many, "custom_orders")) == 21 and "more than 20 rows" in words(many, "custom_orders")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT 1 WHERE false", "no row"),
        ("SELECT NULL", "no number"),
        ("SELECT 'abc'", "no number"),
        ("SELECT 'NaN'::float8", "no number"),
        ("SELECT '\x1b[31mred'", "no number"),
        ("SELECT 1 AS a, 2 AS b", "none is called value"),
        ("SELECT count(*) FROM no_such_table", "does not exist"),
        ("SELECT pg_sleep(60)::text", "statement timeout"),
        ("SELECT 1; SELECT 2", "multi-query"),
        ("COMMIT; DROP TABLE orders", "multi-query"),
        ("DELETE FROM orders RETURNING 1", "read-only"),
        ("WITH gone AS (DELETE FROM orders RETURNING 1) SELECT count(*) FROM gone", "DECLARE CURSOR|read-only"),
        ("SELECT nextval('numbers')", "read-only"),
        ("DROP TABLE orders", "cannot open"),
    ],
)
def test_what_is_no_answer_is_unknown_and_nothing_can_be_written(shop: Database, query: str, said: str) -> None:
    shop.execute("CREATE SEQUENCE public.numbers")
    result = asked(shop, query=query, timeout="200ms")
    assert status(result, "custom_orders") == "unknown" and "\x1b" not in str(result)
    assert any(part in words(result, "custom_orders") for part in said.split("|")), words(result, "custom_orders")
    assert shop.fetch("SELECT count(*) FROM orders") == [(3,)]
    assert [one for one in result["samples"] if one["metric"].startswith("database.custom")] == []


def test_one_that_fails_spoils_neither_the_next_nor_the_session(shop: Database) -> None:
    questions = [
        {"name": "bad", "query": "SELECT 1/0"},
        {"name": "slow", "query": "SELECT pg_sleep(60)::text", "timeout": "100ms"},
        {"name": "path", "query": "SELECT current_setting('search_path') = '\"$user\", public'"},
        {"name": "good", "query": "SELECT count(*) FROM orders"},
    ]
    result = look(shop, limits=only("connections"), queries=questions)
    said = {one["check"]: one["status"] for one in result["findings"]}
    assert (said["custom_bad"], said["custom_slow"], said["custom_good"]) == ("unknown", "unknown", "ok")
    assert found(result, "custom_path")[0]["value"] == 1


def test_a_table_that_the_role_may_not_read_is_unknown_with_the_server_s_words(shop: Database, role: Roles) -> None:
    shop.execute("REVOKE SELECT ON orders FROM PUBLIC")
    result = asked(shop, role(), query="SELECT count(*) FROM orders")
    assert status(result, "custom_orders") == "unknown" and "permission denied for table orders" in result["msg"]
