# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What came back over HTTP, and whether it is what was expected."""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass, field
from typing import Any, Callable, Mapping, Optional, Sequence

from .errors import InvalidValue
from .redact import printable, redact_text

MOVED = (301, 302, 303, 307, 308)

_MISSING = object()
_RANGE = re.compile(r"(?P<low>[1-5]\d\d)(?:-(?P<high>[1-5]\d\d))?|(?P<class>[1-5])xx", re.IGNORECASE)
_DECODED_LIMIT = 4 * 1024 * 1024  # bytes
_ENCODINGS = ("gzip", "x-gzip", "deflate")


@dataclass(frozen=True)
class Answer:
    """What came back; ``headers`` have lower-case names, the body may be cut."""

    status: int
    body: bytes = b""
    location: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    is_cut: bool = False


@dataclass(frozen=True)
class Assertion:
    """A value in the JSON body at a dotted ``path``, and what it must be."""

    path: str
    op: str
    value: Any = None


@dataclass(frozen=True)
class Expectation:
    """The answer that counts as good; ``location`` is where a redirect must lead."""

    statuses: tuple[tuple[int, int], ...] = ((200, 200),)
    contains: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    assertions: tuple[Assertion, ...] = ()
    location: Optional[str] = None

    @property
    def wants_body(self) -> bool:
        """Tell whether the body matters."""
        return bool(self.contains or self.absent or self.assertions)


def parse_statuses(given: Sequence[Any], option: str) -> tuple[tuple[int, int], ...]:
    """Return ranges of status codes for ``200``, ``200-299`` and ``2xx``.

    Raises:
        InvalidValue: one of them is no status code or range.

    >>> parse_statuses([200, "301-303", "2xx"], "status")
    ((200, 200), (301, 303), (200, 299))
    """
    return tuple(_parse_status(str(one).strip(), option) for one in given)


def _parse_status(text: str, option: str) -> tuple[int, int]:
    match = _RANGE.fullmatch(text)
    if match and match["class"]:
        return int(match["class"]) * 100, int(match["class"]) * 100 + 99
    if match and int(match["low"]) <= int(match["high"] or match["low"]):
        return int(match["low"]), int(match["high"] or match["low"])
    raise InvalidValue(f"{option} must be a status code or a range, not {text!r}", hint="as 200, 200-299 or 2xx")


def parse_assertion(path: str, op: str, value: Any) -> Assertion:
    """Return the assertion.

    Raises:
        InvalidValue: the operator is unknown, or its value is of no use for it.
    """
    if op not in _OPERATORS and op not in ("exists", "missing"):
        raise InvalidValue(f"json: no operator {op!r}", hint=f"one of {', '.join(OPERATORS)}")
    if op in ("lt", "le", "gt", "ge") and (isinstance(value, bool) or not isinstance(value, (int, float, str))):
        raise InvalidValue(f"json: {path} {op} must be compared with a number or a text, not {value!r}")
    if op == "in" and not isinstance(value, list):
        raise InvalidValue(f"json: {path} in wants a list, not {value!r}")
    return Assertion(path, op, value)


def judge(expected: Expectation, answer: Answer) -> Optional[str]:
    """Return why the answer is not good, or None. A 200 with the wrong body is a lie that must not pass."""
    if not any(low <= answer.status <= high for low, high in expected.statuses):
        wanted = " or ".join(str(low) if low == high else f"{low} to {high}" for low, high in expected.statuses)
        return f"status {answer.status}, not {wanted}" + f", to {_shown(answer.location)}" * bool(answer.location)
    if expected.location is not None and answer.location != expected.location:
        return f"status {answer.status}, but to {_shown(answer.location) or 'nowhere'}, not {_shown(expected.location)}"
    if not expected.wants_body:
        return None
    try:
        text = _text(answer)
    except ValueError as error:
        return f"status {answer.status}, but {error}"
    return _judge_text(expected, answer, text)


def _judge_text(expected: Expectation, answer: Answer, text: str) -> Optional[str]:
    for wanted in expected.contains:
        if wanted not in text:
            return f"status {answer.status}, but the body does not contain {printable(wanted, 80)!r}"
    for unwanted in expected.absent:
        if unwanted in text:
            return f"status {answer.status}, but the body contains {printable(unwanted, 80)!r}"
    if not expected.assertions:
        return None
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):  # the latter: a body of nothing but brackets
        return f"status {answer.status}, but the body is no JSON" + ", as far as it was read" * answer.is_cut
    wrong = [_difference(body, assertion) for assertion in expected.assertions]
    return "; ".join(text for text in wrong if text) or None


def _shown(url: str) -> str:
    return redact_text(printable(url, 100))


def _text(answer: Answer) -> str:
    body = decode_body(answer.body, answer.headers.get("content-encoding", ""), _DECODED_LIMIT)
    match = re.search(r"charset=\"?([\w.:-]+)", answer.headers.get("content-type", ""), re.IGNORECASE)
    try:
        return body.decode(match[1] if match else "utf-8", "replace")
    except (LookupError, ValueError):  # no such charset
        return body.decode("utf-8", "replace")


def decode_body(body: bytes, encoding: str, limit: int) -> bytes:
    """Return at most ``limit`` bytes of the body without its encoding: a small body may unpack to terabytes.

    Raises:
        ValueError: it is in another encoding than gzip or deflate, or not in the one that it is said to be in.
    """
    name = encoding.strip().lower()
    if name in ("", "identity") or not body:
        return body
    if name not in _ENCODINGS:
        raise ValueError(f"the body is in the encoding {printable(name, 40)}, which was not asked for")
    for window in (47, -15):  # gzip or zlib by its head; deflate without a head, as some servers send it
        try:
            return zlib.decompressobj(window).decompress(body, limit)
        except zlib.error:
            continue
    raise ValueError(f"the body is no {name}")


def value_at(body: Any, path: str) -> Any:
    """Return the value at a dotted path; numbers count the items of a list.

    >>> value_at({"db": [{"ok": True}]}, "db.0.ok")
    True
    """
    for key in path.split("."):
        if isinstance(body, dict) and key in body:
            body = body[key]
        elif isinstance(body, list) and key.isdecimal() and len(key) < 10 and int(key) < len(body):
            body = body[int(key)]
        else:
            return _MISSING
    return body


def _equal(value: Any, wanted: Any) -> bool:
    return bool(value == wanted) and isinstance(value, bool) == isinstance(wanted, bool)


def _has(value: Any, wanted: Any) -> bool:
    if isinstance(value, str):
        return str(wanted) in value
    return wanted in value if isinstance(value, (list, dict)) else False


def _is_ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """Compare numbers with numbers and texts with texts; what cannot be compared is wrong."""

    def apply(value: Any, wanted: Any) -> bool:
        both_text = isinstance(value, str) and isinstance(wanted, str)
        both_numbers = all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in (value, wanted))
        return (both_text or both_numbers) and compare(value, wanted)

    return apply


_OPERATORS: Mapping[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "eq": ("not", _equal),
    "ne": ("which it must not be:", lambda value, wanted: not _equal(value, wanted)),
    "lt": ("not less than", _is_ordered(lambda value, wanted: bool(value < wanted))),
    "le": ("not at most", _is_ordered(lambda value, wanted: bool(value <= wanted))),
    "gt": ("not more than", _is_ordered(lambda value, wanted: bool(value > wanted))),
    "ge": ("not at least", _is_ordered(lambda value, wanted: bool(value >= wanted))),
    "contains": ("which does not contain", _has),
    "in": ("none of", lambda value, wanted: any(_equal(value, one) for one in wanted)),
}
OPERATORS = (*_OPERATORS, "exists", "missing")


def _difference(body: Any, assertion: Assertion) -> str:
    value, path = value_at(body, assertion.path), printable(assertion.path, 60)
    if assertion.op == "missing":
        return "" if value is _MISSING else f"the body has {path}"
    if value is _MISSING:
        return f"the body has no {path}"
    if assertion.op == "exists":
        return ""
    words, holds = _OPERATORS[assertion.op]
    if holds(value, assertion.value):
        return ""
    found, expected = (printable(json.dumps(item, default=str), 80) for item in (value, assertion.value))
    return f"{path} is {found}, {words} {expected}"
