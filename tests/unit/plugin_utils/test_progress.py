from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from plugins.plugin_utils.progress import Job, LineThrottle, Report, poll_command, read_report


@pytest.mark.parametrize(
    ("output", "report"),
    [
        ('progress={"line": "t", "pid": 7}\nrunning=1\nalive=1', Report(True, "t", 7, True)),
        ('progress={"line": "t", "pid": 7}\nrunning=1\nalive=0', Report(True, "t", 7, False)),
        ("banner of the host\nprogress=\nrunning=1\nalive=", Report(True)),
        ("progress={cut\nrunning=0\nalive=", Report(False)),
        ("progress=[1]\nrunning=\nalive=", Report(False)),
        ('progress={"line": "\\u001b[31mred", "pid": "1; rm"}\nrunning=1\nalive=', Report(True, "\\x1b[31mred")),
        ('progress={"line": null, "pid": 1}\nrunning=1\nalive=', Report(True)),
        ('progress={"line": "tty", "pid": 7}\r\nrunning=0\r\nalive=1', Report(False, "tty", 7, True)),
        ("no answer", Report(True)),
    ],
)
def test_a_report_is_read(output: str, report: Report) -> None:
    assert read_report(output) == report


def test_the_command_looks_at_both_files_whatever_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "it's a $(folder)"
    folder.mkdir()
    job = Job("j1.2", str(folder / "j1.2"), "note.json")

    def look(pid: int | None) -> Report:
        done = subprocess.run(["/bin/sh", "-c", poll_command(job, pid)], capture_output=True, text=True, check=False)
        return read_report(done.stdout)

    assert look(None) == Report(running=False)
    (folder / "j1.2").write_text('{"started": true, "finished": false, "ansible_job_id": "j1.2"}')
    (folder / "note.json").write_text('{"line": "half", "pid": 4711}')
    assert look(None) == Report(True, "half", 4711)
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert look(gone.pid) == Report(True, "half", 4711, alive=False)
    (folder / "j1.2").write_text('{"changed": true}')
    assert look(None).running is False


def test_a_changed_line_is_shown_at_once_then_less_often() -> None:
    throttle = LineThrottle(0)
    shown = [t for t in range(4000) if throttle.lets_through(f"line {t}", t)]
    assert shown[:3] == [0, 1, 2]
    late = [b - a for a, b in zip(shown, shown[1:]) if a > 1000]
    assert set(late) == {15}
    assert [throttle.lets_through(line, 10**6) for line in ("", "new", "new")] == [False, True, False]
