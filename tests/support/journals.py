"""Journals filled with readings whose truth is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from plugins.module_utils._core.journal import SampleRow, canonical_labels
from plugins.module_utils._core.journal_batch import Batch
from plugins.module_utils._io.journal_write import open_writer


def rows(
    metric: str,
    readings: Iterable[tuple[float, float]],
    *,
    host: str = "web1",
    unit: str = "percent",
    labels: Mapping[str, str] | None = None,
) -> tuple[SampleRow, ...]:
    """Return readings (epoch seconds, value) as the journal takes them in."""
    text = canonical_labels(labels or {})
    return tuple(SampleRow(metric, host, text, unit, at, value) for at, value in readings)


def write(url: str, *samples: tuple[SampleRow, ...], writer: str = "test") -> None:
    """Write readings into a journal, which is made when it is not there; each writer writes once."""
    flat = tuple(row for group in samples for row in group)
    with open_writer(url) as journal:
        assert journal.apply([Batch(writer, 0, max(row.at for row in flat), samples=flat)]) == 1
