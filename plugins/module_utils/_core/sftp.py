# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""How restic starts ssh for a repository that is reached by SFTP."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from .errors import InvalidValue

_SPLIT = re.compile(r"[\x00-\x1f\x7f'\"\\]")  # what restic's reader of commands would take apart
_PORT = re.compile(r":\d*$")


def sftp_command(location: str, config: str = "") -> str:
    """Return the command for restic's ``sftp.command``; "" for a repository that ssh has nothing to do with.

    It is restic's own, ``ssh host [-p port] [-l user] -s sftp``, with a configuration file of ssh's, if not the user's
    own, that says the rest (key, known hosts, jump host). Nothing is ever asked: a host key that ssh would ask about is
    refused.

    >>> sftp_command("sftp:backup@vault:/srv/x", "/etc/oncall/ssh")
    "ssh -F '/etc/oncall/ssh' -o BatchMode=yes -l 'backup' 'vault' -s sftp"
    >>> sftp_command("sftp://vault:2222//srv/x", "/c"), sftp_command("s3:https://h/b", "/c")
    ("ssh -F '/c' -o BatchMode=yes -p 2222 'vault' -s sftp", '')

    Raises:
        InvalidValue: the location names no host, or a part cannot be a part of a command.
    """
    if not location.startswith("sftp:"):
        return ""
    user, host, port = _parts(location)
    for word in (user, host, config):
        if _SPLIT.search(word):
            raise InvalidValue(f"repository: {word!r} cannot be a part of ssh's command", hint="choose another name")
    if not host or host.startswith("-") or user.startswith("-"):
        raise InvalidValue(f"repository: {location} names no host", hint="sftp:user@host:/path")
    words = ["ssh", *(["-F", f"'{config}'"] if config else []), "-o", "BatchMode=yes"]
    words += ["-p", str(port)] if port else []
    words += ["-l", f"'{user}'"] if user else []
    return " ".join([*words, f"'{host}'", "-s", "sftp"])


def _parts(location: str) -> tuple[str, str, int]:
    if location.startswith("sftp://"):
        try:
            address = urlsplit(location)
            user, _at, place = address.netloc.rpartition("@")
            return unquote(user), _PORT.sub("", place).strip("[]"), address.port or 0
        except ValueError as error:
            raise InvalidValue(
                f"repository: {location} cannot be read: {error}", hint="sftp://user@host:22//path"
            ) from error
    user, _at, host = location[len("sftp:") :].partition(":")[0].rpartition("@")
    return user, host, 0
