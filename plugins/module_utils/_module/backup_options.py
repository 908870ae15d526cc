# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The options of postgresql_backup and what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Optional, Sequence

from .._core.backup_plan import AUTO, MODES
from .._core.units import parse_duration
from .._io.backup_copy import CopyTerms
from .._io.backup_dump import NONE, REQUIRED, DumpTerms
from .ranges import check_ranges
from .spec import ArgumentSpec


@dataclass(frozen=True)
class Options:
    """What to copy and how."""

    databases: Sequence[str]
    left_out: Sequence[str]
    mode: str
    terms: CopyTerms
    client_bin_dirs: Sequence[str]
    repository_create: bool


def backup_spec() -> ArgumentSpec:
    """Return the module's own options."""
    return ArgumentSpec(
        {
            "databases": {"type": "list", "elements": "str", "default": []},
            "databases_without_copy": {"type": "list", "elements": "str", "default": ["postgres"]},
            "mode": {"type": "str", "choices": list(MODES), "default": AUTO},
            "staging_dir": {"type": "path", "default": "/var/tmp"},  # noqa: S108  (made there: a folder of mode 0700)
            "jobs": {"type": "int", "default": 2},
            "client_bin_dirs": {"type": "list", "elements": "path", "default": []},
            "globals": {"type": "str", "choices": [AUTO, REQUIRED, NONE], "default": AUTO},
            "sentinel": {"type": "bool", "default": True},
            "sentinel_keep": {"type": "int", "default": 1000},
            "application_version": {"type": "str"},
            "migration_head_query": {"type": "str"},
            "repository_create": {"type": "bool", "default": True},
            "max_duration": {"type": "str", "default": "6h"},
            "checksum_rows": {"type": "int", "default": 1000},
        }
    )


def read_options(params: Mapping[str, Any], lock_timeout: float, role: Optional[str]) -> Options:
    """Return the options, checked.

    Raises:
        InvalidValue: a number is out of its range, or a duration cannot be read.
    """
    check_ranges(params, {"jobs": (1, 64), "sentinel_keep": (1, 10**6), "checksum_rows": (0, 10**6)})
    longest = parse_duration(params["max_duration"], "max_duration")
    return Options(
        databases=params["databases"],
        left_out=params["databases_without_copy"],
        mode=params["mode"],
        terms=CopyTerms(
            staging_dir=params["staging_dir"],
            dump=DumpTerms(params["jobs"], lock_timeout, longest, role),
            checksum_rows=params["checksum_rows"],
            globals=params["globals"],
            sentinel=params["sentinel"],
            sentinel_keep=params["sentinel_keep"],
            application_version=params["application_version"],
            migration_head_query=params["migration_head_query"],
        ),
        client_bin_dirs=params["client_bin_dirs"],
        repository_create=params["repository_create"],
    )
