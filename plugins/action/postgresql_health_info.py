# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ..module_utils._module.postgres import postgres_spec
from ..module_utils._module.postgres_health import PostgresHealth, postgres_health_spec
from ..plugin_utils.here import Near


class ActionModule(Near):
    """Ask the server from here where the host is the controller, as it is for a managed database."""

    spec = staticmethod(lambda: postgres_health_spec().merge(postgres_spec()))
    start = PostgresHealth
