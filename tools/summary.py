"""Print a summary again from the JSON file that the callback wrote, or draw it as a picture.

python tools/summary.py .demo/summary.json
python tools/summary.py .demo/summary.json --svg docs/summary.svg --width 100
"""

from __future__ import annotations

import argparse
import html
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from plugins.module_utils._core.report import Need  # noqa: E402
from plugins.module_utils._core.runbook import read_decisions, read_runbook  # noqa: E402
from plugins.module_utils._core.summary import DecisionPoint, Line, Notice, Summary  # noqa: E402
from plugins.module_utils._core.summary_page import page, render  # noqa: E402

COLORS = {
    "ok": "#3fb950",
    "changed": "#d29922",
    "warning": "#db61a2",
    "unknown": "#db61a2",
    "critical": "#f85149",
    "failed": "#f85149",
    "unreachable": "#f85149",
    "bold": "#f0f6fc",
    "quiet": "#8b949e",
}
CODES = {"ok": 32, "changed": 33, "warning": 35, "unknown": 35, "bold": 1, "quiet": 2}
FONT, CHARACTER, LINE = 14, 8.43, 20
_MARK = re.compile("\x02(\\w+)\x03(.*?)\x04")


def read_summary(data: dict[str, Any]) -> Summary:
    """Return the summary of a file that as_json made."""
    lines = [read_line(raw) for host in data["hosts"].values() for raw in host["steps"]]
    return Summary(
        data["runbook"], tuple(lines), data["check_mode"], data["duration_seconds"], points_of(data["runbook"]),
        data["again"],
    )  # fmt: skip


def read_line(raw: dict[str, Any]) -> Line:
    lists = {name: tuple(raw[name]) for name in ("details", "read")}
    notices, needs = (tuple(made(**one) for one in raw[key]) for key, made in (("notices", Notice), ("needs", Need)))
    return Line(**{**raw, **lists, "notices": notices, "needs": needs})


def points_of(runbook: str) -> tuple[DecisionPoint, ...]:
    points: tuple[DecisionPoint, ...] = ()
    for meta in (ROOT / "playbooks").glob(f"**/{runbook}.meta.yml"):
        points += read_runbook(runbook, yaml.safe_load(meta.read_text(encoding="utf-8"))).decision_points
    for file in sorted((ROOT / "roles").glob("*/meta/decisions.yml")):
        points += read_decisions(file.parts[-3], yaml.safe_load(file.read_text(encoding="utf-8")))
    return points


def on_terminal(text: str, style: str) -> str:
    return f"\x1b[{CODES.get(style, 31)}m{text}\x1b[0m" if sys.stdout.isatty() else text


def svg(summary: Summary, width: int) -> str:
    """Return a picture of the page, as a terminal would show it."""
    texts = render(summary, page(width, True, lambda text, style: f"\x02{style}\x03{text}\x04"))
    rows = "\n".join(
        f'<text x="16" y="{36 + number * LINE}" xml:space="preserve">{row(text)}</text>'
        for number, text in enumerate(texts)
    )
    size = f'width="{width * CHARACTER + 32:.0f}" height="{len(texts) * LINE + 40}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="ui-monospace, Menlo, Consolas, monospace" '
        f'font-size="{FONT}" fill="#c9d1d9">\n<rect width="100%" height="100%" fill="#0d1117"/>\n{rows}\n</svg>\n'
    )


def row(text: str) -> str:
    parts, end = [], 0
    for match in _MARK.finditer(text):
        parts.append(html.escape(text[end : match.start()]))
        parts.append(f'<tspan fill="{COLORS[match[1]]}">{html.escape(match[2])}</tspan>')
        end = match.end()
    return "".join([*parts, html.escape(text[end:])])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--svg", type=Path, metavar="FILE")
    parser.add_argument("--width", type=int, default=shutil.get_terminal_size().columns)
    arguments = parser.parse_args()
    summary = read_summary(json.loads(arguments.file.read_text(encoding="utf-8")))
    if arguments.svg:
        arguments.svg.write_text(svg(summary, arguments.width), encoding="utf-8")
    else:
        print("\n".join(render(summary, page(arguments.width, True, on_terminal))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
