# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The journal's schema: revisions of Alembic that are applied one after the other, by one run at a time."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Optional, Sequence

from . import journal_revision_0001
from .journal_open import JournalSchema, JournalUnreachable
from .journal_tables import REVISION, sa

REVISIONS: tuple[ModuleType, ...] = (journal_revision_0001,)
_LOCK = 0x6F6E63616A6F7572  # "oncajour": the advisory lock of whoever changes the schema


def revision_of(connection: sa.Connection) -> Optional[str]:
    """Return the revision of a journal, or None when it has no tables yet."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def require_current(connection: sa.Connection, where: str) -> None:
    """Look whether the journal is one that this code knows how to read.

    Raises:
        JournalSchema: codes ``journal_missing``, ``journal_older``, ``journal_newer``.
    """
    found = revision_of(connection)
    if found is None:
        raise no_tables(where)
    if found != REVISION:
        _refuse(found, where, (REVISION,) if found > REVISION else ())


def no_tables(where: str) -> JournalSchema:
    """Return the failure of a journal that nobody has written to yet."""
    return JournalSchema(
        f"there is no journal at {where} yet",
        code="journal_missing",
        hint="run a runbook, or python -m tools.journal upgrade",
    )


def upgrade(
    engine: sa.Engine, where: str, revisions: Sequence[ModuleType] = REVISIONS
) -> tuple[Optional[str], Optional[str]]:
    """Bring the journal to the newest revision and return what it was before and is now; equal when nothing was done.

    Each of several runs that come at once waits for the one that upgrades, then finds nothing to do. A revision is
    applied as a whole or not at all.

    Raises:
        JournalSchema: the journal is newer than this code; it is never taken back (code ``journal_newer``).
        JournalUnreachable: Alembic is missing (code ``library_missing``).
    """
    known = tuple(module.revision for module in revisions)
    with engine.begin() as connection:
        before = revision_of(connection)
        if before == known[-1]:
            return before, before
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_catalog.pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            before = revision_of(connection)
        if before == known[-1]:
            return before, before
        if before is not None and before not in known:
            _refuse(before, where, known)
        _migrate(connection, revisions, before)
    return before, known[-1]


def _refuse(found: str, where: str, known: Sequence[str]) -> None:
    if known:
        raise JournalSchema(
            f"the journal {where} has schema {found}, this code knows {known[-1]}: a newer version has been at work",
            code="journal_newer",
            hint="update the collection oncall.runbooks here; a journal is never taken back to an older schema",
        )
    raise JournalSchema(
        f"the journal {where} has schema {found}, older than {REVISION} of this code",
        code="journal_older",
        hint="run a runbook, or python -m tools.journal upgrade",
    )


def _migrate(connection: sa.Connection, revisions: Sequence[ModuleType], before: Optional[str]) -> None:
    try:
        from alembic.operations import Operations
        from alembic.runtime.migration import MigrationContext, MigrationStep
        from alembic.script.base import Script
        from alembic.script.revision import RevisionMap
    except ImportError as error:
        raise JournalUnreachable(
            "upgrade the journal: the Python library Alembic is missing",
            code="library_missing",
            hint="install alembic for the Python that runs ansible-playbook, on the controller",
        ) from error
    scripts = [Script(module, module.revision, str(module.__file__)) for module in revisions]
    revision_map = RevisionMap(lambda: scripts)
    pending: list[Any] = list(revision_map.iterate_revisions(revisions[-1].revision, before or "base"))

    def steps(_heads: Any, _context: Any) -> list[Any]:
        return [MigrationStep.upgrade_from_script(revision_map, script) for script in reversed(pending)]

    # The transaction is ours: the lock, the tables and the version are one thing.
    context = MigrationContext.configure(connection, opts={"fn": steps, "transactional_ddl": True})
    with Operations.context(context):
        context.run_migrations()
