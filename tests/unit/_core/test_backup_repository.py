"""What is missing of a repository, and what may be made."""

from __future__ import annotations

import pytest

from plugins.module_utils._core.backup_repository import Facts, Policy, check_passwords, decide
from plugins.module_utils._core.errors import InvalidValue, PreconditionFailed


@pytest.mark.parametrize(
    ("exists", "opens", "create", "escrow", "plan", "status"),
    [
        (True, None, False, False, [], {"repository": "ok"}),
        (True, True, False, True, [], {"repository": "ok", "escrow_key": "ok"}),
        (True, False, False, True, [], {"repository": "ok", "escrow_key": "critical"}),
        (True, False, True, True, ["add_escrow_key"], {"repository": "ok", "escrow_key": "ok"}),
        (False, None, True, True, ["create", "add_escrow_key"], {"escrow_key": "ok"}),
        (False, None, True, False, ["create"], {}),
    ],
)
def test_decisions(
    exists: bool, opens: bool | None, create: bool, escrow: bool, plan: list[str], status: dict[str, str]
) -> None:
    decision = decide(Facts("/repo", exists, opens), Policy(create, escrow))
    assert [action.action for action in decision.plan] == plan
    assert {finding.check: finding.status for finding in decision.findings} == status


def test_nothing_is_made_unasked() -> None:
    with pytest.raises(PreconditionFailed) as failure:
        decide(Facts("/repo", exists=False), Policy(create=False, escrow=True))
    assert failure.value.code == "repository_missing" and "mounted" in str(failure.value.hint)


def test_the_escrow_key_is_another_one() -> None:
    check_passwords("a", "b")
    check_passwords("a", "")
    with pytest.raises(InvalidValue):
        check_passwords("a", "a")
