"""How restic starts ssh."""

from __future__ import annotations

import pytest

from plugins.module_utils._core.errors import InvalidValue
from plugins.module_utils._core.sftp import sftp_command


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("sftp:vault:/srv/x", "'vault'"),
        ("sftp:backup@Vault:/srv/x", "-l 'backup' 'Vault'"),
        ("sftp:a@b@vault:x:y", "-l 'a@b' 'vault'"),
        ("sftp://vault//srv/x", "'vault'"),
        ("sftp://a%40b@Vault:2222//srv/x", "-p 2222 -l 'a@b' 'Vault'"),
        ("sftp://backup@[::1]:2222//srv/x", "-p 2222 -l 'backup' '::1'"),
        ("sftp://[fe80::1]//srv/x", "'fe80::1'"),
    ],
)
def test_the_command_is_the_one_of_restic(location: str, words: str) -> None:
    assert sftp_command(location, "/etc/with space/ssh") == (
        f"ssh -F '/etc/with space/ssh' -o BatchMode=yes {words} -s sftp"
    )


def test_without_a_file_it_is_the_users_own() -> None:
    assert sftp_command("sftp:vault:/srv/x") == "ssh -o BatchMode=yes 'vault' -s sftp"


@pytest.mark.parametrize("location", ["/srv/x", "s3:https://h/b", "rest:https://h/", "local:sftp:x"])
def test_other_repositories_need_none(location: str) -> None:
    assert sftp_command(location, "/etc/ssh") == ""


@pytest.mark.parametrize(
    ("location", "config"),
    [
        ("sftp:-oProxyCommand=x:/p", "/c"),
        ("sftp:-l@vault:/p", "/c"),
        ("sftp://-oProxyCommand=x//p", "/c"),
        ("sftp:vault' -o x:/p", "/c"),
        ('sftp:"vault:/p', "/c"),
        ("sftp:vault\n:/p", "/c"),
        ("sftp:vault:/p", "/c'd"),
        ("sftp:vault:/p", "/c\\d"),
        ("sftp::/p", "/c"),
        ("sftp:///p", "/c"),
        ("sftp://vault:x//p", "/c"),
    ],
)
def test_what_would_be_something_else_is_refused(location: str, config: str) -> None:
    with pytest.raises(InvalidValue):
        sftp_command(location, config)
