# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Which texts among a module's options must never be shown."""

from __future__ import annotations

from typing import Any, Mapping, Optional
from urllib.parse import unquote, urlsplit


def secrets_of(params: Mapping[str, Any]) -> tuple[str, ...]:
    """Return every secret text among the options: passwords, also the one inside the DSN, plain and percent-encoded."""
    found: list[Optional[str]] = [params.get("login_password"), (params.get("connect_params") or {}).get("password")]
    dsn = params.get("dsn") or ""
    if "://" in dsn:
        try:
            found.append(urlsplit(dsn).password)
        except ValueError:
            found.append(dsn)
        found += [unquote(found[-1] or "")]
    elif dsn:
        found.append(next((part[9:].strip("'") for part in dsn.split() if part.startswith("password=")), None))
    return tuple(secret for secret in found if secret)
