"""Look into the journal, and keep it: python -m tools.journal runs --since 30d

The journal is that of ONCALL_JOURNAL_URL, else ~/.local/state/oncall-runbooks/journal.db.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from plugins.module_utils._core.errors import OpsError  # noqa: E402
from plugins.module_utils._core.journal import INTERRUPTED  # noqa: E402
from plugins.module_utils._core.journal_table import COLUMNS, table_lines  # noqa: E402
from plugins.module_utils._core.units import count_of, human_size, parse_duration  # noqa: E402
from plugins.module_utils._io.journal_open import make_engine, name_of, prepare_file, resolve_url  # noqa: E402
from plugins.module_utils._io.journal_prune import Retention, prunable, prune  # noqa: E402
from plugins.module_utils._io.journal_query import Query, answer  # noqa: E402
from plugins.module_utils._io.journal_read import open_journal  # noqa: E402
from plugins.module_utils._io.journal_schema import upgrade  # noqa: E402
from plugins.module_utils._io.journal_spool import folder_of, take_in, waiting  # noqa: E402
from plugins.module_utils._io.journal_write import open_writer  # noqa: E402


def show(arguments: argparse.Namespace) -> int:
    """Print what a query finds."""
    since = time.time() - parse_duration(arguments.since, "--since")
    query = Query(
        arguments.command, since, arguments.runbook, arguments.run, arguments.host, arguments.metric, arguments.limit
    )
    with open_journal(arguments.url) as journal:
        rows = answer(journal, query)
    if arguments.json:
        print(json.dumps(rows, indent=2))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        print("\n".join(table_lines(arguments.command, rows, width)))
    return 0


def check(arguments: argparse.Namespace) -> int:
    """Say how the journal is; 1 when something needs a person."""
    folder = folder_of(arguments.spool)
    spooled = waiting(folder, name_of(arguments.url))
    with open_journal(arguments.url) as journal:
        counts, size = journal.counts(), journal.size()
        died = [run for run in journal.runs(time.time() - 7 * 86400) if run.status == INTERRUPTED]
        faults = journal.faults()
    print(f"{name_of(arguments.url)}: {human_size(size)}, " + ", ".join(f"{n} {name}" for name, n in counts.items()))
    for fault in faults:
        print(f"fault: {fault}")
    for run in died:
        print(f"interrupted: {run.runbook} of {run.operator} at {run.controller}, run {run.id}")
    for path in [*spooled, *sorted(folder.glob("*.rejected"))]:
        print(f"not taken in yet: {path}")
    return 1 if died or spooled or faults else 0


def remove_old(arguments: argparse.Namespace) -> int:
    """Remove what is older than it has to be."""
    keep = Retention(arguments.keep_samples, arguments.keep_runs, arguments.keep_days)
    if min(vars(keep).values()) < 2:
        raise SystemExit("what is kept is kept for at least 2 days")
    with open_writer(arguments.url) as writer:
        done = prunable(writer, keep, time.time()) if arguments.dry_run else prune(writer, keep, time.time())
    verb = "would be removed" if arguments.dry_run else "removed"
    print(f"{verb}: " + ", ".join(f"{number} {name}" for name, number in vars(done).items()))
    return 0


def bring_up(arguments: argparse.Namespace) -> int:
    """Make the journal or bring its tables to this code's schema, and take in what was spooled."""
    url = resolve_url(arguments.url)
    prepare_file(url)
    engine = make_engine(url, writing=True)
    before, after = upgrade(engine, name_of(arguments.url))
    engine.dispose()
    print(f"{name_of(arguments.url)}: schema {after}" + ("" if before == after else f", was {before or 'not there'}"))
    with open_writer(arguments.url) as writer:
        taken = take_in(folder_of(arguments.spool), writer)
    print(f"taken in: {count_of(taken.batches, 'entry', 'entries')} of {count_of(taken.files, 'file')}")
    return 1 if taken.rejected else 0


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--url", help="another journal: sqlite:////file or postgresql://user@host/database")
    made.add_argument("--spool", help="another folder of what could not be written")
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COLUMNS:
        own = commands.add_parser(name, help=f"show {name.replace('_', ' ')}")
        own.set_defaults(act=show)
        own.add_argument("--since", default="7d", help="how far to look back (default: 7d)")
        for option in ("runbook", "run", "host", "metric"):
            own.add_argument(f"--{option}", default="*" if option == "metric" else None)
        own.add_argument("--limit", type=int, default=100)
        own.add_argument("--json", action="store_true", help="as data")
    commands.add_parser("check", help="say how the journal is").set_defaults(act=check)
    commands.add_parser("upgrade", help="make it, or bring its tables up to date").set_defaults(act=bring_up)
    own = commands.add_parser("prune", help="remove what is old")
    own.set_defaults(act=remove_old)
    keep = Retention()
    for name, default in (("samples", keep.samples), ("runs", keep.runs), ("days", keep.rollups)):
        own.add_argument(f"--keep-{name}", type=int, default=default, metavar="DAYS")
    own.add_argument("--dry-run", action="store_true")
    return made


def main(words: list[str] | None = None) -> int:
    """Carry out a command; 2 when it fails."""
    arguments: Any = parser().parse_args(words)
    try:
        return int(arguments.act(arguments))
    except OpsError as error:
        print(f"{error.message}" + (f" ({error.hint})" if error.hint else ""), file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 0


if __name__ == "__main__":
    sys.exit(main())
