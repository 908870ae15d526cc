# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Work in a thread of its own: what came of it, what it raised, and what never comes back."""

from __future__ import annotations

import os

import pytest

from plugins.module_utils._core.errors import TimedOut
from plugins.module_utils._io.background import Background


def test_what_came_of_the_work_can_be_had_more_than_once() -> None:
    work = Background(lambda: 7)
    assert (work.result(10), work.result(), work.wait()) == (7, 7, True)


@pytest.mark.parametrize("error", [OSError(5, "broken"), SystemExit("broken")])
def test_what_the_work_raised_is_raised_where_it_is_waited_for(error: BaseException) -> None:
    def fail() -> int:
        raise error

    with pytest.raises(type(error), match="broken"):
        Background(fail).result(10)


@pytest.mark.parametrize("seconds", [0.05, 0, -1])
def test_work_that_never_ends_is_given_up(seconds: float) -> None:
    reader, writer = os.pipe()
    try:
        work = Background(lambda: os.read(reader, 1))
        assert not work.wait(seconds)
        with pytest.raises(TimedOut, match=f"^no answer within {max(0, seconds):.3g} s$"):
            work.result(seconds)
        os.write(writer, b"x")
        assert work.result(10) == b"x"
    finally:
        os.close(writer)
        os.close(reader)
