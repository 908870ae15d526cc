# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Ask apt and dpkg for security updates, and have them installed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import struct
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Callable, Mapping, Optional, Sequence

from .._core import security_apt as apt
from .._core.errors import CommandFailed, LockBusy, OpsError, PreconditionFailed
from .._core.redact import printable, redact_text
from .._core.security_updates import Change, Installation, Package, Room, SecurityFacts, Update
from .clock import Clock
from .command import CommandRunner, Completed
from .service_launch import launch

_LOOK_SECONDS = 180.0
_UPDATE_SECONDS = 600.0
_WAIT_SECONDS = 1.0
_CACHE_ROOM = 500_000_000  # bytes; Debian's own lists parsed take 60 MB, twice
_FLOCK = "hhqqi"  # struct flock of a 64-bit Linux, fcntl(2): type, whence, start, length, pid

Launch = Callable[[Sequence[str], float, Optional[Mapping[str, str]]], Completed]


class Apt:
    """apt and dpkg of this host; what is only read goes through a private copy of the package lists if they are old."""

    def __init__(
        self, commands: CommandRunner, clock: Clock, origins: Sequence[str], launcher: Launch = launch
    ) -> None:
        self._commands = commands
        self._clock = clock
        self._origins = tuple(origins)
        self._launch = launcher
        self._scratch: Optional[tempfile.TemporaryDirectory[str]] = None
        self._lists: Optional[str] = None
        self._cache: Optional[str] = None
        self._packages: Mapping[str, Package] = {}

    def read(self, refresh_after: Optional[float]) -> SecurityFacts:
        """Return what is pending; lists older than ``refresh_after`` seconds are renewed in a private copy first."""
        paths = apt.parse_paths(self._look(apt.PATHS))
        if not paths.get("pkgcache"):
            self._keep_cache()
        age = self._lists_age(Path(paths["lists"]))
        problem, refresh = "", ()  # type: tuple[str, tuple[str, ...]]
        if refresh_after is not None and (age is None or age >= refresh_after):
            problem = self._renew_copy(Path(paths["lists"]))
            refresh = () if problem else apt.update_command()
        broken = apt.parse_audit(self._look(apt.AUDIT))
        self._packages = self._dpkg()
        sources = apt.parse_sources(self._read(apt.SOURCES))
        offers = apt.parse_offers(self._read((*apt.SOURCES, *self._packages)))
        return SecurityFacts(
            manager="apt",
            updates=apt.pending(offers, sources, self._packages, self._origins),
            has_security_source=any(apt.is_security(names, self._origins) for names in sources.values()),
            lists_age=age if self._lists is None else 0.0,
            lists_problem=problem,
            refresh=refresh,
            broken=broken,
            lock_holder=lock_holder(lock_file(paths)),
        )

    def installed(self) -> dict[str, str]:
        """Return the version of each package that is wholly installed."""
        return {name: package.version for name, package in self._dpkg().items() if package.whole}

    def kernels(self) -> dict[str, str]:
        """Return the installed kernels, release to package version."""
        return apt.kernels(self._dpkg().values())

    def _dpkg(self) -> dict[str, Package]:
        architecture = self._look(apt.ARCHITECTURE).strip()
        return apt.parse_installed(self._look(apt.QUERY), architecture)

    def prepare(
        self, updates: Sequence[Update], lock_seconds: int
    ) -> tuple[Optional[Installation], tuple[Update, ...]]:
        """Return what installing these updates means, and those that cannot be installed, with the reason.

        When they do not go together, each is tried by itself: one package that apt cannot install must not keep the
        others from their fix.
        """
        blocked: list[Update] = []
        done = self._simulate(updates)
        if done.rc != 0:
            for update in updates:
                alone = self._simulate([update])
                if alone.rc != 0:
                    blocked.append(replace(update, blocked=f"kept back: {_reason(alone)}"))
            kept = {update.name for update in blocked}
            updates = [update for update in updates if update.name not in kept]
            done = self._simulate(updates) if updates else done
        if not updates:
            return None, tuple(blocked)
        if done.rc != 0:
            raise PreconditionFailed(
                f"install security updates: apt cannot install them together: {_reason(done)}",
                code=apt.failure_code(done.stdout + done.stderr),
                hint="take fewer at a time with only, or run the command of the plan by hand with --simulate",
            )
        changes = apt.parse_changes(done.stdout)
        argv = apt.install_command(updates, lock_seconds)
        return Installation(tuple(updates), changes, self._rooms(updates, changes), argv), tuple(blocked)

    def refresh(self, argv: Sequence[str], lock_seconds: int) -> None:
        """Renew the system's package lists.

        Raises:
            OpsError: lock_busy, download_failed.
        """
        paths = apt.parse_paths(self._look(apt.PATHS))
        self._wait_for(Path(paths["lists"]) / "lock", lock_seconds)
        self._run(argv, _UPDATE_SECONDS, "renew the package lists")

    def install(self, argv: Sequence[str], lock_seconds: int, seconds: float) -> None:
        """Install, waiting for the lock.

        Raises:
            OpsError: lock_busy, download_failed, packages_failed, disk_full, insufficient_privilege.
        """
        self._wait_for(lock_file(apt.parse_paths(self._look(apt.PATHS))), lock_seconds)
        self._run(argv, seconds, "install security updates")

    def close(self) -> None:
        """Remove the private package lists and their cache."""
        if self._scratch is not None:
            self._scratch.cleanup()

    def _look(self, argv: Sequence[str]) -> str:
        return self._commands.run(argv, timeout=_LOOK_SECONDS).stdout

    def _read(self, argv: Sequence[str]) -> str:
        return self._look(apt.reading(argv, self._lists, self._cache))

    def _folder(self) -> Path:
        """Return a folder of our own, which others may read: there is nothing secret in package lists."""
        if self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="oncall-apt-")
            Path(self._scratch.name).chmod(0o755)  # apt downloads as its own user
        return Path(self._scratch.name)

    def _keep_cache(self) -> None:
        """Let the commands of this look share what apt has parsed, where the host keeps none (images of containers).

        Without room it costs time only: apt fails when it cannot write a cache that it was told to keep.
        """
        folder = self._folder()
        if shutil.disk_usage(folder).free > _CACHE_ROOM:
            self._cache = str(folder)

    def _simulate(self, updates: Sequence[Update]) -> Completed:
        argv = apt.reading(apt.simulate_command(updates), self._lists, self._cache)
        return self._commands.run(argv, timeout=_LOOK_SECONDS, check=False)

    def _run(self, argv: Sequence[str], seconds: float, attempt: str) -> None:
        done = self._launch(argv, seconds, apt.ENVIRONMENT)
        if done.rc == 0:
            return
        code = apt.failure_code(done.stderr)
        kind = LockBusy if code == "lock_busy" else CommandFailed
        raise kind(
            f"{attempt}: {_reason(done)}",
            code=code,
            hint=_HINTS.get(code, "read details.output"),
            details={
                "rc": done.rc,
                "output": [redact_text(printable(line)) for line in done.stderr.splitlines()[-30:]],
            },
        )

    def _renew_copy(self, lists: Path) -> str:
        """Make private package lists as the archives have them now; return why that failed, or nothing."""
        root = self._folder()
        own, cache = root / "lists", root / "cache"
        with contextlib.suppress(shutil.Error, OSError):  # a copy only saves downloads
            shutil.copytree(lists, own, ignore=shutil.ignore_patterns("lock", "partial", "auxfiles"))
        for folder in (own / "partial", cache / "archives" / "partial"):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            done = self._commands.run(
                apt.update_command(str(own), str(cache)), timeout=_UPDATE_SECONDS, env=apt.ENVIRONMENT, check=False
            )
        except OpsError as error:
            return error.message
        if done.rc != 0:
            return f"the package lists could not be renewed: {_reason(done)}"
        self._lists = str(own)
        self._keep_cache()
        return ""

    def _lists_age(self, lists: Path) -> Optional[float]:
        """Return the seconds since apt last had a good answer from the security archive that is most behind.

        apt sets a list's modification time to the archive's own, and the folder's stays when nothing is new; the time
        of the last change of the release file's inode is that of the last good answer (tried with apt 2.6).
        """
        known = []
        for line in self._read(apt.INDEXES).splitlines():
            *names, filename = line.split("|")
            if apt.is_security(names, self._origins):
                known.append(_release_file(lists, Path(filename).name))
        if not known or None in known:
            return None
        return max(0.0, self._clock.now().timestamp() - min(file.stat().st_ctime for file in known if file))

    def _rooms(self, updates: Sequence[Update], changes: Sequence[Change]) -> tuple[Room, ...]:
        """Return the room that the downloads, the unpacked files and a new kernel need, by file system."""
        archives = Path(apt.parse_paths(self._look(apt.PATHS))["archives"])
        download = apt.parse_sizes(self._read(apt.uris_command(updates)))
        names = [f"{change.name}={change.new}" for change in changes]
        shown = self._read(("apt-cache", "show", *names)) if names else ""
        sizes = apt.parse_installed_sizes(shown)
        growth = sum(max(0, size - self._size_of(name)) for name, size in sizes.items())
        unpacked = growth + max(sizes.values(), default=0)  # dpkg writes the new files beside the old ones
        needs = [(archives, download), (Path("/usr"), unpacked)]
        if any(change.name.startswith("linux-image-") for change in changes):
            needs.append((Path("/boot"), _kernel_size(Path("/boot"))))
        return _by_file_system(needs)

    def _size_of(self, name: str) -> int:
        return self._packages[name].size if name in self._packages else 0

    def _wait_for(self, lock: Path, seconds: int) -> None:
        deadline = self._clock.monotonic() + seconds
        while holder := lock_holder(lock):
            if self._clock.monotonic() >= deadline:
                raise LockBusy(
                    f"use the package manager: {lock} is held by {holder}, also after {seconds} s",
                    hint="let the other run end (unattended-upgrades?), or raise lock_timeout",
                    details={"holder": holder},
                )
            self._clock.sleep(_WAIT_SECONDS)


_HINTS = {
    "lock_busy": "let the other run end (unattended-upgrades?), or raise lock_timeout",
    "download_failed": "check the network and the package sources; nothing was installed",
    "packages_failed": "see details.output; mend it with dpkg --configure -a and apt-get --fix-broken install",
    "disk_full": "free space first, then dpkg --configure -a",
    "insufficient_privilege": "run it as root (become: true)",
}


def lock_file(paths: Mapping[str, str]) -> Path:
    """Return the lock that every front end of dpkg takes first."""
    return Path(paths["status"]).parent / "lock-frontend"


def lock_holder(lock: Path) -> str:
    """Return which process holds a lock file, or nothing when it is free or may not be looked at (not root)."""
    try:
        handle = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _whence, _start, _length, pid = struct.unpack(_FLOCK, fcntl.fcntl(handle, fcntl.F_GETLK, asked))
    finally:
        os.close(handle)
    if kind == fcntl.F_UNLCK:
        return ""
    with contextlib.suppress(OSError):
        return f"process {pid} ({printable(Path(f'/proc/{pid}/comm').read_text(encoding='utf-8').strip())})"
    return f"process {pid}"


def _release_file(lists: Path, index: str) -> Optional[Path]:
    """Return the release file that vouches for an index file."""
    for kind in ("InRelease", "Release"):
        for file in lists.glob(f"*_{kind}"):
            if index.startswith(file.name[: -len(kind)]):
                return file
    return None


def _reason(done: Completed) -> str:
    lines = [line for line in (done.stderr or done.stdout).splitlines() if line.startswith(("E:", "dpkg: error"))]
    words = lines or done.stderr.strip().splitlines() or ["no reason was given"]
    return redact_text(printable(" / ".join(words[:3]), 400))


def _kernel_size(boot: Path) -> int:
    """Return what a new kernel will take beside those that are there: as much as the largest."""
    total = 0
    for pattern in ("vmlinuz-*", "initrd.img-*"):
        total += max((file.stat().st_size for file in boot.glob(pattern)), default=0)
    return total


def _by_file_system(needs: Sequence[tuple[Path, int]]) -> tuple[Room, ...]:
    found: dict[int, Room] = {}
    for path, needed in needs:
        there = next(parent for parent in (path, *path.parents) if parent.exists())
        status = os.statvfs(there)
        known = found.get(there.stat().st_dev)
        if known is None:
            found[there.stat().st_dev] = Room(str(there), needed, status.f_bavail * status.f_frsize)
        else:
            found[there.stat().st_dev] = replace(known, needed=known.needed + needed)
    return tuple(found.values())
