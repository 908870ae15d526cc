"""A small application for the demo: answers HTTP, and writes a log that it holds open until HUP tells it to reopen.

python demo_app.py start|stop|status|serve NAME FOLDER PORT
"""

from __future__ import annotations

import argparse
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

STOP_SECONDS = 10


class App:
    """One application: its name, and in its folder its pid file and its log."""

    def __init__(self, name: str, folder: Path, port: int) -> None:
        self.name = name
        self.port = port
        self.pid_file = folder / f"{name}.pid"
        self.log_file = folder / "logs" / f"{name}.log"

    def pid(self) -> int | None:
        """Return the process, when it is this very application."""
        try:
            pid = int(self.pid_file.read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if b"serve" in words and self.name.encode() in words else None

    def start(self) -> int:
        if self.pid() is None:
            self.log_file.parent.mkdir(parents=True, exist_ok=True)
            command = [sys.executable, __file__, "serve", self.name, str(self.pid_file.parent), str(self.port)]
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
                start_new_session=True,
            )  # fmt: skip
            self.pid_file.write_text(f"{process.pid}\n")
        return 0

    def stop(self) -> int:
        pid = self.pid()
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + STOP_SECONDS
            while self.pid() is not None and time.monotonic() < deadline:
                time.sleep(0.02)
        return 0 if self.pid() is None else 1

    def status(self) -> int:
        return 3 if self.pid() is None else 0

    def serve(self) -> int:
        signals = {signal.SIGHUP, signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        log = Log(self.log_file)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), handler(self.name, log))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        log.write("started")
        while signal.sigwait(signals) == signal.SIGHUP:
            log.reopen()
        return 0


class Log:
    """A log that is held open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._file = path.open("a", buffering=1)

    def write(self, text: str) -> None:
        with self._lock:
            self._file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}\n")

    def reopen(self) -> None:
        with self._lock:
            self._file.close()
            self._file = self._path.open("a", buffering=1)


def handler(name: str, log: Log) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"name": name, "status": "ok"}).encode()
            self.send_response(200 if self.path == "/health" else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            log.write(format % args)

    return Handler


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["start", "stop", "status", "serve"])
    parser.add_argument("name")
    parser.add_argument("folder", type=Path)
    parser.add_argument("port", type=int)
    arguments = parser.parse_args()
    app = App(arguments.name, arguments.folder, arguments.port)
    code: int = getattr(app, arguments.action)()
    return code


if __name__ == "__main__":
    sys.exit(main())
