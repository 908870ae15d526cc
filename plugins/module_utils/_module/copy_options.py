# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The options by which the modules of Redis and of files name and choose a copy."""

from __future__ import annotations

from typing import Any, Mapping

from .._core.backup import Copy, parse_at
from .._core.errors import InvalidValue
from .._io.restic import Restic
from .repository import repository_spec, source_of, source_spec
from .spec import ArgumentSpec


def copy_spec(name: str) -> ArgumentSpec:
    """Return the options of repository and source; ``name`` is what the copy is called by default."""
    named = ArgumentSpec({"name": {"type": "str", "default": name}, "staging_dir": {"type": "path"}})
    return repository_spec().merge(source_spec(name=False)).merge(named)


def choice_spec() -> ArgumentSpec:
    """Return the options that choose one copy."""
    return ArgumentSpec({"at": {"type": "str"}, "snapshot": {"type": "str"}}, mutually_exclusive=(("at", "snapshot"),))


def choose_copy(restic: Restic, params: Mapping[str, Any], kind: str) -> Copy:
    """Return the copy that the options ask for: by id, or the newest good one at or before a time.

    Raises:
        InvalidValue: the time cannot be read, or the id is of a copy of something else.
        PreconditionFailed: there is no such copy.
    """
    source = source_of(params, kind, params["name"])
    at = parse_at(params["at"], "at") if params["at"] else None
    catalog = restic.catalog()
    if not params["snapshot"]:
        return catalog.pick(source, at)
    copy = catalog.by_id(params["snapshot"])
    if copy.source != source:
        raise InvalidValue(f"snapshot {copy.id[:8]} is {copy.source.label()}, not {source.label()}")
    return copy


def check_confirm(params: Mapping[str, Any]) -> None:
    """Make sure that the person named the very host whose data is to be replaced.

    Raises:
        InvalidValue: code ``confirmation_missing``.
    """
    if params["confirm"] != params["source_host"]:
        raise InvalidValue(
            f"this replaces live data of {params['source_host']}: confirm must say so",
            code="confirmation_missing",
            hint=f"set confirm to {params['source_host']}",
        )
