# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The options of every module that works with a repository of backups, and what they mean."""

from __future__ import annotations

from typing import Any, Mapping

from .._core.backup import Source
from .._core.units import parse_duration
from .._io.restic import Repository
from .spec import ArgumentSpec


def repository_spec() -> ArgumentSpec:
    """Return the options that say where the repository is and how to open it."""
    return ArgumentSpec(
        {
            "repository": {"type": "str", "required": True},
            "repository_password": {"type": "str", "no_log": True},
            "repository_password_file": {"type": "path", "no_log": False},
            "repository_environment": {"type": "dict", "default": {}, "no_log": True},
            "repository_ssh_config": {"type": "path"},
            "restic_path": {"type": "path", "default": "restic"},
            "restic_cache_dir": {"type": "path"},
            "transfer_timeout": {"type": "str", "default": "6h"},
        },
        mutually_exclusive=(("repository_password", "repository_password_file"),),
        required_one_of=(("repository_password", "repository_password_file"),),
    )


def repository_of(params: Mapping[str, Any]) -> Repository:
    """Return where the repository is and how to open it.

    Raises:
        InvalidValue: a duration cannot be read.
    """
    return Repository(
        location=params["repository"],
        password=params["repository_password"] or "",
        password_file=params["repository_password_file"] or "",
        environment={str(key): str(value) for key, value in params["repository_environment"].items()},
        restic=params["restic_path"],
        cache_dir=params["restic_cache_dir"] or "",
        ssh_config=params["repository_ssh_config"] or "",
        timeout=parse_duration(params["transfer_timeout"], "transfer_timeout"),
    )


def source_spec(name: bool = True) -> ArgumentSpec:
    """Return the options that say whose copy it is; ``name`` where there can be several of one kind on a host."""
    options: dict[str, dict[str, Any]] = {
        "product": {"type": "str", "required": True},
        "source_host": {"type": "str", "required": True},
    }
    if name:
        options["name"] = {"type": "str", "required": True}
    return ArgumentSpec(options)


def source_of(params: Mapping[str, Any], kind: str, name: str) -> Source:
    """Return whose copy it is."""
    return Source(params["product"], params["source_host"], kind, name)
