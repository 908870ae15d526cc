# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs after the weekly run: rotated under live writers, nothing lost, nothing kept that should be gone."""

from __future__ import annotations

import collections
import json
import uuid

import pytest

testinfra_hosts = ["ansible://logs"]

FOLDER = "/var/log/shop"
MEGABYTE = 1024 * 1024
PREFILLED = 300_000

# Runs on the host: every regular file that a process holds open, with what is at its path now.
OPEN_FILES = r"""
import glob, json, os, stat
found = []
for link in glob.glob("/proc/[0-9]*/fd/*"):
    try:
        target, status = os.readlink(link), os.stat(link)
        if stat.S_ISREG(status.st_mode) and target.startswith("/var/log/"):
            found.append({"pid": int(link.split("/")[2]), "path": target, "inode": status.st_ino})
    except OSError:
        pass
print(json.dumps(found))
"""


@pytest.fixture
def open_files(host):
    return lambda: json.loads(host.check_output("python3 -c %s", OPEN_FILES))


def test_application_writes_to_the_new_log(host, wait_until):
    token = uuid.uuid4().hex
    assert host.run("curl -sf http://localhost/%s", token).succeeded
    wait_until(lambda: host.run("grep -q %s %s/app.log", token, FOLDER).succeeded, "the request is in app.log", 10)


def test_legacy_goes_on_writing_to_its_log(host, wait_until):
    size = host.file(f"{FOLDER}/legacy.log").size
    wait_until(lambda: host.file(f"{FOLDER}/legacy.log").size > size, "legacy.log grows", 10)


@pytest.mark.parametrize(("unit", "log"), [("shop", "app.log"), ("legacy", "legacy.log")])
def test_process_holds_the_file_that_has_the_name(host, open_files, unit, log):
    pid = int(host.check_output("systemctl show -P MainPID %s", unit))
    inode = int(host.check_output("stat -c %%i %s/%s", FOLDER, log))
    assert [(held["path"], held["inode"]) for held in open_files() if held["pid"] == pid] == [
        (f"{FOLDER}/{log}", inode)
    ]


def test_nobody_holds_a_deleted_log(open_files):
    assert [held for held in open_files() if held["path"].endswith(" (deleted)")] == []


@pytest.mark.parametrize("log", ["app.log", "legacy.log"])
def test_current_log_is_small(host, log):
    current = host.file(f"{FOLDER}/{log}")
    assert current.size < MEGABYTE
    assert int(host.check_output("stat -c %%b %s/%s", FOLDER, log)) * 512 >= current.size, "a hole, not a log"


@pytest.mark.parametrize(("log", "user"), [("app.log", "shop"), ("legacy.log", "shop")])
def test_new_log_belongs_to_the_old_ones_owner(host, log, user):
    assert (host.file(f"{FOLDER}/{log}").user, host.file(f"{FOLDER}/{log}").mode) == (user, 0o644)


@pytest.mark.parametrize("stem", ["app.log", "legacy.log"])
def test_what_was_written_before_is_kept(generations, stem):
    counts = [sum(line.startswith("0 0 ") for line in lines) for lines in generations(FOLDER, stem).values()]
    assert PREFILLED in counts


def test_no_line_was_lost_while_it_was_rotated(generations):
    """Lines of one process are numbered without a gap, over all generations."""
    numbers = collections.defaultdict(list)
    for lines in generations(FOLDER, "app.log").values():
        for line in lines:
            pid, number, _unused = line.split(" ", 2)
            if pid != "0":
                numbers[pid].append(int(number))
    assert numbers
    for written in numbers.values():
        assert sorted(written) == list(range(1, len(written) + 1))


def test_rotated_logs_are_sound(host):
    assert host.run("find %s -name '*.gz' -exec gzip -t {} +", FOLDER).succeeded
    assert host.run("find %s -name '*.zst' -exec zstd -tq {} +", FOLDER).succeeded


def test_old_logs_are_gone_and_other_files_are_not(host):
    left = host.check_output("find %s -type f -mtime +30 -printf '%%f\n'", FOLDER).split()
    assert left == ["keep.txt"]


def test_generations_that_are_not_old_are_kept(host):
    """Thirty days were asked for: app.log.1 to app.log.3 and app.log.4.gz to app.log.29.gz."""
    names = host.check_output("find %s -name 'app.log.*' -printf '%%f\n'", FOLDER).split()
    assert {f"app.log.{number}.gz" for number in range(4, 30)} | {"app.log.1", "app.log.2", "app.log.3"} == set(names)


def test_logrotate_goes_on_with_its_own_logs(host):
    timer = host.service("logrotate.timer")
    assert timer.is_running and timer.is_enabled
    assert host.run("logrotate --debug /etc/logrotate.conf").succeeded


@pytest.fixture
def job_log(host):
    """A log in a folder that a group may write to, which logrotate skips unless it is told as whom to work."""
    path = "/var/log/shop-jobs/nightly.log"
    yield path
    host.check_output("rm -f /var/log/shop-jobs/nightly.log.*; echo 'job done' > %s; chown shop:shop %s", path, path)


def test_logrotate_takes_what_it_was_given(host, job_log):
    host.check_output("logrotate --force --state /run/logrotate-of-the-test /etc/logrotate.d/shop-jobs")
    assert host.check_output("zcat %s.1.gz", job_log) == "job done"
