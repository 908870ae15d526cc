# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""A whole server back to a moment with pgBackRest: what is asked for, whether it can be done, and by which command.

Which options of ``pgbackrest restore`` go with which type is what pgBackRest 2.45 says itself.
"""

from __future__ import annotations

import base64
import re
import shlex
import struct
from pathlib import PurePosixPath
from typing import Any, Iterable, List, Mapping, Sequence, Tuple

from .backup import parse_at
from .errors import InvalidValue
from .units import human_size

WITHOUT_TARGET = ("immediate", "default")
EXCLUSIVE = ("time", "lsn", "xid")
_SPARE = 1.1  # the state aside grows while it replays
_MOMENT = re.compile(r"\d{14}")


def point_in_time_target(target: str, at: str, type: str) -> str:
    """Return the target as pgBackRest wants it; ``at`` is a moment as in backup names, or RFC 3339.

    >>> point_in_time_target("", "20260918-040000", "time")
    '2026-09-18 04:00:00+00'

    Raises:
        InvalidValue: ``at`` is no moment, or contradicts the other two.
    """
    if not at:
        return target
    if target or type != "time":
        raise InvalidValue("at is a time: it goes neither with target nor with another target_type")
    moment = parse_at(at, "at")
    fraction = f".{moment.microsecond:06d}" if moment.microsecond else ""
    return f"{moment:%Y-%m-%d %H:%M:%S}{fraction}+00"


def point_in_time_mistakes(wanted: Mapping[str, Any]) -> List[str]:
    """Return what is wrong with the role's variables, by their names without ``point_in_time_``."""
    data_dir, kind = str(wanted["data_dir"]), str(wanted["type"])
    found = [f"set point_in_time_{name}" for name in ("stanza", "stop_command", "start_command") if not wanted[name]]
    if not data_dir.startswith("/") or data_dir.endswith("/"):
        found.append(f"point_in_time_data_dir has to be absolute, without a slash at its end, not {data_dir!r}")
    if kind in WITHOUT_TARGET and wanted["target"]:
        found.append(f"the type {kind} takes no target")
    if kind not in WITHOUT_TARGET and not wanted["target"]:
        found.append(f"say until when: the type {kind} needs a target")
    if wanted["exclusive"] and kind not in EXCLUSIVE:
        found.append(f"point_in_time_exclusive is for {', '.join(EXCLUSIVE)}, not for {kind}")
    if wanted["timeline"] and kind == "immediate":
        found.append("immediate is on the timeline of its backup: point_in_time_set chooses that")
    return found


def point_in_time_obstacles(
    stanzas: Sequence[Mapping[str, Any]],
    wanted: Mapping[str, Any],
    files: Sequence[Mapping[str, Any]],
    free_bytes: int,
    control: str,
    mounted: bool,
) -> List[str]:
    """Return why a backup cannot take the place of a data directory, for people.

    ``stanzas`` are those of pgbackrest_info, ``wanted`` the role's variables as in point_in_time_mistakes, ``files``
    the data directory itself, what is in it and in its ``pg_tblspc`` (each with ``path``, ``islnk`` and ``dev``),
    ``free_bytes`` the room beside it, ``control`` its ``global/pg_control`` in base64, ``mounted`` whether it is a
    mount point.
    """
    data_dir, chosen = str(wanted["data_dir"]), str(wanted["set"])
    backups = [(one, backup) for one in stanzas for backup in one["backups"] if chosen in ("", backup["label"])]
    sizes = [int(backup["size_bytes"]) for _stanza, backup in backups]
    needed = int(max(sizes, default=0) * _SPARE)
    found = []
    if not sizes:
        found.append(f"there is no backup {chosen}" if chosen else "there is no backup to begin with")
    if not any(one["path"] == f"{data_dir}/PG_VERSION" for one in files):
        found.append(f"{data_dir} is no data directory")
    elif sizes:
        systems = {(one["name"], backup["system"] if chosen else one["systems"][-1]) for one, backup in backups}
        found += _of_another_server(sorted(systems), data_dir, control)
        found += _off_the_timeline([backup for _stanza, backup in backups], wanted, control)
    found += _not_moved(files, data_dir, mounted)
    if sizes and free_bytes <= needed:
        free = human_size(free_bytes)
        found.append(f"not enough space: {human_size(needed)} are needed beside {data_dir}, {free} are free")
    return found


def _of_another_server(systems: Sequence[Tuple[str, str]], data_dir: str, control: str) -> List[str]:
    own = system_identifier(control)
    if not own:
        return [f"whether the backups are of this server cannot be told: {data_dir}/global/pg_control cannot be read"]
    theirs = [f"{stanza} is of {system}" for stanza, system in systems if system != own]
    return [f"the backups are of another server: stanza {text}, {data_dir} is of {own}" for text in theirs]


def _off_the_timeline(backups: Sequence[Mapping[str, Any]], wanted: Mapping[str, Any], control: str) -> List[str]:
    """Tell what keeps the replay off the server's own timeline, unless somebody named another one."""
    own = server_timeline(control)
    of_this_server = [backup for backup in backups if backup["system"] == system_identifier(control)]
    if wanted["timeline"] or not of_this_server or (wanted["type"] == "immediate" and not own):
        return []
    if not own:
        return ["on which timeline the server is cannot be told from its pg_control: set point_in_time_timeline"]
    newest = max(of_this_server, key=lambda backup: str(backup["stop"]))
    if int((newest["wal_start"] or "0")[:8], 16) <= own:
        return []
    text = f"backup {newest['label']} is of a recovery that was undone, the server is on timeline {own}"
    return [f"{text}: name an older one with point_in_time_set"]


def _not_moved(files: Sequence[Mapping[str, Any]], data_dir: str, mounted: bool) -> List[str]:
    """Tell what a rename of the directory, or a restore into a plain folder, would lose or not carry."""
    paths = [PurePosixPath(one["path"]) for one in files]
    found = []
    if f"{data_dir}/standby.signal" in map(str, paths):
        found.append(f"{data_dir} is that of a standby")
    if any(path.parent.name == "pg_tblspc" for path in paths):
        found.append("it has tablespaces, which are not moved (use pgBackRest by hand with a tablespace map)")
    if mounted:
        found.append(f"{data_dir} is a mount point, which cannot be renamed: use a folder in it as data directory")
    disks = {one["dev"] for one in files if one["path"] == f"{data_dir}/PG_VERSION"}
    within = (one for one in files if str(PurePosixPath(one["path"]).parent) == data_dir)
    away = sorted(one["path"] for one in within if one["islnk"] or (disks and one["dev"] not in disks))
    away += [data_dir] if any(one["islnk"] for one in files if one["path"] == data_dir) else []
    if away:
        text = f"links or other disks would come back as plain folders: {', '.join(away)}"
        found.append(f"{text} (use pgBackRest by hand, with link-all)")
    return found


def system_identifier(control: str) -> str:
    """Return the system identifier in a ``pg_control`` (the file in base64), empty when it is too short to have one.

    The file begins with it, in the byte order of its machine (PostgreSQL's ``catalog/pg_control.h``).
    """
    head = base64.b64decode(control)
    return str(struct.unpack_from(_order(head) + "Q", head)[0]) if len(head) >= 12 else ""


def server_timeline(control: str) -> int:
    """Return the timeline that a primary writes, by its ``pg_control`` (in base64); 0 when that cannot be told.

    Of PostgreSQL 13 to 18 (``catalog/pg_control.h``): that of the last checkpoint is at byte 48. A promoted server
    notes its new one at byte 144 until its first checkpoint, and 0 thereafter. Where the alignment of 8 and the
    constant 1234567.0 are not at byte 204, the file is laid out in another way.
    """
    data = base64.b64decode(control)
    if len(data) < 216 or struct.unpack_from(_order(data) + "Id", data, 204) != (8, 1234567.0):
        return 0
    return max(int(struct.unpack_from(_order(data) + "I", data, place)[0]) for place in (48, 144))


def _order(control: bytes) -> str:
    """Return the byte order by the version of the file: small in that order, large in the other."""
    return "<" if int.from_bytes(control[8:12], "little") < 0x10000 else ">"


def point_in_time_restore(wanted: Mapping[str, Any], aside: str, control: str) -> List[str]:
    """Return the command that restores into a folder aside, by the role's variables as in point_in_time_mistakes.

    It follows the timeline of the server, whose ``pg_control`` is given in base64: PostgreSQL's default, the latest,
    may be that of a recovery that was undone. The end of a backup is on the backup's own, pgBackRest's default then.
    The server gets its WAL by a command that names its own data directory: pgBackRest would write the folder aside
    into it, which has another name by then.

    Raises:
        InvalidValue: the timeline is neither given nor to be told.
    """
    base = [str(wanted["pgbackrest"]), f"--stanza={wanted['stanza']}"]
    base += [f"--config={wanted['config']}"] if wanted["config"] else []
    own = shlex.join([*base, f"--pg1-path={wanted['data_dir']}"]).replace("%", "%%")
    command = [
        *base,
        f"--pg1-path={aside}",
        f"--process-max={wanted['jobs']}",
        "--log-level-file=off",
        f'--recovery-option=restore_command={own} archive-get %f "%p"',
        f"--type={wanted['type']}",
    ]
    command += [f"--target={wanted['target']}"] if wanted["target"] else []
    command += ["--target-exclusive"] if wanted["exclusive"] else []
    timeline = wanted["timeline"] or (wanted["type"] != "immediate" and _known_timeline(control))
    command += [f"--target-timeline={timeline}"] if timeline else []
    command += [f"--set={wanted['set']}"] if wanted["set"] else []
    command += [] if wanted["type"] == "default" else ["--target-action=promote"]  # else the server waits, read only
    return [*command, "restore"]


def _known_timeline(control: str) -> int:
    timeline = server_timeline(control)
    if not timeline:
        raise InvalidValue("on which timeline the server is cannot be told: set point_in_time_timeline")
    return timeline


def newest_kept(paths: Sequence[str], data_dir: str) -> str:
    """Return the newest state that a recovery kept beside a data directory, empty when there is none.

    >>> newest_kept(["/d/main.before-20260918040000", "/d/main.before-upgrade"], "/d/main")
    '/d/main.before-20260918040000'
    """
    return _newest(paths, f"{data_dir}.before-")


def point_in_time_undo_obstacles(paths: Sequence[str], data_dir: str, force: bool) -> List[str]:
    """Return why the newest kept state is not put back, for people; ``paths`` is what is beside the data directory.

    A kept state stays when its recovery was good. So it is the one to go back to only as long as the newest recovery
    of all is the one that kept it: not after that was undone, nor after one that did not come about.
    """
    kept, undone = newest_kept(paths, data_dir), _newest(paths, f"{data_dir}.undone-")
    if not kept:
        return [f"there is no {data_dir}.before-<time> to go back to"]
    since = []
    if undone[-14:] > kept[-14:]:
        since.append(f"the newest recovery was undone already, {undone} is what it brought")
    if f"{data_dir}.aside" in paths:
        since.append(f"a recovery did not come to its end, {data_dir}.aside is what it left")
    if not since or force:
        return []
    return [*since, f"{kept} is from before an older recovery; -e point_in_time_force=true puts that back all the same"]


def _newest(paths: Iterable[str], head: str) -> str:
    return max((path for path in paths if path.startswith(head) and _MOMENT.fullmatch(path[len(head) :])), default="")
