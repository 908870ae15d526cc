# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Where the journal is and how it is opened: a SQLite file of its owner alone, or PostgreSQL; failures with codes."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path
from typing import Any, Iterator, Optional

from .._core.errors import InvalidValue, OpsError
from .._core.redact import printable, redact_text
from .journal_tables import sa
from .postgres import PATIENCE

DEFAULT_FILE = "~/.local/state/oncall-runbooks/journal.db"
VARIABLE = "ONCALL_JOURNAL_URL"
_BUSY_SECONDS = 15
_CONNECT_SECONDS = 5
_POSTGRES = re.compile(r"^postgres(?:ql)?(?:\+psycopg2)?://", re.IGNORECASE)
_SQLITE = re.compile(r"^sqlite(?:\+pysqlite)?:///", re.IGNORECASE)
_REFUSALS = (
    # What SQLite and PostgreSQL say, the code, what to do next.
    ("file is not a database", "journal_corrupt", "move the file away and keep it; the next run makes a new journal"),
    ("malformed", "journal_corrupt", "move the file away and keep it, or mend it with the command .recover of sqlite3"),
    ("readonly database", "journal_read_only", "give the file and its folder to the user who runs the runbooks"),
    ("read-only", "journal_read_only", "make the journal writable for the user who runs the runbooks"),
    ("permission denied", "journal_denied", "let the user who runs the runbooks read and write the journal"),
    ("disk is full", "journal_disk_full", "make room; what was spooled is taken in by a later run"),
    ("no space left", "journal_disk_full", "make room; what was spooled is taken in by a later run"),
    ("disk i/o error", "journal_disk_full", "see whether the disk is full or broken"),
    ("locked", "journal_busy", "see which process holds the journal; what was spooled is taken in by a later run"),
)


class JournalUnreachable(OpsError):
    """The journal cannot be read or written now."""

    default_code = "journal_unreachable"


class JournalSchema(OpsError):
    """The journal's tables are not those of this code: ``journal_newer``, ``journal_older`` or ``journal_missing``."""

    default_code = "journal_newer"


def resolve_url(url: Optional[str]) -> sa.URL:
    """Return the address of the journal; without one it is that of the environment, else a SQLite file of this user.

    Raises:
        InvalidValue: it is neither sqlite:///file nor postgresql://...; the address itself is not shown.
        JournalUnreachable: SQLAlchemy is missing (code ``library_missing``).
    """
    if sa is None:
        raise JournalUnreachable(
            "open the journal: the Python library SQLAlchemy is missing",
            code="library_missing",
            hint="install sqlalchemy and alembic for the Python that runs ansible-playbook, on the controller",
        )
    text = _given(url)
    if _POSTGRES.match(text):
        with contextlib.suppress(sa.exc.ArgumentError, ValueError):
            return sa.make_url(_POSTGRES.sub("postgresql+psycopg2://", text))
    elif "://" not in text or _SQLITE.match(text):
        return sa.URL.create("sqlite", database=name_of(url))
    raise InvalidValue(
        "journal_url is no address of a journal",
        hint="write sqlite:////path/to/journal.db, or postgresql://user:password@host:5432/database with special "
        "characters of the password percent-encoded",
    )


def name_of(url: Optional[str]) -> str:
    """Return what a journal is called in messages and in its spool; without password, and without any library."""
    text = _given(url)
    if "://" not in text or _SQLITE.match(text):
        return str(Path(_SQLITE.sub("", text)).expanduser().absolute())
    return printable(redact_text(_POSTGRES.sub("postgresql://", text)), 200)


def _given(url: Optional[str]) -> str:
    return (url or os.environ.get(VARIABLE) or DEFAULT_FILE).strip()


def make_engine(url: sa.URL, *, writing: bool) -> sa.Engine:
    """Return an engine; nothing is connected yet. Its transactions begin at once as what they are."""
    if url.get_backend_name() == "sqlite":
        engine = sa.create_engine(url, poolclass=sa.pool.StaticPool, connect_args={"timeout": _BUSY_SECONDS})
        _set_up_sqlite(engine, writing)
    else:
        patience = {**PATIENCE, "connect_timeout": _CONNECT_SECONDS}
        engine = sa.create_engine(
            url,
            poolclass=sa.pool.StaticPool,
            connect_args={
                **{name: value for name, value in patience.items() if name not in url.query},
                "application_name": "oncall.runbooks journal",
                "client_encoding": "utf8",
            },
        )
        _set_up_postgres(engine, writing)
    return engine


def _set_up_sqlite(engine: sa.Engine, writing: bool) -> None:
    @sa.event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN comes too late to keep a writer out
        connection.execute("PRAGMA foreign_keys = ON")
        if not writing:
            connection.execute("PRAGMA query_only = ON")
        elif connection.execute("PRAGMA page_count").fetchone()[0] == 0:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        if writing:
            connection.execute("PRAGMA journal_mode = WAL")

    @sa.event.listens_for(engine, "begin")
    def on_begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _set_up_postgres(engine: sa.Engine, writing: bool) -> None:
    @sa.event.listens_for(engine, "begin")
    def on_begin(connection: Any) -> None:
        # LOCAL: behind a pooler a setting of the session would reach other clients.
        connection.exec_driver_sql("SET LOCAL lock_timeout = '15s'")
        connection.exec_driver_sql("SET LOCAL statement_timeout = '120s'")
        if not writing:
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")


def prepare_file(url: sa.URL) -> None:
    """Make the SQLite file for its owner alone, and its folder; take the rights of others away from one that is there.

    Raises:
        JournalUnreachable: the file system refuses, or the path is no regular file.
    """
    if url.get_backend_name() != "sqlite":
        return
    file = Path(str(url.database))
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise JournalUnreachable(f"open the journal {file}: it is no regular file", code="journal_denied")
            if status.st_mode & 0o077 and status.st_uid == os.geteuid():
                os.fchmod(handle, 0o600)
        finally:
            os.close(handle)
    except OSError as error:
        raise unreachable("open", str(file), error) from error


@contextlib.contextmanager
def journal_errors(what: str, where: str) -> Iterator[None]:
    """Turn the failures of drivers and of the file system into ours.

    Raises:
        JournalUnreachable: with a code that says what to mend.
    """
    try:
        yield
    except (sa.exc.SQLAlchemyError, OSError) as error:
        raise unreachable(what, where, error) from error


def unreachable(what: str, where: str, error: Exception) -> JournalUnreachable:
    """Return the failure that a driver's error stands for; it holds no statement and no values."""
    original = getattr(error, "orig", None) or error
    if isinstance(error, (sa.exc.IntegrityError, sa.exc.DataError)):
        text = printable(redact_text(str(original).partition("\n")[0]), 300)
        return JournalUnreachable(f"{what} the journal {where}: refused: {text}", code="journal_refused")
    text = printable(redact_text(" ".join(str(getattr(original, "strerror", None) or original).split())), 300)
    for words, code, hint in _REFUSALS:
        if words in text.lower():
            return JournalUnreachable(f"{what} the journal {where}: {text}", code=code, hint=hint)
    return JournalUnreachable(
        f"{what} the journal {where}: {text}", hint="look at ONCALL_JOURNAL_URL, the server, and its logs"
    )
