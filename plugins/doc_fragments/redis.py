# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # How to connect to a Redis server.
    DOCUMENTATION = r"""
options:
  redis_host:
    description: Host of the server.
    type: str
    default: 127.0.0.1
  redis_port:
    description: Port of the server.
    type: int
    default: 6379
  redis_unix_socket:
    description: Unix socket of the server, instead of host and port.
    type: path
  redis_username:
    description: User of the server's ACL. The default user when left out.
    type: str
  redis_password:
    description: Password. It never appears in a command line.
    type: str
  redis_tls:
    description: Encrypt the connection and check the server's certificate.
    type: bool
    default: false
  redis_ca_cert:
    description: File with the certificates of the authorities that are trusted instead of the system's.
    type: path
  redis_timeout:
    description: Longest wait for the answer to one command, as a duration.
    type: str
    default: 30s
requirements:
  - redis (redis-py, 4.2 or newer) on the host where the module runs
notes:
  - >-
    A failure of the server has C(failure.code): V(connection_failed), V(authentication_failed),
    V(insufficient_privilege), V(server_loading), V(server_gone), V(timed_out), V(unknown_command), V(driver_missing),
    V(redis_failed).
"""

    # Modules that load a copy into a server of their own.
    COPIES = r"""
options: {}
requirements:
  - redis-server and redis-check-rdb on the host where the module runs, of the server's release or newer
"""
