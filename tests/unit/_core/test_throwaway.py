"""What a throwaway server is told, and how much room it needs."""

from __future__ import annotations

import pytest

from plugins.module_utils._core.backup_manifest import ServerState
from plugins.module_utils._core.throwaway import (
    Resources,
    fallback_clauses,
    initdb_options,
    locale_clauses,
    server_settings,
    space_needed,
)

GB = 1 << 30


def server(provider: str, locale: str = "") -> ServerState:
    return ServerState("17.6", 17, "7", False, "0/1", "UTF8", "de_DE.UTF-8", "de_DE.UTF-8", provider, locale)


@pytest.mark.parametrize("major", range(13, 19))
def test_nothing_is_flushed_archived_replicated_or_reached(major: int) -> None:
    settings = server_settings(major, Resources(8 * GB, 4), 2)
    off = ("fsync", "full_page_writes", "synchronous_commit", "archive_mode", "autovacuum", "restart_after_crash")
    assert {settings[name] for name in off} == {"off"}
    assert (settings["wal_level"], settings["max_wal_senders"]) == ("minimal", "0")
    assert [settings[name] for name in ("listen_addresses", "shared_preload_libraries")] == ["", ""]
    assert settings["unix_socket_permissions"] == "0700"
    assert ("event_triggers" in settings) == (major >= 17)


def megabytes(settings: object, name: str) -> int:
    return int(settings[name].removesuffix("MB"))  # type: ignore[index]


@pytest.mark.parametrize("memory", [0, GB // 4, GB, 8 * GB, 512 * GB])
@pytest.mark.parametrize("jobs", [1, 2, 16, 64])
def test_memory_is_shared_among_the_jobs(memory: int, jobs: int) -> None:
    settings = server_settings(18, Resources(memory, 4), jobs)
    least = 32 + jobs * (32 + 4)
    used = megabytes(settings, "shared_buffers") + jobs * (
        megabytes(settings, "maintenance_work_mem") + megabytes(settings, "work_mem")
    )
    assert used <= memory // 2 // (1 << 20) + least
    assert int(settings["max_connections"]) > 2 * jobs


@pytest.mark.parametrize(("cpus", "jobs", "helpers"), [(1, 2, "0"), (2, 2, "1"), (4, 2, "1"), (32, 2, "2")])
def test_idle_processors_help_with_an_index(cpus: int, jobs: int, helpers: str) -> None:
    assert server_settings(18, Resources(GB, cpus), jobs)["max_parallel_maintenance_workers"] == helpers


@pytest.mark.parametrize(
    ("major", "provider", "locale", "expected"),
    [
        (13, "libc", "", {}),
        (15, "libc", "", {"LOCALE_PROVIDER": "libc"}),
        (16, "icu", "de-u-co-phonebk", {"LOCALE_PROVIDER": "icu", "ICU_LOCALE": "de-u-co-phonebk"}),
        (18, "builtin", "C.UTF-8", {"LOCALE_PROVIDER": "builtin", "BUILTIN_LOCALE": "C.UTF-8"}),
    ],
)
def test_a_database_gets_the_locale_of_its_copy(major: int, provider: str, locale: str, expected: object) -> None:
    clauses = dict(locale_clauses(major, server(provider, locale)))
    assert [clauses.pop(name) for name in ("ENCODING", "LC_COLLATE", "LC_CTYPE")] == ["UTF8", *["de_DE.UTF-8"] * 2]
    assert clauses == expected


@pytest.mark.parametrize("major", [13, 18])
def test_every_host_has_the_last_resort(major: int) -> None:
    assert fallback_clauses(major, server("icu", "de"))["LC_COLLATE"] == "C"


def test_a_new_cluster_needs_no_checksums() -> None:
    assert "--no-data-checksums" in initdb_options(18, "x")
    assert "--no-data-checksums" not in initdb_options(17, "x")


def test_room_is_for_the_copy_and_the_database() -> None:
    assert space_needed(GB, 2 * GB) > 3 * GB
    assert space_needed(None, 2 * GB) > 4 * GB
