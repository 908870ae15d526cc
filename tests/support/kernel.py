"""Make a host really ill: file systems that are full, hang or turn read-only, and processes that take what there is."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_LIBC = ctypes.CDLL(None, use_errno=True)
_MNT_DETACH = 2
_FSPICK, _FSCONFIG, _AT_FDCWD, _SET_FLAG, _RECONFIGURE = 433, 431, -100, 0, 7  # the same numbers on all architectures

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount, limit memory and make interfaces")


def _checked(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


@contextlib.contextmanager
def mounted(point: Path, kind: str, data: str) -> Iterator[Path]:
    """Mount a file system for a while."""
    point.mkdir(parents=True, exist_ok=True)
    arguments = (kind.encode(), os.fsencode(point), kind.encode(), 0, data.encode())
    _checked(_LIBC.mount(*arguments), f"mount {kind}")
    try:
        yield point
    finally:
        _checked(_LIBC.umount2(os.fsencode(point), _MNT_DETACH), "umount")


@contextlib.contextmanager
def hung(point: Path) -> Iterator[Path]:
    """Mount a file system whose server never answers: whoever asks it for its room waits for ever."""
    server = os.open("/dev/fuse", os.O_RDWR)
    try:
        with mounted(point, "fuse", f"fd={server},rootmode=40000,user_id=0,group_id=0"):
            yield point
            os.close(server)  # who waits is set free
            server = -1
    finally:
        if server >= 0:
            os.close(server)


def turn_read_only(point: Path) -> None:
    """Make a file system read-only behind the mount's back, as the kernel does after an error of the device."""
    picked = _checked(_LIBC.syscall(_FSPICK, _AT_FDCWD, os.fsencode(point), 0), "fspick")
    try:
        _checked(_LIBC.syscall(_FSCONFIG, picked, _SET_FLAG, b"ro", None, 0), "fsconfig ro")
        _checked(_LIBC.syscall(_FSCONFIG, picked, _RECONFIGURE, None, None, 0), "reconfigure")
    finally:
        os.close(picked)


@contextlib.contextmanager
def processes(number: int, code: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run Python code in processes of their own; each has said "ready" before this goes on."""
    running = []
    try:
        for _number in range(number):
            running.append(subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE))
        for process in running:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


# In a network namespace of its own: a tunnel to where no route leads, and frames for its other end.
LOSSY_TUNNEL = """
import socket, subprocess
for line in ("ip link add tun1 type vxlan id 7 remote 192.0.2.1 dstport 4789", "ip link set tun1 up"):
    subprocess.run(line.split(), check=True)
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
    sender.bind(("tun1", 0))
    for number in range(20):
        sender.send(bytes.fromhex("ffffffffffff020000000001") + b"\\x08\\x00" + bytes(60))
"""


@contextlib.contextmanager
def memory_group(limit: int) -> Iterator[Path]:
    """Make a control group whose processes may have so many bytes together."""
    first = Path("/sys/fs/cgroup/memory")
    base, limit_file = (first, "memory.limit_in_bytes") if first.is_dir() else (first.parent, "memory.max")
    group = base / f"oncall-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / limit_file).write_text(str(limit))
    except OSError as error:
        pytest.skip(f"no memory control group can be made here: {error}")
    try:
        yield group
    finally:
        group.rmdir()
