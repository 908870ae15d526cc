"""Logs for tests: what was written against what is left, a writer with numbered lines, and ways to be interrupted."""

from __future__ import annotations

import contextlib
import errno
import gzip
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import zstandard

from plugins.module_utils._core.log_rotation_names import COPIED, LOCK_NAME, OWN_PREFIX, generation_of
from plugins.module_utils._io.log_rotation_holders import Processes
from tests.support.modules import run_module, run_ok

# Every call by which the rotation changes something: where a kill or a full disk can find it half way.
CHANGING = ("open", "write", "rename", "link", "unlink", "mkdir", "rmdir", "fsync", "ftruncate", "fchmod", "utime")
FILLING = ("open", "write", "mkdir", "link", "fsync")
GONE_SECONDS = 30.0

WRITER = r"""
import os, signal, sys, time
path, pause, mode, reopens = sys.argv[1], float(sys.argv[2]), sys.argv[3], sys.argv[4] == "reopens"
flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if mode == "append" else 0)
wanted = []
if reopens:
    signal.signal(signal.SIGHUP, lambda *_: wanted.append(1))
else:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
log, number = os.open(path, flags, 0o640), 0
print("ready", flush=True)
while not stop:
    if wanted:
        wanted.clear()
        os.close(log)
        log = os.open(path, flags, 0o640)
    number += 1
    os.write(log, b"%d\n" % number)
    time.sleep(pause)
print(number, flush=True)
"""


def content(path: Path) -> bytes:
    """Return what is in a log or a generation, unpacked."""
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    if path.suffix == ".zst":
        return zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())
    return path.read_bytes()


def generations(folder: Path, log: str) -> list[Path]:
    """Return the finished generations of a log with our stamp, the oldest first."""
    found = [path for path in folder.iterdir() if (name := generation_of(path.name)) and name.stamp and name.log == log]
    return sorted((path for path in found if path.suffix != COPIED), key=lambda path: path.name)


def everything(folder: Path, log: str) -> bytes:
    """Return all that was ever written to a log: its generations in their order, then itself."""
    live = folder / log
    parts = [content(path) for path in generations(folder, log)]
    return b"".join([*parts, live.read_bytes() if live.exists() else b""])


def is_kept(folder: Path, log: str, lines: list[bytes]) -> bool:
    """Tell whether each line still is in a file that can be read, wherever the interruption left it."""
    found: set[bytes] = set()
    for path in folder.iterdir():
        name = generation_of(path.name)
        if path.name == log or (name and name.log == log and path.stat().st_size):
            found.update(content(path).splitlines())
    return set(lines) <= found


def leftovers(folder: Path) -> list[str]:
    """Return what a finished run may not leave; the empty lock file of a killed one does no harm."""
    names = [path.name for path in folder.iterdir() if path.name != LOCK_NAME]
    return [name for name in names if name.startswith(OWN_PREFIX) or name.endswith(COPIED)]


def snapshot(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Return everything about a tree that a run could change."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in sorted([folder, *folder.rglob("*")]):
        info = path.lstat()
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path)] = (info.st_ino, info.st_mode, info.st_size, info.st_mtime_ns, info.st_ctime_ns, data)
    return found


def at_call(names: tuple[str, ...], number: int, act: Callable[[str, tuple[Any, ...]], None]) -> contextlib.ExitStack:
    """Patch os so that ``act`` runs before the number-th of the named calls, over all threads."""
    seen = [0]
    stack = contextlib.ExitStack()

    def patched(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            creating = name != "open" or args[1] & os.O_CREAT
            if creating:
                seen[0] += 1
                if seen[0] == number:
                    act(name, args)
            return real(*args, **kwargs)

        return call

    for name in names:
        stack.enter_context(mock.patch.object(os, name, patched(name)))
    return stack


def killed(arguments: dict[str, Any], number: int, *, half: bool = False) -> bool:
    """Run the module in a child that is killed at the number-th changing call; return whether it came so far.

    With ``half`` only writes count, and the one that is hit is done to one half.
    """

    def kill(_name: str, args: tuple[Any, ...]) -> None:
        if half:
            os.pwrite(args[0], bytes(args[1])[: len(args[1]) // 2], os.lseek(args[0], 0, os.SEEK_CUR))
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        try:
            with at_call(("write",) if half else CHANGING, number, kill):
                run_module("log_rotation", arguments)
        finally:
            os._exit(0)
    _pid, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def disk_full_at(number: int, *, lasting: bool) -> contextlib.ExitStack:
    """Patch os so that the disk is full at the number-th call that needs space, and with ``lasting`` ever after."""
    seen = [0]
    stack = contextlib.ExitStack()

    def patched(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if name != "open" or args[1] & os.O_CREAT:
                seen[0] += 1
                if seen[0] == number or (lasting and seen[0] > number):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*args, **kwargs)

        return call

    for name in FILLING:
        stack.enter_context(mock.patch.object(os, name, patched(name)))
    return stack


@contextlib.contextmanager
def writer(
    path: Path, *, pause: float = 0.001, mode: str = "append", reopens: bool = True
) -> Iterator[subprocess.Popen[str]]:
    """Run a process that writes numbered lines to a log that it holds open; HUP makes it open the log again."""
    argv = [sys.executable, "-c", WRITER, str(path), str(pause), mode, "reopens" if reopens else "stays"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def stopped(process: subprocess.Popen[str]) -> int:
    """End a writer and return the number of lines it wrote."""
    process.terminate()
    output, _errors = process.communicate(timeout=GONE_SECONDS)
    return int(output)


def wait_for(condition: Callable[[], Any], what: str) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + GONE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


@contextlib.contextmanager
def quick() -> Iterator[None]:
    """For hundreds of runs: no disk to wait for (a kill needs none), no other processes to look at."""
    with mock.patch.object(os, "fsync"), mock.patch.object(Processes, "_pids", lambda _self: iter(())):
        yield


def numbered(count: int) -> bytes:
    """Return as many numbered lines."""
    return b"".join(b"%d\n" % number for number in range(1, count + 1))


def noise(size: int, seed: int = 1) -> bytes:
    """Return bytes that do not compress."""
    return random.Random(seed).randbytes(size)


def rotate(folder: Path, **options: Any) -> dict[str, Any]:
    """Rotate whatever has a line in it; fail the test when the module fails."""
    return run_ok("log_rotation", {"path": str(folder), "max_age": "0s", **options})
