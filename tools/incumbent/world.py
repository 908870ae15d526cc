"""What a fault is measured on: the real module of the incumbent, real servers, and a look at the world afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import zipfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.servers import Database, random_name
from tests.support.sessions import eventually
from tools.embedded_postgres import ROOT, Server, client_bin_dir, npm_install

COLLECTION = "community.postgresql"
PACKAGE = "ansible==12.3.0"
SHA256 = "cd156f82fa87f7a899212b0efa9f7ca3a24d609212de9f78428a572eb01e5414"
CACHE = ROOT / ".cache" / "incumbent"
MAJOR = 18
LIMIT_SECONDS = 120
WORKERS = 2
SETTINGS = {"autovacuum": "off", "max_prepared_transactions": "10"}


# --- the incumbent itself ---------------------------------------------------------------------------------------


def collections() -> Path:
    """Return the folder with the incumbent's collection, fetched from the pinned package when it is not cached."""
    place = CACHE / SHA256[:12]
    if not place.is_dir():
        with tempfile.TemporaryDirectory(prefix="oncall-incumbent-") as folder:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
            subprocess.run([*command, PACKAGE, "--dest", folder], check=True)
            (wheel,) = Path(folder).glob("*.whl")
            actual = hashlib.sha256(wheel.read_bytes()).hexdigest()
            if actual != SHA256:
                raise SystemExit(f"{wheel.name} is not the pinned one: sha256 {actual}, expected {SHA256}")
            unpack(wheel, place)
    return place


def unpack(wheel: Path, place: Path) -> None:
    partial = place.with_name(f"{place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    wanted = f"ansible_collections/{COLLECTION.replace('.', '/')}/"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(partial, [name for name in archive.namelist() if name.startswith(wanted)])
    partial.rename(place)


def version() -> str:
    manifest = collections() / "ansible_collections" / COLLECTION.replace(".", "/") / "MANIFEST.json"
    return str(json.loads(manifest.read_text())["collection_info"]["version"])


# --- what is asked of it, and what it answers -------------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """What the module said; ``ended`` is false when it was still at work when we lost patience."""

    failed: bool
    changed: bool
    rc: int | None
    msg: str
    ended: bool = True


@dataclass(frozen=True)
class Outcome:
    """A report beside the truth: was it done (``done``), and is something worse than before (``harm``)."""

    report: Report
    done: bool
    harm: bool
    afterwards: str

    @property
    def verdict(self) -> str:
        if not self.report.ended:
            return "does not end"
        if self.report.failed:
            return "fails, with damage" if self.harm else "fails, nothing lost"
        if not self.done:
            return "false success"
        return "succeeds, with damage" if self.harm else "succeeds"


@dataclass(frozen=True)
class Case:
    """A fault as it is made for the incumbent, and those of our register that it is the counterpart of."""

    title: str
    faults: tuple[str, ...]
    measure: Callable[[World], Outcome]


CASES: list[Case] = []


def case(title: str, *faults: str, forms: tuple[str, ...] = ("",)) -> Callable[..., Callable[..., Outcome]]:
    """Register a measurement, once for each form of dump that it is made with."""

    def register(measure: Callable[..., Outcome]) -> Callable[..., Outcome]:
        for form in forms:
            what = f"{title} ({form})" if form else title
            CASES.append(Case(what, faults, partial(measure, form=form) if form else measure))
        return measure

    return register


@dataclass
class Running:
    """The module at work."""

    process: subprocess.Popen[str]

    def report(self, limit: float = LIMIT_SECONDS) -> Report:
        try:
            output, errors = self.process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            kill_tree(self.process.pid)
            self.process.communicate()
            return Report(False, False, None, f"still at work after {limit:g} s", ended=False)
        if "=> {" not in output:
            raise RuntimeError(f"no answer of the module: {output}{errors}")
        head, _arrow, body = output.partition("=> ")
        answer: dict[str, Any] = json.JSONDecoder().raw_decode(body)[0]
        failed = "FAILED" in head or "UNREACHABLE" in head or bool(answer.get("failed"))
        text = str(answer.get("msg", "")).strip() or str(answer.get("stderr", "")).strip()
        return Report(failed, bool(answer.get("changed")), answer.get("rc"), text.split("\n", 1)[0][:200])

    def tool(self, name: str) -> int:
        """Wait for a program below the module and return its process id."""
        eventually(lambda: self.tools(name), f"{name} to run")
        return self.tools(name)[0]

    def tools(self, name: str) -> list[int]:
        return [pid for pid in tree(self.process.pid) if program_of(pid) == name]

    def module(self) -> int:
        """Return the process of the module: the last Python below ansible."""
        return [pid for pid in tree(self.process.pid) if program_of(pid).startswith("python")][-1]


def program_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def tree(pid: int) -> list[int]:
    """Return a process and all below it, parents first."""
    found, waiting = [], [pid]
    while waiting:
        current = waiting.pop(0)
        found.append(current)
        for children in Path(f"/proc/{current}/task").glob("*/children"):
            try:
                waiting += [int(child) for child in children.read_text().split()]
            except OSError:
                continue
    return found


def kill_tree(pid: int) -> None:
    for victim in tree(pid):
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            continue


@dataclass
class World:
    """A server, a folder of one measurement, and what is to be undone after it."""

    server: Server
    folder: Path
    undo: ExitStack
    clients: list[str] = field(default_factory=lambda: [str(client_bin_dir(MAJOR))])

    def start(self, options: dict[str, Any], *flags: str, clients: list[str] | None = None) -> Running:
        """Start the real module, as a user does: an ad hoc command with a local connection."""
        login = {"login_host": self.server.host, "login_port": self.server.port, "login_user": "postgres"}
        command: list[str] = [sys.executable, "-m", "ansible", "adhoc", "localhost", "-i", "localhost,", "-c", "local"]
        command += ["-e", f"ansible_python_interpreter={sys.executable}", "-m", f"{COLLECTION}.postgresql_db"]
        command += ["-a", json.dumps({**login, **options}), *flags]
        places = [*(clients or []), *self.clients, os.environ["PATH"]]
        settings = self.folder / "ansible.cfg"  # an empty one: none of the user's settings
        settings.touch()
        environment = {
            **os.environ,
            "PATH": ":".join(places),
            "ANSIBLE_CONFIG": str(settings),
            "ANSIBLE_HOME": str(self.folder / "home"),
            "ANSIBLE_LOCAL_TEMP": str(self.folder / "home" / "tmp"),
            "ANSIBLE_REMOTE_TEMP": str(self.folder / "home" / "tmp"),
            "ANSIBLE_COLLECTIONS_PATH": str(collections()),
            "ANSIBLE_NOCOLOR": "1",
        }
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, env=environment, cwd=self.folder, stdout=pipe, stderr=pipe, text=True)
        running = Running(process)
        self.undo.callback(kill_tree, process.pid)
        return running

    def run(self, options: dict[str, Any], *flags: str, clients: list[str] | None = None) -> Report:
        return self.start(options, *flags, clients=clients).report()

    def database(self, name: str | None = None, server: Server | None = None) -> Database:
        made = Database.create(server or self.server, name)
        self.undo.callback(made.drop)
        return made

    def another_server(self, release: int | str = MAJOR, *, start: bool = True, **options: Any) -> Server:
        """Make a server for this measurement alone."""
        own = Server(npm_install(release), **{"settings": SETTINGS, **options})
        self.undo.callback(own.remove)
        if start:
            own.start()
        return own


def measure(one: Case, server: Server) -> Outcome:
    """Measure a case in a folder and databases of its own."""
    with tempfile.TemporaryDirectory(prefix="oncall-incumbent-") as folder, ExitStack() as undo:
        place = Path(folder) / random_name("case")
        place.mkdir()
        outcome = one.measure(World(server, place, undo))
    print(f"{one.title}: {outcome.verdict}: {outcome.afterwards} [{outcome.report.msg}]", flush=True)
    return outcome


def measure_all(wanted: str) -> dict[str, Outcome | None]:
    """Measure every case whose title contains a text; None for one whose fault could not be made."""
    collections()
    titles = [one.title for one in CASES if wanted in one.title]
    with Server(npm_install(MAJOR), settings=SETTINGS) as server, ThreadPoolExecutor(WORKERS) as pool:
        futures = [pool.submit(measure, one, server) for one in CASES if one.title in titles]
        return {title: outcome_of(title, future) for title, future in zip(titles, futures, strict=True)}


def outcome_of(title: str, future: Future[Outcome]) -> Outcome | None:
    error = future.exception()
    if error is None:
        return future.result()
    print(f"{title}: NOT MEASURED", *traceback.format_exception(error), sep="\n", file=sys.stderr, flush=True)
    return None
