# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""PostgreSQL's own programs: which of them to take, and how they log in without anything secret in sight."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Mapping, Optional, Sequence

from .._core.errors import InvalidValue, PreconditionFailed
from .command import CommandRunner
from .postgres import PATIENCE, Target
from .process import Account
from .workspace import give, workspace

_VERSION = re.compile(r"\(PostgreSQL\) (\d+)(?:\.(\d+))?")
_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin")
_SERVICE = "oncall_runbooks"


@dataclass(frozen=True)
class Tool:
    """One program and its version."""

    path: str
    major: int
    version: str


def find_tool(commands: CommandRunner, name: str, minimum: int, folders: Sequence[str] = ()) -> Tool:
    """Return the program of the server's own major where there is one, else of the next newer one.

    ``folders`` are looked at first and, when given, alone; otherwise the places where packages put it, then PATH. An
    older one would refuse, or leave out what it does not know.

    Raises:
        PreconditionFailed: there is none (``command_missing``), or only older ones (``client_too_old``).
    """
    found = list(_tools(commands, name, folders))
    fitting = sorted((tool for tool in found if tool.major >= minimum), key=lambda tool: tool.major)
    if fitting:
        return fitting[0]
    package = f"install postgresql-client-{minimum} or newer"
    if not found:
        raise PreconditionFailed(f"{name} is not on this host", code="command_missing", hint=package)
    have = ", ".join(f"{tool.version} ({tool.path})" for tool in found)
    raise PreconditionFailed(
        f"{name} is older than the server, whose major is {minimum}: {have}", code="client_too_old", hint=package
    )


def _tools(commands: CommandRunner, name: str, folders: Sequence[str]) -> Iterator[Tool]:
    for path in dict.fromkeys(_paths(name, folders)):
        match = _VERSION.search(commands.run([path, "--version"], timeout=30, check=False).stdout)
        if match:
            version = match[1] if match[2] is None else f"{match[1]}.{match[2]}"
            yield Tool(path, int(match[1]), version)


def _paths(name: str, folders: Sequence[str]) -> Iterator[str]:
    known = folders or [str(place) for pattern in _FOLDERS for place in sorted(Path("/").glob(pattern[1:]))]
    for folder in known:
        path = Path(folder) / name
        if os.access(path, os.X_OK):
            yield str(path)
    on_path = None if folders else shutil.which(name)
    if on_path:
        yield on_path


@dataclass(frozen=True)
class Login:
    """How PostgreSQL's programs log in: environment, and what may be seen in a command line."""

    env: Mapping[str, str]
    visible: Mapping[str, str]

    def conninfo(self, dbname: Optional[str] = None) -> str:
        """Return the connection string for a command line, with no secret in it.

        libpq reads a database name with ``=`` in it as a connection string, so that the name is always quoted.
        """
        parts = dict(self.visible) if dbname is None else {**self.visible, "dbname": dbname}
        return " ".join(f"{key}={_quoted(value)}" for key, value in parts.items())


@contextlib.contextmanager
def login(target: Target, account: Optional[Account] = None) -> Iterator[Login]:
    """Give the log-in to a target; the service file (0600, owned by ``account``) is gone afterwards.

    One that a killed run left is cleared by the next log-in.
    A service that the options name stays where it is: only the user that it belongs to may be ``account`` then.

    Raises:
        InvalidValue: a parameter holds what a service file cannot say: a line break, or blanks at its ends.
    """
    parameters = {key: str(value) for key, value in {**PATIENCE, **target.parameters}.items() if key != "dbname"}
    environment = {"PGAPPNAME": target.application_name[:63]}
    if "service" in parameters:
        secret = parameters.pop("password", None)
        yield Login({**environment, **({"PGPASSWORD": secret} if secret else {})}, parameters)
        return
    lines = "".join(f"{key}={_one_line(key, value)}\n" for key, value in parameters.items())
    with workspace("login", account=account) as folder:
        path = folder / "pg_service.conf"
        path.touch(mode=0o600)
        path.write_text(f"[{_SERVICE}]\n{lines}", encoding="utf-8")
        give(path, account)
        yield Login({**environment, "PGSERVICEFILE": str(path)}, {"service": _SERVICE})


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _one_line(key: str, value: str) -> str:
    if "\n" in value or "\r" in value or value != value.strip():
        raise InvalidValue(f"connection parameter {key} holds a line break or blanks at its ends")
    return value
