"""Write docs/faults.md: fault by fault what we promise, and what the incumbent does.

The first comes from the register that the tests of tests/integration/faults/ fill, the second from what
``python -m tools.incumbent`` measured and wrote to docs/faults-postgresql_db.json.

python tools/faults.py           write it
python tools/faults.py --check   say when it is stale, and end with 1 then
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.faults import FAULTS, Fault  # noqa: E402

SUITE = ROOT / "tests" / "integration" / "faults"
MEASURED = ROOT / "docs" / "faults-postgresql_db.json"
PAGE = ROOT / "docs" / "faults.md"
HEAD = "| --- | --- | --- | --- |"
# Why a fault cannot happen to postgresql_db: by the fault's name, else by what its stage begins with.
NO_REPOSITORY = "it keeps no repository"
NO_COUNTERPART = {
    "aside_name_taken": "it does not restore aside",
    "session_lost_before_swap": "it does not restore aside",
    "session_that_cannot_be_ended": "it does not restore aside",
    "facts_differ": "it keeps no facts of a dump",
    "clock_set_back": "it keeps no facts of a dump",
    "copy_of_another_server": "it keeps no facts of a dump",
    "facts_changed_in_repository": NO_REPOSITORY,
    "wrong_repository_password": NO_REPOSITORY,
    "missing_key_file": NO_REPOSITORY,
    "known_bad_copy": "it chooses no copy",
    "no_copy_old_enough": "it chooses no copy",
    "unknown_time": "it chooses no copy",
    "wrong_confirmation": "it asks for no confirmation",
    "fingerprint_mismatch": "it asks for no confirmation",
}
NO_COUNTERPART_STAGE = {
    "config": "it knows databases only",
    "redis": "it knows databases only",
    "retention": NO_REPOSITORY,
    "repository": NO_REPOSITORY,
    "backup: repository": NO_REPOSITORY,
    "verif": "it verifies no dump",
}
VERDICTS = {
    "false success": "it says that it succeeded, and what was asked for is not there",
    "succeeds, with damage": "what was asked for is there, and something was destroyed or let through",
    "fails, with damage": "it says that it failed, and something is worse than before: a good dump gone, half of a "
    "database under the live name",
    "does not end": "it was still at work when the measurement lost patience",
    "fails, nothing lost": "it says that it failed, and all is as it was",
    "succeeds": "it did what it was asked for in spite of the fault",
}
INTRODUCTION = """\
# Faults

What our modules promise when something goes wrong (each promise is a test that makes the fault and looks at the world
afterwards: `make faults`), beside what `community.postgresql.postgresql_db`, the usual way to dump and restore with
Ansible, does on the same fault.

## How it was measured

The right column is not read from documentation. The real module ({collection}, from the PyPI package
`{package}`, pinned by its hash) ran on {measured} under ansible-core {ansible_core} as an ad hoc command with a
local connection, against throwaway servers (PostgreSQL {server}, client tools {clients}). Where a fault is the same
for both, the helpers that make it in our suite made it here too. Every dump went to a name that already held a good
one of an earlier run, as a daily job does. What counts is not what the module said but what was there afterwards: the
dump under its name was restored with every error fatal and its rows were counted; a restored table was compared row by
row with its source. Options that the module does not set by itself are left as they are: a careful user can pass some
of them (`-v ON_ERROR_STOP=1`, `--exit-on-error`, `--lock-wait-timeout`) and gets better answers for those faults.
It can be repeated by:

```shell
python -m tools.incumbent   # about seven minutes; writes docs/faults-postgresql_db.json
make docs                   # writes this page from it
```

A full disk is made with a small file system in memory, which needs root.
"""


def register() -> dict[str, Fault]:
    """Import every module of the suite, so that its faults are registered; that starts nothing."""
    for path in sorted(SUITE.glob("test_*.py")):
        import_module(f"tests.integration.faults.{path.stem}")
    return FAULTS


def cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def answer(case: dict[str, Any]) -> str:
    said, truth = case["said"], case["truth"]["afterwards"]
    told = "" if said["rc"] is None else f"`rc: {said['rc']}`, "
    told = f" ({told}`changed: {str(said['changed']).lower()}`)" if not said["failed"] and said["ended"] else ""
    return cell(f"**{case['verdict']}**, {case['case']}{told}: {truth}")


def incumbent(fault: Fault, cases: list[dict[str, Any]]) -> str:
    """Return what the incumbent does on a fault, or why there is no such thing with it."""
    answers = [answer(case) for case in cases if fault.name in case["faults"]]
    if answers:
        return "<br>".join(answers)
    reason = NO_COUNTERPART.get(fault.name)
    reason = reason or next((why for stage, why in NO_COUNTERPART_STAGE.items() if fault.stage.startswith(stage)), None)
    return f"no such thing: {reason}" if reason else "not measured"


def fault_rows(faults: dict[str, Fault], cases: list[dict[str, Any]]) -> Iterator[str]:
    for fault in faults.values():
        module, _colons, test = fault.test.partition("::")
        link = f"[{test}](../{module.replace('.', '/')}.py)"
        name = fault.name.replace("_", " ")
        yield f"| {cell(name)} | {cell(fault.stage)} | {cell(fault.promise)} ({link}) | {incumbent(fault, cases)} |"


def verdict_rows(cases: list[dict[str, Any]]) -> Iterator[str]:
    counted = Counter(case["verdict"] for case in cases)
    for verdict, meaning in VERDICTS.items():
        yield f"| {verdict} | {counted.pop(verdict, 0)} | {meaning} |"
    if counted:
        raise SystemExit(f"verdicts that this page does not explain: {', '.join(counted)}")


def page_text() -> str:
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    faults, cases = register(), measured["cases"]
    known = [name for case in cases for name in case["faults"]]
    if unknown := sorted(set(known) - set(faults)):
        raise SystemExit(f"{MEASURED.name} speaks of faults that nobody registered: {', '.join(unknown)}")
    days = sorted({case["measured"] for case in cases})
    lines = [INTRODUCTION.format(**measured, measured=" and ".join(dict.fromkeys((days[0], days[-1]))))]
    lines += [f"Its answers in the {len(cases)} measurements:", "", "| postgresql_db | times | that is |"]
    lines += ["| --- | --- | --- |", *verdict_rows(cases), ""]
    lines += ["## Fault by fault", "", f"{len(faults)} faults are made by our suite.", ""]
    lines += ["| fault | stage | what we promise | postgresql_db |", HEAD, *fault_rows(faults, cases), ""]
    others = [answer(case) for case in cases if not case["faults"]]
    lines += ["## Without a counterpart in our register", "", *(f"- {text}" for text in others)]
    sources = "the tests' register of faults and docs/faults-postgresql_db.json"
    return f"<!-- Written by tools/faults.py (make docs) from {sources}: change those. -->\n" + "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    text = page_text()
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    name = PAGE.relative_to(ROOT)
    if check:
        print(f"{name} is stale: run make docs", file=sys.stderr)
        return 1
    PAGE.write_text(text, encoding="utf-8")
    print(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
