#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill a log folder as a year without rotation leaves it: big current logs, old ones, many rotated ones."""

import gzip
import os
import sys
import time
from pathlib import Path

DAY = 86400
LINE = b"0 0 2026-01-01T00:00:00Z GET /products/4711 200 0.012 shop-frontend/3.1 order placed\n"

folder = Path(sys.argv[1])
now = time.time()


def write(name, content, age_days):
    path = folder / name
    path.write_bytes(content)
    os.utime(path, (now - age_days * DAY,) * 2)


for name in ("app.log", "legacy.log"):
    write(name, LINE * 300_000, 0)
for number in range(1, 4):
    write(f"app.log.{number}", LINE * 20_000, number)
for number in range(4, 60):
    write(f"app.log.{number}.gz", gzip.compress(LINE * 2_000), number)
for age in (31, 45, 90, 400):
    write(f"import-{age}.log", LINE * 5_000, age)
write("keep.txt", b"not a log\n", 400)
