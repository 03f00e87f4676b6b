"""A run in one page: `python -m sapiens_pl.report OUTPUT` writes report.html and worst.csv into the run's folder.

As `python -m sapiens_pl.make OUTPUT formats=[report]`: from the records, without the network, and only if they have
changed since. The photographs are looked for where the run has read them.
"""

from __future__ import annotations

import argparse

from sapiens_pl.core.interrupts import importing, run
from sapiens_pl.core.logs import log_to_stderr
from sapiens_pl.core.terminal import keep_going_without_a_terminal, printable


def main() -> int:
    """Exit codes: as of `make_by_hand`."""
    keep_going_without_a_terminal()
    log_to_stderr()
    parser = argparse.ArgumentParser(prog="python -m sapiens_pl.report", description=__doc__)
    parser.add_argument("output", help="the output folder of a run, or its URL")
    parser.add_argument(
        "settings", nargs="*", default=[], metavar="KEY=VALUE", help="other settings, as overlay_score_threshold=0.5"
    )
    given = parser.parse_args()
    with importing():  # who asks for help does not wait for it
        from sapiens_pl.records.at_hand import shown
        from sapiens_pl.run.making_by_hand import make_by_hand

    code = make_by_hand(given.output, ["formats=[report]", *given.settings])
    if not code:
        print(printable(f"  {'page':<20}{shown(given.output).rstrip('/')}/report.html"))
    return code


if __name__ == "__main__":
    run(main)
