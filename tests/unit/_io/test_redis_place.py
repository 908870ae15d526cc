"""The restores of a Redis server, in the folder of its data."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from plugins.module_utils._core.redis_copy_restore import RESTORED, UNDONE, RestoreRecord
from plugins.module_utils._io.redis_place import Place


def test_a_clock_that_was_set_back_does_not_change_which_restore_is_the_newest(tmp_path: Path) -> None:
    place, now = Place(tmp_path), datetime(2026, 9, 18, 4)
    records = []
    for moment in (now, now - timedelta(hours=1), now - timedelta(hours=2), now + timedelta(hours=1)):
        records.append(RestoreRecord(place.next_id(moment), "ab", "t", "t", RESTORED, (), (), 10))
        (tmp_path / f"oncall-restore-{records[-1].id}").mkdir(mode=0o700)
        place.note(records[-1])
        assert place.newest_record(standing=True) == records[-1]
    place.note(records[-1].with_state(UNDONE))
    assert place.newest_record(standing=True) == records[-2]
