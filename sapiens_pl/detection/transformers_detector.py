"""The object detectors of the transformers library: whatever `AutoModelForObjectDetection` loads.

Each image goes through the model's own processor alone, so none is padded to its neighbours' size; those that come
out equally large share a pass.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import torch
from torch import Tensor, nn

from sapiens_pl.core.errors import CheckpointError, ConfigError
from sapiens_pl.core.wording import one_line
from sapiens_pl.detection.detectors import People, PersonDetector
from sapiens_pl.detection.grouping import in_groups
from sapiens_pl.detection.torchvision_weights import OTHER_BOXES
from sapiens_pl.detection.transformers_limits import ClaimError, believing_no_more_than, check_settings
from sapiens_pl.models.transformers_folder import CONFIG_FILE

PERSON = "person"
LOWEST_SCORE = 0.01
"""Less likely boxes are of no use, and some models give hundreds an image."""
_ON_TENSORS = ("TorchvisionBackend", "BaseImageProcessorFast")
"""The processors' common ancestors in transformers 5 and 4."""
_CONNECT_SECONDS = 5.0
_NO_CODE: dict[str, Any] = {"trust_remote_code": False}
"""No code that comes with a model is run, and no question is asked about it."""


class _Prepared(NamedTuple):
    inputs: dict[str, Tensor]
    image_hw: tuple[int, int]


class TransformersDetector(PersonDetector):
    """A transformers object detector, asked for people.

    Args:
        name: the model's name or folder.
        network, processor: as their `from_pretrained` gives them.

    Raises:
        ConfigError: the model knows no class called person.
    """

    def __init__(self, name: str, network: nn.Module, processor: Any) -> None:
        super().__init__()
        self.name, self.network, self.processor = name, network.eval(), processor
        labels = getattr(network.config, "id2label", None) or {}
        self.person_labels = [int(label) for label, text in labels.items() if str(text).strip().lower() == PERSON]
        if not self.person_labels:
            raise ConfigError(
                f"boxes.model={name} finds {len(labels)} classes, none of which is called person; choose another "
                "detector."
            )
        # The processors that work on tensors work on the device; the others only on arrays.
        self._on_tensors = any(base.__name__ in _ON_TENSORS for base in type(processor).__mro__)

    def forward(self, images: Sequence[Tensor]) -> list[People]:
        prepared = [self._prepare(image) for image in images]
        return in_groups(prepared, lambda one: one.inputs["pixel_values"].shape, self._detect)

    def _prepare(self, image: Tensor) -> _Prepared:
        rgb = image.flip(2)
        given: Any = rgb.permute(2, 0, 1) if self._on_tensors else rgb.cpu().numpy()
        inputs = self.processor(images=given, return_tensors="pt")
        on_device = {key: value.to(image.device) for key, value in inputs.items() if isinstance(value, Tensor)}
        return _Prepared(on_device, (image.shape[0], image.shape[1]))

    def _detect(self, prepared: Sequence[_Prepared]) -> list[People]:
        inputs = {key: torch.cat([one.inputs[key] for one in prepared]) for key in prepared[0].inputs}
        sizes = torch.tensor([one.image_hw for one in prepared], device=inputs["pixel_values"].device)
        outputs = self.network(**inputs)
        found = self.processor.post_process_object_detection(outputs, threshold=LOWEST_SCORE, target_sizes=sizes)
        return [self._people(one) for one in found]

    def _people(self, found: dict[str, Tensor]) -> People:
        wanted = torch.tensor(self.person_labels, device=found["labels"].device)
        chosen = torch.isin(found["labels"], wanted)
        boxes, scores = found["boxes"][chosen].float(), found["scores"][chosen].float()
        order = scores.argsort(descending=True, stable=True)
        return People(boxes[order], scores[order])


def load_transformers(name: str) -> TransformersDetector:
    """The model of that name or in that folder, in float32; no code that comes with it is run.

    Raises:
        ConfigError: transformers is not installed, or there is no such detector.
    """
    try:
        import transformers
    except ImportError:
        raise ConfigError(
            f"boxes.model={name} needs the transformers library: pip install 'sapiens_pl[detector]'."
        ) from None
    folder = os.path.expanduser(name)
    local = os.path.isdir(folder)
    where = folder if local else name
    try:
        with _quiet(transformers):
            if not local and not _is_cached(name):
                _check_network(name)
            return TransformersDetector(name, *_load(transformers, where))
    except ConfigError:
        raise
    except Exception as error:  # the library raises errors of any kind
        reason = one_line(error)
        if "trust_remote_code" in str(error):
            raise CheckpointError(
                f"boxes.model={name} brings Python code of its own, which is never run here; choose a detector that "
                f"the transformers library knows by itself, {OTHER_BOXES}."
            ) from None
        remedy = (
            "give the folder of an object detector (config.json, preprocessor_config.json, model.safetensors)"
            if local
            else _fetch_by_hand(name)
        )
        raise CheckpointError(f"boxes.model={name} cannot be loaded ({reason}): {remedy}.") from None


def _load(transformers: Any, where: str) -> tuple[nn.Module, Any]:
    folder = Path(transformers.utils.cached_file(where, CONFIG_FILE)).parent
    check_settings(folder)
    with believing_no_more_than(folder):
        network, found = transformers.AutoModelForObjectDetection.from_pretrained(
            where,
            dtype=torch.float32,
            weights_only=True,
            ignore_mismatched_sizes=True,  # told below
            output_loading_info=True,
            **_NO_CODE,
        )
    # The library fills these with random numbers.
    wrong = [entry if isinstance(entry, str) else entry[0] for entry in found["mismatched_keys"]]
    missing = sorted(name for name in {*found["missing_keys"], *wrong} if not name.endswith("num_batches_tracked"))
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ClaimError(f"these weights are missing or have another shape: {missing[0][:80]}{more}")
    return network, transformers.AutoImageProcessor.from_pretrained(where, **_NO_CODE)


def _is_cached(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(name, CONFIG_FILE), str)
    except HFValidationError:
        return False


def _check_network(name: str) -> None:
    """The hub's client tries again and again where there is no network; this takes seconds."""
    from huggingface_hub import constants

    reason = "HF_HUB_OFFLINE is set"
    if not constants.HF_HUB_OFFLINE:
        if any(os.environ.get(key) for key in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")):
            return  # the proxy knows
        hub = urlsplit(constants.ENDPOINT)
        try:
            port = hub.port or (80 if hub.scheme == "http" else 443)
            with socket.create_connection((hub.hostname, port), _CONNECT_SECONDS):
                return
        except OSError as error:
            reason = f"{hub.hostname}: {error.strerror or error}"
    raise ConfigError(
        f"boxes.model={name} is neither a folder nor in the hub's cache, and the hub cannot be asked ({reason}): "
        f"{_fetch_by_hand(name)}."
    )


def _fetch_by_hand(name: str) -> str:
    return (
        f"fetch {name} where there is a network (its config.json, preprocessor_config.json and model.safetensors) and "
        f"give the folder as boxes.model=FOLDER, {OTHER_BOXES}"
    )


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keeps the library from printing."""
    logging = transformers.utils.logging
    level, with_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if with_bars:
            logging.enable_progress_bar()
