# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""apt and dpkg: their commands and what they print (apt 2.6, dpkg 1.21; C locale)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Iterable, Mapping, Optional, Sequence

from .security_updates import Change, Package, Update

_RELEASE_FIELD = re.compile(r"([a-z])=([^,]*)")
_VERSION = re.compile(r" (?:\*\*\*|   ) (?P<version>\S+) (?P<priority>-?\d+)(?: .*)?")
_SOURCE = re.compile(r" {5,}(?P<priority>-?\d+) (?P<source>\S.*)")
_PACKAGE_FILE = re.compile(r" *-?\d+ (?P<source>\S.*)")
_CHANGE = re.compile(r"Inst (?P<name>\S+)(?: \[(?P<old>[^\]]*)\])? \((?P<new>\S+) (?P<origin>.*?) \[[^\]]*\]\)")
_IMAGE = re.compile(r"linux-image-(?:unsigned-)?(?P<release>\d\S*?)(?<!-dbg)")
_URI = re.compile(r"'[^']+' \S+ (?P<size>\d+)")
_HELD_LOCK = re.compile(
    r"Could not get lock (?P<path>\S+?)\.? .*?held by process (?P<pid>\d+)(?: \((?P<name>[^)]*)\))?"
)

QUERY = (
    "dpkg-query",
    "--show",
    "--showformat=${binary:Package}\\t${Version}\\t${db:Status-Abbrev}\\t${Installed-Size}\\n",
)
AUDIT = ("dpkg", "--audit")
ARCHITECTURE = ("dpkg", "--print-architecture")
PATHS = (
    *("apt-config", "shell", "lists", "Dir::State::lists/d", "archives", "Dir::Cache::archives/d"),
    *("status", "Dir::State::status/f", "pkgcache", "Dir::Cache::pkgcache/f"),
)
SOURCES = ("apt-cache", "policy")
INDEXES = (
    "apt-get",
    "indextargets",
    "--format",
    "$(LABEL)|$(SUITE)|$(CODENAME)|$(ORIGIN)|$(FILENAME)",
    "Created-By: Packages",
)

# Without a lock, and without the planner's log, which a simulation would write too.
_READING = ("-o", "Debug::NoLocking=1", "-o", "Dir::Log::Planner=/dev/null")

# Old configuration files stay; nobody is asked; needrestart's hook lists instead of restarting behind our back.
ENVIRONMENT = {
    "DEBIAN_FRONTEND": "noninteractive",
    "DEBCONF_NONINTERACTIVE_SEEN": "true",
    "APT_LISTCHANGES_FRONTEND": "none",
    "UCF_FORCE_CONFFOLD": "1",
    "NEEDRESTART_MODE": "l",
    "NEEDRESTART_SUSPEND": "1",
}


@dataclass(frozen=True)
class Version:
    """A version that some source offers."""

    version: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Offer:
    """What ``apt-cache policy`` says about a package; ``versions`` from the newest to the oldest."""

    name: str
    installed: str
    candidate: str
    versions: tuple[Version, ...]


def update_command(lists: Optional[str] = None, cache: Optional[str] = None) -> tuple[str, ...]:
    """Return the command that renews the package lists, in folders of our own if given; any failed source fails it."""
    own = () if lists is None else ("-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={cache}")
    return ("apt-get", "--quiet", "-o", "APT::Update::Error-Mode=any", "-o", "Acquire::Retries=1", *own, "update")


def reading(argv: Sequence[str], lists: Optional[str] = None, cache: Optional[str] = None) -> tuple[str, ...]:
    """Return a reading command that looks at other package lists than the system's, or keeps its cache elsewhere.

    The system's cache is of the system's lists; without any, each command parses all lists anew.
    """
    places = [f"Dir::State::lists={lists}"] if lists else []
    if cache:
        places += [f"Dir::Cache::{name}={cache}/{name}.bin" for name in ("pkgcache", "srcpkgcache")]
    elif lists:
        places.append("Dir::Cache::pkgcache=")
    return (argv[0], *(word for place in places for word in ("-o", place)), *argv[1:])


def install_words(updates: Iterable[Update]) -> tuple[str, ...]:
    """Return what is to be installed, in apt's words: nothing but these versions, and nothing is removed for it."""
    return ("--only-upgrade", "--no-remove", "install", *(f"{update.name}={update.target}" for update in updates))


def install_command(updates: Iterable[Update], lock_seconds: int) -> tuple[str, ...]:
    """Return the command that installs the updates."""
    return (
        *(
            "apt-get",
            "--quiet",
            "--yes",
            "-o",
            "Dpkg::Options::=--force-confdef",
            "-o",
            "Dpkg::Options::=--force-confold",
        ),
        *("-o", f"DPkg::Lock::Timeout={lock_seconds}", *install_words(updates)),
    )


def simulate_command(updates: Iterable[Update]) -> tuple[str, ...]:
    """Return the command that says what an installation would do; it wants no lock and no rights."""
    return ("apt-get", "--simulate", *_READING, *install_words(updates))


def uris_command(updates: Iterable[Update]) -> tuple[str, ...]:
    """Return the command that says what would be downloaded."""
    return ("apt-get", "--print-uris", "-qq", "--yes", *_READING, *install_words(updates))


def parse_installed(text: str, architecture: str) -> dict[str, Package]:
    """Return dpkg's packages by the name that apt gives them: a foreign architecture is part of it."""
    found = {}
    for line in text.splitlines():
        name, version, status, size = line.split("\t")
        name = name[: -len(architecture) - 1] if name.endswith(f":{architecture}") else name
        if status[1:2] not in ("n", "c"):
            found[name] = Package(name, version, status[:1] == "h", status[1:2] == "i", int(size or 0) * 1024)
    return found


def kernels(packages: Iterable[Package]) -> dict[str, str]:
    """Return the installed kernels of a Debian or Ubuntu host, release to package version."""
    matches = ((_IMAGE.fullmatch(package.name), package) for package in packages if package.whole)
    return {match["release"]: package.version for match, package in matches if match}


def parse_audit(text: str) -> tuple[str, ...]:
    """Return the packages that ``dpkg --audit`` complains about."""
    return tuple(dict.fromkeys(line.split()[0] for line in text.splitlines() if line.startswith(" ") and line.strip()))


def parse_sources(text: str) -> dict[str, tuple[str, ...]]:
    """Return, by source as ``apt-cache policy`` names it, its label, archive, codename and origin."""
    found: dict[str, tuple[str, ...]] = {}
    current = ""
    for line in text.splitlines():
        if line.startswith("Pinned packages"):
            break
        words = line.strip()
        if words.startswith("release "):
            fields = dict(_RELEASE_FIELD.findall(words))
            found[current] = tuple(fields.get(key, "") for key in "lano")
        elif (match := _PACKAGE_FILE.fullmatch(line)) is not None:
            current = match["source"]
    return found


def is_security(names: Iterable[str], patterns: Sequence[str]) -> bool:
    """Tell whether one of a source's names is that of a security archive.

    >>> is_security(["Debian-Security", "stable-security", "bookworm-security", "Debian"], ["*-security"])
    True
    """
    return any(fnmatchcase(name.lower(), pattern.lower()) for name in names for pattern in patterns if name)


def parse_offers(text: str) -> dict[str, Offer]:
    """Return what ``apt-cache policy NAMES`` says about each package."""
    found: dict[str, Offer] = {}
    blocks = re.split(r"^(\S+):$", text, flags=re.MULTILINE)
    for name, block in zip(blocks[1::2], blocks[2::2]):
        fields = dict(re.findall(r"^  (Installed|Candidate): (.*)$", block, flags=re.MULTILINE))
        found[name] = Offer(name, fields.get("Installed", ""), fields.get("Candidate", ""), _versions(block))
    return found


def _versions(block: str) -> tuple[Version, ...]:
    found: list[Version] = []
    for line in block.splitlines():
        source = _SOURCE.fullmatch(line)
        version = _VERSION.fullmatch(line)
        if version is not None:
            found.append(Version(version["version"], ()))
        elif source is not None and found:
            found[-1] = Version(found[-1].version, (*found[-1].sources, source["source"]))
    return tuple(found)


def pending(
    offers: Mapping[str, Offer],
    sources: Mapping[str, tuple[str, ...]],
    packages: Mapping[str, Package],
    patterns: Sequence[str],
) -> tuple[Update, ...]:
    """Return the security updates that are not installed.

    A fix is pending when a security archive offers any newer version: a point release that has overtaken it, a pin or a
    hold do not make it go away. Its newest version from a security archive is the target.
    """
    found = []
    for name, offer in offers.items():
        versions = [version.version for version in offer.versions]
        if name not in packages or offer.installed not in versions:
            continue
        newer = offer.versions[: versions.index(offer.installed)]
        fix = next((v for v in newer if any(is_security(sources.get(s, ()), patterns) for s in v.sources)), None)
        if fix is None:
            continue
        source = next(s for s in fix.sources if is_security(sources.get(s, ()), patterns))
        label = next(n for n in sources[source] if is_security((n,), patterns))
        blocked = "held" if packages[name].held else _pinned(offer, fix.version, versions)
        found.append(Update(name, offer.installed, fix.version, label, blocked))
    return tuple(sorted(found, key=lambda update: update.name))


def _pinned(offer: Offer, target: str, versions: Sequence[str]) -> str:
    """Return that a pin keeps apt from the fix, or nothing."""
    if offer.candidate in versions and versions.index(offer.candidate) <= versions.index(target):
        return ""
    return f"pinned to {offer.candidate}"


def parse_changes(text: str) -> tuple[Change, ...]:
    """Return what a simulation would install; removals make it fail (--no-remove)."""
    matches = (_CHANGE.match(line) for line in text.splitlines())
    return tuple(Change(match["name"], match["old"] or "", match["new"], match["origin"]) for match in matches if match)


def parse_sizes(text: str) -> int:
    """Return the bytes that ``--print-uris`` would download."""
    return sum(int(match["size"]) for match in map(_URI.match, text.splitlines()) if match)


def parse_installed_sizes(text: str) -> dict[str, int]:
    """Return the installed size in bytes of each record of ``apt-cache show``, by package."""
    found: dict[str, int] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("Package: "):
            name = line[9:].strip()
        elif line.startswith("Installed-Size: "):
            found.setdefault(name, int(line[16:]) * 1024)
    return found


def parse_paths(text: str) -> dict[str, str]:
    """Return the folders that ``apt-config shell`` printed."""
    return {
        name: value.replace("'\\''", "'") for name, value in re.findall(r"^(\w+)='(.*)'$", text, flags=re.MULTILINE)
    }


def failure_code(output: str) -> str:
    """Return the stable code for what apt or dpkg said."""
    for words, code in (
        (("are you root?", "superuser privilege"), "insufficient_privilege"),
        (("Could not get lock", "Unable to acquire the dpkg frontend lock", "Unable to lock directory"), "lock_busy"),
        (("No space left on device", "don't have enough free space"), "disk_full"),
        (("Failed to fetch", "Unable to fetch some archives", "Temporary failure resolving"), "download_failed"),
        (("dpkg was interrupted",), "packages_broken"),
        (("unmet dependencies", "held broken packages", "Packages need to be removed"), "unmet_dependencies"),
        (
            ("dpkg: error", "error processing", "Sub-process /usr/bin/dpkg returned", "dpkg returned an error"),
            "packages_failed",
        ),
        (("Permission denied",), "insufficient_privilege"),  # last: a package's own script may say so
    ):
        if any(word in output for word in words):
            return code
    return "command_failed"


def lock_holder(output: str) -> str:
    """Return who holds the lock, as apt says it.

    >>> lock_holder("E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 42 (apt)")
    'process 42 (apt)'
    """
    match = _HELD_LOCK.search(output)
    return f"process {match['pid']}" + (f" ({match['name']})" if match["name"] else "") if match else ""
