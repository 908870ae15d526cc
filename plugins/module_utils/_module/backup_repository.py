# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""backup_repository: open the repository with both keys, make what is missing where that is allowed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Callable

from .._core.backup_repository import (
    ADD_KEY,
    CREATE,
    ESCROW_USER,
    Facts,
    Policy,
    check_passwords,
    decide,
    findings,
    state,
)
from .._core.errors import InvalidValue, OpsError, VerificationFailed
from .._core.result import DONE, FAILED, Decision, Outcome, Step, partial_result
from .._io.restic import RepositoryFailed, Restic
from .._io.workspace import workspace
from .repository import repository_of
from .run import Operation, Task
from .spec import ArgumentSpec


def repository_setup_spec() -> ArgumentSpec:
    """Return the module's own options."""
    return ArgumentSpec(
        {
            "create": {"type": "bool", "default": False},
            "escrow_password": {"type": "str", "no_log": True},
        }
    )


class RepositorySetup(Operation):
    """See that there is a repository that both keys open."""

    def __init__(self, task: Task) -> None:
        repository = repository_of(task.params)
        self._clock = task.clock
        self._escrow: str = task.params["escrow_password"] or ""
        self._policy = Policy(create=task.params["create"], escrow=bool(self._escrow))
        check_passwords(_password_of(repository.password, repository.password_file), self._escrow)
        self._restic = Restic(repository)
        self._with_escrow = Restic(replace(repository, password=self._escrow, password_file=""))
        self._steps: list[Step] = []

    def decide(self) -> Decision:
        """Try both keys."""
        return decide(self._facts(), self._policy)

    def apply(self, decision: Decision) -> Outcome:
        """Make what is missing, and try both keys again.

        Raises:
            VerificationFailed: the escrow key was added and does not open the repository all the same.
        """
        work: dict[str, Callable[[], None]] = {CREATE: self._restic.create, ADD_KEY: self._add_key}
        try:
            for action in decision.plan:
                self._timed(action.id, work[action.action])
        except OpsError as error:
            error.partial = partial_result(decision, self._steps)
            raise
        facts = self._facts()
        return Outcome(
            msg=f"done at {facts.location}: {', '.join(action.action for action in decision.plan)}",
            steps=tuple(self._steps),
            findings=findings(facts, self._policy),
            after=state(facts),
        )

    def _facts(self) -> Facts:
        exists = self._restic.exists()
        opens = self._opens_with_escrow() if exists and self._escrow else None
        return Facts(self._restic.repository.location, exists, opens)

    def _opens_with_escrow(self) -> bool:
        try:
            return self._with_escrow.exists()
        except RepositoryFailed as error:
            if error.code == "wrong_key":
                return False
            raise

    def _timed(self, action: str, work: Callable[[], None]) -> None:
        start, status, detail = self._clock.monotonic(), FAILED, ""
        try:
            work()
            status = DONE
        except OpsError as error:
            detail = error.message
            raise
        finally:
            self._steps.append(Step(action, status, round(self._clock.monotonic() - start, 3), detail))

    def _add_key(self) -> None:
        with workspace("escrow") as folder:
            file = Path(folder) / "password"
            file.touch(mode=0o600, exist_ok=False)
            file.write_text(self._escrow, encoding="utf-8")
            self._restic.add_key(str(file), user=ESCROW_USER)
        if not self._opens_with_escrow():
            raise VerificationFailed(
                "add the escrow key: it was added and does not open the repository",
                hint="a password must not begin or end with white space",
            )


def _password_of(password: str, password_file: str) -> str:
    """Return the repository's password, as restic reads it.

    Raises:
        InvalidValue: the file cannot be read.
    """
    if not password_file:
        return password
    try:
        return Path(password_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InvalidValue(
            f"repository_password_file: read {password_file}: {reason}", hint="the role backup_repository writes it"
        ) from error
