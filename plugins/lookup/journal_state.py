# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: journal_state
short_description: What the last run left on a host for the next one
version_added: 0.1.0
description:
  - Returns the newest counters, breakers, positions in logs and signatures that modules returned for a host, as the
    callback P(oncall.runbooks.journal#callback) has stored them. They are what an option O(ignore:previous) wants.
  - Reads the journal on the controller and costs no task. Without a journal there is nothing, and a warning when it is
    there but cannot be read.
options:
  _terms:
    description: Names of hosts in the inventory.
    type: list
    elements: str
    required: true
  journal_url:
    description:
      - Where the journal is, as in the callback P(oncall.runbooks.journal#callback).
    type: str
    env:
      - name: ONCALL_JOURNAL_URL
    ini:
      - section: oncall_runbooks
        key: journal_url
author:
  - The oncall.runbooks maintainers (@oncall-runbooks)
"""

EXAMPLES = r"""
- name: Rates are those since the last run
  oncall.runbooks.host_health_info:
    previous: "{{ states['host_health_info.counters'] | default({}) }}"
  vars:
    states: "{{ lookup('oncall.runbooks.journal_state', inventory_hostname) }}"
"""

RETURN = r"""
_list:
  description:
    - For each host a mapping of V(<module>.<key>) to the value. Of a result with C(areas), V(<area>.<key>).
  type: list
  elements: dict
  sample: [{"host_health_info.counters": {"at": "2026-11-21T12:00:00Z", "oom_kills": 4}}]
"""

import json
from typing import Any, Mapping, Optional, Sequence

from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display

from ..module_utils._core.errors import OpsError
from ..module_utils._io.journal_read import open_journal


class LookupModule(LookupBase):
    """Read states from the journal."""

    def run(
        self, terms: Sequence[str], variables: Optional[Mapping[str, Any]] = None, **kwargs: Any
    ) -> list[dict[str, Any]]:
        """Return one mapping for each host."""
        self.set_options(var_options=variables, direct=kwargs)
        found: list[dict[str, Any]] = []
        try:
            with open_journal(self.get_option("journal_url")) as journal:
                for host in terms:
                    found.append({state.name: json.loads(state.value) for state in journal.states(str(host))})
        except OpsError as error:
            if error.code != "journal_missing":
                Display().warning(f"nothing is known of the last run: {error.message}")
            return [{} for _host in terms]
        return found
