"""Makes products of a run by hand, for the commands, and prints what was made."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from sapiens_pl.core.errors import ConfigError, SapiensError
from sapiens_pl.core.logs import note
from sapiens_pl.core.terminal import printable
from sapiens_pl.products.chosen import chosen_formats
from sapiens_pl.products.making import Made
from sapiens_pl.products.of_run import check_is_run, make_in_folder
from sapiens_pl.records.at_hand import at_hand, shown
from sapiens_pl.run.command import EXIT_BAD_CONFIG, EXIT_FAILED, complain, disk_sentence, sentence_of
from sapiens_pl.run.make_settings import make_settings
from sapiens_pl.run.run_log import held_back, logged_in
from sapiens_pl.tracking.of_records import TrackingOfRun

_NAMED = 3


def make_by_hand(output: str | Path, settings: Sequence[str], config_dir: str | None = None) -> int:
    """Makes what is missing, and prints what was made.

    Args:
        output: the run's folder, or the URL of one.
        settings: KEY=VALUE texts, as `make_settings` takes them.
        config_dir: a folder with configuration files of one's own.

    Returns:
        The exit code: 0 all that is asked for is there, or has its line in failures.jsonl; 1 nothing of what was
        missing could be made, or it broke off; 2 a setting or a folder that cannot be used.
    """
    with held_back():
        return _made(output, settings, config_dir)


def _made(output: str | Path, settings: Sequence[str], config_dir: str | None) -> int:
    try:
        with at_hand(output) as folder:
            cfg = make_settings(folder, settings, config_dir)
            tracking = TrackingOfRun(cfg)
            check_is_run(folder)
            with logged_in(folder, shlex.join(["make", shown(output), *settings])):
                made = make_in_folder(folder, cfg, tracking)
                lines = _told(shown(output), chosen_formats(cfg), made)
                note("\n".join(lines))
    except SapiensError as error:
        return complain(str(error), EXIT_BAD_CONFIG if isinstance(error, ConfigError) else EXIT_FAILED)
    except (HydraException, OmegaConfBaseException) as error:
        return complain(sentence_of(error), EXIT_BAD_CONFIG)
    except OSError as error:
        return complain(disk_sentence(error), EXIT_FAILED)
    print(*lines, sep="\n")
    if len(made.failures) > _NAMED:
        print(f"... and {len(made.failures) - _NAMED} more, in failures.jsonl.")
    return EXIT_FAILED if made.failures and not made.counts.total() else 0


def _told(output: str, formats: list[str], made: Made) -> list[str]:
    """What was made."""
    failed = Counter(str(failure.product) for failure in made.failures)
    unnamed = {name for name in (*made.counts, *failed) if name not in formats}  # what stands in for another
    lines = []
    for name in (*formats, *sorted(unnamed)):
        not_made = f", {failed[name]} could not be made" if failed[name] else ""
        lines.append(f"  {name:<20}{made.counts[name]} made{not_made}")
    lines.append(f"  {'results':<20}{printable(output)}")
    lines += [printable(f"{failure.image or output}: {failure.message}") for failure in made.failures[:_NAMED]]
    return lines
