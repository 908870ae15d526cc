# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""What must be true before a restore may begin; the first thing that is not is said, with what to do."""

from __future__ import annotations

from typing import Collection, Optional, Sequence, Tuple

from .backup import Copy
from .backup_manifest import Manifest
from .errors import InvalidValue, PreconditionFailed
from .redact import printable
from .restore_facts import REFUSE, RESERVED, DatabaseFacts, ServerFacts, Wish
from .result import OK, UNKNOWN, WARNING, Finding
from .sql_text import identifier
from .units import count_of, human_size

DEFAULT_TABLESPACE = "pg_default"
_SPACE_FACTOR = 1.1  # a restored database is as large as the copied one at most; this is for WAL and sorting
_SHOWN = 10


def check_wish(wish: Wish, maintenance_database: str) -> None:
    """Refuse what would never be right, before anything is read.

    Raises:
        InvalidValue: a reserved name, or a confirmation that names something else (``confirmation_missing``).
    """
    if wish.target in RESERVED or wish.target == maintenance_database:
        raise InvalidValue(
            f"target {wish.target} cannot be swapped: it is a template, or the database that we log in to meanwhile",
            hint="set maintenance_db to another database when the target really has this name",
        )
    if wish.confirm is not None and wish.confirm != wish.target:
        raise confirmation(wish)


def confirmation(wish: Wish) -> InvalidValue:
    """Return the refusal to touch a target that was not named."""
    given = "is missing" if wish.confirm is None else f"says {wish.confirm}"
    return InvalidValue(
        f"{wish.state}: the confirmation {printable(given)}; nothing was done to {printable(wish.target)}",
        code="confirmation_missing",
        hint=f"set confirm: {printable(wish.target)}",
    )


def check_server(facts: ServerFacts, wish: Wish) -> None:
    """Refuse a server that cannot be written to, or is not the one that was confirmed."""
    if facts.in_recovery:
        raise PreconditionFailed(
            "this server is a standby", code="is_standby", hint="connect to the primary; the standby follows by itself"
        )
    if facts.read_only:
        raise PreconditionFailed(
            "this server takes no writes (default_transaction_read_only)", code="read_only", hint="look why it is so"
        )
    _check_fingerprint(facts, wish)
    live = facts.find(wish.target)
    if live is not None and not live.owned:
        raise PreconditionFailed(
            f"role {facts.role} is not the owner of {printable(wish.target)}, which is {live.owner}",
            code="insufficient_privilege",
            hint="only the owner (with CREATEDB) or a superuser can rename a database",
        )
    if not facts.may_create:
        raise PreconditionFailed(
            f"role {facts.role} may not create databases",
            code="insufficient_privilege",
            hint=f"ALTER ROLE {identifier(facts.role)} CREATEDB; renaming a database needs it too",
        )


def _check_fingerprint(facts: ServerFacts, wish: Wish) -> None:
    if wish.fingerprint is None:
        return
    actual = {"system_identifier": facts.system_identifier, "database": wish.target}
    unknown = sorted(set(wish.fingerprint) - set(actual))
    if unknown:
        raise InvalidValue(f"fingerprint: {', '.join(unknown)} is no part of it", hint="system_identifier, database")
    for key, wanted in wish.fingerprint.items():
        if str(wanted) != actual[key]:
            seen = printable(actual[key]) or "not to be seen"
            raise PreconditionFailed(
                f"fingerprint: {key} of the server is {seen}, not {printable(str(wanted))}",
                code="fingerprint_mismatch",
                hint="this is not the server that was confirmed: check the address",
                details={"expected": dict(wish.fingerprint), "actual": actual},
            )


def check_copy(facts: ServerFacts, wish: Wish, copy: Copy, manifest: Manifest) -> Finding:
    """Refuse a copy of another server, or of a newer one; return what is known about where it comes from.

    Raises:
        PreconditionFailed: ``fingerprint_mismatch`` or ``server_too_old``.
    """
    if manifest.server.major > facts.major:
        raise PreconditionFailed(
            f"the copy is of PostgreSQL {manifest.server.version}, the server is {facts.version}",
            code="server_too_old",
            hint="restore to a server of the same major or a newer one",
        )
    origin = copy.server or manifest.server.system_identifier
    if not origin or not facts.system_identifier:
        return Finding("origin", UNKNOWN, "whether the copy is of this server cannot be told: a role may not see it")
    if origin == facts.system_identifier:
        return Finding("origin", OK, f"the copy is of this server ({origin})", origin)
    if not wish.allow_other_server:
        raise PreconditionFailed(
            f"the copy is of another server ({origin}), this one is {facts.system_identifier}",
            code="fingerprint_mismatch",
            hint="check the address; allow_other_server: true when it is meant so",
            details={"copy": origin, "server": facts.system_identifier},
        )
    return Finding("origin", WARNING, f"the copy is of another server ({origin}), which is allowed", origin)


def check_needs(facts: ServerFacts, manifest: Manifest, to_come: Collection[str] = ()) -> None:
    """Refuse before the start when roles or extensions are missing that the copy needs; all of them are named.

    ``to_come`` are roles that will be made.

    Raises:
        PreconditionFailed: code ``role_missing``, or ``extension_missing`` when only extensions are.
    """
    roles = sorted({*manifest.roles, manifest.owner} - facts.roles - set(to_come))
    extensions = sorted(set(manifest.extensions) - facts.extensions)
    if not roles and not extensions:
        return
    parts = [f"roles {', '.join(roles)}"] if roles else []
    parts += [f"extensions {', '.join(extensions)}"] if extensions else []
    raise PreconditionFailed(
        f"the copy needs what the server does not have: {printable('; '.join(parts), 500)}",
        code="role_missing" if roles else "extension_missing",
        hint="let them be made (create_roles), or make them first" if roles else "install the packages first",
        details={"roles": roles, "extensions": extensions},
    )


def home_tablespace(wish: Wish, manifest: Manifest, live: Optional[DatabaseFacts]) -> str:
    """Return the restored database's own tablespace: the live one's, or the copied one's when there is no live one."""
    if live is not None:
        return live.tablespace
    return (wish.tablespaces and manifest.tablespace) or DEFAULT_TABLESPACE


def check_tablespaces(
    facts: ServerFacts, wish: Wish, manifest: Manifest, live: Optional[DatabaseFacts]
) -> Tuple[Finding, ...]:
    """Refuse when a tablespace of the copy is not on the server; say so when all goes into the database's own instead.

    Raises:
        PreconditionFailed: code ``tablespace_missing``, or ``insufficient_privilege`` when one may not be used.
    """
    named = {*manifest.tablespaces, *([manifest.tablespace] if live is None and manifest.tablespace else [])}
    home = home_tablespace(wish, manifest, live)
    if not wish.tablespaces:
        left = sorted(named - {home})
        text = f"what was in tablespace {_listed(left)} goes into {printable(home)} (tablespaces: false)"
        return (Finding("tablespaces", WARNING, text, len(left), "tablespaces"),) if left else ()
    # nobody needs a right to leave a thing where its database is
    needed = named - ({home} if live is not None or home == DEFAULT_TABLESPACE else set())
    missing = sorted(needed - facts.tablespaces.keys())
    closed = sorted(name for name in needed if not facts.tablespaces.get(name, True))
    way = "or let all of it go where the database is (tablespaces: false)"
    if missing:
        raise PreconditionFailed(
            f"the copy needs what the server does not have: tablespaces {_listed(missing)}",
            code="tablespace_missing",
            hint=f"make them first (CREATE TABLESPACE), {way}",
            details={"tablespaces": missing},
        )
    if closed:
        raise PreconditionFailed(
            f"role {facts.role} may not put anything into tablespaces {_listed(closed)}",
            code="insufficient_privilege",
            hint=f"GRANT CREATE ON TABLESPACE {', '.join(map(identifier, closed))} TO {identifier(facts.role)}, {way}",
            details={"tablespaces": closed},
        )
    text = f"tablespaces of the copy are there: {_listed(sorted(needed))}"
    return (Finding("tablespaces", OK, text, len(needed), "tablespaces"),) if needed else ()


def _listed(names: Sequence[str]) -> str:
    return printable(", ".join(names), 300)


def check_use(facts: ServerFacts, wish: Wish) -> None:
    """Refuse a target that cannot be swapped now, or must not be because somebody is in it.

    Raises:
        PreconditionFailed: code ``target_in_use``.
    """
    if facts.prepared:
        raise PreconditionFailed(
            f"{printable(wish.target)} has {count_of(facts.prepared, 'prepared transaction')}, and cannot be renamed",
            code="target_in_use",
            hint="COMMIT PREPARED or ROLLBACK PREPARED them: see pg_prepared_xacts",
        )
    if wish.writers == REFUSE and facts.sessions:
        shown = ", ".join(session.label() for session in facts.sessions[:_SHOWN])
        raise PreconditionFailed(
            f"{printable(wish.target)} has {count_of(len(facts.sessions), 'session')}: {printable(shown, 500)}",
            code="target_in_use",
            hint="stop the application first, or let them be ended (writers: fence)",
        )


def check_space(facts: ServerFacts, manifest: Manifest, to_come: int = 0) -> Finding:
    """Refuse when the server's disk is seen and too small; the live database stays beside the restored one.

    ``to_come``: bytes that will be freed first, by dropping what a dead run left.

    Raises:
        PreconditionFailed: code ``not_enough_space``.
    """
    need = int(manifest.size_bytes * _SPACE_FACTOR)
    if facts.free_bytes is None:
        text = f"{human_size(need)} are needed; the server's disk cannot be seen from here"
        return Finding("space", UNKNOWN, text, need, "bytes")
    free = facts.free_bytes + to_come
    if free < need:
        raise PreconditionFailed(
            f"{human_size(need)} are needed beside the live database, {human_size(free)} are free",
            code="not_enough_space",
            hint="make room on the server's disk: see the disk-full runbook",
            details={"needed_bytes": need, "free_bytes": free},
        )
    return Finding("space", OK, f"{human_size(free)} are free, {human_size(need)} are needed", need, "bytes")


def require_live(live: Optional[DatabaseFacts], wish: Wish) -> DatabaseFacts:
    """Return the live database.

    Raises:
        PreconditionFailed: code ``database_missing``.
    """
    if live is None:
        raise PreconditionFailed(
            f"{wish.state}: there is no database {printable(wish.target)}",
            code="database_missing",
            hint="check the name",
        )
    return live
