"""Makes products from the records of a run, without its network: `python -m sapiens_pl.make OUTPUT formats=[overlay]`.

What is there already, made of the same records with the same settings, stays. `formats` are those of conf/products/;
without them, those that the run was asked for. Other settings of `output` may follow, for instance
overlay_score_threshold=0.5; those that are not given are as the run had them. The photographs are looked for where the
run has read them.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from sapiens_pl.core.errors import ConfigError, SapiensError
from sapiens_pl.core.interrupts import run
from sapiens_pl.core.terminal import keep_going_without_a_terminal, printable
from sapiens_pl.products.chosen import chosen_formats
from sapiens_pl.products.making import Made
from sapiens_pl.products.of_run import make_in_folder
from sapiens_pl.run.command import EXIT_BAD_CONFIG, EXIT_FAILED, complain, disk_sentence, sentence_of
from sapiens_pl.run.make_settings import make_settings
from sapiens_pl.tracking.of_records import TrackingOfRun

_NAMED = 3


def main() -> int:
    """Exit codes: 0 all that is asked for is there, or has its line in failures.jsonl; 1 nothing of what was missing
    could be made, or it broke off; 2 a setting or a folder that cannot be used.
    """
    keep_going_without_a_terminal()
    parser = argparse.ArgumentParser(prog="python -m sapiens_pl.make", description=__doc__)
    parser.add_argument("output", type=Path, help="the output folder of a run")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="formats=[...] and other settings")
    given = parser.parse_args()
    try:
        cfg = make_settings(given.output, given.settings)
        made = make_in_folder(given.output, cfg, TrackingOfRun(cfg))
    except SapiensError as error:
        return complain(str(error), EXIT_BAD_CONFIG if isinstance(error, ConfigError) else EXIT_FAILED)
    except (HydraException, OmegaConfBaseException) as error:
        return complain(sentence_of(error), EXIT_BAD_CONFIG)
    except OSError as error:
        return complain(disk_sentence(error), EXIT_FAILED)
    return _tell(given.output, chosen_formats(cfg), made)


def _tell(output: Path, formats: list[str], made: Made) -> int:
    """Prints what was made; returns the exit code."""
    failed = Counter(str(failure.product) for failure in made.failures)
    unnamed = {name for name in (*made.counts, *failed) if name not in formats}  # what stands in for another
    for name in (*formats, *sorted(unnamed)):
        print(f"  {name:<20}{made.counts[name]} made" + (f", {failed[name]} could not be made" if failed[name] else ""))
    print(f"  {'results':<20}{printable(str(output))}")
    for failure in made.failures[:_NAMED]:
        print(printable(f"{failure.image}: {failure.message}"))
    if len(made.failures) > _NAMED:
        print(f"... and {len(made.failures) - _NAMED} more, in failures.jsonl.")
    return EXIT_FAILED if made.failures and not made.counts.total() else 0


if __name__ == "__main__":
    run(main)
