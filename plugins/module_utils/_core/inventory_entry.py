# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Read one entry of a list that is kept in the inventory; every refusal names the entry's place and the key."""

from __future__ import annotations

import re
from typing import Any, Iterable, Mapping, NoReturn, Optional

from .errors import InvalidValue
from .number import parse_number
from .units import parse_duration

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


class Entry:
    """A mapping of the inventory with its place in it, such as ``product_kpis[3]``; null counts as not given.

    Each reading method raises InvalidValue naming the place and the key.
    """

    def __init__(self, raw: Any, place: str, keys: Iterable[str]) -> None:
        self.place = place
        if not isinstance(raw, Mapping):
            self._refuse("", f"must be a mapping, not {raw!r}")
        self._raw: Mapping[str, Any] = raw
        known = sorted(keys)
        strange = sorted(str(key) for key in raw if key not in known)
        if strange:
            self._refuse(strange[0], "is no key that is known here", f"the keys are {', '.join(known)}")

    def _refuse(self, key: str, problem: str, hint: Optional[str] = None) -> NoReturn:
        place = f"{self.place}.{key}" if key else self.place
        raise InvalidValue(f"{place} {problem}", hint=hint, details={"variable": place})

    def refuse(self, key: str, problem: str, hint: Optional[str] = None) -> NoReturn:
        """Raise InvalidValue for a key whose value contradicts something else."""
        self._refuse(key, problem, hint)

    def given(self, key: str) -> bool:
        """Return whether there is a value."""
        return self._raw.get(key) is not None

    def value(self, key: str) -> Any:
        """Return the value as it stands, or None."""
        return self._raw.get(key)

    def name(self, key: str) -> str:
        """Return a name that can be part of a metric: small letters, digits and underscores."""
        text = self._raw.get(key)
        if not isinstance(text, str) or not _NAME.fullmatch(text):
            self._refuse(key, f"must be a name of small letters, digits and underscores, not {text!r}")
        return text

    def text(self, key: str, default: str = "", limit: int = 200) -> str:
        """Return a text of one line and at most ``limit`` characters."""
        text = self._raw.get(key)
        if text is None:
            return default
        if not isinstance(text, str) or not text.isprintable() or len(text) > limit or not text.strip():
            self._refuse(key, f"must be one line of at most {limit} characters, not {text!r}")
        return text

    def required_text(self, key: str, limit: int = 200) -> str:
        """Return a text that has to be given."""
        if not self.given(key):
            self._refuse(key, "is missing")
        return self.text(key, limit=limit)

    def number(self, key: str) -> Optional[float]:
        """Return a finite number, or None."""
        raw = self._raw.get(key)
        if raw is None:
            return None
        number = parse_number(raw)
        if number is None:
            self._refuse(key, f"must be a number, not {raw!r}")
        return number

    def within(self, key: str, low: float, high: float, default: float) -> float:
        """Return a number from ``low`` to ``high``, both included."""
        number = self.number(key)
        if number is None:
            return default
        if not low <= number <= high:
            self._refuse(key, f"must be from {low:g} to {high:g}, not {number:g}")
        return number

    def seconds(self, key: str, default: str, *, zero: bool = False) -> float:
        """Return a duration in seconds; zero only where it means something."""
        raw = self._raw.get(key)
        if isinstance(raw, (bool, list, Mapping)):
            self._refuse(key, f"must be a duration such as 90s, 15m or 2d, not {raw!r}")
        place = f"{self.place}.{key}"
        try:
            seconds = parse_duration(default if raw is None else raw, place)
        except InvalidValue as error:
            raise InvalidValue(error.message, hint=error.hint, details={"variable": place}) from error
        if seconds == 0 and not zero:
            self._refuse(key, "must be longer than nothing")
        return seconds

    def choice(self, key: str, choices: tuple[str, ...], default: str) -> str:
        """Return one of some words."""
        word = self._raw.get(key)
        if word is None:
            return default
        if word not in choices:
            self._refuse(key, f"must be one of {', '.join(choices)}, not {word!r}")
        return str(word)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts; one text alone counts as a list of it."""
        raw = self._raw.get(key)
        if raw is None:
            return ()
        texts = [raw] if isinstance(raw, str) else raw
        if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) and text for text in texts):
            self._refuse(key, f"must be a list of texts, not {raw!r}")
        return tuple(texts)

    def mapping(self, key: str) -> dict[str, str]:
        """Return a mapping of texts; numbers count as the text they are written with."""
        raw = self._raw.get(key)
        if raw is None:
            return {}
        if not isinstance(raw, Mapping) or not all(isinstance(value, (str, int, float)) for value in raw.values()):
            self._refuse(key, f"must be a mapping of texts, not {raw!r}")
        return {str(label): str(value) for label, value in raw.items()}

    def entry(self, key: str, keys: Iterable[str]) -> Entry:
        """Return a mapping within this one."""
        return Entry(self._raw.get(key), f"{self.place}.{key}", keys)


def entries(raw: Any, variable: str, keys: Iterable[str]) -> tuple[Entry, ...]:
    """Return the entries of a list of the inventory.

    Raises:
        InvalidValue: it is no list of mappings, or an entry has a key that nobody knows, or a name occurs twice.
    """
    if not isinstance(raw, (list, tuple)):
        raise InvalidValue(f"{variable} must be a list, not {raw!r}", details={"variable": variable})
    found = tuple(Entry(one, f"{variable}[{number}]", keys) for number, one in enumerate(raw))
    seen: dict[str, str] = {}
    for entry in found:
        name = entry.name("name")
        if name in seen:
            entry.refuse("name", f"is {name!r}, as {seen[name]} already is")
        seen[name] = entry.place
    return found
