#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small application: answers HTTP if it has a port, and writes numbered lines to a log that it holds open."""

import argparse
import http.server
import json
import os
import signal
import threading
import time
from pathlib import Path

HEALTH = json.dumps({"status": os.environ.get("SHOP_STATUS", "ok")}).encode() + b"\n"


class Log:
    """Lines `pid number text`; the numbers of one process have no gap, so a lost line shows."""

    def __init__(self, path):
        self.path = Path(path)
        self.number = 0
        self.lock = threading.Lock()
        self.open()

    def open(self):
        self.file = self.path.open("a", buffering=1)

    def write(self, text):
        with self.lock:
            self.number += 1
            self.file.write(f"{os.getpid()} {self.number} {text}\n")

    def reopen(self):
        with self.lock:
            self.file.close()
            self.open()


def handler(log):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = HEALTH if self.path == "/health" else b"welcome to the shop\n"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format, *args):
            log.write(format % args)

    return Handler


def tick(log):
    while True:
        log.write("tick")
        time.sleep(0.1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", required=True)
    parser.add_argument("--port", type=int)
    parser.add_argument("--never-reopen", action="store_true")
    options = parser.parse_args()
    signals = {signal.SIGHUP, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    log = Log(options.log)
    threading.Thread(target=tick, args=(log,), daemon=True).start()
    if options.port:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", options.port), handler(log))
        threading.Thread(target=server.serve_forever, daemon=True).start()
    while signal.sigwait(signals) == signal.SIGHUP:
        if not options.never_reopen:
            log.reopen()


main()
