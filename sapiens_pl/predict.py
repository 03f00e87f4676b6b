"""The command: `python -m sapiens_pl.predict`, configured by Hydra (files in `conf/`)."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import AbstractContextManager, nullcontext

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from sapiens_pl.core.configs import config_folder
from sapiens_pl.core.errors import ConfigError, SapiensError
from sapiens_pl.core.interrupts import say_interrupted
from sapiens_pl.core.logs import note, quieten_libraries
from sapiens_pl.core.terminal import keep_going_without_a_terminal
from sapiens_pl.core.wording import one_line
from sapiens_pl.run.command import (
    EXIT_BAD_CONFIG,
    EXIT_COMPLETE,
    EXIT_FAILED,
    NO_MORE_PROCESSES,
    array_complaint,
    complain,
    disk_error,
    disk_sentence,
    folder_sentence,
    hydra_sentence,
    sentence_of,
    take_arguments,
)
from sapiens_pl.run.hydra_folder import follow_output_dir, keep_jobs_in_the_run, remove_empty_folder
from sapiens_pl.run.overrides import no_run_folder_of_a_dry_run
from sapiens_pl.run.own_configs import with_own_products
from sapiens_pl.run.run_log import held_back
from sapiens_pl.run.sweep import note_exit_code


def run_job(cfg: DictConfig) -> int:
    """`pose_run`, with every error for people printed as one sentence; the run's log has all that is said."""
    quieten_libraries()
    with held_back():
        code = _told(cfg)
        note(f"ended with exit code {code}")
        return code


def _told(cfg: DictConfig) -> int:
    from sapiens_pl import demo  # these and others are imported late: help and Tab need none of them
    from sapiens_pl.run.added import check_added
    from sapiens_pl.run.settings import check_settings, in_hydras_words

    try:
        check_added(cfg)
        demo.name_film(cfg)
        check_settings(cfg)
        return _pose(cfg)
    except (ConfigError, HydraException, OmegaConfBaseException) as error:
        return complain(in_hydras_words(sentence_of(error), cfg), EXIT_BAD_CONFIG)
    except SapiensError as error:
        return complain(str(error), EXIT_FAILED)
    except OSError as error:
        return complain(disk_sentence(error), EXIT_FAILED)
    except (RuntimeError, MemoryError) as error:
        if "start new thread" in str(error):
            return complain(NO_MORE_PROCESSES, EXIT_FAILED)
        from sapiens_pl.core.devices import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        text = one_line(error, 300)
        return complain(f"memory ran out ({text}); use a smaller model or batch, or a larger device.", EXIT_FAILED)


def _pose(cfg: DictConfig) -> int:
    """Imports torch and Lightning, which takes seconds; mistyped settings are reported before."""
    from sapiens_pl import demo

    demo.check_choice(cfg)
    from sapiens_pl.run.dry_run import dry_run
    from sapiens_pl.run.pose_run import pose_run

    quieten_libraries()  # once more: Lightning has set its loggers' level when it was imported
    return dry_run(cfg, demo) if cfg.dry_run else pose_run(cfg, demo)


def _run_folder_of_a_url() -> AbstractContextManager[None]:
    if not any("://" in argument for argument in sys.argv[1:]):
        return nullcontext()
    from sapiens_pl.run.output import run_folder_of_a_url

    return run_folder_of_a_url()


def main() -> None:
    """Exit codes: 0 complete (failures may be listed), 1 nothing succeeded, too much failed, or the run broke
    off, 2 bad configuration, 130 and 143 interrupted by SIGINT and SIGTERM.
    """
    keep_going_without_a_terminal()
    take_arguments()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises its errors instead of printing them
    codes: list[int] = []
    begun: list[bool] = []
    process = os.getpid()

    @hydra.main(version_base="1.3", config_path=config_folder(), config_name="predict")
    def task(cfg: DictConfig) -> None:
        from sapiens_pl.run.hydra_record import record_job_of_sweep

        begun.append(True)
        record_job_of_sweep(cfg)
        codes.append(run_job(cfg))
        note_exit_code(codes[-1])
        if codes[-1] > EXIT_BAD_CONFIG and os.getpid() == process:  # interrupted; of a sweep, the rest too
            sys.exit(codes[-1])

    try:
        follow_output_dir()
        keep_jobs_in_the_run()
        sys.argv[1:] = with_own_products(sys.argv[1:])
        with no_run_folder_of_a_dry_run(), _run_folder_of_a_url():
            task()
    except ConfigError as error:
        codes.append(complain(str(error), EXIT_BAD_CONFIG))
    except (HydraException, OmegaConfBaseException) as error:
        codes.append(complain(hydra_sentence(error), EXIT_BAD_CONFIG))
    except KeyboardInterrupt:  # while Hydra puts the configuration together
        say_interrupted()
        codes.append(128 + signal.SIGINT)
    except Exception as error:
        complaint = array_complaint(error)
        disk = disk_error(error)
        if complaint is None and disk is not None:  # Hydra cannot make its run folder, or the log in it
            complaint = folder_sentence(disk), EXIT_BAD_CONFIG
        if complaint is None and not begun:  # it cannot put the configuration together
            complaint = hydra_sentence(error), EXIT_BAD_CONFIG
        if complaint is None:
            raise
        codes.append(complain(*complaint))
    finally:
        remove_empty_folder()
    sys.exit(max(codes, default=EXIT_COMPLETE))


if __name__ == "__main__":
    main()
