"""One clean weights file out of any published kind: `python -m sapiens_pl.convert IN OUT.safetensors`.

The file carries everything that loading it needs, and the SHA-256 of what it was made from.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sapiens_pl.core.errors import CheckpointError, ConfigError, SapiensError, WriteError, write_error
from sapiens_pl.core.interrupts import importing, run
from sapiens_pl.core.logs import log_to_stderr
from sapiens_pl.core.terminal import keep_going_without_a_terminal, printable

if TYPE_CHECKING:
    with importing():  # who asks for help does not wait for it
        import torch

        from sapiens_pl.models import checkpoints  # noqa: F401

DTYPES = ("float32", "float16", "bfloat16")


def convert(
    source: str | Path,
    target: str | Path,
    dtype: torch.dtype | None = None,
    num_heads: int | None = None,
    input_hw: tuple[int, int] | None = None,
    keypoint_set: str | Path | None = None,
) -> dict[str, str]:
    """Writes a checkpoint as safetensors, completely or not at all.

    Args:
        source: a checkpoint as `models.checkpoints.load_network` takes it; `num_heads`, `input_hw` and `keypoint_set`
            as there.
        target: the new file; one that exists is left alone.
        dtype: of the weights written; None for the source's own.

    Returns:
        The metadata of the new file.

    Raises:
        CheckpointError: the source cannot be read.
        ConfigError: the target exists or has another ending.
        WriteError: the target cannot be written.
    """
    from safetensors import SafetensorError  # who asks for help does not wait for these

    from sapiens_pl.models.checkpoints import expanded, load_network, network_metadata, save_network

    path = expanded(target, "The new file's name")
    if path.suffix != ".safetensors":
        raise ConfigError(f"{path} must end in .safetensors; choose such a name.")
    if os.path.lexists(path):
        raise ConfigError(_exists(path))
    network = load_network(source, num_heads, input_hw, dtype=dtype, keypoint_set=keypoint_set)
    metadata = network_metadata(network) | {"source_sha256": _digest(source)}
    unfinished = path.with_name(f".{os.getpid()}.safetensors")
    try:
        save_network(network, unfinished, **metadata)
        with suppress(PermissionError):  # file systems without owners
            os.chmod(unfinished, 0o666 & ~_umask())  # safetensors leaves it to its owner alone
        with open(unfinished, "rb+") as file:
            os.fsync(file.fileno())
        _name(unfinished, path)
    except FileExistsError:
        raise ConfigError(_exists(path)) from None
    except OSError as error:
        raise write_error(path, error) from None
    except SafetensorError as error:
        raise WriteError(f"{path} could not be written ({error}); fix that and run again.") from None
    finally:
        with suppress(OSError):
            unfinished.unlink()
    return metadata


def _name(unfinished: Path, path: Path) -> None:
    """Gives the finished file its name, and never replaces another.

    Raises:
        FileExistsError: there is one.
    """
    try:
        os.link(unfinished, path)  # unlike a rename it never replaces what has come in the meantime
        return
    except FileExistsError:
        raise
    except OSError:  # exFAT, FAT, many network and user-space file systems have no hard links
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))  # the name is ours from here on
    try:
        if path.stat().st_size:
            raise FileExistsError(path)
        os.replace(unfinished, path)
    except FileExistsError:
        raise
    except OSError:
        path.unlink()
        raise


def _exists(path: Path) -> str:
    return f"{path} exists already; remove it or choose another name."


def _digest(source: str | Path) -> str:
    from sapiens_pl.models.tensors import checkpoint_sha256

    try:
        return checkpoint_sha256(source)
    except OSError as error:
        raise CheckpointError(f"{source} cannot be read ({error.strerror}); fix that and run again.") from None


def _umask() -> int:
    mask = os.umask(0o077)  # it can only be read by setting it
    os.umask(mask)
    return mask


def main() -> None:
    """Exit codes: 0 written, 1 it could not be written, 2 bad input."""
    keep_going_without_a_terminal()
    log_to_stderr()
    parser = argparse.ArgumentParser(prog="python -m sapiens_pl.convert", description=__doc__)
    parser.add_argument("source", metavar="IN", help="a checkpoint file, or a folder of one")
    parser.add_argument("target", metavar="OUT.safetensors")
    parser.add_argument("--dtype", choices=DTYPES, help="of the weights written; the source's own unless given")
    parser.add_argument("--num-heads", type=int, help="where the source does not tell (unpublished sizes)")
    parser.add_argument("--input-hw", type=int, nargs=2, metavar=("H", "W"), help="where the source does not tell")
    parser.add_argument(
        "--keypoint-set", metavar="NAME|FILE", help="coco_17, coco_wholebody_133, goliath_308, or a YAML that tells it"
    )
    options = parser.parse_args()
    with importing():  # who asks for help does not wait for it
        import torch

        from sapiens_pl.models import checkpoints  # noqa: F401

    input_hw = tuple(options.input_hw) if options.input_hw else None
    try:
        dtype = getattr(torch, options.dtype) if options.dtype else None
        others = options.num_heads, input_hw, options.keypoint_set
        metadata = convert(options.source, options.target, dtype, *others)
    except SapiensError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    size = Path(options.target).expanduser().stat().st_size / 2**20
    facts = ", ".join(f"{key} {metadata[key]}" for key in ("keypoint_set", "num_keypoints", "input_hw", "num_heads"))
    print(printable(f"{options.target}: {size:.1f} MiB; {facts}."))


if __name__ == "__main__":
    run(main)
