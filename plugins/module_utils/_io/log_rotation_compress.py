# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Compressors: libraries that work in threads, or one command for many files."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import threading
import zlib
from typing import Any, Callable, Iterable, Iterator, Optional, Protocol, Sequence, Tuple, Type

from .._core.errors import CommandFailed, OpsError, PreconditionFailed
from .._core.log_rotation import Entry
from .._core.redact import printable
from .command import CommandRunner
from .log_rotation_place import Staging
from .log_rotation_tree import LeftAlone, LogTree, open_entry

CHUNK = 256 * 1024  # bytes; the most that one file has in memory, besides the compressor's window
_GZIP_WBITS = 31  # deflate with a gzip header and trailer
_ISAL_LEVELS, _ISAL_DEFAULT, _ZLIB_DEFAULT, _ZSTD_DEFAULT = 3, 2, 6, 3
_SAMPLE_FILES, _SAMPLE_BYTES, _SAMPLE_MARGIN = 8, 128 * 1024, 1.1

Made = Tuple[str, int, Optional[OSError]]  # name in the staging directory, its descriptor, or why there is none


class Compressor(Protocol):
    """Turns open files into finished ones in a staging directory."""

    def compress(self, sources: Sequence[int], staging: Staging) -> Iterator[Made]:
        """Yield for each source, in order, the file made of it; without a problem its descriptor is the caller's."""


class Library:
    """A compressor in this process; the pieces are large enough that threads run side by side."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def compress(self, sources: Sequence[int], staging: Staging) -> Iterator[Made]:
        """Yield one finished file after the other (see Compressor.compress)."""
        for position, source in enumerate(sources):
            name, fd, problem = f"oncall-{position}", -1, None
            try:
                fd = staging.create(name)
                self._stream(source, fd)
            except OSError as error:
                problem = error
                if fd >= 0:
                    os.close(fd)
            yield name, fd, problem

    def _stream(self, source: int, target: int) -> None:
        stream = self._make()
        for piece in pieces(source):
            write_all(target, stream.compress(piece))
        write_all(target, stream.flush())


class ZstdCommand:
    """The zstd program, for hosts without the Python library: many files a call, to save its start."""

    def __init__(self, program: str, level: int) -> None:
        self._program = program
        self._level = level

    def compress(self, sources: Sequence[int], staging: Staging) -> Iterator[Made]:
        """Yield the files that one call made (see Compressor.compress)."""
        # Descriptors instead of names: no name, however hostile, is ever an argument.
        argv = [
            self._program, "-q", "-f", "-T1", f"-{self._level}", f"--output-dir-flat=/proc/self/fd/{staging.fd}",
            *(f"/proc/self/fd/{source}" for source in sources),
        ]  # fmt: skip
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            argv, pass_fds=(staging.fd, *sources), stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        if done.returncode != 0:
            raise _command_failed(done.stderr.decode("utf-8", "replace"))
        for source in sources:
            name = f"{source}.zst"
            yield name, staging.open(name), None


def find_compressor(kind: str, level: Optional[int], commands: CommandRunner) -> Optional[Compressor]:
    """Return the fastest compressor there is for a format; None for ``none``.

    Raises:
        PreconditionFailed: there is none (code ``compressor_missing``).
    """
    if kind == "none":
        return None
    return _gzip(level) if kind == "gzip" else _zstd(level or _ZSTD_DEFAULT, commands)


def unpack(fd: int, suffix: str, commands: CommandRunner) -> Iterator[bytes]:
    """Yield the content of a compressed file.

    Raises:
        LeftAlone: it is damaged, or nothing here can read it.
    """
    if suffix == ".gz":
        return _unpack(fd, zlib.decompressobj(_GZIP_WBITS), zlib.error)
    try:
        import zstandard
    except ImportError:
        program = commands.find("zstd")
        if program is None:
            raise LeftAlone("neither Python's zstandard nor the zstd program is there to read it") from None
        return _unpack_by_command([program, "-q", "-d", "-c"], fd)
    return _unpack(fd, zstandard.ZstdDecompressor().decompressobj(), zstandard.ZstdError)


def sample_ratio(tree: LogTree, entries: Iterable[Entry], compressed: bool) -> float:
    """Return the share of their size that files will keep, guessed from the beginnings of the largest ones."""
    if not compressed:
        return 1.0
    before = after = 0
    for entry in sorted(entries, key=lambda entry: -entry.size)[:_SAMPLE_FILES]:
        with contextlib.suppress(OSError, LeftAlone), tree.directory(entry.directory) as directory:
            fd = open_entry(directory, entry)
            try:
                piece = os.read(fd, _SAMPLE_BYTES)
            finally:
                os.close(fd)
            before += len(piece)
            after += len(zlib.compress(piece))
    return min(1.0, after / before * _SAMPLE_MARGIN) if before else 1.0


def pieces(fd: int) -> Iterator[bytes]:
    """Yield a file's content from where the descriptor stands."""
    while True:
        piece = os.read(fd, CHUNK)
        if not piece:
            return
        yield piece


def write_all(fd: int, data: bytes) -> None:
    """Write everything; a full disk may take only a part at first."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _unpack(fd: int, stream: Any, damaged: Type[Exception]) -> Iterator[bytes]:
    try:
        for piece in pieces(fd):
            yield stream.decompress(piece)
    except damaged as error:
        raise LeftAlone("damaged") from error
    if not stream.eof:
        raise LeftAlone("cut off")


def _unpack_by_command(argv: Sequence[str], fd: int) -> Iterator[bytes]:
    # pylint: disable-next=ansible-bad-function
    with subprocess.Popen(argv, stdin=fd, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        if process.stdout is not None:
            yield from iter(functools.partial(process.stdout.read, CHUNK), b"")
    if process.returncode != 0:
        raise LeftAlone("damaged or cut off")


def _gzip(level: Optional[int]) -> Compressor:
    if level is None or level <= _ISAL_LEVELS:
        with contextlib.suppress(ImportError):
            from isal import isal_zlib  # type: ignore[import-not-found,unused-ignore]

            isal_level = level or _ISAL_DEFAULT
            return Library(lambda: isal_zlib.compressobj(isal_level, isal_zlib.DEFLATED, _GZIP_WBITS))
    zlib_level = level or _ZLIB_DEFAULT
    return Library(lambda: zlib.compressobj(zlib_level, zlib.DEFLATED, _GZIP_WBITS))


def _zstd(level: int, commands: CommandRunner) -> Compressor:
    try:
        import zstandard
    except ImportError:
        program = commands.find("zstd")
        if program is None:
            raise PreconditionFailed(
                "compress with zstd: neither Python's zstandard nor the zstd program is there",
                code="compressor_missing",
                hint="install python3-zstandard or zstd on the host, or use compress=gzip",
            ) from None
        return ZstdCommand(program, level)
    threads = threading.local()  # one compressor a thread: they are costly to make, and not safe to share

    def make() -> Any:
        if not hasattr(threads, "compressor"):
            threads.compressor = zstandard.ZstdCompressor(level=level, write_checksum=True)
        return threads.compressor.compressobj()

    return Library(make)


def _command_failed(stderr: str) -> Exception:
    if "No space left" in stderr or "Disk quota" in stderr:
        return OpsError("compress with zstd: the disk is full", code="disk_full")
    return CommandFailed(f"compress with zstd: {printable(stderr.strip(), 300)}")
