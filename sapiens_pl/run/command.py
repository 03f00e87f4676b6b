"""What the commands share: every error that is for people in one sentence."""

from __future__ import annotations

import errno
import logging
import sys

from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from sapiens_pl.core.errors import ConfigError, SapiensError
from sapiens_pl.core.logs import note
from sapiens_pl.core.terminal import printable
from sapiens_pl.core.wording import one_line
from sapiens_pl.run.meant import no_choice, no_setting
from sapiens_pl.run.overrides import options_last, unreadable_override

EXIT_COMPLETE, EXIT_FAILED, EXIT_BAD_CONFIG = 0, 1, 2

NO_MORE_PROCESSES = (
    "the system lets this run start no further process or thread; raise the limit (ulimit -u, a container's "
    "--pids-limit), or use fewer processes (data.num_workers=1, OMP_NUM_THREADS=1), and run the same command again."
)


def sentence_of(error: BaseException) -> str:
    """The useful part of an error in the configuration: its root, without the wrapping errors."""
    while error.__cause__ is not None and not isinstance(error, SapiensError | OmegaConfBaseException):
        error = error.__cause__  # OmegaConf's own errors have a cause only under a debugger; it says less than they do
    if isinstance(error, SapiensError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:  # an OSError as well
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        return no_choice(group, choice, error.options) if error.options else f"{group}/{choice} is not in conf/."
    if isinstance(error, OSError):
        return disk_sentence(error)
    if isinstance(error, ConfigKeyError | ConfigAttributeError) and isinstance(error.parent_node, DictConfig):
        root = error.parent_node._get_root()
        return no_setting(str(error.full_key), root if isinstance(root, DictConfig) else error.parent_node)
    if isinstance(error, MissingMandatoryValue) and error.full_key:
        return f"{error.full_key} is not set; give {error.full_key}=..."
    if isinstance(error, ModuleNotFoundError) and error.name:
        return (
            f"a _target_ of the configuration needs the module {error.name}, which is not found; let it lie where the "
            "command runs, in a folder of PYTHONPATH, or install it."
        )
    remedy = "; install the launcher: pip install 'sapiens_pl[slurm]'" if "submitit" in str(error) else ""
    if type(error).__name__ == "MisconfigurationException":  # Lightning's, of devices that are not there
        remedy = " sapiens-pl doctor says which devices PyTorch can use; trainer.accelerator=auto takes them."
    return f"the configuration cannot be used: {' '.join(str(error).split())}{remedy}"


def hydra_sentence(error: BaseException) -> str:
    """The same for Hydra's errors about the command line, before a job has begun."""
    if not isinstance(error, HydraException):
        return sentence_of(error)
    return unreadable_override(choices="Ambiguous value" in str(error)) or sentence_of(error)


def disk_error(error: Exception) -> OSError | None:
    """The operating system's error, if it is the cause; logging hides that of its file in a ValueError."""
    cause = error.__cause__ if isinstance(error, ValueError) else error
    return cause if isinstance(cause, OSError) else None


def disk_sentence(error: OSError) -> str:
    if error.errno == errno.EAGAIN and error.filename is None:  # from a fork
        return NO_MORE_PROCESSES
    where = error.filename if error.filename is not None else "a file"
    return f"{where} cannot be used ({error.strerror or error}); fix that and run the same command again."


def folder_sentence(error: OSError) -> str:
    """The same for a run's folder, which cannot be made."""
    if error.filename is None:
        return disk_sentence(error)
    return f"{error.filename} cannot be used ({error.strerror or error}); choose another output.dir."


def take_arguments() -> None:
    """Puts the command's arguments into an order that Hydra takes; ends the command if there is none."""
    try:
        sys.argv[1:] = options_last(sys.argv[1:])
    except ConfigError as error:
        sys.exit(complain(str(error), EXIT_BAD_CONFIG))


def complain(sentence: str, code: int) -> int:
    print(f"error: {printable(sentence)}", file=sys.stderr)
    note(sentence, logging.ERROR)
    return code


def array_complaint(error: BaseException) -> tuple[str, int] | None:
    """Of an error of the launcher of job arrays: what to say, and the exit code; None for any other error."""
    reason = one_line(error, 300)
    if 'Could not detect "srun"' in reason or getattr(error, "filename", None) in ("sbatch", "srun"):
        return (
            f"this machine cannot submit SLURM jobs ({reason.rstrip('?.')}); run the same command on a login node of "
            "the cluster, or without experiment=slurm (hydra/launcher=slurm).",
            2,
        )
    if type(error).__module__.startswith("submitit."):
        return (
            f"a job of the array failed ({reason}); the others go on, its logs are in .submitit/ in the sweep's "
            "folder, and the same command does what is missing.",
            1,
        )
    return None
