"""A Debian of the test's own: real apt and dpkg on a root folder and archives that the test fills."""

from __future__ import annotations

import functools
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tools.embedded_postgres import free_port

TOOLS = ("apt-get", "apt-cache", "apt-config", "dpkg", "dpkg-deb", "dpkg-query")
SECURITY, STABLE = "security", "stable"
_NAMES = {
    SECURITY: {"Label": "Debian-Security", "Suite": "stable-security", "Codename": "bookworm-security"},
    STABLE: {"Label": "Debian", "Suite": "stable", "Codename": "bookworm"},
}
_CONFIG = """
Dir "{root}/";
Dir::State::status "{root}/var/lib/dpkg/status";
Dir::Bin::methods "{methods}";
Dir::Bin::dpkg "/usr/bin/dpkg";
Dir::Log "{root}/var/log/apt";
APT::Sandbox::User "";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
Acquire::Languages "none";
Acquire::AllowInsecureRepositories "true";
Acquire::http::Proxy "false";
Dpkg::Use-Pty "false";
"""


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_args: object) -> None:
        pass


class Debian:
    """A root folder with dpkg's database, and an archive server on the loopback."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.archive = folder / "root", folder / "archive"
        self._built = folder / "built"
        self._published = 1_700_000_000
        for part in (
            "etc/apt/apt.conf.d",
            "etc/apt/preferences.d",
            "etc/apt/sources.list.d",
            "var/lib/apt/lists/partial",
        ):
            (self.root / part).mkdir(parents=True)
        for part in (
            "var/cache/apt/archives/partial",
            "var/lib/dpkg/info",
            "var/lib/dpkg/updates",
            "var/log/apt",
            "tmp",
        ):
            (self.root / part).mkdir(parents=True)
        (self.root / "var/lib/dpkg/status").touch()
        (self.root / "var/lib/dpkg/arch").write_text("amd64\n")
        for archive in (STABLE, SECURITY):
            (self.archive / archive).mkdir(parents=True)
            self._index(self.archive / archive, archive)
        self._server: ThreadingHTTPServer | None = None
        self.serve()
        self.sources(STABLE, SECURITY)
        methods = "/usr/lib/apt/methods"
        (folder / "apt.conf").write_text(_CONFIG.format(root=self.root, methods=methods))
        monkeypatch.setenv("APT_CONFIG", str(folder / "apt.conf"))
        monkeypatch.setenv("DPKG_ROOT", str(self.root))
        monkeypatch.setenv("DPKG_FORCE", "script-chrootless,not-root")
        monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin:/sbin")

    def serve(self) -> None:
        """Let the archives be reached."""
        port = self._server.server_address[1] if self._server else free_port()
        handler = functools.partial(QuietHandler, directory=str(self.archive))
        ThreadingHTTPServer.allow_reuse_address = True
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def cut_off(self) -> None:
        """Let the archives be unreachable."""
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def sources(self, *archives: str) -> None:
        assert self._server is not None
        address = f"http://127.0.0.1:{self._server.server_address[1]}"
        lines = [f"deb [trusted=yes] {address}/{archive} ./\n" for archive in archives]
        (self.root / "etc/apt/sources.list").write_text("".join(lines))

    def build(self, name: str, version: str, *, postinst: str = "", conf: str = "", **fields: str) -> Path:
        """Return a package without content, unless it has a configuration file."""
        tree = self._built / f"{name}_{version}"
        (tree / "DEBIAN").mkdir(parents=True)
        control = {
            "Package": name,
            "Version": version,
            "Architecture": "all",
            "Maintainer": "t <t@t>",
            "Description": "t",
        }
        control.update({"Installed-Size": "10", **{key.replace("_", "-"): value for key, value in fields.items()}})
        (tree / "DEBIAN/control").write_text("".join(f"{key}: {value}\n" for key, value in control.items()))
        if postinst:
            (tree / "DEBIAN/postinst").write_text(f"#!/bin/sh\n{postinst}\n")
            (tree / "DEBIAN/postinst").chmod(0o755)
        if conf:
            (tree / "etc").mkdir()
            (tree / f"etc/{name}.conf").write_text(conf)
            (tree / "DEBIAN/conffiles").write_text(f"/etc/{name}.conf\n")
        deb = self._built / f"{name}_{version}_all.deb"
        command = ["dpkg-deb", "-Znone", "--build", str(tree), str(deb)]
        subprocess.run(command, check=True, capture_output=True)
        return deb

    def install(self, name: str, version: str, **more: str) -> None:
        """Install a package by dpkg."""
        command = ["dpkg", "--install", str(self.build(name, version, **more))]
        subprocess.run(command, check=True, capture_output=True)

    def publish(self, archive: str, name: str, version: str, **more: str) -> None:
        """Put a package into an archive."""
        folder = self.archive / archive
        shutil.move(self.build(name, version, **more), folder)
        self._index(folder, archive)

    def _index(self, folder: Path, archive: str) -> None:
        records = []
        for deb in sorted(folder.glob("*.deb")):
            control = subprocess.run(["dpkg-deb", "--field", deb], check=True, capture_output=True, text=True).stdout
            digest = hashlib.sha256(deb.read_bytes()).hexdigest()
            records.append(f"{control}Filename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n")
        packages = "\n".join(records).encode()
        (folder / "Packages").write_bytes(packages)
        (folder / "Packages.gz").write_bytes(gzip.compress(packages))
        sums = "".join(
            f" {hashlib.sha256(file.read_bytes()).hexdigest()} {file.stat().st_size} {file.name}\n"
            for file in (folder / "Packages", folder / "Packages.gz")
        )
        # A server tells by the second whether something is new, and a test publishes faster than that.
        self._published += 10
        names = "".join(f"{key}: {value}\n" for key, value in _NAMES[archive].items())
        (folder / "Release").write_text(f"Origin: Debian\n{names}Date: {formatdate(usegmt=True)}\nSHA256:\n{sums}")
        for file in folder.iterdir():
            os.utime(file, (self._published, self._published))

    def update(self) -> None:
        subprocess.run(["apt-get", "-qq", "update"], check=True, capture_output=True)

    def versions(self) -> dict[str, str]:
        """Return the packages that are wholly installed."""
        query = ["dpkg-query", "--show", "--showformat=${Package} ${Version} ${db:Status-Status}\n"]
        lines = subprocess.run(query, check=True, capture_output=True, text=True).stdout.splitlines()
        return {name: version for name, version, status in (line.split() for line in lines) if status == "installed"}

    def hold(self, name: str) -> None:
        subprocess.run(["dpkg", "--set-selections"], input=f"{name} hold\n", text=True, check=True, capture_output=True)

    def snapshot(self) -> dict[str, bytes]:
        """Return everything below the root folder that is a fact, not a cache."""
        return {
            str(file.relative_to(self.root)): file.read_bytes()
            for file in sorted(self.root.rglob("*"))
            if file.is_file() and "pkgcache" not in file.name and file.name not in ("lock", "lock-frontend")
        }

    @contextmanager
    def busy(self, lock: str = "var/lib/dpkg/lock-frontend") -> Iterator[int]:
        """Hold a lock as another package manager would; the process's id."""
        script = (
            "import fcntl, sys\n"
            "handle = open(sys.argv[1], 'w')\n"
            "fcntl.lockf(handle, fcntl.LOCK_EX)\n"
            "print('held', flush=True)\n"
            "sys.stdin.read()\n"
        )
        pipe = subprocess.PIPE
        holder = subprocess.Popen([sys.executable, "-c", script, str(self.root / lock)], stdin=pipe, stdout=pipe)
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        try:
            yield holder.pid
        finally:
            assert holder.stdin
            holder.stdin.close()
            holder.wait()
            holder.stdout.close()
