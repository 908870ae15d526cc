from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from plugins.module_utils._core.checklist import (
    Item,
    Signature,
    Signing,
    carry_out,
    check_items,
    decide,
    read_signatures,
)
from plugins.module_utils._core.errors import InvalidValue
from plugins.module_utils._core.result import render_decision, render_outcome

NOW = datetime(2026, 11, 21, 8, 0, tzinfo=timezone.utc)
NOBODY = Signing()
EAST = timezone(timedelta(hours=10))  # it is evening there
ITEMS = (
    Item("endpoints", "Endpoints answer", "morning", ("availability", "host")),
    Item("tickets", "Tickets are read", "morning"),
    Item("priorities", "Priorities are set", "evening"),
)


def statuses(signing: Signing = NOBODY, verdicts: dict[str, str] | None = None, **kept: Signature) -> dict[str, str]:
    decision = decide(ITEMS[:2], verdicts or {}, signing, kept, NOW, timezone.utc)
    return {finding.check: finding.status for finding in decision.findings}


def test_areas_answer_by_themselves_and_people_do_not() -> None:
    well = {"availability": "ok", "host": "ok"}
    assert statuses(verdicts=well) == {"list_endpoints": "ok", "list_tickets": "unknown"}
    assert statuses(verdicts={**well, "host": "critical"})["list_endpoints"] == "critical"


def test_an_area_that_was_not_looked_at_is_not_in_order() -> None:
    assert statuses(verdicts={"availability": "ok"})["list_endpoints"] == "unknown"


def test_a_signature_is_planned_done_once_and_kept_for_its_day() -> None:
    decision = decide(ITEMS, {}, Signing(("tickets",), "anna"), {}, NOW, timezone.utc)
    assert [action.id for action in decision.plan] == ["sign:tickets"]
    assert render_decision(decision)["changed"]
    done = render_outcome(decision, carry_out(decision))
    assert done["changed"] and done["after"] == {"signed": ["tickets"]}
    kept = read_signatures(done["signatures"])
    again = decide(ITEMS, {}, Signing(("tickets",), "bob"), kept, NOW, timezone.utc)
    assert again.plan == () and "signed by anna" in again.findings[1].msg
    tomorrow = decide(ITEMS, {}, Signing(), kept, NOW + timedelta(days=1), timezone.utc)
    assert tomorrow.findings[1].status == "unknown" and tomorrow.extra["signatures"] == {}


def test_the_day_is_the_one_of_the_people() -> None:
    late = Signature("anna", NOW - timedelta(hours=12))  # the evening before in UTC, the same day in the east
    assert decide(ITEMS, {}, Signing(), {"tickets": late}, NOW, timezone.utc).findings[1].status == "unknown"
    assert decide(ITEMS, {}, Signing(), {"tickets": late}, NOW + timedelta(hours=1), EAST).findings[1].status == "ok"


@pytest.mark.parametrize(
    ("items", "which", "signing", "word"),
    [
        (ITEMS, "noon", Signing(), "noon"),
        (ITEMS, "", Signing(("tickets",)), "signed_by"),
        (ITEMS, "", Signing(("endpoints",), "anna"), "endpoints"),
        (ITEMS, "", Signing(("nothing",), "anna"), "nothing"),
        ((*ITEMS, ITEMS[0]), "", Signing(), "endpoints"),
    ],
)
def test_what_cannot_be_meant_is_refused(items: tuple[Item, ...], which: str, signing: Signing, word: str) -> None:
    with pytest.raises(InvalidValue, match=word):
        check_items(items, which, signing)


def test_the_items_of_one_list() -> None:
    assert [item.name for item in check_items(ITEMS, "evening", Signing())] == ["priorities"]


def test_what_is_no_signature_signs_nothing() -> None:
    raw = {"a": None, "b": {"by": "x", "at": "yesterday"}, "c": {"by": "x", "at": "2026-11-21T08:00:00"}}
    assert read_signatures(raw) == {}
