"""Hold the demo's forgotten sessions open until the server ends them; then say how and leave.

python demo_sessions.py DSN
"""

from __future__ import annotations

import select
import sys

import psycopg2

IDLE = ("shop-console", "shop-importer", "shop-importer")
FORGOTTEN = "shop-checkout"


def open_sessions(dsn: str) -> list[psycopg2.extensions.connection]:
    sessions = []
    for name in IDLE:
        session = psycopg2.connect(dsn, application_name=name)
        session.autocommit = True
        session.cursor().execute("SELECT 1")
        sessions.append(session)
    forgotten = psycopg2.connect(dsn, application_name=FORGOTTEN)
    forgotten.cursor().execute("UPDATE carts SET touched = now() WHERE id = 1")
    return [*sessions, forgotten]


def main() -> None:
    sessions = open_sessions(sys.argv[1])
    print(f"{len(sessions)} sessions are open", flush=True)
    while sessions:
        for session in select.select(sessions, [], [])[0]:
            try:
                session.poll()
            except psycopg2.Error:
                sessions.remove(session)


if __name__ == "__main__":
    main()
