"""The command: `python -m sapiens_pl.predict`, configured by Hydra (files in `conf/`)."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import warnings
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import hydra
import lightning as L
from hydra.errors import HydraException
from hydra.utils import instantiate
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from sapiens_pl import demo
from sapiens_pl.data.datamodule import ImageDataModule
from sapiens_pl.errors import ConfigError, SapiensError, WriteError
from sapiens_pl.estimator import flip_indices_for
from sapiens_pl.keypoints import keypoint_spec
from sapiens_pl.memory import is_out_of_memory, start_afresh
from sapiens_pl.module import PoseModule
from sapiens_pl.progress import CropProgress
from sapiens_pl.report import device_name, peak_memory, summary_table, versions
from sapiens_pl.resume import finished_names, prepare_folder, result_settings
from sapiens_pl.stopping import StopRequest
from sapiens_pl.writers.callback import PoseWriter
from sapiens_pl.writers.run_folder import RunFolder

log = logging.getLogger("sapiens_pl")

EXIT_COMPLETE, EXIT_FAILED, EXIT_BAD_CONFIG = 0, 1, 2


def predict(cfg: DictConfig) -> int:
    """Runs one prediction as configured; returns the exit code.

    Raises:
        ConfigError: before anything has run.
        SapiensError: the run cannot go on; what is written stays.
    """
    check_switches(cfg)
    demo_notes = demo.fill_in(cfg)
    stop = StopRequest()
    rank = getattr(rank_zero_only, "rank", 0) or 0
    folder = RunFolder(cfg.output.dir, rank)
    run: dict[str, Any] = {}
    with stop.listening():
        try:
            if rank == 0:
                folder.lock()
            return _predict_in(folder, rank, cfg, demo_notes, stop, run)
        except BaseException as error:
            if run and rank == 0:
                _note_the_end(folder, run, stop, error)
            if isinstance(error, SystemExit) and stop.signal is None:
                raise RuntimeError("Something in the run wanted to end the process.") from error
            raise
        finally:
            folder.close()
            folder.unlock()


def _predict_in(
    folder: RunFolder, rank: int, cfg: DictConfig, demo_notes: L.Callback, stop: StopRequest, run: dict[str, Any]
) -> int:
    start = time.perf_counter()
    start_afresh()
    network = instantiate(cfg.model.network)
    spec = keypoint_spec(network.shape.num_keypoints)
    settings = result_settings(cfg)
    if rank == 0:
        prepare_folder(folder, cfg, settings)
    data: ImageDataModule = instantiate(
        cfg.data,
        input_hw=network.shape.input_hw,
        finished=lambda tasks: finished_names(folder, tasks, record=rank == 0),
        stopped=stop,
        _convert_="all",
    )
    module = PoseModule(network, flip_indices_for(spec) if cfg.model.flip_test else None)
    output = cfg.output
    writer = PoseWriter(
        folder, spec, output.formats, output.overlay, output.overlay_score_threshold, output.max_failures, stop.ask
    )
    progress = [CropProgress()] if cfg.trainer.get("enable_progress_bar", True) else []
    trainer: L.Trainer = instantiate(cfg.trainer, callbacks=[writer, *progress, demo_notes, stop], _convert_="all")

    run |= {"status": "running", "settings": settings, "config": OmegaConf.to_container(cfg, resolve=True)}
    if rank == 0:
        folder.write_run(run | {"versions": versions()})
    loop_start = time.perf_counter()
    trainer.predict(module, datamodule=data, return_predictions=False)
    seconds = time.perf_counter() - loop_start
    return close_run(trainer, data, writer, stop, run, seconds, time.perf_counter() - start)


def _note_the_end(folder: RunFolder, run: dict[str, Any], stop: StopRequest, error: BaseException) -> None:
    """Says in `run.json` how the run broke off, if that can still be written."""
    status = "failed" if stop.signal is None else "interrupted"
    with suppress(WriteError):
        folder.write_run(run | {"status": status, "versions": versions(), "error": f"{type(error).__name__}: {error}"})


def check_switches(cfg: DictConfig) -> None:
    """Refuses what only looks like a yes or a no: any text would count as true."""
    for key in ("model.flip_test", "output.overlay", "output.resume", "output.retry_failed", "output.overwrite"):
        value = OmegaConf.select(cfg, key)
        if not isinstance(value, bool) and not (key == "output.overlay" and value is None):
            raise ConfigError(f"{key}={value} must be true or false.")


def close_run(
    trainer: L.Trainer,
    data: ImageDataModule,
    writer: PoseWriter,
    stop: StopRequest,
    run: dict[str, Any],
    seconds: float,
    total_seconds: float,
) -> int:
    """Counts what came out, writes `run.json`, prints the table; success is a count."""
    module_limit = getattr(trainer.lightning_module, "largest_working_batch", None)
    counts, device = writer.counts, trainer.strategy.root_device
    planned = data.num_images + sum(failure.instance_id is None for failure in data.failures)
    missing = planned - counts.images_done - counts.images_failed
    if not trainer.is_global_zero:  # rank 0 says how the run has ended
        return EXIT_FAILED if (missing and stop.signal is None) or stop.reason else EXIT_COMPLETE
    # Lightning's own child processes, if it has started any: a run has ended when all of them have.
    others = [process.wait() for process in getattr(trainer.strategy.launcher, "procs", [])]
    nothing = planned > 0 and not writer.folder.has_done()
    status, exit_code = "complete", EXIT_COMPLETE
    if missing and stop.exit_code is not None:
        status, exit_code = "interrupted", stop.exit_code
    elif missing or nothing or stop.reason or any(others):
        status, exit_code = "failed", EXIT_FAILED
    run |= {
        "status": status,
        "versions": versions(),
        "device": device_name(device),
        "world_size": trainer.world_size,
        "counts": {
            "images_planned": planned,
            "images_done_before": data.num_done_before,
            "images_failed_before": data.num_failed_before,
            **vars(counts),
            "images_not_reached": missing,
        },
        "seconds": round(seconds, 3),
        "seconds_with_loading": round(total_seconds, 3),
        "crops_per_second": round(counts.people / seconds, 3),
        "warm_crops_per_second": writer.pace.crops_per_second and round(writer.pace.crops_per_second, 3),
        "peak_memory": peak_memory(device),
    }
    if module_limit is not None:
        run["largest_working_batch"] = module_limit
    writer.folder.write_run(run)
    print_summary(run, writer.folder, stop, nothing)
    if any(others):
        print("Another process of this run broke off; run the same command again to continue.")
    return exit_code


def print_summary(run: dict[str, Any], folder: RunFolder, stop: StopRequest, nothing: bool) -> None:
    """The closing table, and in words what is not as it should be."""
    counts = run["counts"]
    if run["world_size"] > 1:
        print(f"\nThis process's share of {run['world_size']}:", end="")
    print(f"\n{summary_table(run)}\n  {'results':<16}{folder.path}")
    if counts["images_failed"] or counts["boxes_failed"]:
        print(f"  {'reasons':<16}{folder.failures_file}")
    demo.report(run["config"], folder)
    if stop.reason:
        print(stop.reason)
    elif nothing and not counts["images_not_reached"]:
        print("Nothing could be read: every image failed.")
    elif counts["images_not_reached"]:
        print(f"{counts['images_not_reached']} images were not reached; run the same command again to continue.")


def config_folder() -> str:
    """`conf/` inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return str(inside if inside.is_dir() else package.parent / "conf")


def quieten() -> None:
    """Leaves the screen to the bar and the table."""
    logging.raiseExceptions = False  # a log file on a full disk is no reason for a traceback
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for harmless in (
        "Couldn't infer the batch indices",  # our batches say themselves what is in them
        "across ranks is zero",  # nothing left to do is a result
        "does not have many workers",
        "multi-threaded, use of fork",
        r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    ):
        warnings.filterwarnings("ignore", message=f".*{harmless}")


def run_job(cfg: DictConfig) -> int:
    """`predict`, with every error that is for people told in one sentence."""
    quieten()
    try:
        return predict(cfg)
    except ConfigError as error:
        return _complain(str(error), EXIT_BAD_CONFIG)
    except SapiensError as error:
        return _complain(str(error), EXIT_FAILED)
    except (HydraException, OmegaConfBaseException) as error:
        return _complain(_sentence(error), EXIT_BAD_CONFIG)
    except OSError as error:
        return _complain(_disk_sentence(error), EXIT_FAILED)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        text = " ".join(str(error).split())[:300]
        return _complain(f"memory ran out ({text}); use a smaller model or batch, or a larger device.", EXIT_FAILED)


def _sentence(error: BaseException) -> str:
    """What a person can use of an error in the configuration: its root, without the wrappings."""
    while error.__cause__ is not None and not isinstance(error, SapiensError):
        error = error.__cause__
    if isinstance(error, SapiensError):
        return str(error)
    if isinstance(error, ConfigKeyError | ConfigAttributeError) and isinstance(error.parent_node, DictConfig):
        alike = get_close_matches(str(error.key), map(str, error.parent_node), 1)
        parent = str(error.full_key).rpartition(".")[0]
        hint = (
            f"did you mean {parent + '.' if parent else ''}{alike[0]}?" if alike else "see conf/ for those there are."
        )
        return f"{error.full_key} is no setting; {hint}"
    return "the configuration cannot be used: " + " ".join(str(error).split())


def _disk_sentence(error: OSError) -> str:
    where = error.filename if error.filename is not None else "a file"
    return f"{where} cannot be used ({error.strerror or error}); mend that and run the same command again."


def _complain(sentence: str, code: int) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return code


def main() -> None:
    """Exit codes: 0 complete (failures may be listed), 1 nothing succeeded, too much failed, or the run broke
    off, 2 bad configuration, 130 and 143 interrupted by SIGINT and SIGTERM.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises its errors instead of printing them
    codes: list[int] = []

    @hydra.main(version_base="1.3", config_path=config_folder(), config_name="predict")
    def task(cfg: DictConfig) -> None:
        codes.append(run_job(cfg))
        if codes[-1] > EXIT_BAD_CONFIG:  # interrupted; of a sweep, the rest too
            sys.exit(codes[-1])

    try:
        task()
    except (HydraException, OmegaConfBaseException) as error:
        codes.append(_complain(_sentence(error), EXIT_BAD_CONFIG))
    except KeyboardInterrupt:  # while Hydra puts the configuration together
        codes.append(128 + signal.SIGINT)
    except OSError as error:  # Hydra cannot make its run folder
        codes.append(_complain(_disk_sentence(error), EXIT_BAD_CONFIG))
    sys.exit(max(codes, default=EXIT_COMPLETE))


if __name__ == "__main__":
    main()
