# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What pg_restore says while it works, and the statements of a file of globals (pg_dumpall --globals-only)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Callable, Iterator, List, Optional, Sequence, Tuple

from .redact import printable, redact_text

_KEPT_ERRORS = 100
# Each line is written in up to four pieces (PostgreSQL, logging.c: pg_log_generic_v), so that those of two jobs mix.
_HEAD = re.compile(r"^pg_restore:(?:pg_restore:|error: |warning: |\[[^\]]*\] | )*")
_PROGRESS = re.compile(r"(?:launching|finished|processing|skipping) (?:item|data)|creating |from TOC entry |while ")
_NUMBER = re.compile(r"(\d+); ")
# Jobs of pg_restore take no account of the locks of ALTER INDEX ... ATTACH PARTITION, against which the look of a new
# foreign key at the rows of a partitioned table runs (PostgreSQL, pg_backup_archiver.c: identify_locking_dependencies).
DEADLOCK = "deadlock detected"
_ENTRY = re.compile(r"^from TOC entry (?P<entry>.+)$")
_ITEM_DONE = re.compile(r"^(?:finished item|processing item) \d+ (?P<item>.+)$")
_COMMAND = "Command was: "
# pg_restore 17 and newer says this to every server, and an older server does not know it; nothing is lost by that.
_HARMLESS = ('unrecognized configuration parameter "transaction_timeout"', "SET transaction_timeout = 0;")


@dataclass(frozen=True)
class LoadError:
    """One error of a load: ``entry`` is the object that the archive names, "" where it names none."""

    entry: str
    message: str

    def label(self) -> str:
        """Return the error for messages."""
        return f"{self.entry}: {self.message}" if self.entry else self.message


def entries_to_repeat(errors: Sequence[LoadError]) -> Tuple[int, ...]:
    """Return the numbers of all entries that failed, when jobs were in each other's way; nothing otherwise.

    What needs the victim of a deadlock failed after it. Nothing is repeated when not every error is known by its
    entry: what remains would look complete.
    """
    numbers = [match[1] for match in (_NUMBER.match(one.entry) for one in errors) if match]
    known = len(numbers) == len(errors) < _KEPT_ERRORS
    deadlock = any(DEADLOCK in one.message for one in errors)
    return tuple(dict.fromkeys(int(number) for number in numbers)) if known and deadlock else ()


class Transcript:
    """Reads the lines of ``pg_restore --verbose`` as they come: which errors, which objects are done."""

    def __init__(self, on_item: Optional[Callable[[str], None]] = None) -> None:
        self.errors: List[LoadError] = []
        self.count = 0
        self._torn = False
        self._on_item = on_item
        self._entry = ""
        self._pending: Optional[LoadError] = None

    def read(self, line: str) -> None:
        """Take the next line."""
        pending, self._pending = self._pending, None
        if pending is not None and not _is_harmless(pending, line):
            self._keep(pending)
        head = _HEAD.match(line)
        if head is None:
            self._take_rest(line)
            return
        text = line[head.end() :]
        is_error = "error: " in head[0]
        self._torn = is_error and _PROGRESS.match(text) is not None
        if is_error and not self._torn:
            self._take_error(text)
            return
        entry, done = _ENTRY.match(text), _ITEM_DONE.match(text)
        if entry:
            self._entry = printable(entry["entry"], 200)
        elif done and self._on_item is not None:
            self._on_item(done["item"])

    def _take_error(self, text: str) -> None:
        self._pending = LoadError(self._entry, redact_text(printable(text, 400)))
        self._entry = ""

    def _take_rest(self, line: str) -> None:
        """Take a line without a head: the words of an error between whose pieces another job has written."""
        if self._torn:
            self._torn = False
            self._take_error(line.strip())

    def close(self) -> None:
        """Say that there are no more lines."""
        self.read("")

    def is_lost(self) -> bool:
        """Tell whether an error came before any deadlock: no second try can mend it."""
        return bool(self.errors) and DEADLOCK not in self.errors[0].message

    def _keep(self, error: LoadError) -> None:
        self.count += 1
        if len(self.errors) < _KEPT_ERRORS:
            self.errors.append(error)


def _is_harmless(error: LoadError, next_line: str) -> bool:
    words, command = _HARMLESS
    return words in error.message and next_line == _COMMAND + command


@dataclass(frozen=True)
class GlobalStatement:
    """One statement about all databases. ``creates``: the role that it makes, "" for any other statement."""

    sql: str
    creates: str = ""


_CREATE_ROLE = re.compile(r'^CREATE\s+(?:ROLE|USER|GROUP)\s+(?P<name>"(?:[^"]|"")+"|[^\s";]+)', re.IGNORECASE)
_SUPERUSER = re.compile(r'^ALTER\s+ROLE\s+(?P<name>"(?:[^"]|"")+"|[^\s";]+)\s+WITH\s+SUPERUSER\b', re.IGNORECASE)
_GRANTOR = re.compile(r'\sGRANTED\s+BY\s+(?P<name>"(?:[^"]|"")+"|[^\s";]+)$', re.IGNORECASE)
_TAKEN_BY_INITDB = re.compile(r"[A-Za-z0-9_.-]+")  # it quotes no other name rightly
_TABLESPACE = re.compile(r"^(?:CREATE|ALTER|COMMENT\s+ON)\s+TABLESPACE\b|^(?:GRANT|REVOKE)\s.*\sON\s+TABLESPACE\s",
                         re.IGNORECASE | re.DOTALL)  # fmt: skip
_ENCODING = re.compile(r"^SET\s+client_encoding\b", re.IGNORECASE)
# What may stand between two semicolons: a comment, a quoted text or name, anything else.
_PIECE = re.compile(
    r"--[^\n]*|/\*.*?\*/|[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|;|[^;'\"/eE-]+|.", re.DOTALL
)


def globals_statements(text: str) -> Iterator[GlobalStatement]:
    """Give the statements about roles; psql's own commands, tablespaces and the encoding are left out.

    Tablespaces are folders of the server that was copied. The text is decoded: the encoding of a session is its own.

    >>> [(one.sql, one.creates) for one in globals_statements("CREATE ROLE \\"a;b\\";\\nALTER ROLE x SET y TO ';';")]
    [('CREATE ROLE "a;b"', 'a;b'), ("ALTER ROLE x SET y TO ';'", '')]
    """
    for sql in _split(text):
        if not _TABLESPACE.match(sql) and not _ENCODING.match(sql):
            role = _CREATE_ROLE.match(sql)
            yield GlobalStatement(sql, bare_name(role["name"]) if role else "")


def _split(text: str) -> Iterator[str]:
    statement: List[str] = []
    at_start = True
    position = 0
    while position < len(text):
        if at_start and text[position] == "\\":  # \restrict and the like are for psql alone
            position = (text.find("\n", position) + 1) or len(text)
            continue
        match = _PIECE.match(text, position)
        piece = match[0] if match else text[position]
        position += len(piece)
        if piece == ";":
            yield "".join(statement).strip()
            statement, at_start = [], True
        elif not piece.startswith(("--", "/*")):
            rest = piece.lstrip() if at_start else piece
            if at_start and rest.startswith("\\"):
                position -= len(rest)
                continue
            statement.append(piece)
            at_start = at_start and not rest
    if "".join(statement).strip():
        yield "".join(statement).strip()


def bare_name(name: str) -> str:
    """Return a name of a statement without its quotes."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def bootstrap_name(statements: List[GlobalStatement]) -> str:
    """Return what the first role of the copied server was called, as far as its globals tell; "" when they don't.

    Since 16 every grant of a superuser is recorded as the first role's own; otherwise ``postgres`` is the custom.
    """
    superusers = [bare_name(match["name"]) for match in (_SUPERUSER.match(one.sql) for one in statements) if match]
    grantors = [bare_name(match["name"]) for match in (_GRANTOR.search(one.sql) for one in statements) if match]
    for name in (*grantors, "postgres", *superusers):
        if name in superusers and _TAKEN_BY_INITDB.fullmatch(name):
            return name
    return ""
