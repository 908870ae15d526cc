# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report as one self-contained HTML page: it asks no network for anything, and runs no script but its own."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from pathlib import Path
from typing import Any, Iterable, Optional, Sequence
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ...module_utils._core import report_format as shown
from ...module_utils._core.redact import printable
from ...module_utils._core.report import Plot, ReportData
from ...module_utils._core.report_plot import Drawing, draw, sparkline
from ...module_utils._core.report_series import forecast_plot
from ...module_utils._core.result import CRITICAL, OK, UNKNOWN, WARNING
from ...module_utils._core.units import count_of

HERE = Path(__file__).parent
GENERATED = re.compile(r'As of <time id="generated" datetime="[^"]*">[^<]*</time>')

WORDS = {OK: "OK", WARNING: "Warning", CRITICAL: "Critical", UNKNOWN: "Unknown"}
LOOKS = {"failed": CRITICAL, "interrupted": WARNING, "running": UNKNOWN, **{status: status for status in WORDS}}
AREA_TITLES = {
    "external_apis": "External APIs",
    "kpis": "KPIs",
    "database": "Database",
    "redis": "Redis",
    "runs": "Scheduled runs",
    "recovery": "Recovery",
    "incidents": "Incidents",
}
SECTIONS = (
    ("needs", "Needs a person", lambda report: True),
    ("areas", "Areas", lambda report: True),
    ("kpis", "KPIs", lambda report: report.kpis),
    ("business", "Business", lambda report: report.business),
    ("backups", "Backups and recovery", lambda report: report.backups or report.objectives),
    ("capacity", "Capacity", lambda report: report.forecasts),
    ("history", "History", lambda report: report.plots),
    ("incidents", "Incidents", lambda report: report.incidents),
    ("runs", "Runs", lambda report: report.runs or report.duties),
    ("work", "Maintenance", lambda report: report.work or report.sessions),
)


def render_page(report: ReportData, generated_at: float, stale_seconds: float) -> str:
    """Return the page. ``stale_seconds``: from which age on it warns whoever reads it."""
    styles = [asset("uPlot.min.css"), stylesheet()]
    scripts = [asset(name) for name in ("theme.js", "uPlot.iife.min.js", "report.js")]
    known = [one for one in report.forecasts if one.history.points or one.expected]
    forecast_plots = tuple(forecast_plot(one, f"f{index}") for index, one in enumerate(known))
    theme, plotting, own = (Markup(script) for script in scripts)  # noqa: S704  (files of this folder, no data)
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            report=report,
            generated=shown.moment(generated_at),
            generated_shown=shown.shown_moment(generated_at),
            stale_hours=round(stale_seconds / 3600, 1),
            styles=[Markup(style) for style in styles],  # noqa: S704  (the same)
            style_hashes=Markup(hashes(styles)),  # noqa: S704
            script_hashes=Markup(hashes(scripts)),  # noqa: S704
            theme_script=theme,
            plot_script=plotting,
            page_script=own,
            plots_json=in_script({one.id: plot_data(one) for one in (*report.plots, *forecast_plots)}),
            forecast_plots=forecast_plots,
        )
    )


def asset(name: str) -> str:
    """Return one of the texts that are written into the page."""
    return (HERE / "assets" / name).read_text(encoding="utf-8")


def stylesheet() -> str:
    """Return our style: the dark colours hold for dark systems, and for whoever chose them."""
    dark = asset("dark.css")
    return (
        f"{asset('report.css')}\n:root[data-theme=dark] {{ {dark} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{ {dark} }} }}\n"
    )


def hashes(texts: Iterable[str]) -> str:
    """Return the sources that a Content-Security-Policy allows: these texts and no others.

    >>> hashes([""])
    "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
    """
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


def in_script(value: Any) -> Markup:
    r"""Return a value as JSON that can stand within a script element: no markup can begin or end in it.

    >>> print(in_script({"a": "</script><!--\u2028"}))
    {"a":"\u003c/script\u003e\u003c!--\u2028"}
    """
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704  (nothing in it means anything to HTML any more)


def plot_data(plot: Plot) -> dict[str, Any]:
    """Return what the page's script draws."""

    def line(one: Any) -> dict[str, Any]:
        return {
            "l": printable(one.label, 120),
            "v": [None if value is None else float(f"{value:.5g}") for value in one.values],
        }

    return {
        "u": printable(plot.unit, 40),
        "t": [round(at) for at in plot.times],
        "lines": [line(one) for one in plot.lines],
        "band": [line(one) for one in plot.band] if plot.band else None,
        "levels": [[printable(label, 40), level] for label, level in plot.levels],
    }


def safe_link(href: Optional[str]) -> str:
    """Return a link that a page may have; empty for any other scheme than http and https.

    >>> safe_link("https://wiki.example/x"), safe_link("java" + "script:alert(1)"), safe_link("//x")
    ('https://wiki.example/x', '', '')
    >>> safe_link("a.html")
    'a.html'
    """
    try:
        parts = urlsplit(str(href or "").strip())
    except ValueError:
        return ""
    if parts.scheme in ("http", "https") and parts.netloc:
        return parts.geturl()
    return parts.geturl() if not parts.scheme and not parts.netloc and ":" not in parts.path else ""


def area_title(name: str) -> str:
    """Return an area's name for people.

    >>> area_title("external_apis"), area_title("host")
    ('External APIs', 'Host')
    """
    return AREA_TITLES.get(name) or name.replace("_", " ").capitalize()


@functools.lru_cache(maxsize=1)
def environment() -> Environment:
    """Return the templates: everything that they print is escaped, and a missing value is an error."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=clean,
    )
    made.filters.update(
        amount=shown.amount,
        duration=shown.duration,
        moment=shown.moment,
        shown_moment=shown.shown_moment,
        look=lambda status: LOOKS.get(status, UNKNOWN),
        word=lambda status: WORDS.get(status) or str(status).capitalize(),
        area_title=area_title,
        safe_link=safe_link,
        count_of=count_of,
        clamped=lambda percent: max(0.0, min(100.0, round(percent, 1))),
        sparkline=spark_path,
        drawing=drawing_of,
        counted=lambda counts: ", ".join(f"{number} {status}" for status, number in counts),
        sections=sections_of,
    )
    return made


def clean(value: Any) -> Any:
    r"""Return a value as it may be printed: no text moves the cursor or turns its neighbours around.

    >>> clean("abc\u202egpj"), clean(1.5), clean(Markup("<b>"))
    ('abc\\u202egpj', 1.5, Markup('<b>'))
    """
    return printable(value, 10**6) if isinstance(value, str) and not isinstance(value, Markup) else value


def sections_of(report: ReportData) -> list[tuple[str, str]]:
    """Return the sections that have something to say."""
    return [(anchor, name) for anchor, name, has in SECTIONS if has(report)]


def spark_path(points: Sequence[tuple[float, float]]) -> str:
    """Return the path of a small curve."""
    return sparkline(points)


def drawing_of(plot: Plot) -> Optional[Drawing]:
    """Return the drawing that stands where no script runs."""
    return draw(plot)
