# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report from end to end: read the journal, judge, render, and write what is different."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Mapping, Optional, Pattern

from ...module_utils._core.errors import OpsError
from ...module_utils._core.report import ReportData
from ...module_utils._core.report_judge import AREA, Facts, assemble
from ...module_utils._core.result import DONE, FAILED, Action, Decision, Finding, Outcome, Step, partial_result
from ...module_utils._core.units import count_of, human_size
from ...module_utils._io.journal_open import JournalSchema, JournalUnreachable, name_of
from ...module_utils._io.journal_read import open_journal
from ...module_utils._io.report_files import make_folder, mode_of, read_text, write_text
from ...module_utils._io.report_read import collect
from ...module_utils._module.report import HTML, MARKDOWN, PROMETHEUS, read_files, read_policy, stale_after
from ...module_utils._module.run import Operation, Task
from . import metrics, page, ticket

_NO_JOURNAL = "journal_missing"


@dataclass(frozen=True)
class Document:
    """One file of the report. ``generated``: where its time of writing stands."""

    form: str
    path: Path
    text: str
    generated: Pattern[str]

    def fingerprint(self, text: Optional[str] = None) -> str:
        """Return what tells contents apart, whenever they were written."""
        timeless = self.generated.sub("", self.text if text is None else text, count=1)
        return hashlib.sha256(timeless.encode()).hexdigest()[:16]

    @property
    def size(self) -> int:
        """Return its bytes."""
        return len(self.text.encode())


class Report(Operation):
    """Write the report; its time of writing alone is no difference."""

    def __init__(self, task: Task) -> None:
        self._clock = task.clock
        self._policy = read_policy(task.params)
        self._files = read_files(task.params)
        self._stale = stale_after(task.params)
        self._url: Optional[str] = task.params["journal_url"]
        self._documents: tuple[Document, ...] = ()

    def decide(self) -> Decision:
        """Render the report and compare it with the files that are there."""
        now = self._clock.now().timestamp()
        report = assemble(self._facts(now), self._policy, now)
        self._documents = tuple(self._render(report, now))
        old = {one.path: read_text(one.path) for one in self._documents}
        self._verdict = f"{report.product} is {report.status}: {report.headline}"
        plan = tuple(action for one in self._documents for action in self._action(one, old[one.path]))
        to_do = f"{count_of(len(plan), 'file')} to write" if plan else "the files say so already"
        return Decision(
            msg=f"{self._verdict}; {to_do}",
            plan=plan,
            findings=(Finding("product", report.status, f"{report.product}: {report.headline}"),),
            before={str(one.path): _shown(one, old[one.path]) for one in self._documents},
            after={str(one.path): one.fingerprint() for one in self._documents},
            extra=_extra(report, self._documents),
        )

    def _facts(self, now: float) -> Facts:
        """Read the journal; one that is away leaves everything unknown that only it knows, one that is new is empty."""
        try:
            with open_journal(self._url, lambda: now) as journal:
                return collect(journal, self._policy, now)
        except (JournalUnreachable, JournalSchema) as error:
            trouble = "" if error.code == _NO_JOURNAL else error.words()
            return Facts(where=name_of(self._url), trouble=trouble)

    def _render(self, report: ReportData, now: float) -> list[Document]:
        renderers: Mapping[str, tuple[Callable[[], str], Pattern[str]]] = {
            HTML: (lambda: page.render_page(report, now, self._stale), page.GENERATED),
            MARKDOWN: (lambda: ticket.render_ticket(report, now), ticket.GENERATED),
            PROMETHEUS: (lambda: metrics.render_metrics(report, now), metrics.GENERATED),
        }
        return [
            Document(form, path, renderers[form][0](), renderers[form][1]) for form, path in self._files.paths.items()
        ]

    def _action(self, one: Document, old: Optional[str]) -> list[Action]:
        mode = mode_of(one.path)
        if old is None:
            reason = f"it is not there yet, {human_size(one.size)}"
        elif one.fingerprint(old) != one.fingerprint():
            reason = f"it says something else, {human_size(one.size)}"
        elif mode != self._files.mode:
            reason = f"its mode is {mode or 0:04o}"
        else:
            return []
        return [Action(f"write:{one.form}", "write", str(one.path), reason)]

    def apply(self, decision: Decision) -> Outcome:
        """Write what is different, and renew the time of the rest."""
        steps: list[Step] = []
        planned = {action.id for action in decision.plan}
        for one in self._documents:
            began, identity = self._clock.monotonic(), f"write:{one.form}"
            try:
                self._write(one)
            except OpsError as error:
                steps.append(Step(identity, FAILED, round(self._clock.monotonic() - began, 3), error.message))
                error.partial = partial_result(decision, steps)
                raise
            if identity in planned:
                took = round(self._clock.monotonic() - began, 3)
                steps.append(Step(identity, DONE, took, f"{human_size(one.size)} written"))
        written = f"{self._verdict}; {count_of(len(steps), 'file')} written"
        return Outcome(written, tuple(steps), decision.findings, decision.after)

    def freshen(self) -> None:
        """Renew the time of writing of files that say the same: their age tells when the report was made last."""
        for one in self._documents:
            self._write(one)

    def _write(self, one: Document) -> None:
        make_folder(one.path.parent)
        write_text(one.path, one.text, self._files.mode)


def _shown(one: Document, old: Optional[str]) -> str:
    return "absent" if old is None else one.fingerprint(old)


def _extra(report: ReportData, documents: tuple[Document, ...]) -> dict[str, Any]:
    return {
        "area": AREA,
        "files": {one.form: str(one.path) for one in documents},
        "sizes_bytes": {one.form: one.size for one in documents},
        "area_verdicts": {one.title: one.status for one in report.areas},
        "needs": [
            {"status": one.status, "area": one.area, "where": one.where, "msg": one.msg, "command": one.command}
            for one in report.needs
        ],
        "overdue": [one.runbook for one in report.duties if one.overdue],
    }
