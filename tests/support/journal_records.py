"""Records of every kind for the journal, and what is in one."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from plugins.module_utils._core.journal import FindingRow, Run, SampleRow, StepRow, canonical_labels
from plugins.module_utils._core.journal_batch import Batch
from tests.support.servers import SUPERUSER, Database

DAY = 86400.0
NOW = 20000 * DAY + 43200.0  # noon of a day


def postgres_url(database: Database) -> str:
    return f"postgresql://{SUPERUSER}@127.0.0.1:{database.server.port}/{database.name}"


def run_of(run_id: str, **changes: Any) -> Run:
    return Run(**{"id": run_id, "runbook": "daily", "started_at": NOW, "status": "ok", **changes})


def finding_of(run_id: str, check: str = "load", **changes: Any) -> FindingRow:
    values: dict[str, Any] = {"at": NOW, "host": "db1", "area": "host", "status": "ok", "value": 1.0, "value_text": "1"}
    values.update({"unit": "count", "warning": 2.0, "critical": 3.0, "msg": "load is 1", **changes})
    return FindingRow(run_id=run_id, check_name=check, **values)


def step_of(run_id: str, target: str = "t", **changes: Any) -> StepRow:
    values: dict[str, Any] = dict.fromkeys(("host", "play", "phase", "step", "task", "action", "detail", "code"), "x")
    values.update({"at": NOW, "status": "done", "changed": True, "duration_seconds": 1.0, **changes})
    return StepRow(run_id=run_id, target=target, **values)


def sample_of(value: float = 1.0, at: float = NOW, metric: str = "host.load", **changes: Any) -> SampleRow:
    labels = canonical_labels(changes.pop("labels", {}))
    values = {"metric": metric, "host": "db1", "labels": labels, "unit": "count", "at": at, "value": value}
    return SampleRow(**{**values, **changes})


def batch_of(run_id: str, number: int, **records: Any) -> Batch:
    return Batch(run_id, number, NOW, **records)


def rows(file: Path, query: str) -> list[Any]:
    """Return the rows of a SQLite journal; with one column its values."""
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)
    try:
        found = connection.execute(query).fetchall()
    finally:
        connection.close()
    return [row[0] if len(row) == 1 else row for row in found]


def revision(number: str, after: str, *statements: str) -> Any:
    """Return a revision of the schema that this code does not have."""

    def upgrade() -> None:
        from alembic import op

        for statement in statements:
            op.execute(statement)

    return SimpleNamespace(revision=number, down_revision=after, upgrade=upgrade, __file__="none", __name__=number)


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """Mount a small disk of its own, or skip where nobody may."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
