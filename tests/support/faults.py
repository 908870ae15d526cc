"""The register of faults: each test that makes one says what is promised; a page of the docs is made from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

Test = TypeVar("Test", bound=Callable[..., object])


@dataclass(frozen=True)
class Fault:
    """One fault, the work that it meets (``stage``, for example ``backup: staging``) and what we promise then."""

    name: str
    stage: str
    promise: str
    test: str


FAULTS: dict[str, Fault] = {}


def fault(name: str, stage: str, promise: str) -> Callable[[Test], Test]:
    """Register a test as the one that makes this fault; a name can only be taken once."""

    def register(test: Test) -> Test:
        where = f"{test.__module__}::{test.__name__}"
        known = FAULTS.setdefault(name, Fault(name, stage, promise, where))
        if known.test != where:
            raise ValueError(f"the fault {name} is already made by {known.test}")
        return test

    return register
