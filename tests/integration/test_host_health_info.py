"""host_health_info on this very host, made ill: what it says, and what it cannot know."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._core.host_health import LIMITS
from plugins.module_utils._core.host_programs import ClockState
from plugins.module_utils._core.result import Decision
from plugins.module_utils._io import host_programs
from plugins.module_utils._io.clock import SystemClock
from plugins.module_utils._io.command import SystemCommands
from plugins.module_utils._io.host_health import Ports
from plugins.module_utils._io.progress import ProgressFile
from plugins.module_utils._module.host_health import HostHealth, host_health_spec
from plugins.module_utils._module.run import Task
from tests.support.kernel import LOSSY_TUNNEL, memory_group, mounted, needs_root, processes, turn_read_only
from tests.support.modules import run_failed, run_ok

MODULE = "host_health_info"
QUICK = {"window": "200ms"}
ROOT = Path(__file__).resolve().parent.parent.parent
MIB = 1024**2


def findings(result: dict[str, Any], check: str) -> list[dict[str, Any]]:
    return [finding for finding in result["findings"] if finding["check"] == check]


def look(**options: Any) -> dict[str, Any]:
    return run_ok(MODULE, {**QUICK, **options})


def about(result: dict[str, Any], check: str, words: str) -> dict[str, Any]:
    """Return the one finding of a check that speaks of something."""
    (finding,) = [finding for finding in findings(result, check) if words in finding["msg"]]
    return finding


def in_own_mounts(code: str) -> str:
    """Run Python code in a mount namespace of its own: no other look at this host meets what it mounts."""
    command = ["unshare", "--mount", sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def look_below(root: Path, **options: Any) -> Decision:
    """Look at a host whose kernel's files are in another folder."""
    params = {name: option.get("default") for name, option in host_health_spec().options.items()}
    clock, commands = SystemClock(), SystemCommands()
    task = Task({**params, **QUICK, **options}, clock, commands, ProgressFile(None, clock.monotonic))
    return HostHealth(task, Ports(commands, clock, root)).decide()


INSIDE = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.support.modules import run_ok
result = run_ok({MODULE!r}, {QUICK!r})
def finding_of(check):
    [finding] = [one for one in result["findings"] if one["check"] == check]
    return finding
"""


# --- the whole ----------------------------------------------------------------------------------------------------


def test_this_host() -> None:
    result = look()
    assert result["changed"] is False and result["plan"] == [] and result["area"] == "host"
    checks = {finding["check"] for finding in result["findings"]}
    assert checks >= set(LIMITS) - {"days_to_full", "clock_skew", "pressure_cpu", "pressure_memory", "pressure_io"}
    assert checks <= set(LIMITS)
    root = next(one for one in result["host"]["file_systems"] if one["mount"] == "/")
    assert root["total_bytes"] == shutil.disk_usage("/").total
    metrics = {sample["metric"] for sample in result["samples"]}
    assert {"host.cpu.used_percent", "host.memory.used_percent", "host.disk.used_percent"} <= metrics
    assert len(result["samples"]) < 100
    assert result["host"]["memory_total_bytes"] <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_check_mode_is_the_same_look() -> None:
    assert run_ok(MODULE, QUICK, check=True)["host"]["cpus"] == os.cpu_count()


def test_it_takes_hardly_longer_than_the_window() -> None:
    begun = time.monotonic()
    cpu = look(window="1500ms", limits={"cpu": {"warning": 0, "critical": 100.1}})
    assert 1.5 <= time.monotonic() - begun < 10
    assert "over 1.5 s" in findings(cpu, "cpu")[0]["msg"] and cpu["host"]["cpus"] == os.cpu_count()


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": "soon"},
        {"window": "10ms"},
        {"window": "20s", "timeout": "10s"},
        {"previous": {"oom_kills": 1}},
        {"controller_time": "noon"},
        {"limits": {"dsik": {}}},
        {"limits": {"disk": {"warning": 99}}},
    ],
)
def test_options_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    result = run_failed(MODULE, wrong)
    assert result["failure"]["code"] == "invalid_value" and next(iter(wrong)) in result["msg"]


LOWERED = [
    *("cpu", "cpu_steal", "cpu_iowait", "load", "memory", "swap", "open_files", "threads", "conntrack", "zombies"),
    *("disk", "inodes", "deleted_files", "oom_kills"),
]


def test_every_level_is_compared_with_what_was_read() -> None:
    """Whatever this host reads at the moment is too much for a limit of nothing."""
    result = look(limits={check: {"warning": 0, "critical": 0} for check in LOWERED})
    for check in LOWERED:
        for finding in findings(result, check):
            well = finding["status"] == "critical" or "follows no connections" in finding["msg"]
            assert well or (check == "deleted_files" and os.geteuid() != 0), finding


# --- really ill ---------------------------------------------------------------------------------------------------


@needs_root
def test_a_file_system_that_is_full(tmp_path: Path) -> None:
    with mounted(tmp_path / "full", "tmpfs", "size=1m,nr_inodes=1000") as point:
        (point / "fill").write_bytes(b"x" * (990 * 1024))
        result = look(limits=dict.fromkeys(("cpu", "load", "pressure_cpu", "pressure_memory", "pressure_io"), False))
        finding = about(result, "disk", str(point))
        sizes = next(one for one in result["host"]["file_systems"] if one["mount"] == str(point))
    assert (finding["status"], finding["unit"]) == ("critical", "%") and finding["value"] > 95
    assert str(point) in result["msg"] and result["status"] == "critical"
    assert sizes["total_bytes"] == MIB and sizes["type"] == "tmpfs"


@needs_root
def test_a_file_system_without_inodes(tmp_path: Path) -> None:
    with mounted(tmp_path / "many", "tmpfs", "size=10m,nr_inodes=20") as point:
        for number in range(19):
            (point / str(number)).touch()
        finding = about(look(), "inodes", str(point))
    assert (finding["status"], finding["value"]) == ("critical", 100)


@needs_root
def test_a_file_system_is_looked_at_once_however_often_it_is_mounted(tmp_path: Path) -> None:
    again = tmp_path / "first-again"
    again.mkdir()
    with mounted(tmp_path / "first", "tmpfs", "size=1m") as point:
        (point / "fill").write_bytes(b"x" * MIB)
        subprocess.run(["mount", "--bind", point, again], check=True)
        try:
            result = look()
        finally:
            subprocess.run(["umount", again], check=True)
    about(result, "disk", str(point))
    assert [finding for finding in findings(result, "disk") if str(again) in finding["msg"]] == []


HANGS = f"""
import json, time
from pathlib import Path
from tests.support.kernel import hung
from tests.support.modules import run_ok
begun = time.monotonic()
with hung(Path({{point!r}})):
    result = run_ok({MODULE!r}, {{options!r}})
print(json.dumps([time.monotonic() - begun, result]))
"""
ENDS = """
import subprocess, sys
from pathlib import Path
from tests.support.kernel import hung
with hung(Path({point!r})):
    subprocess.run([sys.executable, "-c", {code!r}], timeout=60, check=True)
"""


@needs_root
def test_a_file_system_that_hangs_is_unknown_and_holds_nobody_up(tmp_path: Path) -> None:
    said = in_own_mounts(HANGS.format(point=str(tmp_path / "dead"), options={**QUICK, "mount_timeout": "500ms"}))
    seconds, result = json.loads(said)
    finding = about(result, "disk", str(tmp_path / "dead"))
    assert finding["status"] == "unknown" and "no answer within 0.5 s" in finding["msg"]
    assert seconds < 10
    assert findings(result, "deleted_files")[0]["status"] != "unknown"


@needs_root
def test_a_process_with_a_file_on_a_hung_file_system_ends_all_the_same(tmp_path: Path) -> None:
    """What waits in the kernel must not keep the module's own process alive."""
    code = f"from tests.support.modules import run_ok; run_ok({MODULE!r}, {{'mount_timeout': '300ms'}})"
    in_own_mounts(ENDS.format(point=str(tmp_path / "dead"), code=code))


@needs_root
def test_a_file_system_that_the_kernel_has_made_read_only(tmp_path: Path) -> None:
    with mounted(tmp_path / "hurt", "tmpfs", "size=1m") as point:
        turn_read_only(point)
        with pytest.raises(OSError, match=r"[Rr]ead-only"):
            (point / "x").touch()
        finding = about(look(), "read_only", str(point))
    assert finding["status"] == "critical" and "kernel" in finding["msg"]


@needs_root
def test_a_file_system_that_grows(tmp_path: Path) -> None:
    with mounted(tmp_path / "grows", "tmpfs", "size=10m") as point:
        first = look()["counters"]
        (point / "fill").write_bytes(b"x" * (5 * MIB))
        yesterday = (datetime.now(timezone.utc) - timedelta(days=1)).isoformat()
        finding = about(look(previous={**first, "at": yesterday}), "days_to_full", str(point))
        assert findings(look(previous=first), "days_to_full") == []
        lately = look(previous={**first, "at": yesterday})["counters"]
        again = about(look(previous=lately), "days_to_full", str(point))  # what is handed on is not that look's own
    for found in (finding, again):
        assert found["status"] == "critical" and found["value"] == pytest.approx(1, abs=0.1)


def test_processors_that_are_busy() -> None:
    with processes((os.cpu_count() or 1) * 2, "print('ready', flush=True)\nwhile True: pass"):
        result = look(window="1s")
    (finding,) = findings(result, "cpu")
    assert finding["status"] == "critical" and finding["value"] > 90
    assert len(result["host"]["busiest"]) == 3 and result["host"]["busiest"][0]["cpu_percent"] >= 10


# 1200 MiB to whoever counts the pages of a process, of 50 MiB that are really taken.
SHARED_FOR_EACH = """
import mmap, os, time
shared, size = os.memfd_create("shared"), 50 << 20
os.ftruncate(shared, size)
held = [mmap.mmap(shared, size, mmap.MAP_SHARED | mmap.MAP_POPULATE) for _number in range(24)]
print("ready", flush=True)
time.sleep(600)
"""


def test_the_biggest_process_is_named() -> None:
    with processes(1, SHARED_FOR_EACH) as [running]:
        biggest = look()["host"]["biggest"]
    assert running.pid in [one["pid"] for one in biggest if one["bytes"] >= 1200 * MIB]


def test_a_deleted_file_that_is_held(tmp_path: Path) -> None:
    path = tmp_path / "gone.log"
    hold = (
        f"import os, time\nf = open({str(path)!r}, 'wb')\nf.write(b'x' * (30 << 20))\nf.flush()\nos.fsync(f.fileno())\n"
        f"os.unlink({str(path)!r})\nprint('ready', flush=True)\ntime.sleep(600)"
    )
    with processes(1, hold) as [running]:
        result = look(limits={"deleted_files": {"warning": 25 * MIB}})
    (finding,) = findings(result, "deleted_files")
    assert finding["status"] == "warning" and finding["value"] >= 30 * MIB
    held = next(one for one in result["host"]["deleted_files"] if one["path"] == str(path))
    assert held["pids"] == [running.pid] and held["bytes"] == 30 * MIB


def test_zombies() -> None:
    dead = [subprocess.Popen(["true"]) for _number in range(12)]
    try:
        os.waitid(os.P_PID, dead[-1].pid, os.WEXITED | os.WNOWAIT)
        deadline = time.monotonic() + 30
        while (finding := findings(look(), "zombies")[0])["status"] == "ok":
            assert time.monotonic() < deadline
        assert finding["status"] == "warning" and finding["value"] >= 10 and "true (pid" in finding["msg"]
    finally:
        for process in dead:
            process.wait()


# What iproute2 says, older and newer, and then which of our commands it was.
NO_VXLAN = r"(Operation not supported|Unknown device type).*'ip', 'link', 'add'"


@needs_root
def test_an_interface_with_errors(tmp_path: Path) -> None:
    code = tmp_path / "inside.py"
    code.write_text(f"{LOSSY_TUNNEL}\n{INSIDE}\nprint(finding_of('network_errors'))")
    ended = subprocess.run(
        ["unshare", "--net", sys.executable, code], capture_output=True, text=True, timeout=60, check=False
    )
    if re.search(NO_VXLAN, ended.stderr, re.DOTALL):
        pytest.skip("this kernel has no vxlan: a tunnel that loses its frames cannot be made here")
    assert ended.returncode == 0, ended.stderr
    assert "'critical'" in ended.stdout and re.search(r"tun1: 2\d errors", ended.stdout)


IN_GROUP = """
import json, os, subprocess, sys
from pathlib import Path
Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
from tests.support.modules import run_ok
{work}
"""


def in_group(group: Path, work: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", IN_GROUP.format(work=work), str(group)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@needs_root
def test_processes_that_were_killed_for_want_of_memory() -> None:
    before = look()["counters"]
    with memory_group(64 * MIB) as group:
        assert in_group(group, "x = bytearray(500 << 20)").returncode == -9
    (finding,) = findings(look(previous=before), "oom_kills")
    assert finding["status"] == "warning" and finding["value"] >= 1 and "since the last run" in finding["msg"]
    assert findings(look(), "oom_kills")[0]["value"] > 0


@needs_root
def test_the_lower_limit_of_a_container_counts(tmp_path: Path) -> None:
    """A process that sees its own group as the root of all, as in a container."""
    kind, place = ("cgroup -o memory", "memory") if Path("/sys/fs/cgroup/memory").is_dir() else ("cgroup2", "")
    code = tmp_path / "inside.py"
    facts = "result['host']['memory_of'], result['host']['memory_total_bytes'], finding_of('memory')['value']"
    code.write_text(f"x = bytearray(100 << 20)\nx[::4096] = x[::4096]\n{INSIDE}\nprint({facts})")
    point = f"/sys/fs/cgroup/{place}"
    inside = f"umount --lazy {point} && mount -t {kind} none {point} && exec {sys.executable} {code}"
    with memory_group(160 * MIB) as group:
        work = f"os.execvp('unshare', ['unshare', '--cgroup', '--mount', 'sh', '-c', {inside!r}])"
        ended = in_group(group, work)
    assert ended.returncode == 0, ended.stderr
    whose, total, used = ended.stdout.split()
    assert (whose, int(total)) == ("container", 160 * MIB) and float(used) > 62


def test_a_clock_that_is_not_the_controllers() -> None:
    ahead = (datetime.now(timezone.utc) - timedelta(seconds=100)).isoformat()
    (finding,) = findings(look(controller_time=ahead), "clock_skew")
    assert finding["status"] == "critical" and "ahead of" in finding["msg"]
    assert findings(look(controller_time=str(time.time())), "clock_skew")[0]["status"] == "ok"


def test_a_host_that_was_booted_a_moment_ago() -> None:
    result = look(limits={"uptime": {"warning": 1e12}})
    assert findings(result, "uptime")[0]["status"] == "warning"


# --- other programs, and the kernel's refusals --------------------------------------------------------------------


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Put a program in front of the others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def write(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return write


HUNG, GIVEN_UP = "exec sleep 60", r"no answer within 0(\.\d+)? s; give a longer timeout"


def brief(timeout: str) -> dict[str, str]:
    """Return the options of a look that waits for a program that never answers: others get the time they have."""
    return {"mount_timeout": "300ms", "timeout": timeout}


UNIT = '[{"unit":"shop.service","load":"loaded","active":"failed","sub":"failed","description":"The shop"}]'


@pytest.mark.parametrize("answer", [UNIT, "● shop.service loaded failed failed The shop"])
def test_units_that_have_failed(program: Callable[[str, str], None], answer: str) -> None:
    program("systemctl", f"test \"$1 $2\" = 'list-units --state=failed' && printf '%s\\n' '{answer}'")
    result = look()
    (finding,) = findings(result, "failed_units")
    assert (finding["status"], finding["msg"]) == ("warning", "unit shop.service has failed (The shop)")
    assert result["host"]["failed_units"] == ["shop.service"]


@pytest.mark.parametrize(
    ("script", "options", "words"),
    [
        ("echo 'System has not been booted with systemd' >&2; exit 1", {}, "not been booted with systemd"),
        ("echo '<html>'", {}, "makes no sense"),
        ("printf '\\033[31mred' >&2; exit 1", {}, r"x1b\[31mred"),
        (HUNG, brief("1s"), r"no end after 0\.8 s, killed|" + GIVEN_UP),
    ],
)
def test_units_that_cannot_be_asked_for(
    program: Callable[[str, str], None], script: str, options: dict[str, str], words: str
) -> None:
    program("systemctl", script)
    (finding,) = findings(look(**options), "failed_units")
    assert finding["status"] == "unknown" and re.search(words, finding["msg"]) and finding["msg"].isprintable()


def test_a_host_without_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (finding,) = findings(look(), "failed_units")
    assert finding["status"] == "unknown" and "no systemctl" in finding["msg"]


CHRONY = "A29FC801,192.0.2.1,2,1795262400.1,-0.{offset},0,0,0,0,0,0.02,0.001,64.4,{leap}"


@pytest.mark.parametrize(
    ("kernel", "chrony", "timedate", "status", "words"),
    [
        (ClockState(True, "the kernel", 0.01), "exit 1", "exit 1", "ok", "says the kernel"),
        (ClockState(False, "the kernel", 16.0), "exit 1", "echo yes", "warning", "says the kernel"),
        (ClockState(False, "the kernel", 16.0), CHRONY.format(offset="1", leap="Normal"), "", "ok", "says chronyd"),
        (None, CHRONY.format(offset="1", leap="Not synchronised"), "echo yes", "warning", "says chronyd"),
        (None, "exit 1", "echo yes", "ok", "says timedatectl"),
        (None, "exit 1", "echo no", "warning", "not synchronised"),
        (None, "exit 1", "exit 1", "unknown", "adjtimex"),
        (None, HUNG, HUNG, "unknown", r"no end after 2\.4 s, killed"),
    ],
)
def test_the_clock(
    program: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
    kernel: Any,
    chrony: str,
    timedate: str,
    status: str,
    words: str,
) -> None:
    monkeypatch.setattr(host_programs, "kernel_clock", lambda: kernel)
    program("chronyc", f"echo '{chrony}'" if "," in chrony else chrony)
    program("timedatectl", timedate)
    (finding,) = findings(look(**(brief("6s") if chrony == HUNG else {})), "time_sync")
    assert finding["status"] == status and re.search(words, finding["msg"])


def test_the_kernels_own_word_about_its_clock() -> None:
    state = host_programs.kernel_clock()
    assert state is not None and state.error_seconds is not None and state.synchronised == (state.error_seconds < 16)


def test_another_user_does_not_see_who_holds_deleted_files() -> None:
    if os.geteuid() != 0:
        assert findings(look(), "deleted_files")[0]["status"] == "unknown"
        return
    # once as root before: what Python loads late may be out of the other user's reach
    become = "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)"
    code = f"{INSIDE}\n{become}\n{INSIDE}\nprint(finding_of('deleted_files'))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    held = ended.stdout.strip().splitlines()[-1]
    assert "'unknown'" in held and "run with become" in held


# --- a kernel that says strange things ----------------------------------------------------------------------------


def fake(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("DASH", "-")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return root


def test_a_kernel_that_says_nothing(tmp_path: Path) -> None:
    decision = look_below(tmp_path)
    known = {finding.check for finding in decision.findings if finding.status != "unknown"}
    assert known <= {"deleted_files", "failed_units", "time_sync", "conntrack"}
    assert {finding.check for finding in decision.findings} >= {"cpu", "memory", "disk", "uptime", "reboot_pending"}


NONSENSE = ["", "\x1b[2J" * 9, "9" * 5000, "cpu -1 -1 -1 -1 -1\n", "a b c\n" * 90000, "\udcff\x00"]


@pytest.mark.parametrize("text", NONSENSE)
def test_a_kernel_that_says_nonsense(tmp_path: Path, text: str) -> None:
    names = ["stat", "meminfo", "vmstat", "loadavg", "uptime", "sys/fs/file-nr", "net/dev", "self/mountinfo", "1/stat"]
    names += ["pressure/cpu", "sys/net/netfilter/nf_conntrack_max", "sys/kernel/osrelease", "version"]
    for name in names:
        fake(tmp_path, **{f"proc/{name}": text})
    decision = look_below(tmp_path)
    statuses = {finding.check: finding.status for finding in decision.findings}
    assert {statuses[check] for check in ("cpu", "memory", "load", "uptime", "open_files", "conntrack")} == {"unknown"}
    assert all(finding.msg.isprintable() for finding in decision.findings)


def test_a_mount_point_that_paints_the_terminal(tmp_path: Path) -> None:
    line = "36 1 98:0 / /mnt/\x1b[31m\\012x rw - nfs4 server:/x rw\n"
    finding = next(
        one for one in look_below(fake(tmp_path, proc__self__mountinfo=line)).findings if one.check == "disk"
    )
    assert finding.status == "unknown" and finding.msg.isprintable() and "\\x1b" in finding.msg


def test_the_limit_of_a_container_of_version_2(tmp_path: Path) -> None:
    fake(
        tmp_path,
        proc__meminfo="MemTotal: 8000000 kB\nMemAvailable: 7000000 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n",
        proc__uptime="864000.0 1\n",
        sys__fs__cgroup__memory_max="",
    )
    group = tmp_path / "sys/fs/cgroup"
    for name, text in {
        "memory.max": "1000000000\n",
        "memory.current": "950000000\n",
        "memory.stat": "anon 1\ninactive_file 30000000\n",
        "memory.events": "low 0\noom 3\noom_kill 40\n",
        "pids.current": "95\n",
        "pids.max": "100\n",
    }.items():
        (group / name).write_text(text)
    findings_of = {finding.check: finding for finding in look_below(tmp_path).findings}
    assert (findings_of["memory"].status, findings_of["memory"].value) == ("critical", 92)
    assert "this container" in findings_of["memory"].msg
    assert (findings_of["oom_kills"].status, findings_of["oom_kills"].value) == ("warning", 4)
    assert (findings_of["threads"].status, findings_of["threads"].value) == ("critical", 95)
    (group / "memory.max").write_text("max\n")
    assert {finding.check: finding.value for finding in look_below(tmp_path).findings}["memory"] == 12.5


@pytest.mark.parametrize(
    ("files", "status", "words"),
    [
        ({"run/reboot-required": "", "run/reboot-required.pkgs": "libc6\n\x1b[31m\n"}, "warning", "libc6"),
        ({"lib/modules/6.1.0-40-amd64/modules.dep": ""}, "warning", "6.1.0-40-amd64 is installed"),
        ({"lib/modules/6.1.0-8-amd64/modules.dep": ""}, "ok", "no reboot"),
        ({"lib/modules/6.1.0-40-amd64/left-over": ""}, "ok", "no reboot"),
        ({}, "ok", "no reboot"),
        ({"etc/redhat-release": "", "needs": "1"}, "warning", "needs-restarting"),
        ({"etc/redhat-release": "", "needs": "0"}, "ok", "no reboot"),
        ({"etc/redhat-release": "", "needs": "3"}, "unknown", "ends with 3"),
        ({"etc/redhat-release": ""}, "unknown", "install dnf-utils"),
    ],
)
def test_a_pending_reboot(
    tmp_path: Path, program: Callable[[str, str], None], files: dict[str, str], status: str, words: str
) -> None:
    root = fake(tmp_path / "root", **{name: text for name, text in files.items() if name != "needs"})
    running = {"proc/sys/kernel/osrelease": "6.1.0-9-amd64\n", "proc/version": "Linux", "proc/stat": ""}
    fake(root, **running, **{"lib/modules/6.1.0-9-amd64/modules.dep": ""})
    if "needs" in files:
        program("needs-restarting", f"exit {files['needs']}")
    (finding,) = [one for one in look_below(root).findings if one.check == "reboot_pending"]
    assert finding.status == status and words in finding.msg and finding.msg.isprintable()


def test_a_file_system_that_is_read_only_against_fstab(tmp_path: Path) -> None:
    line = "36 1 98:0 / /srv ro - ext4 /dev/sda rw\n"
    fake(tmp_path, proc__self__mountinfo=line, etc__fstab="/dev/sda /srv ext4 defaults 0 2\n", srv__x="")
    (finding,) = [one for one in look_below(tmp_path).findings if one.check == "read_only"]
    assert finding.status == "critical" and "fstab" in finding.msg
