# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""kpi_evaluate: the inventory's KPIs judged by the journal."""

from __future__ import annotations

from typing import Any

from .._core.kpi import Kpi, read_kpis
from .._core.kpi_evaluate import evaluate
from .._core.kpi_report import decide, decide_blind
from .._core.result import Decision
from .._core.samples import KPIS
from .._core.units import count_of
from .._io.journal_open import JournalSchema, JournalUnreachable
from .._io.journal_read import Journal, open_journal
from .._io.journal_series import read_series
from .info import InfoOperation
from .journal import journal_spec
from .run import Task
from .spec import ArgumentSpec


def kpi_spec() -> ArgumentSpec:
    """Return the options of kpi_evaluate; values are checked by read_kpis, which knows an entry's place."""
    source: dict[str, Any] = {key: {"type": "raw"} for key in ("metric", "hosts", "labels", "aggregate")}
    burn: dict[str, Any] = {key: {"type": "raw"} for key in ("rate", "window", "short_window")}
    words = ("target", "window", "good", "attained_by", "unobserved", "minimum_observed", "when_missed")
    objective: dict[str, Any] = {key: {"type": "raw"} for key in words}
    for key in ("fast_burn", "slow_burn"):
        objective[key] = {"type": "dict", "options": burn}
    plain = ("name", "title", "unit", "direction", "warning", "critical", "for", "owner", "runbook")
    kpi: dict[str, Any] = {key: {"type": "raw"} for key in (*plain, "max_age", "interval")}
    kpi["source"] = {"type": "dict", "options": source}
    kpi["objective"] = {"type": "dict", "options": objective}
    return ArgumentSpec({"kpis": {"type": "list", "elements": "dict", "required": True, "options": kpi}}).merge(
        journal_reader_spec("kpis")
    )


def journal_reader_spec(variable: str) -> ArgumentSpec:
    """Return the options of what is told by the inventory and read from the journal."""
    return journal_spec().merge(
        ArgumentSpec(
            {
                "variable": {"type": "str", "default": variable},
                "validate_only": {"type": "bool", "default": False},
            }
        )
    )


class KpiEvaluation(InfoOperation):
    """Judge KPIs; with ``validate_only`` only their definitions are read."""

    def __init__(self, task: Task) -> None:
        self._kpis = read_kpis(task.params["kpis"], task.params["variable"])
        self._validate_only: bool = task.params["validate_only"]
        self._url = task.params["journal_url"]
        self._clock = task.clock

    def decide(self) -> Decision:
        """Read the journal and judge; a journal that cannot be read leaves every KPI unknown."""
        if self._validate_only:
            text = f"{count_of(len(self._kpis), 'KPI')} can be read"
            return Decision(text, extra={"area": KPIS, "samples": [], "kpis": []})
        try:
            with open_journal(self._url) as journal:
                return self._judge(journal, self._kpis)
        except (JournalUnreachable, JournalSchema) as error:
            return decide_blind(self._kpis, error.words())

    def _judge(self, journal: Journal, kpis: tuple[Kpi, ...]) -> Decision:
        now = self._clock.now().timestamp()
        return decide([evaluate(kpi, read_series(journal, kpi.selector, now - kpi.lookback()), now) for kpi in kpis])
