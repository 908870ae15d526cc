# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Start programs that leave a daemon behind: its output must not be a pipe that we wait for."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from typing import Mapping, Optional, Sequence

from .._core.errors import TimedOut
from .._core.redact import printable, redact_text
from .command import Completed, starting

_OUTPUT_LIMIT = 64 * 1024  # bytes


def launch(argv: Sequence[str], timeout: float, env: Optional[Mapping[str, str]] = None) -> Completed:
    """Run argv until it ends itself, whatever children it leaves; both outputs come back as stderr, the last 64 kB.

    Raises:
        CommandFailed: it could not be started (code ``command_missing`` when it is not there).
        TimedOut: it ran longer than ``timeout`` seconds and was killed, with all that it had started.
    """
    shown = redact_text(printable(" ".join(argv), 200))
    with tempfile.TemporaryFile() as output:
        with starting(shown, argv[0]):
            process = subprocess.Popen(  # pylint: disable=ansible-bad-function
                list(argv),
                env={**os.environ, "LC_ALL": "C", "LANGUAGE": "C", **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            rc = process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise TimedOut(f"run {shown}: no end after {timeout:g} s, killed") from error
        output.seek(max(0, output.seek(0, os.SEEK_END) - _OUTPUT_LIMIT))
        return Completed(rc, "", output.read().decode("utf-8", "replace"))
