# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ..module_utils._module.report import report_spec
from ..plugin_utils.here import Here
from ..plugin_utils.report.operation import Report


class ActionModule(Here):
    """Write the report here, on the controller: templates and the chart library do not travel to hosts."""

    spec = staticmethod(report_spec)
    start = Report
