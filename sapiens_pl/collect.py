"""Puts together what the processes of a run have left: `python -m sapiens_pl.collect OUTPUT`.

Each run does this itself when a process of it ends, and writes the files that hold the whole run (COCO, CSV,
Parquet) when the last one has. By hand it prints how far shards or ranks are, and writes those files of what
there is, if no process is running; it may be repeated at any time.
"""

from __future__ import annotations

import argparse

from sapiens_pl.core.interrupts import importing, run
from sapiens_pl.core.logs import log_to_stderr
from sapiens_pl.core.terminal import keep_going_without_a_terminal


def main() -> int:
    keep_going_without_a_terminal()
    log_to_stderr()
    parser = argparse.ArgumentParser(prog="python -m sapiens_pl.collect", description=__doc__)
    parser.add_argument("output", help="the output folder of a run, or its URL")
    given = parser.parse_args()
    with importing():  # who asks for help does not wait for it
        from sapiens_pl.run.collecting import put_together

    return put_together(given.output)


if __name__ == "__main__":
    run(main)
