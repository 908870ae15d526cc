# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  dsn:
    description:
      - The whole connection in one text, as in C(DATABASE_URL), for example
        C(postgresql://ops:secret@db.example:5432/shop?sslmode=require), or as C(key=value) pairs.
      - Options that are given besides win over the same part of the text.
    type: str
    aliases: [database_url]
  service:
    description: Name of a section of C(pg_service.conf) on the host where the module runs.
    type: str
  login_host:
    description: Host of the server. Without it the local socket is used.
    type: str
    aliases: [host]
  login_unix_socket:
    description: Folder of the server's Unix socket.
    type: path
    aliases: [unix_socket]
  login_port:
    description: Port of the server. The driver's default is 5432.
    type: int
    aliases: [port]
  login_user:
    description: Role to log in with. The driver's default is the name of the operating system's user.
    type: str
    aliases: [login]
  login_password:
    description:
      - Password of the role. It stays inside the driver; it is never in a command line, a result or a log.
      - A C(.pgpass) file of the user, or O(service), keeps it out of Ansible altogether.
    type: str
  login_db:
    description: Database to connect to. V(postgres) when neither O(dsn) nor O(service) names one.
    type: str
  ssl_mode:
    description: As libpq's C(sslmode). The driver's default is V(prefer).
    type: str
    choices: [allow, disable, prefer, require, verify-ca, verify-full]
  ca_cert:
    description: File with the certificates of the authorities that are trusted.
    type: path
    aliases: [ssl_rootcert]
  ssl_cert:
    description: File with the client's certificate.
    type: path
  ssl_key:
    description: File with the key of the client's certificate.
    type: path
  connect_params:
    description:
      - Any other libpq connection parameter, for example C(connect_timeout) (seconds, 10 by default).
      - A server that falls silent is given up after about 40 seconds. C(keepalives_idle) (30), C(keepalives_interval)
        (10), C(keepalives_count) (3) and C(tcp_user_timeout) (milliseconds, 30000) given here or in O(dsn) change that;
        those of O(service) do not.
    type: dict
    default: {}
  session_role:
    description: Role to become after the log-in (C(SET ROLE)).
    type: str
  allow_pooler:
    description:
      - Go on although a connection pooler answers instead of the server.
      - By default that is refused, because behind a pooler time-outs and locks reach other clients.
    type: bool
    default: false
  lock_timeout:
    description: Longest wait for a lock, as a duration (V(500ms), V(5s)). Nobody has to queue behind us for longer.
    type: str
    default: 5s
  statement_timeout:
    description: Longest time of one catalog query, as a duration.
    type: str
    default: 60s
requirements:
  - psycopg2 (2.8 or newer) on the host where the module runs
notes:
  - >-
    A failure has C(failure.code): V(connection_failed), V(authentication_failed), V(database_missing),
    V(too_many_connections), V(server_unavailable), V(server_gone), V(pooler_detected), V(driver_missing),
    V(insufficient_privilege), V(lock_timeout), V(lock_busy), V(read_only), V(disk_full), V(invalid_value),
    V(invalid_arguments).
"""
