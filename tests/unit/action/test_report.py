"""The documentation of report says what its action plugin takes: ansible-test compares only what modules take."""

from __future__ import annotations

from typing import Any

import yaml

from plugins.module_utils._module.report import report_spec
from plugins.modules import report


def described(options: dict[str, Any], nested: str) -> dict[str, Any]:
    """Return what both ways of describing options have in common."""
    return {
        name: {
            "type": option.get("type", "str"),
            **{key: option.get(key) for key in ("default", "choices", "elements")},
            "required": bool(option.get("required")),
            "options": described(option[nested], nested) if option.get(nested) else None,
        }
        for name, option in options.items()
    }


def test_the_documented_options_are_those_that_are_taken() -> None:
    documented = yaml.safe_load(report.DOCUMENTATION)["options"]
    assert described(documented, "suboptions") == described(report_spec().options, "options")


def test_the_address_of_the_journal_is_never_logged() -> None:
    assert report_spec().options["journal_url"]["no_log"] is True
