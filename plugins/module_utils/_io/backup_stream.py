# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Feeds a dump into the repository without a file: pg_dump, framed as tar members, into restic's standard input.

Memory stays flat: a few times one piece of 8 MiB. The seal is written after pg_dump has ended well, and before the end
of the input; restic is interrupted otherwise, so that there is never a snapshot of half a dump.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import tarfile
from dataclasses import dataclass
from typing import IO, Any, Callable, Iterator, Optional, Sequence

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
        sink.write(member(name, data))
    digest, size, number = hashlib.sha256(), 0, 0
    for piece in pieces_of(source):
        sink.write(member(f"{DUMP_PART}.{number:06d}", piece))
        digest.update(piece)
        size, number = size + len(piece), number + 1
        if on_bytes is not None:
            on_bytes(size)
    require_end()
    seal = {"size_bytes": size, "sha256": digest.hexdigest()}
    sink.write(member(SEAL_FILE, json.dumps(seal, sort_keys=True).encode()))
    sink.write(bytes(2 * _BLOCK_BYTES))
    sink.flush()


def pieces_of(source: IO[bytes]) -> Iterator[bytes]:
    """Give a stream in pieces of 7 to 8 MiB, the last one as it comes.

    A piece ends after the greatest line of its last MiB: where something was inserted before, the next cuts are at the
    same places of the text as in the last copy all the same, and restic finds again what is between them.
    """
    rest = b""
    while buffer := rest + source.read(PIECE_BYTES - len(rest)):
        cut = len(buffer)
        if cut == PIECE_BYTES:
            tail = buffer[-_TAIL_BYTES:]
            greatest = max(tail.split(b"\n")[1:-1], default=b"")
            cut += tail.index(greatest) + len(greatest) - len(tail) if greatest else 0
        yield buffer[:cut]
        rest = buffer[cut:]


def member(name: str, data: bytes) -> bytes:
    """Return one file of a tar archive: its header, and its data filled up to whole blocks."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o600
    return b"".join((info.tobuf(tarfile.GNU_FORMAT), data, bytes(-len(data) % _BLOCK_BYTES)))
