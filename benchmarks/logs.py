"""Log rotation beside logrotate: wall time, bytes left and peak memory for thousands of logs in the same format.

Every run starts from the same files, copied and synced to the disk; the variants take turns in one run. Ours makes each
compressed file durable before its original goes, logrotate does not.

    python -m benchmarks.logs [--files 5000] [--size 2GB] [--runs 3] [--directory DIR] [--logrotate PROGRAM]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.reporting import Comparison, print_table, write_json
from plugins.module_utils._core.units import parse_size

ROOT = Path(__file__).resolve().parent.parent
BLOCK_LINES = 20_000
MEMORY_LIMIT_MB = 64.0
TARGETS = {"gzip": 0.15, "zstd": 0.3}
FORMATS = {"gzip": "", "zstd": "compresscmd {zstd}\n  compressoptions -3\n  compressext .zst\n  uncompresscmd {zstd}"}
CONFIGURATION = """
{folder}/*.log {{
  rotate 3
  size 1
  create
  compress
  {format}
}}
"""
OURS = """
import json, sys, time
from tests.support.modules import run_ok
import plugins.modules.log_rotation
began = time.monotonic()
result = run_ok("log_rotation", json.loads(sys.argv[1]))
inside = time.monotonic() - began
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
json.dump({"msg": result["msg"], "files": result["files_total"], "inside": inside, "peak_kb": peak}, sys.stdout)
"""


@dataclass
class Samples:
    """What one variant took: seconds of the whole process and inside the module, MB left, MB of memory at the peak."""

    seconds: list[float] = field(default_factory=list)
    inside: list[float] = field(default_factory=list)
    left: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


def lines(seed: int) -> bytes:
    """Return a block of access-log lines that compress about as real ones do."""
    chance = random.Random(seed)
    paths = [f"/{chance.choice(['products', 'api/v2/orders', 'static/js', 'events'])}/{n}" for n in range(400)]
    agents = [f"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.{n} Chrome/{100 + n}.0" for n in range(40)]
    made = []
    for number in range(BLOCK_LINES):
        address = f"10.{chance.randrange(4)}.{chance.randrange(256)}.{chance.randrange(256)}"
        made.append(
            f"{address} - - [21/Nov/2026:07:{number // 60 % 60:02}:{number % 60:02} +0000] "
            f'"GET {chance.choice(paths)}?id={chance.getrandbits(40):x} HTTP/1.1" '
            f'{chance.choice([200, 200, 200, 304, 404])} {chance.randrange(50_000)} "-" "{chance.choice(agents)}" '
            f"{chance.random():.3f} {chance.getrandbits(64):016x}\n"
        )
    return "".join(made).encode()


def make_logs(folder: Path, files: int, size: int) -> None:
    """Fill a folder with logs between half and one and a half times the average size."""
    chance, blocks, average = random.Random(1), [lines(seed) for seed in range(8)], size // files
    folder.mkdir()
    for number in range(files):
        wanted = int(average * (0.5 + chance.random()))
        block = chance.choice(blocks)
        start = chance.randrange(max(1, len(block) - wanted))
        content = (block * (1 + wanted // len(block)))[start : start + wanted]
        (folder / f"service-{number:05}.log").write_bytes(content)


def fresh(master: Path, folder: Path) -> None:
    """Put the logs back as they were, on the disk."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(["cp", "-a", master, folder], check=True)
    os.sync()


def measured(argv: list[str], samples: Samples, folder: Path) -> str:
    """Run a command to its end and note what it took."""
    began = time.monotonic()
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    samples.seconds.append(time.monotonic() - began)
    if done.returncode:
        raise RuntimeError(f"{argv[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    samples.left.append(sum(path.stat().st_size for path in folder.iterdir()) / 1e6)
    return done.stdout


def ours(folder: Path, kind: str, samples: Samples, expected: int) -> None:
    """Rotate everything by our module, in a process of its own; when nothing is expected by its own decision."""
    arguments = json.dumps({"path": str(folder), "compress": kind, "max_age": "0s" if expected else "20h"})
    result = json.loads(measured([sys.executable, "-c", OURS, arguments], samples, folder))
    assert result["files"] == 2 * expected, result["msg"]
    samples.inside.append(result["inside"])
    samples.memory.append(result["peak_kb"] / 1024)


def theirs(program: str, folder: Path, kind: str, samples: Samples, expected: int) -> None:
    """Rotate everything by logrotate, when nothing is expected by its own decision."""
    work = folder.parent
    format_lines = FORMATS[kind].format(zstd=shutil.which("zstd") or "zstd")
    configuration = work / "logrotate.conf"
    configuration.write_text(CONFIGURATION.format(folder=folder, format=format_lines))
    configuration.chmod(0o644)
    measured([program, "--state", str(work / "logrotate.state"), str(configuration)], samples, folder)
    suffix = {"gzip": "gz", "zstd": "zst"}[kind]
    assert len(list(folder.glob(f"*.{suffix}"))) >= expected


def compare(options: argparse.Namespace, work: Path) -> Iterator[Comparison]:
    """Measure both in turn, format by format, and then when there is nothing to do."""
    master, folder = work / "master", work / "logs"
    make_logs(master, options.files, options.size)
    for kind, target in TARGETS.items():
        variants: dict[str, tuple[Samples, Callable[[Samples, int], None]]] = {
            "ours": (Samples(), lambda samples, expected, kind=kind: ours(folder, kind, samples, expected)),
            "logrotate": (
                Samples(),
                lambda samples, expected, kind=kind: theirs(options.logrotate, folder, kind, samples, expected),
            ),
        }
        idle = {name: Samples() for name in variants}
        for run in range(options.runs):
            for name, (samples, rotate) in variants.items():
                fresh(master, folder)
                rotate(samples, options.files)
                rotate(idle[name], 0)
                print(f"{kind} run {run + 1}: {name} {samples.seconds[-1]:.1f} s", file=sys.stderr, flush=True)
        mine, other = variants["ours"][0], variants["logrotate"][0]
        yield Comparison(f"rotate and compress, {kind}", "s", mine.seconds, "logrotate", other.seconds, target)
        yield Comparison(f"bytes left, {kind}", "MB", mine.left, "logrotate", other.left)
        yield Comparison(f"peak memory, {kind}", "MB", mine.memory, "our limit", [MEMORY_LIMIT_MB], 1.0)
        quiet, name = idle["logrotate"].seconds, "logrotate"
        yield Comparison(f"nothing to do, whole process, {kind}", "s", idle["ours"].seconds, name, quiet)
        yield Comparison(f"nothing to do, inside the module, {kind}", "s", idle["ours"].inside, name, quiet)


def main() -> int:
    """Return 1 when logrotate is not there, or a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--size", type=lambda text: parse_size(text, "--size"), default="2GB")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--directory", type=Path, help="where the logs are made (default: a temporary directory)")
    parser.add_argument("--logrotate", default=shutil.which("logrotate", path="/usr/sbin:/sbin:/usr/bin"))
    options = parser.parse_args()
    if options.logrotate is None or shutil.which("zstd") is None:
        print("There is nothing to compare with: install logrotate and zstd (Debian packages).", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="logs-") as folder:
        comparisons = list(compare(options, Path(folder)))
    print_table(comparisons)
    settings = {"files": options.files, "bytes": options.size, "runs": options.runs}
    print(write_json("logs", comparisons, settings))
    return 1 if any(one.verdict == "MISSED" for one in comparisons) else 0


if __name__ == "__main__":
    sys.exit(main())
