"""Makes products from the records of a run, without its network: `python -m sapiens_pl.make OUTPUT formats=[overlay]`.

What is there already, made of the same records with the same settings, stays. `formats` are those of conf/products/,
and of the folder that --config-dir names (docs/extending.md); without them, those that the run was asked for. Other
settings of `output` may follow, for instance overlay_score_threshold=0.5; those that are not given are as the run had
them. The photographs are looked for where the run has read them.
"""

from __future__ import annotations

import argparse

from sapiens_pl.core.interrupts import importing, run
from sapiens_pl.core.logs import log_to_stderr
from sapiens_pl.core.terminal import keep_going_without_a_terminal


def main() -> int:
    """Exit codes: as of `make_by_hand`."""
    keep_going_without_a_terminal()
    log_to_stderr()
    parser = argparse.ArgumentParser(prog="python -m sapiens_pl.make", description=__doc__)
    parser.add_argument("output", help="the output folder of a run, or its URL")
    parser.add_argument("settings", nargs="*", default=[], metavar="KEY=VALUE", help="formats=[...] and other settings")
    parser.add_argument("--config-dir", metavar="FOLDER", help="with configuration files of your own")
    given = parser.parse_intermixed_args()
    with importing():  # who asks for help does not wait for it
        from sapiens_pl.run.making_by_hand import make_by_hand

    return make_by_hand(given.output, given.settings, given.config_dir)


if __name__ == "__main__":
    run(main)
