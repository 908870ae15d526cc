# Copyright (c) The oncall.runbooks maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the collection: it can change without notice.

"""Write the verdict of a verification into the repository, with its evidence."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Iterable, Mapping

from .._core.backup import Copy, Proof, proof_tags
from .._core.result import CRITICAL, OK, UNKNOWN, Finding
from .restic import Restic
from .workspace import workspace

PROOF_FILE = "proof.json"


def verdict_of(findings: Iterable[Finding]) -> str:
    """Return the verdict: critical when anything is, unknown when nothing or not everything could be looked at."""
    statuses = {finding.status for finding in findings}
    if CRITICAL in statuses:
        return CRITICAL
    return UNKNOWN if UNKNOWN in statuses or not statuses else OK


def write_proof(
    restic: Restic, copy: Copy, at: datetime, findings: Iterable[Finding], facts: Mapping[str, Any]
) -> Proof:
    """Write the proof of one copy as a snapshot and return it, with the snapshot's id."""
    kept = list(findings)
    proof = Proof("", copy.id, copy.source, verdict_of(kept), at)
    evidence = {**facts, "verdict": proof.verdict, "findings": [asdict(one) for one in kept]}
    with workspace("proof") as folder:
        payload = Path(folder) / "payload"
        payload.mkdir(mode=0o700)
        (payload / PROOF_FILE).write_text(json.dumps(evidence, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        written = restic.backup(str(payload), host=copy.source.host, tags=proof_tags(proof))
    return Proof(written.snapshot, proof.of, proof.source, proof.verdict, proof.at)
