"""Real Redis servers of one test, on a free loopback port, with their own folder."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.backoff
import redis.retry

from tools.embedded_postgres import free_port

PATIENCE_SECONDS = 30.0


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


@dataclass
class TestRedis:
    """One server; ``options`` are the module options that reach it."""

    __test__ = False

    folder: Path
    port: int = field(default_factory=free_port)
    password: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def options(self) -> dict[str, Any]:
        secret = {"redis_password": self.password} if self.password else {}
        return {"redis_port": self.port, "redis_timeout": "10s", **secret}

    @property
    def config(self) -> Path:
        return self.folder / "redis.conf"

    def start(self) -> TestRedis:
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            "save": '""',
            "logfile": "redis.log",
            "pidfile": str(self.folder / "redis.pid"),
            "enable-debug-command": "yes",
            "repl-diskless-sync-delay": "0",  # no replica waits for others to come
            **({"requirepass": self.password, "masterauth": self.password} if self.password else {}),
            **self.settings,
        }
        self.config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        self.process = subprocess.Popen(["redis-server", str(self.config)], cwd="/")
        wait_for(self.has_started, f"redis on {self.port}")
        return self

    def answers(self) -> bool:
        with contextlib.suppress(redis.RedisError):
            return bool(self.client().ping())
        return False

    def has_started(self) -> bool:
        assert self.process is not None and self.process.poll() is None, f"redis ended:\n{self.log()}"
        return self.answers()

    def log(self) -> str:
        log = self.folder / "redis.log"
        return log.read_text() if log.exists() else ""

    def client(self, db: int = 0, **options: Any) -> Any:
        never = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
        return redis.Redis(port=self.port, password=self.password or None, db=db, retry=never, **options)

    def command(self, action: str) -> list[str]:
        """Return a command that starts or stops the server, as an administrator would give it."""
        if action == "start":
            return ["redis-server", str(self.config), "--daemonize", "yes"]
        return ["sh", "-c", f"kill $(cat {self.folder}/redis.pid)"]

    def kill(self) -> list[int]:
        """End the server at once and return its children; one that saves holds its connections as long as it lives."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.process.kill()
        return [int(pid) for pid in children]

    def stop(self) -> None:
        """End it without a save, whoever started it."""
        with contextlib.suppress(redis.RedisError):
            self.client().shutdown(nosave=True)
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            self.process.wait()
            self.process = None
        wait_for(lambda: not self.answers(), "redis to end")


@contextlib.contextmanager
def redis_servers(folder: Path) -> Iterator[Callable[..., TestRedis]]:
    """Give a factory of running servers: ``make("name", password="x", appendonly="yes")``."""
    if shutil.which("redis-server") is None:
        pytest.fail("redis-server is not installed: run `make setup`")
    servers: list[TestRedis] = []

    def make(name: str = "redis", password: str = "", **settings: str) -> TestRedis:
        plain = {key.replace("_", "-"): value for key, value in settings.items()}
        servers.append(TestRedis(folder / name, password=password, settings=plain))
        return servers[-1].start()

    yield make
    for server in servers:
        server.stop()


def fill(server: TestRedis) -> None:
    """Put keys of every type into two databases, some with an end in the far future."""
    client = server.client()
    pipeline = client.pipeline(transaction=False)
    for number in range(500):
        pipeline.set(f"user:{number}", f"value {number} ä".encode())
    for number in range(50):
        pipeline.set(f"session:{number}", b"\xff\x00" * 20, ex=86400 + number)
    pipeline.rpush("list", *range(300))
    pipeline.sadd("set", *(f"member {n}" for n in range(700)))
    pipeline.hset("hash", mapping={f"field {n}": "x" * 70 for n in range(300)})
    pipeline.zadd("zset", {f"m{n}": n / 3 for n in range(300)})
    pipeline.xadd("stream", {"a": "1", "b": "2"})
    pipeline.set(b"key \xff\n,=", "strange")
    pipeline.execute()
    server.client(3).set("other", "database")


KEYS = 556 + 1
