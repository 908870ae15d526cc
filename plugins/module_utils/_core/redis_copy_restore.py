# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What must be true before a Redis server's data is replaced, and what will be done then.

A server with ``appendonly yes`` starts from its append-only file and ignores a restored RDB. Such a file may begin with
an RDB (its base), so that the copy is put in that place too: no setting is changed, and no window is left in which the
server would start empty.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Iterator, Optional, Sequence, Tuple

from .backup import Copy
from .config_copy_restore import already_undone, nothing_kept
from .errors import InvalidValue, PreconditionFailed
from .redis_copy import RedisManifest
from .result import Action, Decision, Finding
from .sealed import seal, unseal
from .units import rfc3339

BEGUN, RESTORED, UNDONE = "begun", "restored", "undone"
RECORD_FORMAT = 1


@dataclass(frozen=True)
class AofLayout:
    """Where the append-only file lies; ``folder`` "" before Redis 7.0, where it is one file."""

    folder: str
    filename: str

    def entry(self) -> str:
        """Return its name in the server's data folder."""
        return self.folder or self.filename

    def files(self) -> dict[str, Optional[str]]:
        """Return the files that make an append-only file out of an RDB: name to content, None for the RDB itself.

        Source: redis, src/aof.c (manifest of a multi-part AOF; an RDB preamble is known by its magic).
        """
        if not self.folder:
            return {self.filename: None}
        base = f"{self.filename}.1.base.rdb"
        return {
            f"{self.folder}/{base}": None,
            f"{self.folder}/{self.filename}.manifest": f"file {base} seq 1 type b\n",
        }


@dataclass(frozen=True)
class Replica:
    """One server that follows the one that is restored."""

    host: str
    port: int

    @classmethod
    def of(cls, label: str) -> Replica:
        """Return the one that a label names."""
        host, _colon, port = label.rpartition(":")
        return cls(host, int(port))

    def label(self) -> str:
        """Return it for messages."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class LiveServer:
    """The server whose data is replaced; ``running`` false: it did not answer, and what is known is from its folder."""

    running: bool
    role: str
    port: int
    pid: int
    directory: str
    filename: str
    aof: Optional[AofLayout]
    replicas: Tuple[Replica, ...]
    keys: Optional[int]

    def entries(self) -> tuple[str, ...]:
        """Return the names in its folder that hold its data."""
        return (self.filename, *([self.aof.entry()] if self.aof else []))


@dataclass(frozen=True)
class RestoreRecord:
    """What a restore did, kept in the server's folder; it is what an undo reads.

    ``moved`` are the names that were there before, ``placed`` those that the restore put there. ``fenced`` are the
    replicas that were made masters, ``masters`` whom each had followed, as REPLICAOF has it ("host port").
    """

    id: str
    copy: str
    taken_at: str
    at: str
    state: str
    moved: Tuple[str, ...]
    placed: Tuple[str, ...]
    keys_before: Optional[int]
    fenced: Tuple[str, ...] = ()
    masters: Tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the text of the record."""
        return seal(asdict(self), RECORD_FORMAT, any_bytes=True)

    def with_state(self, state: str) -> RestoreRecord:
        """Return it in another state."""
        return replace(self, state=state)

    def with_fenced(self, replica: Replica, master: str) -> RestoreRecord:
        """Return it with one more replica that is made a master."""
        return replace(self, fenced=(*self.fenced, replica.label()), masters=(*self.masters, master))

    def fenced_replicas(self, unknown: str = "?") -> list[Tuple[Replica, str]]:
        """Return the fenced replicas, each with whom it followed; ``unknown`` where an old record does not say."""
        masters = self.masters or (unknown,) * len(self.fenced)
        return list(zip(map(Replica.of, self.fenced), masters))


def read_record(text: str) -> RestoreRecord:
    """Return a record.

    Raises:
        ValueError: it is none that can be read.
    """
    data = unseal(text, RECORD_FORMAT)
    try:
        lists = {name: tuple(data[name]) for name in ("moved", "placed", "fenced")}
        lists["masters"] = tuple(data.get("masters", ()))  # older records have none
        if any("/" in name or name in ("", ".", "..") for name in lists["moved"] + lists["placed"]):
            raise ValueError("a name that is none")
        return RestoreRecord(**{**data, **lists})
    except (TypeError, KeyError) as error:
        raise ValueError(str(error)) from error


@dataclass(frozen=True)
class RestorePolicy:
    """What was asked for. ``other_place``: the server may be another one than the one that was copied."""

    source_host: str
    fence_replicas: bool
    other_place: bool


def refuse(policy: RestorePolicy, live: LiveServer, manifest: RedisManifest) -> None:
    """Stop before anything is touched where the target is not the one that was meant.

    Raises:
        PreconditionFailed: codes ``is_standby``, ``replicas_attached``, ``fingerprint_mismatch``.
    """
    if live.role not in ("master", ""):
        raise PreconditionFailed(
            f"the server on port {live.port} is a replica: its master would overwrite what is restored",
            code="is_standby",
            hint="restore the master, or make this one a master first (REPLICAOF NO ONE)",
        )
    if live.replicas and not policy.fence_replicas:
        names = ", ".join(one.label() for one in live.replicas)
        raise PreconditionFailed(
            f"replicas follow this server and would throw away their data too: {names}",
            code="replicas_attached",
            hint="set fence_replicas to true: they are made masters first and keep what they have",
        )
    there, here = (manifest.server.port, manifest.server.directory), (live.port, live.directory)
    known = bool(manifest.server.directory)
    if not policy.other_place and (there != here if known else there[0] != here[0]):
        raise PreconditionFailed(
            f"the copy is of the server on port {there[0]} in {there[1] or 'an unknown folder'}, "
            f"the target is on port {here[0]} in {here[1]}",
            code="fingerprint_mismatch",
            hint="check the target; set other_place to true when it is meant to be another one",
            details={"copy": list(there), "target": list(here)},
        )


def plan_restore(
    copy: Copy, target_host: str, live: LiveServer, commands: tuple[str, str], findings: tuple[Finding, ...]
) -> Decision:
    """Return what a restore does to the server of ``target_host``; ``commands`` stop and start it."""
    label = copy.source.label()
    names = ", ".join(live.entries())
    taken = rfc3339(copy.taken)
    plan = [
        Action("fetch", "fetch", label, f"state of {taken}", f"restic restore {copy.id[:8]}"),
        Action("prove", "load", "throwaway redis-server", "what does not load here is not put there"),
    ]
    if live.running:
        plan.append(Action("keep", "save", live.directory, "writers wait; the undo needs what is in memory", "BGSAVE"))
        for one in live.replicas:
            plan.append(
                Action(f"fence:{one.label()}", "fence", one.label(), "it keeps what it has", "REPLICAOF NO ONE")
            )
        plan.append(Action("stop", "stop", f"port {live.port}", "a server overwrites its files", commands[0]))
    plan.append(Action("place", "rename", live.directory, f"{names}: the present ones are kept aside"))
    plan.append(Action("start", "start", f"port {live.port}", "it loads the copy", commands[1]))
    plan.append(Action("verify", "compare", f"port {live.port}", "with the facts of the copy"))
    whose = "its" if copy.source.host == target_host else f"{copy.source.host}'s"
    return Decision(
        f"will replace the data of {target_host} with {whose} state of {taken}",
        tuple(plan),
        findings,
        before={"keys": live.keys, "copy": None},
        after={"keys": None, "copy": copy.id[:8]},
    )


def plan_undo(record: Optional[RestoreRecord], live: LiveServer, commands: Optional[tuple[str, str]]) -> Decision:
    """Return what an undo does; nothing where the newest restore was undone.

    ``commands`` stop and start the server; None: no file was moved, and it runs on.

    Raises:
        PreconditionFailed: code ``no_kept_restore``.
    """
    if record is None:
        raise nothing_kept(f"Redis in {live.directory}")
    if record.state == UNDONE:
        keys, finding = {"keys": live.keys}, already_undone(record.at)
        return Decision(finding.msg, findings=(finding,), before=keys, after=keys)
    return Decision(
        f"will take back the restore of {record.at}",
        tuple(_undo_actions(record, live, commands)),
        before={"keys": live.keys, "copy": record.copy[:8]},
        after={"keys": record.keys_before, "copy": None},
    )


def _undo_actions(record: RestoreRecord, live: LiveServer, commands: Optional[tuple[str, str]]) -> Iterator[Action]:
    if commands is None:
        yield Action("place", "forget", live.directory, f"no file had been moved when the restore of {record.at} ended")
    else:
        if live.running:
            yield Action("stop", "stop", f"port {live.port}", "a server overwrites its files", commands[0])
        names = ", ".join(record.moved) or "nothing"
        yield Action("place", "rename", live.directory, f"{names} of before {record.at}")
        yield Action("start", "start", f"port {live.port}", "it loads what it had", commands[1])
    yield Action("verify", "compare", f"port {live.port}", "with the number of keys it had")


def check_commands(stop: list[str], start: list[str], unit: str) -> tuple[list[str], list[str]]:
    """Return how the server is stopped and started.

    Raises:
        InvalidValue: neither the two commands nor a unit were given.
    """
    if unit:
        return ["systemctl", "stop", "--", unit], ["systemctl", "start", "--", unit]
    if not stop or not start:
        raise InvalidValue(
            "how is the server stopped and started?",
            hint="give systemd_unit, or stop_command and start_command as lists",
        )
    return stop, start


def tell_detached(detached: Sequence[Tuple[Replica, str]]) -> str:
    """Return which replicas follow nobody, each with the command that makes it follow again whom it followed."""
    return ", ".join(f"{replica.label()} (REPLICAOF {master})" for replica, master in detached)


def summary_of(record: RestoreRecord) -> dict[str, Any]:
    """Return what a result says about a restore."""
    return {"id": record.id, "copy": record.copy, "taken_at": record.taken_at, "fenced": list(record.fenced)}
