#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make two package archives in a folder, one of them for security updates, and install what they will update."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ARCHIVES = {
    "security": {"label": "Debian-Security", "suite": "oldstable-security", "packages": {"shop-tls": "1.1"}},
    "main": {"label": "Debian", "suite": "oldstable", "packages": {"shop-themes": "2.0"}},
}
INSTALLED = {"shop-tls": "1.0", "shop-themes": "1.0"}
CONTROL = """\
Package: {name}
Version: {version}
Architecture: all
Maintainer: Lab <lab@localhost>
Description: {name} of the lab
"""


def build(name, version, folder):
    with tempfile.TemporaryDirectory() as scratch:
        control = Path(scratch, "DEBIAN", "control")
        control.parent.mkdir(mode=0o755)
        control.write_text(CONTROL.format(name=name, version=version))
        # A real program: a process that runs it has the old file mapped after the update.
        program = Path(scratch, "usr", "lib", name, "agent")
        program.parent.mkdir(parents=True)
        shutil.copy("/usr/bin/sleep", program)
        Path(scratch).chmod(0o755)
        target = folder / f"{name}_{version}_all.deb"
        subprocess.run(["dpkg-deb", "--root-owner-group", "--build", scratch, target], check=True, capture_output=True)
    return target


def stanza(deb):
    control = subprocess.run(["dpkg-deb", "--field", deb], check=True, capture_output=True, text=True).stdout
    digest = hashlib.sha256(deb.read_bytes()).hexdigest()
    return f"{control}Filename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n\n"


def publish(root, name, archive):
    folder = root / name
    folder.mkdir(parents=True)
    index = "".join(stanza(build(package, version, folder)) for package, version in archive["packages"].items())
    (folder / "Packages").write_text(index)
    digest = hashlib.sha256(index.encode()).hexdigest()
    (folder / "Release").write_text(
        f"Origin: Debian\nLabel: {archive['label']}\nSuite: {archive['suite']}\nCodename: {archive['suite']}\n"
        f"Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n {digest} {len(index)} Packages\n"
    )
    return f"deb [trusted=yes] file:{folder} ./\n"


root = Path(sys.argv[1])
sources = "".join(publish(root, name, archive) for name, archive in ARCHIVES.items())
Path("/etc/apt/sources.list.d/lab.list").write_text(sources)
with tempfile.TemporaryDirectory() as scratch:
    for name, version in INSTALLED.items():
        subprocess.run(["dpkg", "--install", build(name, version, Path(scratch))], check=True, capture_output=True)
subprocess.run(["apt-get", "update", "-q"], check=True)
