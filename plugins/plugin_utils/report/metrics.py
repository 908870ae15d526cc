# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report as a file for the textfile collector of Prometheus' node_exporter."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Iterator, Sequence

from ...module_utils._core.errors import PreconditionFailed
from ...module_utils._core.report import ReportData
from ...module_utils._core.report_metrics import PREFIX, Family, families

if TYPE_CHECKING:
    from prometheus_client.core import Metric

WRITTEN = f"{PREFIX}_report_timestamp_seconds"
GENERATED = re.compile(rf"^{WRITTEN}\{{.*\}} \S+$", re.MULTILINE)


class _Collector:
    """Families that are already made."""

    def __init__(self, found: Sequence[Family]) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        from prometheus_client.core import Metric  # late: only the report needs it

        for family in self._found:
            metric = Metric(family.name, family.about, "gauge")
            for labels, value in family.samples.items():
                metric.add_sample(family.name, dict(labels), value)
            yield metric


def render_metrics(report: ReportData, generated_at: float) -> str:
    """Return the text.

    Raises:
        PreconditionFailed: the library is not on the controller.
    """
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ImportError as error:
        raise PreconditionFailed(
            "prometheus_client is not installed on the controller",
            code="library_missing",
            hint="install prometheus_client, or leave prometheus out of formats",
        ) from error
    written = Family(WRITTEN, "When the report was written.", {(("product", report.product),): round(generated_at)})
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector([*families(report), written]))  # type: ignore[arg-type]
    return generate_latest(registry).decode()
