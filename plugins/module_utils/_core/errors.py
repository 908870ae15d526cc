# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The errors of the collection: one root, stable codes."""

from __future__ import annotations

from typing import Any, Mapping, Optional


class OpsError(Exception):
    """Say what was attempted, why it failed and what to do next.

    ``code`` is stable and is what playbooks branch on; ``partial`` keeps the results that were reached before the
    failure (same keys as a module's result), so that nothing already done is lost.
    """

    default_code = "failed"

    def __init__(
        self,
        message: str,
        *,
        code: Optional[str] = None,
        hint: Optional[str] = None,
        details: Optional[Mapping[str, Any]] = None,
        partial: Optional[Mapping[str, Any]] = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.hint = hint
        self.details: Mapping[str, Any] = dict(details or {})
        self.partial: Mapping[str, Any] = dict(partial or {})

    def words(self) -> str:
        """Return in one line what failed and, where that is known, what to do."""
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def failure(self) -> dict[str, Any]:
        """Return the value of a failed module's ``failure`` key."""
        return {"code": self.code, "hint": self.hint, "details": dict(self.details)}


class InvalidValue(OpsError, ValueError):
    """An option or inventory value means nothing or contradicts another one."""

    default_code = "invalid_value"


class PreconditionFailed(OpsError):
    """Something outside must be different before this may run; nothing was changed."""

    default_code = "precondition_failed"


class LockBusy(OpsError):
    """Somebody else is at work on the same target."""

    default_code = "lock_busy"


class CommandFailed(OpsError):
    """A command could not be started, or ended with a failure."""

    default_code = "command_failed"


class DatabaseFailed(OpsError):
    """The database refused a connection or a statement."""

    default_code = "database_failed"


class VerificationFailed(OpsError):
    """The work was done, but what it should have brought about is not there."""

    default_code = "verification_failed"


class TimedOut(OpsError, TimeoutError):
    """The time that was allowed is used up."""

    default_code = "timed_out"
