"""Run ansible-playbook as a user does, in an environment that knows nothing of the caller's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Run:
    """A playbook run that ended: its exit code, its output, and the summary that the callback wrote."""

    rc: int
    output: str
    summary: Mapping[str, Any]

    def step(self, host: str, step: str) -> dict[str, Any]:
        """Return the one line of a step; which must be there."""
        found = [line for line in self.summary["hosts"][host]["steps"] if line["step"] == step]
        assert len(found) == 1, (step, self.output)
        return dict(found[0])

    def steps(self, host: str) -> list[str]:
        """Return the names of a host's steps in order."""
        return list(dict.fromkeys(line["step"] for line in self.summary["hosts"][host]["steps"]))

    @property
    def page(self) -> str:
        """Return what the summary printed, with its lines joined, so that a sentence can be looked for."""
        return " ".join(self.output[self.output.index("PLAY RECAP") :].split())


class Playbooks:
    """A folder with an inventory; runs playbooks against it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inventory = folder / "hosts.yml"
        self.journal = folder / "journal.db"
        self._summary = folder / "summary.json"

    def write_inventory(self, groups: Mapping[str, Mapping[str, Mapping[str, Any]]], **variables: Any) -> None:
        """Write hosts that all are this machine; ``groups`` holds for each its hosts and their variables."""
        common = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        content = {"all": {"vars": {**common, **variables}}, **{name: {"hosts": dict(h)} for name, h in groups.items()}}
        self.inventory.write_text(yaml.safe_dump(content), encoding="utf-8")

    def start(self, playbook: Path | str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start a run and return its process."""
        return subprocess.Popen(
            [sys.executable, "-m", "ansible", "playbook", "-i", self.inventory, playbook, *arguments],
            cwd=ROOT,
            env={**self.environment(), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, playbook: Path | str, *arguments: str, **environment: str) -> Run:
        """Run a playbook to its end."""
        self._summary.unlink(missing_ok=True)
        process = self.start(playbook, *arguments, **environment)
        output, _unused = process.communicate(timeout=600)
        summary = json.loads(self._summary.read_text()) if self._summary.exists() else {}
        return Run(process.returncode, output, summary)

    def environment(self) -> dict[str, str]:
        """Return an environment in which Ansible reads the project's settings and writes into the folder only."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PG", "ONCALL_"))}
        return {
            **kept,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            "ANSIBLE_LOCAL_TEMP": str(self.folder / "ansible" / "local"),
            "ANSIBLE_REMOTE_TMP": str(self.folder / "ansible" / "tmp"),
            "ANSIBLE_ASYNC_DIR": str(self.folder / "ansible" / "async"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "playbooks" / "collections"),
            "ONCALL_SUMMARY_FILE": str(self._summary),
            "ONCALL_JOURNAL_URL": f"sqlite:///{self.journal}",
            "ONCALL_JOURNAL_SPOOL": str(self.folder / "spool"),
            "LC_ALL": "C.UTF-8",
            "COLUMNS": "80",
        }
