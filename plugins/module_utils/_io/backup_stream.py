# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Feeds a dump into the repository without a file: pg_dump, framed as tar members, into restic's standard input.

Memory stays flat: one piece of 8 MiB. The seal is written after pg_dump has ended well, and before the end
of the input; restic is interrupted otherwise, so that there is never a snapshot of half a dump.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import tarfile
from dataclasses import dataclass
from typing import IO, Any, Callable, Iterator, Optional, Sequence, Union

from .._core.backup_manifest import DUMP_PART, SEAL_FILE, STREAM_FILE
from .._core.restic import Written, read_message, read_written
from .backup_dump import Dumper, OnBytes
from .command import Completed
from .process import LineKeeper, deadline, started, too_late
from .restic import RepositoryFailed, Restic

PIECE_BYTES, _TAIL_BYTES = 8 << 20, 1 << 20
_BLOCK_BYTES = 512


@dataclass(frozen=True)
class Head:
    """What goes before the dump, and the name of the host whose it is."""

    host: str
    files: Sequence[tuple[str, bytes]]


def stream(
    restic: Restic,
    dumper: Dumper,
    head: Head,
    tags: Sequence[str],
    cwd: str,
    on_bytes: Optional[OnBytes] = None,
) -> Written:
    """Write one snapshot with the files of ``head``, the dump in pieces, and the seal; ``cwd`` is pg_dump's.

    Raises:
        CommandFailed: pg_dump failed, with a code from _core.backup_dump; there is no snapshot then.
        RepositoryFailed: restic failed.
        TimedOut: one of them took longer than it may.
    """
    return restic.past_dead_locks(lambda: _stream(restic, dumper, head, tags, cwd, on_bytes))


def _stream(
    restic: Restic, dumper: Dumper, head: Head, tags: Sequence[str], cwd: str, on_bytes: Optional[OnBytes]
) -> Written:
    program, dump = restic.stdin_program(STREAM_FILE, host=head.host, tags=tags), dumper.program(False, cwd)
    with contextlib.ExitStack() as open_now:
        sink = open_now.enter_context(started(program, stdin=subprocess.PIPE))  # its input stays open until it is gone
        source = open_now.enter_context(started(dump))
        slow = open_now.enter_context(deadline(sink, program, restic.repository.timeout))
        late = open_now.enter_context(deadline(source, dump, dumper.terms.timeout))
        answers, written = LineKeeper(sink.stderr), _Answers()
        said = LineKeeper(sink.stdout, written.read)
        complaints = LineKeeper(source.stderr)
        try:
            _feed(
                sink.stdin, source.stdout, head.files, on_bytes, lambda: _end_of_dump(dumper, source, complaints, late)
            )
            sink.stdin.close()
        except BrokenPipeError:
            pass  # restic has ended: its exit status and its words say why
        rc = sink.wait()
        said.text()
        if slow.is_set():
            raise too_late(program, restic.repository.timeout)
        restic.require_success(program, Completed(rc, "", answers.text()))
    if written.summary is None:
        raise RepositoryFailed("back up: restic ended well and named no snapshot")
    return written.summary


class _Answers:
    """Keeps the summary of restic's messages."""

    def __init__(self) -> None:
        self.summary: Optional[Written] = None

    def read(self, line: str) -> None:
        self.summary = read_written(read_message(line)) or self.summary


def _end_of_dump(dumper: Dumper, source: Any, complaints: LineKeeper, late: Any) -> None:
    rc = source.wait()
    if late.is_set():
        raise dumper.late()
    if rc != 0:
        raise dumper.failure(rc, complaints.text())


def _feed(
    sink: IO[bytes],
    source: IO[bytes],
    files: Sequence[tuple[str, bytes]],
    on_bytes: Optional[OnBytes],
    require_end: Callable[[], None],
) -> None:
    for name, data in files:
        write_member(sink, name, data)
    digest, size, number = hashlib.sha256(), 0, 0
    for piece in pieces_of(source):
        write_member(sink, f"{DUMP_PART}.{number:06d}", piece)
        digest.update(piece)
        size, number = size + len(piece), number + 1
        if on_bytes is not None:
            on_bytes(size)
    require_end()
    seal = {"size_bytes": size, "sha256": digest.hexdigest()}
    write_member(sink, SEAL_FILE, json.dumps(seal, sort_keys=True).encode())
    sink.write(bytes(2 * _BLOCK_BYTES))
    sink.flush()


def pieces_of(source: IO[bytes]) -> Iterator[memoryview]:
    """Give a stream in pieces of 7 to 8 MiB, the last one as it comes; each is good until the next one is asked for.

    A piece ends after the greatest line of its last MiB: where something was inserted before, the next cuts are at the
    same places of the text as in the last copy all the same, and restic finds again what is between them.
    """
    whole = memoryview(bytearray(PIECE_BYTES))  # one for all of them: a new one for each would take several times that
    kept = 0
    while size := _fill(source, whole, kept):
        cut = size
        if size == PIECE_BYTES:
            tail = bytes(whole[-_TAIL_BYTES:])
            greatest = max(tail.split(b"\n")[1:-1], default=b"")
            cut += tail.index(greatest) + len(greatest) - len(tail) if greatest else 0
        yield whole[:cut]
        rest = bytes(whole[cut:size])
        kept = len(rest)
        whole[:kept] = rest


def _fill(source: IO[bytes], buffer: memoryview, size: int) -> int:
    """Fill a buffer of which ``size`` bytes are there, to its end or that of the source; return how many there are."""
    while size < len(buffer) and (count := source.readinto(buffer[size:])):  # type: ignore[attr-defined]
        size += count
    return size


def write_member(sink: IO[bytes], name: str, data: Union[bytes, memoryview]) -> None:
    """Write one file of a tar archive: its header, and its data filled up to whole blocks."""
    for part in (header(name, len(data)), data, bytes(-len(data) % _BLOCK_BYTES)):
        sink.write(part)


def header(name: str, size: int) -> bytes:
    """Return what tar writes before a file of ``size`` bytes."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info.tobuf(tarfile.GNU_FORMAT)
