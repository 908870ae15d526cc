"""What every benchmark prints and keeps: a table of medians with ratios, and the same as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Comparison:
    """One figure of ours beside the named alternative, from samples taken in turn in one run.

    ``target`` is the largest ratio ours / alternative that we set out to reach; None where there is none.
    """

    name: str
    unit: str
    ours: Sequence[float]
    alternative_name: str
    alternative: Sequence[float]
    target: float | None = None

    @property
    def ratio(self) -> float:
        """Return median of ours / median of the alternative."""
        return statistics.median(self.ours) / statistics.median(self.alternative)

    @property
    def verdict(self) -> str:
        """Return whether the target was met."""
        if self.target is None:
            return ""
        return "met" if self.ratio <= self.target else "MISSED"


def machine() -> dict[str, object]:
    """Return what the figures depend on, without any name of the machine."""
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": platform.system(),
        "python": platform.python_version(),
        "taken": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
    }


def number(value: float) -> str:
    """Return a figure with three digits that matter."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(samples: Sequence[float], unit: str) -> str:
    """Return median, smallest and largest."""
    return f"{number(statistics.median(samples))} {unit} ({number(min(samples))}-{number(max(samples))})"


def print_table(comparisons: Sequence[Comparison]) -> None:
    """Print one row per comparison: medians, spread, ratio, target."""
    header = ("what", "ours", "alternative", "", "ratio", "target", "")
    rows = [header]
    for one in comparisons:
        target = "" if one.target is None else f"<= {one.target}"
        ours, alternative = spread(one.ours, one.unit), spread(one.alternative, one.unit)
        rows.append((one.name, ours, alternative, one.alternative_name, f"{one.ratio:.3f}", target, one.verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def write_json(name: str, comparisons: Sequence[Comparison], settings: dict[str, object]) -> Path:
    """Write benchmarks/results/<name>.json and return its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    rows = [{**asdict(one), "ratio": one.ratio, "verdict": one.verdict} for one in comparisons]
    path.write_text(json.dumps({"machine": machine(), "settings": settings, "comparisons": rows}, indent=2) + "\n")
    return path
