"""The weights of torchvision's detectors: from a file that is named, or torchvision's own download.

Nothing in a file is run: safetensors hold tensors only, and of PyTorch's pickles only tensors are read.
"""

from __future__ import annotations

import socket
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.models import get_model_builder, get_model_weights

from sapiens_pl.core.bar import has_terminal, watched
from sapiens_pl.core.errors import CheckpointError, ConfigError
from sapiens_pl.core.wording import one_line
from sapiens_pl.detection.fcos_small import fcos_small
from sapiens_pl.models.tensors import read_tensors

PUBLISHED = ("fasterrcnn_resnet50_fpn_v2", "retinanet_resnet50_fpn_v2", "ssdlite320_mobilenet_v3_large")
TORCHVISION_MODELS = (*PUBLISHED, "fcos_small")
DEFAULT_MODEL = PUBLISHED[0]
OTHER_BOXES = "or choose boxes=json or boxes=coco with boxes.file=FILE, or boxes=whole_image"
_CONNECT_SECONDS = 10.0


def builder(name: str) -> Callable[..., Any]:
    """The function that makes a detector of that name, with random weights."""
    return fcos_small if name == "fcos_small" else get_model_builder(name)


def read_weights(name: str, file: str | None) -> dict[str, Tensor]:
    """The tensors of the file, by name.

    Args:
        file: .pth, .pt or .safetensors, of any age; None for what torchvision publishes, from torch's cache or by
            download.

    Raises:
        ConfigError: there are none, they cannot be fetched, or the file is damaged.
    """
    path = _published_file(name) if file is None else Path(file).expanduser()
    if not path.is_file():
        raise ConfigError(f"boxes.weights={file} is not a file; give the weights of {name} (.pth or .safetensors).")
    tensors, _ = read_tensors(path, "boxes.weights")
    if not tensors:
        raise CheckpointError(f"{path} holds no dictionary of tensors; give the weights of {name}.")
    return tensors


def _published_file(name: str) -> Path:
    if name not in PUBLISHED:
        raise ConfigError(f"There are no published weights of {name}; set boxes.weights=FILE.")
    url = get_model_weights(name).DEFAULT.url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        _download(name, url, path)
    return path


def _download(name: str, url: str, path: Path) -> None:
    digest = path.stem.rpartition("-")[2]  # torchvision's file names end in the beginning of their SHA-256
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            _impatient(),
            watched(f"downloading {path.name}", "B", None, lambda: _so_far(path), shown=not has_terminal()),
        ):
            torch.hub.download_url_to_file(url, str(path), digest, progress=has_terminal())
    except (OSError, RuntimeError, urllib.error.URLError) as error:
        reason = one_line(getattr(error, "reason", None) or error, 120)
        raise ConfigError(
            f"The weights of the person detector {name} are not here and could not be fetched ({reason}): fetch {url} "
            f"and put it to {path} or give it as boxes.weights=FILE, {OTHER_BOXES}."
        ) from None


def _so_far(path: Path) -> int:
    """Bytes: torch.hub downloads into a file beside."""
    return max((each.stat().st_size for each in path.parent.glob(f"{path.name}.*.partial")), default=0)


@contextmanager
def _impatient() -> Iterator[None]:
    """No connection waits for longer than some seconds."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_CONNECT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
