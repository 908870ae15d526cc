"""A small product to restart: an HTTP server with moods, its control commands, and a supervisor that never gives up.

``python product.py start|stop|restart|status|check FOLDER`` works on the product in a folder: ``mood`` says how the
next start behaves, ``port`` where it listens, ``pid`` is its pid file. A start leaves a process behind that keeps the
caller's outputs open, as careless start scripts do.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def serve(folder: Path) -> None:
    mood = json.loads((folder / "mood").read_text())
    time.sleep(mood.get("silent_seconds", 0))
    born = time.monotonic()

    class Handler(BaseHTTPRequestHandler):
        answered = 0

        def do_GET(self) -> None:
            Handler.answered += 1
            flap = mood.get("flap", 0) and Handler.answered % mood["flap"] == 0
            self.send_response(503 if flap or mood.get("busy") else 200)
            self.send_header("Content-Type", "application/json")
            body = json.dumps({"version": mood.get("version", "2.0"), "pid": os.getpid()}).encode()
            if not mood.get("endless"):
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            while mood.get("endless"):
                self.wfile.write(b"x")
                time.sleep(0.05)
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    ThreadingHTTPServer.allow_reuse_address = True
    server = ThreadingHTTPServer(("127.0.0.1", int((folder / "port").read_text())), Handler)
    server.timeout = 0.05
    server.daemon_threads = True
    while time.monotonic() - born < mood.get("life_seconds", 600):
        server.handle_request()
    sys.exit(3)


def supervise(folder: Path) -> None:
    """Start the product anew whenever it ends."""
    child: list[subprocess.Popen[bytes]] = []

    def stop(*_args: object) -> None:
        for process in child:
            process.kill()
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    while True:
        child[:] = [subprocess.Popen([sys.executable, __file__, "serve", str(folder)])]
        write_pid(folder, child[0].pid)
        child[0].wait()


def write_pid(folder: Path, pid: int) -> None:
    (folder / "pid.new").write_text(f"{pid}\n")
    (folder / "pid.new").replace(folder / "pid")


def pid_of(path: Path) -> int | None:
    try:
        pid = int(path.read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return None
    return pid


def start(folder: Path) -> None:
    mood = json.loads((folder / "mood").read_text())
    if mood.get("refuse"):
        sys.exit("cannot start: password=hunter2 is wrong")
    kind = "supervise" if mood.get("supervised") else "serve"
    process = subprocess.Popen([sys.executable, __file__, kind, str(folder)], start_new_session=True)
    (folder / "group").write_text(str(process.pid))
    if kind == "serve":
        write_pid(folder, process.pid)
    while kind == "supervise" and pid_of(folder / "pid") is None:
        time.sleep(0.01)


def stop(folder: Path) -> None:
    """Stop it, and do not end before it is gone; once stopped there is nothing to do."""
    with contextlib.suppress(FileNotFoundError):
        group = int((folder / "group").read_text())
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGTERM)
        while alive(group):
            time.sleep(0.01)
        (folder / "group").unlink()
    (folder / "pid").unlink(missing_ok=True)


def alive(group: int) -> bool:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[2]) == group and fields[0] != "Z":
                    return True
    return False


def main() -> None:
    verb, folder = sys.argv[1], Path(sys.argv[2])
    if verb == "serve":
        serve(folder)
    elif verb == "supervise":
        supervise(folder)
    elif verb == "start":
        start(folder)
    elif verb == "stop":
        stop(folder)
    elif verb == "restart":
        stop(folder)
        start(folder)
    elif verb == "status":
        sys.exit(0 if pid_of(folder / "pid") else 3)
    elif verb == "check":
        mood = json.loads((folder / "mood").read_text())
        sys.exit("line 7: unknown directive" if mood.get("broken_config") else 0)


if __name__ == "__main__":
    main()
