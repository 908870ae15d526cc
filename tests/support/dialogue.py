"""Fakes of the ports: a command runner that plays a script, and a clock that only moves when somebody waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from plugins.module_utils._core.errors import CommandFailed
from plugins.module_utils._io.command import Completed


class FakeClock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.elapsed = 0.0

    def now(self) -> datetime:
        return datetime(2026, 3, 1, 4, 0, tzinfo=timezone.utc) + timedelta(seconds=self.elapsed)

    def monotonic(self) -> float:
        return self.elapsed

    def sleep(self, seconds: float) -> None:
        self.elapsed += seconds


@dataclass
class Line:
    """One expected call and its answer."""

    argv: Sequence[str]
    stdout: str = ""
    rc: int = 0
    stderr: str = ""
    raises: Exception | None = None


@dataclass
class Dialogue:
    """A command runner that expects exactly these calls, in this order."""

    script: list[Line]
    environments: list[Mapping[str, str]] = field(default_factory=list)

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        check: bool = True,
    ) -> Completed:
        assert self.script, f"a call too many: {list(argv)}"
        line = self.script.pop(0)
        assert list(argv) == list(line.argv)
        self.environments.append(env or {})
        if line.raises is not None:
            raise line.raises
        if check and line.rc:
            raise CommandFailed(f"exit status {line.rc}: {line.stderr}")
        return Completed(line.rc, line.stdout, line.stderr)

    def find(self, name: str) -> str | None:
        return f"/usr/bin/{name}"

    def assert_over(self) -> None:
        assert not self.script, f"calls that did not come: {[list(line.argv) for line in self.script]}"


def option_defaults(options: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return module parameters as the argument parser would make them, for options that are no dictionaries."""
    unknown = given.keys() - options.keys()
    assert not unknown, f"no such options: {unknown}"
    return {name: given.get(name, option.get("default")) for name, option in options.items()}
