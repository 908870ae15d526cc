# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""report: its options, and the policy that they mean."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Optional

from .._core.errors import InvalidValue
from .._core.report_given import mappings, read_backups, read_forecasts, read_kpis
from .._core.report_policy import COUNTS, Policy, read_objectives, read_schedule
from .._core.units import parse_duration
from .journal import journal_spec
from .ranges import positive_duration
from .spec import ArgumentSpec

HTML, MARKDOWN, PROMETHEUS = FORMATS = ("html", "markdown", "prometheus")
_SUFFIXES = {HTML: "html", MARKDOWN: "md", PROMETHEUS: "prom"}


@dataclass(frozen=True)
class Files:
    """Where the report is written: a path for each format that is wanted, and their permissions."""

    paths: Mapping[str, Path]
    mode: int


def report_spec() -> ArgumentSpec:
    """Return the options of report."""
    schedule: dict[str, Any] = {
        "runbook": {"type": "str", "required": True},
        "every": {"type": "str", "required": True},
        "grace": {"type": "str", "default": "1h"},
        "counts": {"type": "str", "choices": list(COUNTS), "default": COUNTS[0]},
        "limit": {"type": "str"},
        "tags": {"type": "str"},
    }
    objectives: dict[str, Any] = {key: {"type": "str"} for key in ("rto", "rpo", "max_age")}
    objectives["name"] = {"type": "str", "required": True}
    own: dict[str, dict[str, Any]] = {
        "product": {"type": "str", "required": True},
        "title": {"type": "str", "default": "Operations report"},
        "dest": {"type": "path", "required": True},
        "name": {"type": "str", "default": "report"},
        "metrics_dest": {"type": "path"},
        "formats": {"type": "list", "elements": "str", "choices": list(FORMATS), "default": list(FORMATS)},
        "mode": {"type": "raw", "default": "0644"},
        "window": {"type": "str", "default": "30d"},
        "history": {"type": "str", "default": "365d"},
        "stale_after": {"type": "str", "default": "26h"},
        "max_ages": {"type": "dict", "default": {}},
        **{name: {"type": "list", "elements": "str", "default": []} for name in ("areas", "hosts", "plots")},
        "schedule": {"type": "list", "elements": "dict", "default": [], "options": schedule},
        "objectives": {"type": "list", "elements": "dict", "default": [], "options": objectives},
        **{name: {"type": "list", "elements": "dict"} for name in ("kpis", "forecasts", "backups")},
        **{name: {"type": "dict", "default": {}} for name in ("links", "runbooks")},
    }
    return journal_spec().merge(ArgumentSpec(own))


def read_policy(params: Mapping[str, Any]) -> Policy:
    """Return what is asked for.

    Raises:
        InvalidValue: an option means nothing.
    """
    product = params["product"].strip()
    if not product:
        raise InvalidValue("product must not be empty")
    return Policy(
        product=product,
        title=params["title"],
        window=positive_duration(params, "window"),
        history=positive_duration(params, "history"),
        ages={str(area): parse_duration(text, f"max_ages.{area}") for area, text in params["max_ages"].items()},
        areas=tuple(params["areas"]),
        hosts=frozenset(params["hosts"]),
        schedule=read_schedule(params["schedule"]),
        objectives=read_objectives(params["objectives"]),
        links={str(name): str(link) for name, link in params["links"].items()},
        runbooks={str(name): str(command) for name, command in params["runbooks"].items()},
        plots=tuple(params["plots"]),
        kpis=None if params["kpis"] is None else read_kpis(mappings(params["kpis"], "kpis")),
        forecasts=None if params["forecasts"] is None else read_forecasts(mappings(params["forecasts"], "forecasts")),
        backups=None if params["backups"] is None else read_backups(mappings(params["backups"], "backups")),
    )


def stale_after(params: Mapping[str, Any]) -> float:
    """Return the age in seconds from which on the page warns of itself."""
    return positive_duration(params, "stale_after")


def read_files(params: Mapping[str, Any]) -> Files:
    """Return where the report is to be written.

    Raises:
        InvalidValue: a name with a folder in it, no format, or permissions that nobody can mean.
    """
    name, folder = params["name"], Path(params["dest"])
    if not name or name != Path(name).name or name.startswith("."):
        raise InvalidValue(f"name must be the name of a file without its ending, not {name!r}")
    if not params["formats"]:
        raise InvalidValue("formats is empty: nothing would be written")
    metrics = Path(params["metrics_dest"]) if params["metrics_dest"] else folder
    paths = {
        form: (metrics if form == PROMETHEUS else folder) / f"{name}.{_SUFFIXES[form]}"
        for form in FORMATS
        if form in params["formats"]
    }
    return Files(paths, _mode(params["mode"]))


def _mode(raw: Any) -> int:
    """Return permissions; a number in YAML is octal only when it was written with a leading zero."""
    number: Optional[int] = None
    if isinstance(raw, str) and raw and raw.strip("01234567") == "":
        number = int(raw, 8)
    elif isinstance(raw, int) and not isinstance(raw, bool):
        number = raw
    if number is None or number > 0o777 or not number & 0o400:
        raise InvalidValue(f"mode must be octal permissions such as '0644', not {raw!r}", hint="write it in quotes")
    return number
