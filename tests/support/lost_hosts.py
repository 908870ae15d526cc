"""A host that is this machine behind an ssh of our own, and is lost when a module arrives on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_SSH = """#!/bin/sh
# Runs the last argument here. 255 is what ssh says when there is no connection.
for command; do :; done
input=$(mktemp {folder}/input.XXXXXX)
[ -t 0 ] || cat >"$input"
[ ! -e {folder}/lost ] || {{ echo "connection refused" >&2; exit 255; }}
if grep -q 'modules[./]{module}' "$input"; then
    [ {stays} = 0 ] || touch {folder}/lost
    echo "connection reset" >&2
    exit 255
fi
exec sh -c "$command" <"$input"
"""


def lost_with(module: str, folder: Path, stays: bool = True) -> dict[str, Any]:
    """Return inventory variables of a host whose connection breaks when this module comes, for good or each time."""
    folder.mkdir()
    ssh = folder / "ssh"
    ssh.write_text(_SSH.format(folder=folder, module=module, stays=int(stays)), encoding="utf-8")
    ssh.chmod(0o755)
    return {
        "ansible_connection": "ssh",
        "ansible_host": "127.0.0.1",
        "ansible_ssh_executable": str(ssh),
        "ansible_ssh_transfer_method": "piped",
        "ansible_ssh_args": "",
        "ansible_ssh_use_tty": False,
    }
