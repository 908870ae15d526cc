# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The options of postgresql_restore, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Optional

from .._core.errors import InvalidValue
from .._core.restore_facts import CLEANED, FENCE, REFUSE, RESTORED, UNDONE, Wish
from .._core.units import parse_duration
from .repository import repository_spec
from .spec import ArgumentSpec


def restore_spec() -> ArgumentSpec:
    """Return the module's own options; those of the repository are only needed to restore."""
    repository = repository_spec()
    options = {**repository.options, "repository": {"type": "str"}}
    source = ("repository", "product", "source_host")
    opened = ("repository_password", "repository_password_file")
    return ArgumentSpec(
        options,
        mutually_exclusive=repository.mutually_exclusive,
        required_if=(("state", RESTORED, source), ("state", RESTORED, opened, True)),
    ).merge(
        ArgumentSpec(
            {
                "state": {"type": "str", "choices": [RESTORED, UNDONE, CLEANED], "default": RESTORED},
                "database": {"type": "str", "required": True},
                "target": {"type": "str"},
                "product": {"type": "str"},
                "source_host": {"type": "str"},
                "at": {"type": "str"},
                "snapshot": {"type": "str"},
                "confirm": {"type": "str"},
                "fingerprint": {"type": "raw"},
                "allow_other_server": {"type": "bool", "default": False},
                "create_roles": {"type": "bool", "default": False},
                "swap": {"type": "bool", "default": True},
                "force": {"type": "bool", "default": False},
                "writers": {"type": "str", "choices": [FENCE, REFUSE], "default": FENCE},
                "jobs": {"type": "int", "default": 2},
                "tablespaces": {"type": "bool", "default": True},
                "keep": {"type": "str", "default": "7d"},
                "keep_last": {"type": "bool", "default": True},
                "loss_time": {"type": "str", "default": "2min"},
                "max_time": {"type": "str", "default": "12h"},
                "maintenance_db": {"type": "str", "default": "postgres"},
                "client_bin_dirs": {"type": "list", "elements": "path", "default": []},
                "work_dir": {"type": "path"},
            },
            mutually_exclusive=(("at", "snapshot"),),
        )
    )


@dataclass(frozen=True)
class Means:
    """How the work is done. Times in seconds."""

    jobs: int
    loss_time: float
    max_time: float
    maintenance_db: str
    client_bin_dirs: tuple[str, ...]
    work_dir: Optional[str]


def read_wish(params: Mapping[str, Any]) -> Wish:
    """Return what is wanted.

    Raises:
        InvalidValue: an option means nothing.
    """
    return Wish(
        state=params["state"],
        database=params["database"],
        target=params["target"] or params["database"],
        confirm=params["confirm"] or None,
        swap=params["swap"],
        force=params["force"],
        writers=params["writers"],
        keep=parse_duration(params["keep"], "keep"),
        keep_last=params["keep_last"],
        fingerprint=_fingerprint(params["fingerprint"]),
        allow_other_server=params["allow_other_server"],
        create_roles=params["create_roles"],
        tablespaces=params["tablespaces"],
    )


def read_means(params: Mapping[str, Any]) -> Means:
    """Return how it is done.

    Raises:
        InvalidValue: an option means nothing.
    """
    if not 1 <= params["jobs"] <= 64:
        raise InvalidValue(f"jobs must be from 1 to 64, not {params['jobs']}")
    return Means(
        jobs=params["jobs"],
        loss_time=parse_duration(params["loss_time"], "loss_time"),
        max_time=parse_duration(params["max_time"], "max_time"),
        maintenance_db=params["maintenance_db"],
        client_bin_dirs=tuple(params["client_bin_dirs"]),
        work_dir=params["work_dir"],
    )


def _fingerprint(given: Any) -> Optional[Mapping[str, Any]]:
    if given is None:
        return None
    if isinstance(given, Mapping):
        return given
    if isinstance(given, (str, int)) and not isinstance(given, bool):
        return {"system_identifier": str(given)}
    raise InvalidValue("fingerprint must be a system identifier, or a mapping", hint="system_identifier, database")
