#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write down all that check mode must leave as it is, or compare with it: snapshot.py write|compare FILE."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

QUERIES = {
    "sessions": "SELECT pid, backend_start::text, application_name, state, query_start::text FROM pg_stat_activity "
    "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY pid",
    "relations": "SELECT oid::regclass::text, relfilenode, reloptions::text FROM pg_class "
    "WHERE relnamespace = 'public'::regnamespace ORDER BY 1",
    "invalid": "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid ORDER BY 1",
    "work": "SELECT relname, vacuum_count, analyze_count, last_vacuum::text, last_analyze::text "
    "FROM pg_stat_user_tables ORDER BY 1",
    "settings": "SELECT name, setting FROM pg_settings WHERE source NOT IN ('client', 'session') ORDER BY 1",
}
UNITS = ("postgresql@15-main", "nginx", "redis-server", "shop", "legacy", "tls-agent", "logrotate.timer")


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def query(text):
    wrapped = f"SELECT coalesce(json_agg(x), '[]') FROM ({text}) AS x"
    return json.loads(run("runuser", "-u", "postgres", "--", "psql", "-XAtq", "-d", "shop", "-c", wrapped))


def tree(*roots):
    """Every file below the roots, with what would change if somebody wrote or replaced it."""
    found = {}
    for root in roots:
        for folder, _unused, names in os.walk(root):
            for path in (Path(folder, name) for name in names):
                status = path.lstat()
                content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
                found[str(path)] = [status.st_ino, status.st_mode, status.st_uid, status.st_gid, content]
    return found


def look():
    facts = {name: query(text) for name, text in QUERIES.items()}
    facts["units"] = {unit: run("systemctl", "show", "-P", "InvocationID", unit).strip() for unit in UNITS}
    facts["packages"] = run("dpkg-query", "-W").splitlines()
    facts["files"] = tree("/etc", "/usr/local", "/var/lib/logrotate", "/srv")
    # The applications go on writing: names and inodes stay, contents grow.
    facts["logs"] = {name: found[:4] for name, found in tree("/var/log/shop", "/var/log/nginx").items()}
    return facts


def changes(name, was, now):
    """Yield one line for each difference."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in sorted(was.keys() | now.keys()):
            yield from changes(f"{name} {key}", was.get(key), now.get(key))
    elif isinstance(was, list) and isinstance(now, list):
        yield from (f"{name}: - {item}" for item in was if item not in now)
        yield from (f"{name}: + {item}" for item in now if item not in was)
    elif was != now:
        yield f"{name}: {was} -> {now}"


def main():
    action, path = sys.argv[1], Path(sys.argv[2])
    now = json.loads(json.dumps(look()))
    if action == "write":
        path.write_text(json.dumps(now, indent=1))
    elif touched := list(changes("", json.loads(path.read_text()), now)):
        sys.exit("\n".join(["touched since it was written down:", *touched]))


main()
