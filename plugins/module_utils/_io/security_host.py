# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Whether this host wants a reboot."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Mapping

from .._core.redact import printable
from .._core.security_updates import Reboot, newest_kernel

_BUILT = re.compile(r"\bDebian (?P<version>\S+)")


def reboot_of(kernels: Mapping[str, str], run: Path = Path("/run"), proc: Path = Path("/proc")) -> Reboot:
    """Return why a reboot is required: what packages asked for, and a newer kernel than the one that runs.

    ``kernels`` are the installed ones, release to package version; a container has none of its own.
    """
    reasons, asked = [], ()  # type: tuple[list[str], tuple[str, ...]]
    if (run / "reboot-required").exists():
        with contextlib.suppress(OSError):
            text = (run / "reboot-required.pkgs").read_text(encoding="utf-8", errors="replace")
            asked = tuple(sorted({printable(line.strip(), 80) for line in text.splitlines() if line.strip()}))
        reasons.append(f"{', '.join(asked) or 'an update'} asked for it")
    try:
        running = (proc / "sys/kernel/osrelease").read_text(encoding="ascii", errors="replace").strip()
        built = (proc / "version").read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return Reboot(tuple(reasons), asked, f"{error.filename}: {error.strerror}")
    newest = newest_kernel(running, kernels)
    match = _BUILT.search(built)
    if newest and newest != running:
        reasons.append(f"kernel {running} runs, {newest} is installed")
    elif newest and match is not None and match["version"] != kernels[newest]:
        reasons.append(f"kernel {running} runs as built in {match['version']}, {kernels[newest]} is installed")
    return Reboot(tuple(reasons), asked)
