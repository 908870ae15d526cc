# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""How a throwaway server is set up: as fast as it can be, because nobody needs it tomorrow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Optional

from .backup_manifest import ServerState

_MB = 1 << 20
_WAL_BYTES = 512 * _MB
_CLUSTER_BYTES = 128 * _MB
SOCKET_PATH_LIMIT = 107  # sun_path of Linux, without its end
PORT = 5432  # only the name of the socket


@dataclass(frozen=True)
class Resources:
    """What the host has. Bytes; ``memory`` is what is available now."""

    memory: int
    cpus: int


def server_settings(major: int, resources: Resources, jobs: int) -> Mapping[str, str]:
    """Return the settings of a throwaway server that ``jobs`` sessions load at once.

    Nothing is flushed, nothing is archived or replicated, nothing runs by itself, nothing listens on the network.
    One more process helps with an index or a count, for the end of the work, when not every job has something to do;
    two where there are processors enough.
    """
    memory = resources.memory // 2
    helpers = min(2, max(resources.cpus // max(jobs, 1) - 1, 1)) if resources.cpus > 1 else 0
    settings = {
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_permissions": "0700",
        "shared_preload_libraries": "",
        "session_preload_libraries": "",
        "local_preload_libraries": "",
        "fsync": "off",
        "full_page_writes": "off",
        "synchronous_commit": "off",
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "max_logical_replication_workers": "0",
        "archive_mode": "off",
        "autovacuum": "off",
        "restart_after_crash": "off",
        "logging_collector": "off",
        "log_timezone": "UTC",
        "timezone": "UTC",
        "lc_messages": "C",
        "dynamic_shared_memory_type": "mmap",
        "max_connections": str(20 + 2 * jobs),
        "max_locks_per_transaction": "1024",
        "max_wal_size": f"{_WAL_BYTES // _MB}MB",
        "checkpoint_timeout": "1d",
        "bgwriter_lru_maxpages": "0",
        "shared_buffers": _megabytes(memory // 4, 32, 512),
        "maintenance_work_mem": _megabytes(memory // 2 // max(jobs, 1), 32, 1024),
        "work_mem": _megabytes(memory // 8 // max(jobs, 1), 4, 64),
        "max_parallel_maintenance_workers": str(helpers),
        "max_parallel_workers_per_gather": str(helpers),
        "jit": "off",
    }
    if major >= 17:
        settings["event_triggers"] = "off"  # what they do is for the real server
    return settings


def _megabytes(size_bytes: int, least: int, most: int) -> str:
    return f"{min(max(size_bytes // _MB, least), most)}MB"


def initdb_options(major: int, superuser: str) -> list[str]:
    """Return the options of initdb: whatever the copy's locale is, its database gets it when it is made."""
    options = ["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", f"--username={superuser}"]
    return [*options, "--no-data-checksums"] if major >= 18 else options


def locale_clauses(major: int, server: ServerState) -> Mapping[str, str]:
    """Return the clauses of CREATE DATABASE for the encoding and the locale that the copied database has."""
    clauses = {"ENCODING": server.encoding, "LC_COLLATE": server.collate, "LC_CTYPE": server.ctype}
    if server.locale_provider == "icu" and major >= 15:
        clauses.update({"LOCALE_PROVIDER": "icu", "ICU_LOCALE": server.locale})
    elif server.locale_provider == "builtin" and major >= 17:
        clauses.update({"LOCALE_PROVIDER": "builtin", "BUILTIN_LOCALE": server.locale})
    elif major >= 15:
        clauses["LOCALE_PROVIDER"] = "libc"
    return clauses


def fallback_clauses(major: int, server: ServerState) -> Mapping[str, str]:
    """Return the clauses that every host can serve: the same encoding, ordered by bytes."""
    clauses = {"ENCODING": server.encoding, "LC_COLLATE": "C", "LC_CTYPE": "C"}
    return {**clauses, "LOCALE_PROVIDER": "libc"} if major >= 15 else clauses


def space_needed(copy_bytes: Optional[int], database_bytes: int) -> int:
    """Return the bytes that a verification needs at most: the copy, what is made of it, and a server around it.

    >>> space_needed(None, 0) == space_needed(0, 0) == 640 << 20
    True
    """
    payload = database_bytes if copy_bytes is None else copy_bytes
    return payload + database_bytes + database_bytes // 10 + _WAL_BYTES + _CLUSTER_BYTES
