# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any, Optional

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

from ..module_utils._module.report import report_spec
from ..plugin_utils.here import run_here
from ..plugin_utils.report.operation import Report


class ActionModule(ActionBase):
    """Write the report here, on the controller: templates and the chart library do not travel to hosts."""

    _supports_check_mode = True
    _supports_diff = True
    _supports_async = False

    def run(self, tmp: Any = None, task_vars: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        """Check the options and run the operation."""
        result = dict(super().run(tmp, task_vars))
        checked = ArgumentSpecValidator(report_spec().options).validate(dict(self._task.args))
        if checked.error_messages:
            failure = {"code": "invalid_arguments", "hint": "see ansible-doc", "details": {}}
            return {**result, "failed": True, "msg": "; ".join(checked.error_messages), "failure": failure}
        check_mode, diff = bool(self._task.check_mode), bool(self._task.diff)
        return {**result, **run_here(Report, checked.validated_parameters, check_mode, diff)}
