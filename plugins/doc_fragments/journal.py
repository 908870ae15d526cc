# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  journal_url:
    description:
      - Where the journal is, a SQLite file (V(sqlite:////var/lib/oncall/journal.db)) or a PostgreSQL database
        (V(postgresql://user@host:5432/database)).
      - By default that of the environment variable E(ONCALL_JOURNAL_URL), which the callback
        P(oncall.runbooks.journal#callback) sets from its own settings, else
        C(~/.local/state/oncall-runbooks/journal.db) of the user who runs the playbook.
    type: str
"""
