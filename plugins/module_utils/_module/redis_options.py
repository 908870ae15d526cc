# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The connection options of the Redis modules and what they mean."""

from __future__ import annotations

from typing import Any, Mapping

from .._core.backup import REDIS, Source
from .._core.units import parse_duration
from .._io.redis_server import DEFAULT_PORT, RedisTarget
from .repository import source_of
from .spec import ArgumentSpec


def redis_spec() -> ArgumentSpec:
    """Return the options that say which server."""
    return ArgumentSpec(
        {
            "redis_host": {"type": "str", "default": "127.0.0.1"},
            "redis_port": {"type": "int", "default": DEFAULT_PORT},
            "redis_unix_socket": {"type": "path"},
            "redis_username": {"type": "str"},
            "redis_password": {"type": "str", "no_log": True},
            "redis_tls": {"type": "bool", "default": False},
            "redis_ca_cert": {"type": "path"},
            "redis_timeout": {"type": "str", "default": "30s"},
        }
    )


def redis_target(params: Mapping[str, Any]) -> RedisTarget:
    """Return where and how to connect.

    Raises:
        InvalidValue: a duration cannot be read.
    """
    return RedisTarget(
        host=params["redis_host"],
        port=params["redis_port"],
        unix_socket=params["redis_unix_socket"] or "",
        username=params["redis_username"] or "",
        password=params["redis_password"] or "",
        tls=params["redis_tls"],
        ca_cert=params["redis_ca_cert"] or "",
        timeout=parse_duration(params["redis_timeout"], "redis_timeout"),
    )


def redis_source(params: Mapping[str, Any]) -> Source:
    """Return whose copy it is."""
    return source_of(params, REDIS, params["name"])
