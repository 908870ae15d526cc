# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""redis_restore: prove a copy, replace a server's data with it, or take such a restore back."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Iterator, Mapping

from .._core.backup import MANIFEST, REDIS
from .._core.errors import OpsError, PreconditionFailed, VerificationFailed
from .._core.redact import printable
from .._core.redis_copy import RDB_FILE, RedisManifest, read_redis_manifest
from .._core.redis_copy_restore import (
    BEGUN,
    Replica,
    RestorePolicy,
    RestoreRecord,
    check_commands,
    plan_restore,
    plan_undo,
    refuse,
    summary_of,
    tell_detached,
)
from .._core.result import CRITICAL, OK, UNKNOWN, WARNING, Action, Decision, Finding, Outcome, worst
from .._core.units import human_size, parse_duration, rfc3339
from .._io.copy_proof import verdict_of, write_proof
from .._io.redis_control import RedisControl
from .._io.redis_examine import Examined, Examiner
from .._io.redis_place import Place
from .._io.redis_server import RedisServer
from .._io.redis_throwaway import find_server, ordinary_account
from .._io.restic import Restic
from .._io.workspace import ends_in_order, need_room, workspace
from .copy_options import Frank, check_confirm, choose_copy, target_host_of
from .copy_steps import Steps
from .redis_options import redis_target
from .repository import repository_of
from .run import Operation, Task


def redis_restore(task: Task) -> Operation:
    """Return the operation that the options ask for."""
    if task.params["target"] == "throwaway":
        return Frank(RedisProof(task))
    check_confirm(task.params)
    return RedisUndo(task) if task.params["state"] == "undone" else Frank(RedisRestore(task))


def _examiner(task: Task, restic: Restic) -> Examiner:
    program = find_server(task.commands, task.params["server_bin_dirs"])
    timeout = parse_duration(task.params["start_timeout"], "start_timeout")
    return Examiner(restic, task.commands, task.clock, program, timeout)


def _control(task: Task, server: RedisServer) -> tuple[RedisControl, tuple[str, str]]:
    params = task.params
    stop, start = check_commands(params["stop_command"], params["start_command"], params["systemd_unit"] or "")
    timeout = parse_duration(params["start_timeout"], "start_timeout")
    shown = (printable(" ".join(stop), 200), printable(" ".join(start), 200))
    return RedisControl(server, task.commands, task.clock, stop, start, timeout), shown


class RedisProof(Operation):
    """Restore a copy into a throwaway server, and write down whether it is what it says."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._restic = Restic(repository_of(task.params))

    def decide(self) -> Decision:
        """Choose the copy."""
        self._examiner = _examiner(self._task, self._restic)
        self._copy, self.unreadable = choose_copy(self._restic, self._task.params, REDIS, self._task.clock.now())
        label, taken = self._copy.source.label(), rfc3339(self._copy.taken)
        plan = (
            Action("fetch", "fetch", label, f"state of {taken}", f"restic restore {self._copy.id[:8]}"),
            Action("prove", "load", "throwaway redis-server", "and compare with the facts of the copy"),
            Action("store", "store", "proof", "the verdict is kept with the copy", "restic backup"),
        )
        facts = {"snapshot": self._copy.id, "taken_at": taken}
        return Decision(f"will prove the copy of {label} of {taken}", plan, extra=facts)

    def apply(self, decision: Decision) -> Outcome:
        """Fetch, prove, store the proof."""
        steps = Steps(decision, self._task.clock, self._task.progress, self._copy.source.label())
        account = ordinary_account()
        with workspace("redis", self._task.params["staging_dir"], account) as folder:
            with steps.doing("fetch"):
                broken = self._examiner.try_fetch(self._copy, folder, account)
            with steps.doing("prove") as note:
                examined = broken or self._examiner.examine(folder / "copy" / RDB_FILE, account)
                verdict = verdict_of(examined.findings)
                note.detail = f"verdict {verdict}"
        with steps.doing("store") as note:
            proof = write_proof(
                self._restic, self._copy, self._task.clock.now(), examined.findings, examined.evidence()
            )
            note.detail = f"snapshot {proof.id[:8]}"
        facts = {"verdict": proof.verdict, "proof": proof.id, **examined.evidence(), **_copy_facts(decision)}
        return Outcome(self._msg(examined, verdict), tuple(steps.done), examined.findings, {"verdict": verdict}, facts)

    def _msg(self, examined: Examined, verdict: str) -> str:
        about = f"copy {self._copy.id[:8]} of {rfc3339(self._copy.taken)}"
        if verdict == OK:
            keys = examined.loaded.total if examined.loaded else None
            return f"{about} is proven: {keys} keys, equal to the facts taken with it"
        first = next(one.msg for one in examined.findings if one.status in (CRITICAL, UNKNOWN))
        return f"{about} {'does not restore' if verdict == CRITICAL else 'could not be judged'}: {first}"


def _copy_facts(decision: Decision) -> Mapping[str, Any]:
    return {"snapshot": decision.extra["snapshot"], "taken_at": decision.extra["taken_at"]}


class RedisRestore(Operation):
    """Replace the data of a server by a copy that was proven right before."""

    def __init__(self, task: Task) -> None:
        params = task.params
        self._task = task
        self._restic = Restic(repository_of(params))
        self._server = RedisServer(redis_target(params))
        self._control, self._shown = _control(task, self._server)
        self._policy = RestorePolicy(params["source_host"], params["fence_replicas"], params["other_place"])
        self._serves_old = True

    def decide(self) -> Decision:
        """Look at the target and the copy; refuse what must not be overwritten."""
        params = self._task.params
        self._live = self._control.look(params["data_dir"] or "", params["rdb_filename"])
        self._place = Place(Path(self._live.directory))
        self._place.check()
        self._copy, self.unreadable = choose_copy(self._restic, params, REDIS, self._task.clock.now())
        manifest = read_redis_manifest(self._restic.read_file(self._copy.id, f"/{MANIFEST}"))
        refuse(self._policy, self._live, manifest)
        findings = self._compared(manifest)
        if findings and worst(one.status for one in findings) == OK:
            msg = f"the server holds the copy of {rfc3339(self._copy.taken)} already"
            keys = {"keys": self._live.keys, "copy": self._copy.id[:8]}
            return Decision(msg, findings=findings, before=keys, after=keys)
        self._examiner = _examiner(self._task, self._restic)
        return plan_restore(self._copy, target_host_of(params), self._live, self._shown, findings)

    def _compared(self, manifest: RedisManifest) -> tuple[Finding, ...]:
        """Return how much of this very copy is still there, when it is the one that was restored; nothing otherwise."""
        record = self._place.newest_record(standing=True)
        if record is not None and record.state == BEGUN:
            raise PreconditionFailed(
                f"the restore of {record.at} was interrupted in the middle of it",
                code="restore_interrupted",
                hint="take it back first, with state undone",
            )
        if record is None or record.copy != self._copy.id or not self._live.running:
            return ()
        return self._control.compare(manifest)

    def apply(self, decision: Decision) -> Outcome:
        """Carry out the plan; once the server is stopped, a failure puts the old data back."""
        steps = Steps(decision, self._task.clock, self._task.progress, self._copy.source.label())
        account = ordinary_account()
        with workspace("redis", self._task.params["staging_dir"], account) as folder, self._place.exclusive():
            with steps.doing("fetch") as note:
                path = self._examiner.fetch(self._copy, folder, account)
                note.detail = human_size(path.stat().st_size if path.exists() else 0)
            with steps.doing("prove") as note:
                examined = self._examiner.examine(path, account)
                manifest = _good(examined)
                note.detail = f"{examined.loaded.total if examined.loaded else None} keys"
            record = self._record()
            with (
                self._prepared(record, path),
                self._waiting_writers(),
                self._fenced(steps, self._keep(steps, record)) as noted,
            ):
                self._stop(steps)
                record = replace(noted, moved=self._place.present(self._live))
                findings = self._replace(steps, record, manifest)
        return self._outcome(decision, steps, record, findings)

    @contextlib.contextmanager
    def _fenced(self, steps: Steps, record: RestoreRecord) -> Iterator[RestoreRecord]:
        """Make the replicas masters, and after a failure replicas again, where the server serves what it served.

        Each is noted before: whoever kills us leaves a record of whom it followed.
        """
        try:
            for replica in self._live.replicas:
                with steps.doing(f"fence:{replica.label()}") as note:
                    master = self._control.master_of(replica)
                    record = record.with_fenced(replica, master)
                    self._place.note(record)
                    self._control.fence(replica)
                    note.detail = f"is a master now; it follows again with REPLICAOF {master}"
            yield record
        except OpsError as error:
            self._attach(record, error)
            raise

    def _attach(self, record: RestoreRecord, error: OpsError) -> None:
        fenced = record.fenced_replicas()
        safe = self._serves_old and bool(fenced) and self._control.is_there(self._place)
        left = [one for one in fenced if not (safe and self._follows_again(*one))]
        back = ", ".join(replica.label() for replica, master in fenced if (replica, master) not in left)
        error.message += f"; replicas follow again: {back}" if back else ""
        if left:
            error.message += f"; replicas follow nobody, bring them back by hand: {tell_detached(left)}"
            error.details = {**error.details, "detached": [replica.label() for replica, _master in left]}
        elif fenced:
            with contextlib.suppress(OpsError):  # then the next restore finds the record and asks for an undo
                self._place.forget(record)

    def _follows_again(self, replica: Replica, master: str) -> bool:
        try:
            self._control.attach(replica, master)
        except OpsError:
            return False
        return True

    def _record(self) -> RestoreRecord:
        now = self._task.clock.now()
        return RestoreRecord(
            id=self._place.next_id(now),
            copy=self._copy.id,
            taken_at=rfc3339(self._copy.taken),
            at=rfc3339(now),
            state=BEGUN,
            moved=self._place.present(self._live),
            placed=self._live.entries(),
            keys_before=self._live.keys,
        )

    @contextlib.contextmanager
    def _prepared(self, record: RestoreRecord, path: Path) -> Iterator[None]:
        files = 2 if self._live.aof else 1
        need_room(self._place.directory, files * path.stat().st_size, "the copy beside the data")
        try:
            self._place.prepare(record, self._live, path)
            yield
        finally:
            self._place.discard(record)

    @contextlib.contextmanager
    def _waiting_writers(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            if self._live.running:
                self._control.resume()
            raise

    def _keep(self, steps: Steps, record: RestoreRecord) -> RestoreRecord:
        if not self._live.running:
            if self._control.is_there(self._place):
                raise PreconditionFailed(f"a server works in {self._place.directory}", code="target_in_use")
            return record
        with steps.doing("keep") as note:
            seconds = parse_duration(self._task.params["start_timeout"], "start_timeout")
            keys = self._control.keep(self._live, seconds)
            note.detail = f"{keys} keys kept"
        return replace(record, keys_before=keys)

    def _stop(self, steps: Steps) -> None:
        if self._live.running:
            with steps.doing("stop"):
                self._control.stop(self._place)

    def _replace(self, steps: Steps, record: RestoreRecord, manifest: RedisManifest) -> tuple[Finding, ...]:
        self._serves_old = False
        try:
            with steps.doing("place"):
                self._place.swap(record)
            with steps.doing("start"):
                self._control.start(self._place)
            with steps.doing("verify") as note:
                findings = self._control.compare(manifest)
                wrong = [one.msg for one in findings if one.status == CRITICAL]
                if wrong:
                    raise VerificationFailed(f"the server does not hold the copy: {'; '.join(wrong)}")
                note.detail = "; ".join(one.msg for one in findings)
            self._place.finish(record)
        except OpsError as error:
            self._roll_back(record, error)
            raise
        return findings

    def _roll_back(self, record: RestoreRecord, error: OpsError) -> None:
        try:
            with ends_in_order():
                if self._control.is_there(self._place):
                    self._control.stop(self._place)
                self._place.put_back(record)
                self._control.start(self._place)
        except OpsError as second:
            error.message += f"; putting the old data back failed too: {second.message}"
            error.hint = f"start the server by hand; its old data is in oncall-restore-{record.id}/old"
        else:
            self._serves_old = True
            error.message += "; the old data is back and the server runs with it"

    def _outcome(
        self, decision: Decision, steps: Steps, record: RestoreRecord, findings: tuple[Finding, ...]
    ) -> Outcome:
        keys = self._control.count_keys()
        msg = (
            f"{record.keys_before} keys replaced by the {keys} of {record.taken_at}; "
            f"state undone takes it back, the old data is in oncall-restore-{record.id}"
        )
        if record.fenced:
            fenced = Finding("replicas", WARNING, f"no longer follow: {', '.join(record.fenced)}", len(record.fenced))
            findings = (*findings, fenced)
        after = {"keys": keys, "copy": self._copy.id[:8]}
        return Outcome(msg, tuple(steps.done), findings, after, {"restore": summary_of(record)})

    def close(self) -> None:
        """Close the connections."""
        self._server.close()


def _good(examined: Examined) -> RedisManifest:
    """Return the facts of a copy that may be put in place.

    Raises:
        VerificationFailed: it is not what it says, or nobody could tell.
    """
    bad = [one for one in examined.findings if one.status in (CRITICAL, UNKNOWN)]
    if bad or examined.manifest is None:
        raise VerificationFailed(
            f"the copy is not put in place: {'; '.join(one.msg for one in bad)}",
            hint="nothing was touched; choose an earlier copy",
            details={"check": bad[0].check if bad else "manifest"},
        )
    return examined.manifest


class RedisUndo(Operation):
    """Take the newest restore back."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._server = RedisServer(redis_target(task.params))
        self._control, self._shown = _control(task, self._server)

    def decide(self) -> Decision:
        """Find the restore that is to be taken back."""
        params = self._task.params
        self._live = self._control.look(params["data_dir"] or "", params["rdb_filename"])
        self._place = Place(Path(self._live.directory))
        self._place.check()
        self._found = self._place.newest_record(standing=params["force"])
        self._restart = not self._live.running or (self._found is not None and self._place.is_touched(self._found))
        return plan_undo(self._found, self._live, self._shown if self._restart else None)

    def apply(self, decision: Decision) -> Outcome:
        """Stop, rename, start, compare."""
        steps = Steps(decision, self._task.clock, self._task.progress, f"redis of {self._task.params['source_host']}")
        record = self._found
        if record is None:
            raise RuntimeError("an empty plan never gets here")
        with ends_in_order(), self._place.exclusive():
            if self._live.running and self._restart:
                with steps.doing("stop"):
                    self._control.stop(self._place)
            elif not self._live.running and self._control.is_there(self._place):
                raise PreconditionFailed(f"a server works in {self._place.directory}", code="target_in_use")
            with steps.doing("place"):
                self._place.put_back(record)
            if self._restart:
                with steps.doing("start"):
                    self._control.start(self._place)
            else:
                self._control.resume()
            with steps.doing("verify") as note:
                finding = _compare_count(record, self._control.count_keys())
                note.detail = finding.msg
        after = {"keys": self._control.count_keys(), "copy": None}
        findings = (finding, *self._still_detached(record))
        msg = f"the restore of {record.at} is taken back: {'; '.join(one.msg for one in findings)}"
        return Outcome(msg, tuple(steps.done), findings, after, {"restore": summary_of(record)})

    def _still_detached(self, record: RestoreRecord) -> tuple[Finding, ...]:
        """Name the replicas that the restore made masters; since then they may have been written to."""
        fenced = record.fenced_replicas(unknown=f"<this host> {self._live.port}")
        left = [(replica, master) for replica, master in fenced if self._control.is_detached(replica)]
        text = f"replicas follow nobody, bring them back by hand: {tell_detached(left)}"
        return (Finding("replicas", CRITICAL, text, len(left)),) if left else ()

    def close(self) -> None:
        """Close the connections."""
        self._server.close()


def _compare_count(record: RestoreRecord, held: int) -> Finding:
    if record.keys_before is None:
        return Finding("keys", UNKNOWN, f"{held} keys; how many there were before is not known", held, "keys")
    status = OK if held == record.keys_before else WARNING  # some may have ended, and clients may be at work again
    return Finding("keys", status, f"{held} keys, {record.keys_before} before the restore", held, "keys")
