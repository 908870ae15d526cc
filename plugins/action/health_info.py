# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ..module_utils._module.health import HealthInfo, health_spec, load_areas, secrets_in_areas
from ..plugin_utils.here import Near

# Ansible loads this in the parent of its workers: once for a run instead of once for each host. It compiles the files
# of a collection each time.
load_areas()


class ActionModule(Near):
    """Look from here where the host is the controller: managed databases, endpoints, external APIs."""

    spec = staticmethod(health_spec)
    start = HealthInfo
    secrets_in = staticmethod(secrets_in_areas)
