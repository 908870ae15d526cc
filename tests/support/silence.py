"""A line to a server that falls silent: from then on nothing is answered and nothing refused, as by a lost host."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
import threading

SO_ATTACH_FILTER = 26  # Linux, asm-generic/socket.h; Python has no name for it
BPF_DROP = struct.pack("HBBI", 0x06, 0, 0, 0)  # one instruction of a classic BPF program: return 0 bytes of the packet


def drop_all_that_comes(sock: socket.socket) -> None:
    """Let the kernel drop every packet for a socket before TCP sees it: no data, no probe is acknowledged."""
    program = ctypes.create_string_buffer(BPF_DROP, len(BPF_DROP))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(program)))


class Line:
    """A relay on loopback in front of a server: ``host`` and ``port`` are where to connect instead."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._listener.getsockname()
        self._sockets = [self._listener]
        self._clients = [self._listener]
        self._threads: list[threading.Thread] = []
        self._silent = threading.Event()
        self._start(self._accept)

    def fall_silent(self) -> None:
        """Answer nothing any more, to those who are connected and to those who come."""
        self._silent.set()
        for sock in list(self._clients):
            drop_all_that_comes(sock)

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_exception: object) -> None:
        for sock in list(self._sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(10)
        for sock in list(self._sockets):
            sock.close()

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _address = self._listener.accept()
                server = socket.create_connection(self._server)
                self._sockets += [client, server]
                self._clients.append(client)
                self._start(self._pump, client, server)
                self._start(self._pump, server, client)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while (data := source.recv(65536)) and not self._silent.is_set():
                sink.sendall(data)
            if not self._silent.is_set():
                sink.shutdown(socket.SHUT_WR)
