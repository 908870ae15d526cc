"""A real sshd on loopback with a key of its own, that lets one key in to SFTP and nothing else."""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.remote_repositories import answers
from tests.support.sessions import eventually
from tools.embedded_postgres import free_port, give_to_server_account, guarded_run_directory, server_account

CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp internal-sftp
ForceCommand internal-sftp
"""
CLIENT = """
Host vault
  HostName 127.0.0.1
  Port {port}
  HostKeyAlias vault
  IdentityFile {folder}/id
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile none
"""


@dataclass
class Sshd:
    """The server, what its client needs (``config`` for ``ssh -F``), and where the files of a repository lie."""

    folder: Path
    client: Path
    port: int

    @property
    def user(self) -> str:
        account = server_account()
        return pwd.getpwuid(account["user"]).pw_name if account else getpass.getuser()

    @property
    def config(self) -> Path:
        return self.client / "config"

    @property
    def files(self) -> Path:
        return self.folder / "files"

    def trust(self) -> None:
        """Write the server's key down as the one it is known by."""
        key = (self.folder / "host_key.pub").read_text().split()
        (self.client / "known_hosts").write_text(f"vault {key[0]} {key[1]}\n")

    def change_host_key(self) -> None:
        """Give the server another key, as one that was made anew, or that is another one, has."""
        for path in self.folder.glob("host_key*"):
            path.unlink()
        make_key(self.folder / "host_key")
        give_to_server_account(self.folder)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Serve until the end of the block."""
        program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin") or pytest.fail(
            "sshd is not installed: run `make setup`"
        )
        argv = [program, "-D", "-e", "-f", str(self.folder / "config")]
        with (self.client / "sshd.log").open("wb") as log:
            process = subprocess.Popen(argv, cwd="/", stdout=log, stderr=log, **server_account())
            try:
                eventually(lambda: process.poll() is not None or answers(self.port), "sshd to serve")
                assert process.poll() is None, (self.client / "sshd.log").read_text()
                yield
            finally:
                process.terminate()
                process.wait(timeout=30)


def make_key(path: Path) -> None:
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)


@contextlib.contextmanager
def sshd_place(client: Path) -> Iterator[Sshd]:
    """Prepare a server that is not running yet; ``client`` is an empty folder for the client's files."""
    place = Sshd(Path(tempfile.mkdtemp(dir=guarded_run_directory())), client, free_port())
    try:
        place.files.mkdir()
        make_key(place.folder / "host_key")
        make_key(client / "id")
        (place.folder / "authorized_keys").write_text((client / "id.pub").read_text())
        (place.folder / "config").write_text(CONFIG.format(port=place.port, folder=place.folder))
        place.config.write_text(CLIENT.format(port=place.port, folder=client))
        give_to_server_account(place.folder)
        place.trust()
        yield place
    finally:
        shutil.rmtree(place.folder, ignore_errors=True)
