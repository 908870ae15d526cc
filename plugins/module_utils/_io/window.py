# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Time zones by their IANA name, from the host's own database."""

from __future__ import annotations

from datetime import timezone, tzinfo
from zoneinfo import ZoneInfo

from .._core.errors import InvalidValue


def zone(name: str) -> tzinfo:
    """Return the time zone; UTC needs no database.

    Raises:
        InvalidValue: this host does not know the name.
    """
    if name.upper() in ("UTC", "Z", "GMT"):
        return timezone.utc
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise InvalidValue(
            f"timezone {name!r} is not known on this host",
            hint="write an IANA name such as Europe/Berlin; hosts without the tzdata package know UTC only",
        ) from error


def local_zone() -> tzinfo:
    """Return the time zone of this host, with its changes of daylight saving time; UTC where none is set."""
    try:
        with open("/etc/localtime", "rb") as file:  # noqa: PTH123  (a stream is what is asked for)
            return ZoneInfo.from_file(file)
    except (OSError, ValueError):
        return timezone.utc
