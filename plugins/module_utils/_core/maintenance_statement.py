# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The exact texts that are sent: VACUUM and ANALYZE with their options, by server version."""

from __future__ import annotations

from typing import Iterable, Optional

from .maintenance_need import Need
from .maintenance_policy import Manner

END_OF_RUN = "VACUUM (ONLY_DATABASE_STATS)"


def can_defer_database_stats(major: int) -> bool:
    """Tell whether the scan of pg_class that ends each VACUUM can be left to one statement at the end (16)."""
    return major >= 16


def statement(
    need: Need, manner: Manner, targets: Iterable[str], major: int, skip_locked: Optional[bool] = None
) -> str:
    """Return the statement for some tables of one database; ``targets`` are already quoted.

    >>> statement(Need(1, "", vacuum=True, analyze=True), Manner(truncate=False), ["public.a"], 15)
    'VACUUM (ANALYZE, TRUNCATE false) public.a'
    """
    skip = manner.skip_locked if skip_locked is None else skip_locked
    options = _vacuum_options(need, manner, major) if need.vacuum else []
    if skip:
        options.append("SKIP_LOCKED")
    if manner.buffer_usage_limit is not None:
        options.append(f"BUFFER_USAGE_LIMIT '{manner.buffer_usage_limit // 1024} kB'")
    verb = "VACUUM" if need.vacuum else "ANALYZE"
    return f"{verb}{' (' + ', '.join(options) + ')' if options else ''} {', '.join(targets)}"


def _vacuum_options(need: Need, manner: Manner, major: int) -> list[str]:
    options = [word for word, wanted in (("FREEZE", need.freeze), ("ANALYZE", need.analyze)) if wanted]
    if manner.truncate is not None:
        options.append(f"TRUNCATE {str(manner.truncate).lower()}")
    if manner.index_cleanup is not None and not (manner.index_cleanup == "auto" and major < 14):
        options.append(
            f"INDEX_CLEANUP {manner.index_cleanup}"
        )  # before 14 auto was the only other value: leaving it out
    if manner.parallel is not None:
        options.append(f"PARALLEL {manner.parallel}")
    if manner.process_toast is not None:
        options.append(f"PROCESS_TOAST {str(manner.process_toast).lower()}")
    if can_defer_database_stats(major):
        options.append("SKIP_DATABASE_STATS")
    return options
