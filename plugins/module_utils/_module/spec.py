# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Argument specs that can be put together from pieces; rules travel with their options."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator, ValidationResult


@dataclass(frozen=True)
class ArgumentSpec:
    """Options of a module with the rules between them, in AnsibleModule's own terms.

    ``opaque`` options may hold secrets that the parser cannot know: they are kept out of the host's system log.
    """

    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    mutually_exclusive: tuple[tuple[str, ...], ...] = ()
    required_together: tuple[tuple[str, ...], ...] = ()
    required_one_of: tuple[tuple[str, ...], ...] = ()
    required_if: tuple[tuple[Any, ...], ...] = ()
    opaque: bool = False

    def merge(self, other: ArgumentSpec) -> ArgumentSpec:
        """Return both together.

        Raises:
            ValueError: an option is defined twice.
        """
        twice = sorted(self.options.keys() & other.options.keys())
        if twice:
            raise ValueError(f"options defined twice: {', '.join(twice)}")
        return ArgumentSpec(
            {**self.options, **other.options},
            self.mutually_exclusive + other.mutually_exclusive,
            self.required_together + other.required_together,
            self.required_one_of + other.required_one_of,
            self.required_if + other.required_if,
            self.opaque or other.opaque,
        )

    def to_kwargs(self) -> dict[str, Any]:
        """Return the keyword arguments of AnsibleModule."""
        return {
            "argument_spec": self.options,
            "mutually_exclusive": self.mutually_exclusive,
            "required_together": self.required_together,
            "required_one_of": self.required_one_of,
            "required_if": self.required_if,
            "no_log": self.opaque,
        }

    def validate(self, options: Mapping[str, Any]) -> ValidationResult:
        """Read options as AnsibleModule does, where there is no module of its own for them."""
        rules = {name: rule for name, rule in self.to_kwargs().items() if name not in ("argument_spec", "no_log")}
        return ArgumentSpecValidator(self.options, **rules).validate(dict(options))


def progress_spec() -> ArgumentSpec:
    """Return the option by which the action plugin of a long module asks for progress lines."""
    return ArgumentSpec({"progress_file": {"type": "path"}})
