"""The LightningModule: a batch of crops in, keypoints in image pixels out.

Nothing in a step waits for the device, so that the next batch is copied and launched while this one computes.

Legend: B crops, K keypoints, H W crop px, h w heatmap px.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import cv2
import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

from sapiens_pl.core.devices import GIB, free_cached, is_out_of_memory, memory_in_numbers
from sapiens_pl.core.errors import ConfigError, DeviceMemoryError
from sapiens_pl.core.geometry import SAPIENS_CROPS, CropSettings
from sapiens_pl.core.protocols import PoseNetwork
from sapiens_pl.core.settings import check
from sapiens_pl.core.structures import CropBatch, PosePrediction
from sapiens_pl.core.wording import one_line
from sapiens_pl.inference.compiling import compile_options
from sapiens_pl.inference.decoding import decode_heatmaps
from sapiens_pl.inference.transfer import HostCopy, PendingPrediction
from sapiens_pl.models.settings import INFERENCE
from sapiens_pl.models.watch import WeightsWatch

log = logging.getLogger(__name__)

"""torch.compile's own; the second and the third replay CUDA graphs."""

_WEIGHTS_IN_HALF = {"bf16-true": torch.bfloat16, "16-true": torch.float16}


@lru_cache
def _for_a_row(values: tuple[float, ...], width: int, device: torch.device) -> Tensor:
    """(width * 3,) float32, the values of each pixel; cached: copying a scalar to the device would synchronise."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=torch.float32, device=device).repeat(width)


def normalise(crops: Tensor, dtype: torch.dtype, settings: CropSettings = SAPIENS_CROPS) -> Tensor:
    """(B, 3, H, W) uint8 BGR -> (B, 3, H, W) RGB of mean 0 and deviation 1, in `dtype`.

    Computed in float32: in half precision the means themselves would be rounded. In memory the channels come last, as
    the loader brings them, whatever the crops' layout: a network is compiled for one. Whole rows are normalised at a
    time: a CPU is several times slower at three channels.
    """
    batch, channels, height, width = crops.shape
    mean = _for_a_row(tuple(settings.pixel_mean_rgb), width, crops.device)
    std = _for_a_row(tuple(settings.pixel_std_rgb), width, crops.device)
    rows = _as_rgb(crops.permute(0, 2, 3, 1)).reshape(batch, height, width * channels).to(torch.float32)
    pixels = rows.sub_(mean).div_(std).to(dtype).view(batch, height, width, channels)
    return pixels.permute(0, 3, 1, 2)


def _as_rgb(pixels: Tensor) -> Tensor:
    """(B, H, W, 3) BGR -> the same as RGB."""
    if pixels.device.type != "cpu" or len(pixels) == 0:
        return pixels.flip(3)
    # On a CPU torch takes forty times as long.
    swapped = cv2.cvtColor(pixels.flatten(0, 1).numpy(), cv2.COLOR_BGR2RGB)
    return torch.from_numpy(swapped).view(pixels.shape)


class PoseModule(L.LightningModule):
    """Runs a pose network over batches and decodes its heatmaps where they are.

    Args:
        network: a module; its `crop_settings` say how the crops are normalised.
        flip_indices: the keypoint that each keypoint becomes in a mirrored image; given, the
            heatmaps are averaged with those of the mirrored crops (flip test).
        compile_mode: compile the network when the run starts, in this mode of torch.compile; None leaves it as it is.
            It is compiled for full batches, one graph for a whole run: those with fewer crops are filled up.

    Raises:
        ConfigError: an unknown mode.
    """

    def __init__(
        self, network: PoseNetwork, flip_indices: Sequence[int] | None = None, compile_mode: str | None = None
    ) -> None:
        super().__init__()
        if compile_mode is not None:
            check(INFERENCE, {"compile_mode": compile_mode})
        self.crop_settings: CropSettings = network.crop_settings
        self.num_keypoints = network.keypoint_set.num_keypoints
        assert isinstance(network, nn.Module), "a PoseNetwork is one"
        self.network: nn.Module = network
        self.compile_mode = compile_mode
        self.watch: WeightsWatch | None = getattr(network, "watch", None)
        self.flip_indices = None if flip_indices is None else list(flip_indices)
        partners = None if flip_indices is None else torch.tensor(self.flip_indices)
        self.register_buffer("_partners", partners, persistent=False)
        self.compiled_for: int | None = None
        """Crops of a full batch, once the network is compiled."""
        self.largest_working_batch: int | None = None
        """Crops that go through the network at a time, once memory has run out; None while it has not."""

    def setup(self, stage: str | None = None) -> None:
        """Places the weights before Lightning does, which would convert them on the host first."""
        self.place(self.trainer.strategy.root_device, self.trainer.precision)

    def place(self, device: torch.device, precision: Any) -> None:
        """Brings the weights to the device, and there to the dtype that they have in that precision.

        They go tensor by tensor from the file's memory map, so the host never holds a copy of the whole.
        """
        begin = time.perf_counter()
        in_the_file = {parameter.data_ptr() for parameter in self.network.parameters()}
        self.network.to(device)
        self.network.to(_WEIGHTS_IN_HALF.get(str(precision), torch.float32))
        if in_the_file.isdisjoint(parameter.data_ptr() for parameter in self.network.parameters()):
            self.watch = None  # all are copied: the file may change now
        self.placing_seconds = time.perf_counter() - begin

    def on_predict_start(self) -> None:
        """Has the network compiled, where that is asked for."""
        # Not earlier: `data.batch_size=auto` has tried its sizes, each of which would have been compiled.
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if self.compile_mode is not None and data.largest_batch:
            self.compile_for(data.largest_batch)

    def compile_for(self, batch_size: int) -> None:
        """Has the network compiled, in its first pass, for batches of so many crops."""
        self.compiled_for = batch_size
        torch.compiler.reset()  # code compiled for another size would keep its memory
        options = compile_options(self.network, self.compile_mode)
        # In place: the names of the weights stay, so saving or moving the network works as before.
        self.network.compile(options=options, fullgraph=True, dynamic=False)

    def transfer_batch_to_device(self, batch: CropBatch, device: torch.device, dataloader_idx: int = 0) -> CropBatch:
        """Brings the crops to the device; on CUDA beside the work on the batch before. The rest stays on the host."""
        if device.type != "cuda":
            return batch._replace(crops=batch.crops.to(device))
        working, copying = torch.cuda.current_stream(device), _copying_stream(device)
        with torch.cuda.stream(copying):
            crops = batch.crops.to(device, non_blocking=True)
        working.wait_stream(copying)
        crops.record_stream(working)
        return batch._replace(crops=crops)

    def forward(self, crops: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 BGR crops -> (B, K, h, w) float32 heatmaps, averaged if flip testing.

        The heatmaps of a compiled network may be overwritten by the next pass.
        """
        inputs = normalise(crops, next(self.network.parameters()).dtype, self.crop_settings)
        if self.flip_indices is None:
            return self.network(inputs)
        heatmaps, mirrored = self.network(torch.cat([inputs, inputs.flip(3)])).chunk(2)
        return (heatmaps + mirrored.flip(3).index_select(1, self._partners)) / 2

    def predict_step(self, batch: CropBatch, batch_idx: int = 0) -> PosePrediction | PendingPrediction:
        """Keypoints of every crop of the batch, in image px, and their scores; on CUDA they are still to come.

        Raises:
            DeviceMemoryError: not even one crop fits into the device's memory.
            WeightsChangedError: the file that the weights are a memory map of was written to.
        """
        if len(batch.crops) == 0:  # only images without boxes, or none that could be read
            return PosePrediction(np.empty((0, 0, 2), np.float32), np.empty((0, 0), np.float32))
        if self.watch is not None:
            self.watch.look()
        copies, heatmap_wh = self._decode_in_parts(batch.crops)
        if self.watch is not None:  # before the results are returned
            self.watch.look()
        pending = PendingPrediction(copies, batch.centers, batch.scales, heatmap_wh)
        return pending.result() if pending.is_ready else pending

    def _decode_in_parts(self, crops: Tensor) -> tuple[list[HostCopy], tuple[int, int]]:
        """(B, K, 3) heatmap px and scores, and the heatmaps' width and height; in as many parts as memory asks for."""
        parts: list[HostCopy] = []
        start, limit = 0, self.largest_working_batch
        while start < len(crops):
            at_most = limit or self.compiled_for or len(crops)
            part = crops[start : start + at_most]
            size = len(part) if self.compiled_for is None else at_most
            try:
                decoded, heatmap_wh = self._decode(part, size)
            except Exception as error:
                if not is_out_of_memory(error):
                    _explain_compilation(error)
                    raise
                complaint = one_line(error)
            else:
                parts.append(decoded)
                start += len(part)
                continue
            # Out here the failed pass's tensors are no longer held by the exception.
            if size == 1:
                raise DeviceMemoryError(self._does_not_fit(crops, complaint))
            limit = size // 2
            if self.compiled_for is not None:
                self.compile_for(limit)
            free_cached(crops.device)
        if limit != self.largest_working_batch:
            log.warning("Out of memory on %s: going on with %d crops at a time.", crops.device, limit)
            self.largest_working_batch = limit
        return parts, heatmap_wh

    def _decode(self, crops: Tensor, size: int) -> tuple[HostCopy, tuple[int, int]]:
        """One pass over the crops, filled up with black ones to `size`."""
        heatmaps = self(_filled_up(crops, size))
        _check_form(heatmaps, max(size, len(crops)))
        heatmaps = heatmaps[: len(crops)]
        if heatmaps.shape[1] != self.num_keypoints:
            raise ConfigError(
                f"The network makes {heatmaps.shape[1]} heatmaps a crop, but its keypoint set has {self.num_keypoints} "
                "keypoints; give it the set that it was trained with."
            )
        keypoints, scores = decode_heatmaps(heatmaps)
        decoded = torch.cat([keypoints, scores[..., None]], dim=2)
        return HostCopy(decoded), (heatmaps.shape[3], heatmaps.shape[2])  # the only copy to the host

    def _does_not_fit(self, crops: Tensor, complaint: str) -> str:
        weights = sum(parameter.numel() * parameter.element_size() for parameter in self.parameters())
        return (
            f"A single crop of {crops.shape[3]}x{crops.shape[2]} px does not fit into the memory of {crops.device} "
            f"beside {weights / GIB:.2f} GiB of weights ({memory_in_numbers(crops.device)}; it said: {complaint}); "
            "use a smaller model, trainer.precision=bf16-true, or a device with more memory."
        )


def _check_form(heatmaps: Any, num_crops: int) -> None:
    """Raises ConfigError for what a network of one's own may give in place of heatmaps."""
    shape = tuple(heatmaps.shape) if isinstance(heatmaps, Tensor) else ()
    if len(shape) != 4 or shape[0] != num_crops or min(shape[2:]) < 2:
        given = f"a tensor of the shape {shape}" if shape else type(heatmaps).__name__
        raise ConfigError(
            f"The network gives {given} for {num_crops} crops, not heatmaps of the shape (B, K, h, w) with h and w of "
            "at least 2; correct it."
        )


def _filled_up(crops: Tensor, size: int) -> Tensor:
    missing = size - len(crops)
    return torch.cat([crops, crops.new_zeros(missing, *crops.shape[1:])]) if missing else crops


def _explain_compilation(error: Exception) -> None:
    """Raises a sentence for an error of the compiler's."""
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        reason = one_line(error, 300)
        raise ConfigError(f"model.compile=true does not work here ({reason}); set model.compile=false.") from error


@lru_cache
def _copying_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
