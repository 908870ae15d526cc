"""What restic says is understood; its words here are of 0.14 and 0.17."""

from __future__ import annotations

import pytest

from plugins.module_utils._core.restic import (
    Written,
    is_about_lock,
    meaning_of,
    read_message,
    read_snapshots,
    read_written,
)


@pytest.mark.parametrize(
    ("rc", "stderr", "code"),
    [
        (1, "Fatal: wrong password or no key found", "wrong_key"),
        (12, "anything", "wrong_key"),
        (1, "Fatal: unable to open config file: stat /x/config: no such file or directory\n"
            "Is there a repository at the following location?\n/x", "repository_missing"),
        (10, "", "repository_missing"),
        (1, "unable to create lock in backend: repository is already locked by PID 7", "repository_locked"),
        (1, "unable to create lock in backend: open /r/locks/5d-tmp-1: permission denied", "insufficient_privilege"),
        (1, "unable to create lock in backend: open /r/locks/5d: read-only file system", "insufficient_privilege"),
        (1, "unable to create lock in backend: write /r/locks/5d: no space left on device", "disk_full"),
        (1, "unable to create lock in backend: client.PutObject: Access Denied.", "repository_unreachable"),
        (1, "Save(<data/1>) returned error: write /r/data: no space left on device", "disk_full"),
        (1, "Fatal: load <snapshot/e5>: invalid data returned", "repository_damaged"),
        (1, "ciphertext verification failed", "repository_damaged"),
        (1, "subprocess ssh: Host key verification failed.\nFatal: unable to open repository at sftp:vault:/x: unable "
            "to start the sftp session, error: EOF", "host_key_refused"),
        (1, "Fatal: dial tcp 10.0.0.1:443: connect: connection refused", "repository_unreachable"),
        (1, "Fatal: unable to open config file: Stat: The Access Key Id you provided does not exist in our records.\n"
            "Is there a repository at the following location?\ns3:http://h/b", "repository_unreachable"),
        (1, "Fatal: unable to open config file: Stat: The request signature we calculated does not match the signature "
            "you provided.\nIs there a repository at the following location?\ns3:http://h/b", "repository_unreachable"),
        (1, 'Fatal: unable to open config file: Head "http://h/config": dial tcp: connect: connection refused\n'
            "Is there a repository at the following location?\nrest:http://h/", "repository_unreachable"),
        (1, "open /r/config: permission denied", "insufficient_privilege"),
        (1, "Fatal: unable to open config file: stat /r/config: permission denied\n"
            "Is there a repository at the following location?\n/r", "insufficient_privilege"),
        (1, f"ReadFull(<data/d9c6>): open /r/data/d9/{'d9' * 32}: no such file or directory", "repository_damaged"),
        (1, "Load(<data/d9c6>): dial tcp: connection reset\nFatal: load <index/d9>: unexpected EOF",
         "repository_unreachable"),
        (1, f"loading tree for snapshot d9 failed: id {'d9' * 32} not found in repository", "repository_damaged"),
        (1, "ignoring error for /a3.dat: StreamPack: ReadFull: EOF\nFatal: There were 6 errors", "repository_damaged"),
        (1, "cannot dump file: ReadFull(<data/bbe8e8de1b>): EOF", "repository_damaged"),
        (1, 'cannot dump file: path "/globals.sql" not found in snapshot', "incomplete"),
        (2, "", "restic_failed"),
    ],
)  # fmt: skip
def test_an_error_has_a_stable_code(rc: int, stderr: str, code: str) -> None:
    meaning = meaning_of(rc, stderr)
    assert meaning.code == code
    assert meaning.hint


def test_what_failed_over_its_lock_did_nothing_yet() -> None:
    assert is_about_lock(11, "") and is_about_lock(1, "unable to create lock in backend: anything")
    assert not is_about_lock(1, "unable to refresh lock") and not is_about_lock(12, "")


def test_an_empty_repository_has_no_snapshots() -> None:
    assert read_snapshots("null") == read_snapshots("[]") == ()


def test_only_a_summary_says_what_was_written() -> None:
    summary = '{"message_type":"summary","total_bytes_processed":3145731,"data_added":3147975,"snapshot_id":"64a72e6f"}'
    assert read_written(read_message(summary)) == Written("64a72e6f", 3145731, 3147975)
    assert read_written(read_message('{"message_type":"status","percent_done":0.5}')) is None
    assert read_message("no JSON") == {}
