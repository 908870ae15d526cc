# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Do a part of the work as another user of the operating system, in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
from typing import Any, Callable, Mapping

from .._core.errors import InvalidValue, OpsError, PreconditionFailed

Work = Callable[[], Mapping[str, Any]]


class UserProcess:
    """A forked child that works as ``user`` and answers with JSON; make it before the first thread is started.

    Raises:
        PreconditionFailed: there is no such user, or we may not become it.
    """

    def __init__(self, user: str, work: Work) -> None:
        account = _account(user)
        reading, writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(reading)
            _child(account, work, writing)
        os.close(writing)
        self._reading = reading

    def answer(self) -> dict[str, Any]:
        """Wait for the answer.

        Raises:
            OpsError: the work failed as it says, or its process was killed (code ``process_lost``).
        """
        with os.fdopen(self._reading, "r", encoding="utf-8") as stream:
            text = stream.read()
        _pid, status = os.waitpid(self._pid, 0)
        if not text:
            raise OpsError(
                f"the process of another user ended without an answer (status {status})", code="process_lost"
            )
        answer: dict[str, Any] = json.loads(text)
        if "failure" in answer:
            failure = answer["failure"]
            kind = InvalidValue if failure["code"] == InvalidValue.default_code else OpsError
            raise kind(answer["msg"], code=failure["code"], hint=failure["hint"], details=failure.get("details") or {})
        return answer


def _account(user: str) -> pwd.struct_passwd:
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        raise PreconditionFailed(
            f"this host has no user {user}", code="user_missing", hint="correct the inventory"
        ) from None
    if os.geteuid() not in (0, account.pw_uid):
        raise PreconditionFailed(
            f"only root may work as {user}", code="insufficient_privilege", hint="set ansible_become for this host"
        )
    return account


def _child(account: pwd.struct_passwd, work: Work, writing: int) -> None:
    """Become the user, work, and never return: what belongs to the parent must not be closed twice."""
    answer: Mapping[str, Any]
    try:
        if os.geteuid() == 0:
            os.initgroups(account.pw_name, account.pw_gid)
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
        os.environ.update(HOME=account.pw_dir, USER=account.pw_name, LOGNAME=account.pw_name)
        answer = work()
    except OpsError as error:
        answer = {"msg": error.message, "failure": error.failure()}
    except BaseException as error:  # noqa: BLE001  (nothing may leave this process but its answer)
        answer = {"msg": f"unexpected {type(error).__name__}: {error}", "failure": {"code": "bug", "hint": None}}
    with contextlib.suppress(BaseException), os.fdopen(writing, "w", encoding="utf-8") as stream:
        json.dump(answer, stream, default=str)
    os._exit(0)
