"""The report as Markdown: whatever a text holds, it is shown and means nothing."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from plugins.plugin_utils.report.ticket import code, escaped, render_ticket
from tests.support.reports import HOSTILE, NOW, example_report, hostile_report

MARKDOWN = MarkdownIt("commonmark", {"html": True})
MARKUP = "\\`*_[]()<>#|~$!&@:/.-+ 1\n" + "ab"


def all_types(text: str) -> set[str]:
    tokens = MARKDOWN.parse(text)
    return {token.type for token in tokens} | {child.type for token in tokens for child in token.children or ()}


@given(st.text(alphabet=MARKUP, max_size=60))
@example("- a")
@example("1. a")
@example("[a](javascript:alert(1))")
@example("&lt;b&gt;")
def test_a_text_in_a_list_is_shown_as_it_is(text: str) -> None:
    text = " ".join(text.split())  # as every text of a report is
    for before in ("", "start "):
        ticket = f"- {before}{escaped(text)}"
        assert all_types(ticket) <= {
            "bullet_list_open", "list_item_open", "paragraph_open", "inline", "text", "text_special",
            "paragraph_close", "list_item_close", "bullet_list_close",
        }, ticket  # fmt: skip
        shown = "".join(
            child.content for token in MARKDOWN.parse(ticket) for child in token.children or () if child.content
        )
        assert shown == f"{before}{text}".strip()


@given(st.text(alphabet="`ab ", min_size=1, max_size=20).filter(lambda text: text.strip(" ") != ""))
def test_a_command_is_one_piece_of_code(text: str) -> None:
    (inline,) = [token for token in MARKDOWN.parse(f"x {code(text)}") if token.type == "inline"]
    assert [child.type for child in inline.children or ()] == ["text", "code_inline"]


def test_the_ticket_is_short_and_says_what_matters_first() -> None:
    text = render_ticket(example_report(), NOW)
    lines = text.splitlines()
    assert lines[0] == "# Shop Operations report: Critical" and lines[2] == "As of 2026-11-21 00:00 UTC."
    assert lines.index("## Needs a person") < lines.index("## Areas") < lines.index("## Scheduled runs")
    assert "error budget left -60 %" in text and "RTO 21 min of 30 min" in text and len(text) < 6000


def test_a_hostile_report_makes_no_markup() -> None:
    types = all_types(render_ticket(hostile_report(), NOW))
    assert types.isdisjoint({"html_block", "html_inline", "image", "fence", "code_block", "table_open"})
    links = [
        child.attrs["href"]
        for token in MARKDOWN.parse(render_ticket(hostile_report(), NOW))
        for child in token.children or ()
        if child.type == "link_open"
    ]
    assert links == []
    assert "@" not in escaped("@team") and len(HOSTILE) > 9
