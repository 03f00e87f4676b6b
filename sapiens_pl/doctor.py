"""Checks whether this machine has what a run needs: `python -m sapiens_pl.doctor`.

A line for each thing, with a remedy for each fault; at the end the bundled demo is posed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from sapiens_pl.core.interrupts import importing, run
from sapiens_pl.core.logs import log_to_stderr
from sapiens_pl.core.terminal import keep_going_without_a_terminal, printable

if TYPE_CHECKING:
    from sapiens_pl.run.health import Finding


def main() -> int:
    """Exit codes: 0 runs can work here, 1 something must be fixed first."""
    keep_going_without_a_terminal()
    log_to_stderr()
    parser = argparse.ArgumentParser(prog="python -m sapiens_pl.doctor", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object, to be sent along with a question")
    parser.add_argument("--no-trial", action="store_true", help="do not pose the demo")
    parser.add_argument("--output", type=Path, default=Path("outputs"), help="where runs are to write (outputs)")
    given = parser.parse_args()
    with importing():  # who asks for help does not wait for it
        from sapiens_pl.run.health import FAULT, examine

    found = []
    for finding in examine(given.output, trial=not given.no_trial):
        found.append(finding)
        if not given.json:
            _tell(finding)
    faults = sum(finding.state == FAULT for finding in found)
    if given.json:
        print(json.dumps({"fit": not faults, "findings": [finding._asdict() for finding in found]}, indent=2))
    else:
        print("\nRuns can work here." if not faults else f"\nFix the faults first: {faults}.")
    return 1 if faults else 0


def _tell(finding: Finding) -> None:
    print(f"{finding.state:<6}{finding.what:<18}{printable(finding.said)}", flush=True)
    if finding.remedy:
        print(f"{'':<24}-> {finding.remedy}", flush=True)


if __name__ == "__main__":
    run(main)
