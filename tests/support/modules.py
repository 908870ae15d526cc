"""Run a module of the collection in this process, the way Ansible would: arguments in, one JSON result out."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
from typing import Any
from unittest.mock import patch

from ansible.module_utils import _internal
from ansible.module_utils.common import warnings
from ansible.module_utils.testing import patch_module_args


def run_module(name: str, args: dict[str, Any], *, check: bool = False, diff: bool = False) -> dict[str, Any]:
    """Return the result of plugins/modules/<name>.py; ``failed`` is in it when it failed."""
    module = importlib.import_module(f"plugins.modules.{name}")
    output = io.StringIO()
    warnings._global_warnings.clear()  # a process of its own would start without them
    given = patch_module_args({**args, "_ansible_check_mode": check, "_ansible_diff": diff})
    on_a_host = patch.object(_internal, "is_controller", False)  # whatever else this process has imported
    with given, on_a_host, contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        module.main()
    result: dict[str, Any] = json.loads(output.getvalue().strip().splitlines()[-1])
    result.pop("invocation", None)
    return result


def run_ok(name: str, args: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """Return the result of a module that must not fail."""
    result = run_module(name, args, **kwargs)
    assert not result.get("failed"), result
    return result


def run_failed(name: str, args: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """Return the result of a module that must fail, with a stable code and a sentence."""
    result = run_module(name, args, **kwargs)
    assert result.get("failed"), result
    assert result["failure"]["code"] and result["msg"], result
    return result
