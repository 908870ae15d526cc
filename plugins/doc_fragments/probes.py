# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  probes:
    description:
      - What to ask the service, and which answer is the right one. All of them are asked at each poll, at the same time.
      - A probe that gets no answer within its time has failed, whatever hangs (name resolution, an answer that never
        ends, a database server that was stopped).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name in the result. By default the type and the position.
        type: str
      type:
        description:
          - V(http) wants O(probes[].url), V(tcp) wants O(probes[].port), V(sql) wants O(probes[].dsn) (PostgreSQL),
            V(command) wants O(probes[].argv).
        type: str
        required: true
        choices: [http, tcp, sql, command]
      timeout:
        description: Longest wait for the answer, as a duration.
        type: str
        default: 5s
      url:
        description: Address, V(http://) or V(https://), without user and password. No proxy is used.
        type: str
      method:
        description: Method of the request.
        type: str
        choices: [GET, HEAD]
        default: GET
      headers:
        description: Headers of the request, for example C(Host). They are shown; secrets among them are refused.
        type: dict
        default: {}
      secret_headers:
        description: Headers that are never shown, for example C(Authorization). They never follow to another host.
        type: dict
        default: {}
      status:
        description: Status codes that count as good.
        type: list
        elements: int
        default: [200]
      contains:
        description: Text that the body must contain. Only the first MiB of a body is looked at.
        type: str
      json:
        description:
          - >-
            Values that the JSON body must have, by dotted path, for example V({"version": "2.4.1", "db.ok": true}).
          - This is how an old version that still answers 200 is told from the new one.
        type: dict
        default: {}
      follow_redirects:
        description: Follow up to five redirects and judge the last answer.
        type: bool
        default: false
      validate_certs:
        description: Check the server's certificate.
        type: bool
        default: true
      ca_cert:
        description: File with the certificates of the authorities that are trusted instead of the system's.
        type: path
      host:
        description: Host of the port.
        type: str
        default: 127.0.0.1
      port:
        description: Port that must accept connections.
        type: int
      dsn:
        description:
          - Connection of the query, as in C(DATABASE_URL). The session can only read.
          - It must be the server's direct address. For a pooler use V(tcp) or V(command).
        type: str
      query:
        description: Query whose first value is looked at.
        type: str
        default: SELECT 1
      expect:
        description: The value, compared as text (V(true) and V(false) for booleans). Any row is good by default.
        type: str
      argv:
        description: Command that exits with 0 when all is well. It must not change anything.
        type: list
        elements: str
requirements:
  - psycopg2 (2.8 or newer) on the host where the module runs, for probes of the type V(sql)
"""
