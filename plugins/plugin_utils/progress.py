# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin util is PRIVATE to the collection: it can change without notice.

"""Run a long module in the background of its host and show the progress lines that it writes meanwhile."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import signal
import threading
import time
import uuid
from dataclasses import dataclass
from typing import Any, Iterator, Mapping, Optional

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ..module_utils._core.redact import printable
from ..module_utils._io.progress import STOP_SUFFIX

SWITCH = "oncall_progress"
_JOB_KEYS = ("started", "finished", "ansible_job_id", "results_file")
_NO_JOB_FOLDER = "could not create directory"  # a user without a home: the wrapper stops before it starts the module
# Ansible asks for a tty when it becomes another user over ssh, and a tty ends lines with \r\n.
_REPORT = re.compile(r"progress=(?P<note>.*)\r?\nrunning=(?P<running>\d*)\r?\nalive=(?P<alive>\d?)")
_TIME_LIMIT_SECONDS = 7 * 86400  # of the async wrapper, which needs one; a module's own budget ends long before
_FIRST_POLL_SECONDS, _POLL_SECONDS, _POLL_GROWTH = 0.1, 1.0, 1.3
_LONGEST_SILENCE_SECONDS = 15.0  # between two lines of a run that takes hours
_UNREACHABLE_SECONDS = 300.0


class Interrupted(BaseException):
    """The person, or the parent process, wants the run to end; not an error that ``rescue`` may swallow."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


@dataclass(frozen=True)
class Job:
    """A module at work in the background of its host, and the two files through which it is seen."""

    jid: str
    results_file: str
    progress_file: str

    @property
    def folder(self) -> str:
        """Return the folder of both files; the home directory in it is already expanded."""
        return self.results_file.rpartition("/")[0]


@dataclass(frozen=True)
class Report:
    """What one look at the host said; ``alive`` is None until the module has told its process id."""

    running: bool
    line: str = ""
    pid: Optional[int] = None
    alive: Optional[bool] = None


def poll_command(job: Job, pid: Optional[int]) -> str:
    """Return the shell command of one look: cheaper by far than running two modules."""
    results, note = shlex.quote(job.results_file), shlex.quote(f"{job.folder}/{job.progress_file}")
    alive = f"kill -0 {pid} 2>/dev/null && printf 1 || printf 0" if pid else ":"
    return (
        f"printf 'progress='; cat {note} 2>/dev/null; "
        f"printf '\\nrunning=%s\\nalive=' \"$(grep -c '\"finished\": false' {results} 2>/dev/null)\"; {alive}"
    )


def stop_command(note: str) -> str:
    """Return the shell command that ends a module by its progress file.

    A module that has not said its process id yet finds the mark when it does: one of the two always sees the other.

    >>> print(stop_command("~/.ansible_async/my note"))
    : >~/'.ansible_async/my note.stop'; pid=$(sed -n 's/.*"pid": \\([0-9]*\\)}$/\\1/p' ~/'.ansible_async/my note'); \
[ -z "$pid" ] || { kill -TERM "$pid"; rm -f ~/'.ansible_async/my note.stop'; }
    """
    file, mark = in_shell(note), in_shell(note + STOP_SUFFIX)
    pid = f"pid=$(sed -n 's/.*\"pid\": \\([0-9]*\\)}}$/\\1/p' {file})"
    return f': >{mark}; {pid}; [ -z "$pid" ] || {{ kill -TERM "$pid"; rm -f {mark}; }}'


def in_shell(path: str) -> str:
    """Return a path for a shell, which still expands the home directory in it.

    >>> in_shell("~/a b"), in_shell("/a b")
    ("~/'a b'", "'/a b'")
    """
    home = "~/" if path.startswith("~/") else ""
    return home + shlex.quote(path[len(home) :])


def read_report(output: str) -> Report:
    """Read what poll_command printed; whatever cannot be read counts as nothing new.

    >>> read_report('progress={"line": "t vacuum", "pid": 7}\\nrunning=1\\nalive=1')
    Report(running=True, line='t vacuum', pid=7, alive=True)
    >>> read_report('progress=\\nrunning=0\\nalive=')
    Report(running=False, line='', pid=None, alive=None)
    """
    match = _REPORT.search(output)
    if match is None:
        return Report(running=True)
    note: Any = None
    with contextlib.suppress(ValueError):
        note = json.loads(match["note"])
    note = note if isinstance(note, Mapping) else {}
    pid = note.get("pid")
    return Report(
        running=match["running"] not in ("", "0"),
        line=printable(str(note.get("line") or "")),
        pid=pid if isinstance(pid, int) and pid > 1 else None,
        alive=match["alive"] == "1" if match["alive"] else None,
    )


class LineThrottle:
    """Let a changed line through at once at first, later less often: a night's log stays readable."""

    def __init__(self, now: float) -> None:
        self._start = now
        self._next = now
        self._last = ""

    def lets_through(self, line: str, now: float) -> bool:
        """Tell whether the line is to be shown now."""
        if not line or line == self._last or now < self._next:
            return False
        self._last = line
        self._next = now + min(max((now - self._start) / 30, _POLL_SECONDS), _LONGEST_SILENCE_SECONDS)
        return True


class ProgressAction(ActionBase):
    """The action of a long module; a subclass named ActionModule in a file of the module's name is all it takes."""

    _supports_check_mode = True
    _supports_async = True
    dead_seconds = 20.0  # without its process a module may still be writing its result for so long

    def run(self, tmp: Any = None, task_vars: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        """Run the module, with progress lines where that can be done."""
        result = super().run(tmp, task_vars)
        result.update(self._run_watched(task_vars) if self._can_be_watched(task_vars) else self._run_plainly(task_vars))
        return result

    def _can_be_watched(self, task_vars: Optional[Mapping[str, Any]]) -> bool:
        wanted = str((task_vars or {}).get(SWITCH, True)).lower() not in ("false", "no", "0", "off")
        plain = (
            self._task.check_mode
            or self._task.async_val
            or self._task.no_log
            or self._connection.has_native_async
            or self._connection.always_pipeline_modules
        )
        return wanted and not plain and threading.current_thread() is threading.main_thread()

    def _run_plainly(self, task_vars: Optional[dict[str, Any]]) -> dict[str, Any]:
        wrap_async = self._task.async_val and not self._connection.has_native_async
        return dict(self._execute_module(task_vars=task_vars, wrap_async=wrap_async))

    def _run_watched(self, task_vars: Optional[dict[str, Any]]) -> dict[str, Any]:
        folder = self.get_shell_option("async_dir", default="~/.ansible_async")
        name = f"oncall-progress-{uuid.uuid4().hex}.json"
        self._pid: Optional[int] = None
        with self._stopping_on_signal(f"{folder}/{name}"):
            started = self._start(f"{folder}/{name}", task_vars)
            if "ansible_job_id" in started:
                job = Job(started["ansible_job_id"], started["results_file"], name)
                finished = self._watch(job, task_vars)
                self._forget(job, task_vars)
                return with_code(without_job_keys(finished), self._pid)
        if started.get("failed") and str(started.get("msg")).startswith(_NO_JOB_FOLDER):
            return self._run_plainly(task_vars)
        return without_job_keys(started)

    def _start(self, note: str, task_vars: Optional[dict[str, Any]]) -> dict[str, Any]:
        self._task.async_val = int(self._task.timeout or _TIME_LIMIT_SECONDS)
        try:
            return dict(
                self._execute_module(
                    module_args={**self._task.args, "progress_file": note},
                    task_vars=task_vars,
                    wrap_async=True,
                )
            )
        finally:
            self._task.async_val = 0  # else the executor polls the job again, and keeps the temporary folder

    def _watch(self, job: Job, task_vars: Optional[dict[str, Any]]) -> dict[str, Any]:
        pause, now = _FIRST_POLL_SECONDS, time.monotonic()
        throttle, reachable, alive = LineThrottle(now), now, now
        host = (task_vars or {}).get("inventory_hostname", "")
        while True:
            time.sleep(pause)
            pause, now = min(pause * _POLL_GROWTH, _POLL_SECONDS), time.monotonic()
            try:
                report = self._look(job)
                if not report.running and (status := self._status(job, task_vars)).get("finished", True):
                    return status
            except AnsibleConnectionFailure:
                if now - reachable > _UNREACHABLE_SECONDS:
                    raise
                with contextlib.suppress(AttributeError):
                    self._connection.reset()
                continue
            reachable, alive = now, now if report.alive is not False else alive
            if now - alive > self.dead_seconds:
                return lost_module(self._pid)
            if throttle.lets_through(report.line, now):
                Display().display(f"[{host}] {report.line}")

    def _look(self, job: Job) -> Report:
        answer = self._low_level_execute_command(poll_command(job, self._pid))
        report = read_report(answer.get("stdout", ""))
        self._pid = report.pid or self._pid
        return report

    def _status(self, job: Job, task_vars: Optional[dict[str, Any]], mode: str = "status") -> dict[str, Any]:
        arguments = {"jid": job.jid, "mode": mode, "_async_dir": job.folder}
        return dict(self._execute_module("ansible.legacy.async_status", module_args=arguments, task_vars=task_vars))

    def _forget(self, job: Job, task_vars: Optional[dict[str, Any]]) -> None:
        files = (job.results_file, f"{job.folder}/{job.progress_file}", f"{job.folder}/{job.progress_file}.partial")
        self._low_level_execute_command("rm -f " + " ".join(shlex.quote(file) for file in files))

    @contextlib.contextmanager
    def _stopping_on_signal(self, note: str) -> Iterator[None]:
        """End the module too when the run is interrupted: it is in the background and would go on."""
        signals: list[int] = []

        def interrupt(signum: int, _frame: Any) -> None:
            signals.append(signum)
            if len(signals) == 1:  # Ansible sends the next one at once: it must not interrupt the stopping
                raise Interrupted(signum)

        previous = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        except BaseException as error:
            self._stop(note)
            if isinstance(error, Interrupted) and callable(previous[error.signum]):
                previous[error.signum](error.signum, None)
            raise
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _stop(self, note: str) -> None:
        with contextlib.suppress(AnsibleConnectionFailure):
            self._low_level_execute_command(stop_command(note))


def without_job_keys(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a module's result without what the background job added."""
    return {key: value for key, value in result.items() if key not in _JOB_KEYS}


def with_code(result: dict[str, Any], pid: Optional[int]) -> dict[str, Any]:
    """Return a result with a stable code: a module of ours gives one itself, unless something killed it."""
    if result.get("failed") and "failure" not in result:
        return {**result, "failure": lost_module(pid)["failure"]}
    return result


def lost_module(pid: Optional[int]) -> dict[str, Any]:
    """Return the result of a module that is gone and left none: the host was restarted, or everything killed."""
    return {
        "failed": True,
        "changed": False,
        "msg": f"the module (process {pid}) ended on its host without a result",
        "failure": {
            "code": "module_lost",
            "hint": "look whether the host was restarted or ran out of memory, then run again",
            "details": {"pid": pid},
        },
    }
