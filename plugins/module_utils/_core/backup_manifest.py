# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""The facts that travel with the copy of a database: what a restored one must show to count as the same.

They are read in the very MVCC snapshot that is dumped, so that every number must be equal after a restore.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Mapping, Optional, Tuple

from .sealed import reading_manifest, seal, unseal

FORMAT = 1
DIRECTORY, STREAM = "directory", "stream"
DUMP_FOLDER, GLOBALS_FILE = "dump", "globals.sql"
DATABASE_PRIVILEGES = ("CREATE", "CONNECT", "TEMPORARY")  # PostgreSQL, GRANT: what aclexplode can name
STREAM_FILE, DUMP_PART, SEAL_FILE = "stream.tar", "dump.part", "seal.json"


@dataclass(frozen=True)
class Checksum:
    """A checksum over whole rows as text, order-independent. ``rows``: how many rows it covers.

    ``scope``: ``all`` rows, or the ``ends`` of the primary key (as many rows from its start as from its end).
    """

    scope: str
    rows: int
    value: str


@dataclass(frozen=True)
class TableState:
    """One table with data of its own. ``rows`` were counted, not estimated; ``checksum`` None: none could be made."""

    schema: str
    name: str
    rows: int
    size_bytes: int
    checksum: Optional[Checksum] = None


@dataclass(frozen=True)
class SequenceState:
    """One sequence; ``last_value`` None: it was never used or may not be read."""

    schema: str
    name: str
    last_value: Optional[int]


@dataclass(frozen=True)
class ServerState:
    """The server that was copied. ``system_identifier`` "" where the role may not see it.

    ``locale`` is that of a provider other than libc, "" otherwise.
    """

    version: str
    major: int
    system_identifier: str
    in_recovery: bool
    wal_lsn: str
    encoding: str
    collate: str
    ctype: str
    locale_provider: str
    locale: str = ""


@dataclass(frozen=True)
class Sentinel:
    """A row written right before the copy: found in a restored database, it says how old the data is."""

    id: str
    written_at: str


@dataclass(frozen=True)
class Right:
    """One right to a database; ``grantee`` "" is PUBLIC.

    Raises:
        ValueError: no such right exists; it would become a part of a statement.
    """

    privilege: str
    grantee: str
    grantable: bool

    def __post_init__(self) -> None:
        if self.privilege not in DATABASE_PRIVILEGES:
            raise ValueError(f"no right to a database: {self.privilege!r}")


@dataclass(frozen=True)
class Setting:
    """One setting of a database, or of a role in it; ``role`` "" is everybody. The value may be a secret."""

    role: str
    name: str
    value: str


@dataclass(frozen=True)
class Belongings:
    """What belongs to a database besides its contents, and is in no dump. ``rights`` None: those by default."""

    connection_limit: int
    rights: Optional[Tuple[Right, ...]]
    settings: Tuple[Setting, ...]
    comment: Optional[str]


@dataclass(frozen=True)
class DatabaseState:
    """What a database says about itself: the same reader asks the source before a copy and the restored one after it.

    ``definitions`` is a hash for each kind of object, ``schema_hash`` one over all of them; ``grants_hash`` is over
    owners and rights, which differ where roles could not be restored. ``objects`` counts objects by kind. ``roles``
    own something in the database or have rights in it. ``tablespace`` is the database's own, ``tablespaces`` are those
    that its tables and indexes name besides: folders of the server, which no dump holds.
    """

    server: ServerState
    owner: str
    size_bytes: int
    schema_hash: str
    grants_hash: str
    definitions: Mapping[str, str]
    tables: Tuple[TableState, ...]
    sequences: Tuple[SequenceState, ...]
    extensions: Mapping[str, str]
    objects: Mapping[str, int]
    roles: Tuple[str, ...]
    tablespace: str
    tablespaces: Tuple[str, ...]


@dataclass(frozen=True)
class Manifest(DatabaseState):
    """All facts of one copy. ``globals`` says what globals.sql holds, or why there is none.

    ``belongings`` None: the copy is of before they were read.
    """

    product: str
    host: str
    database: str
    taken_at: str
    form: str
    globals: str
    sentinel: Optional[Sentinel] = None
    application_version: Optional[str] = None
    migration_head: Optional[str] = None
    tools: Mapping[str, str] = field(default_factory=dict)
    belongings: Optional[Belongings] = None

    def to_json(self) -> str:
        """Return the text of the manifest file."""
        return seal(asdict(self), FORMAT)


def read_manifest(text: str) -> Manifest:
    """Return the facts of a manifest file.

    Raises:
        PreconditionFailed: it is damaged, or of a newer format (code ``manifest_unreadable``).
    """
    with reading_manifest():
        data = unseal(text, FORMAT)
        return _manifest(data)


def _manifest(data: dict[str, Any]) -> Manifest:
    sentinel, belongings = data.pop("sentinel"), data.pop("belongings", None)
    tables = tuple(
        TableState(**{**one, "checksum": None if one["checksum"] is None else Checksum(**one["checksum"])})
        for one in data.pop("tables")
    )
    return Manifest(
        **{
            **data,
            "server": ServerState(**data.pop("server")),
            "tables": tables,
            "sequences": tuple(SequenceState(**one) for one in data.pop("sequences")),
            "roles": tuple(data.pop("roles")),
            "tablespace": data.pop("tablespace", ""),  # copies of before that was read have neither
            "tablespaces": tuple(data.pop("tablespaces", ())),
            "sentinel": None if sentinel is None else Sentinel(**sentinel),
            "belongings": None if belongings is None else _belongings(belongings),
        }
    )


def _belongings(data: dict[str, Any]) -> Belongings:
    rights = data.pop("rights")
    return Belongings(
        **{
            **data,
            "rights": None if rights is None else tuple(Right(**one) for one in rights),
            "settings": tuple(Setting(**one) for one in data.pop("settings")),
        }
    )
