"""The documentation of report says what its action plugin takes: ansible-test compares only what modules take."""

from __future__ import annotations

from importlib import import_module
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


def documented() -> dict[str, Any]:
    """Return the options of the documentation, with those of its fragments."""
    page = yaml.safe_load(report.DOCUMENTATION)
    options = dict(page["options"])
    for named in page["extends_documentation_fragment"]:
        name, _dot, part = named.removeprefix("oncall.runbooks.").partition(".")
        fragment = import_module(f"plugins.doc_fragments.{name}").ModuleDocFragment
        options.update(yaml.safe_load(getattr(fragment, (part or "documentation").upper())).get("options", {}))
    return options


def test_the_documented_options_are_those_that_are_taken() -> None:
    assert described(documented(), "suboptions") == described(report_spec().options, "options")


def test_the_address_of_the_journal_is_never_logged() -> None:
    assert report_spec().options["journal_url"]["no_log"] is True
