"""(b) Pipeline efficiency: crops/s of a whole run over those of the bare forward pass on ready tensors.

Both are measured in one run, in turn: after every batch the same network passes over as many ready crops, and the
clock of the run stands still meanwhile. On a CPU the main process reads and crops by itself (`data.num_workers=0`),
so nothing is done ahead while the clock stands.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import lightning as L

from benchmarks.networks import build, tiny_shape
from benchmarks.report import Result, Row, default_device, wait_for
from sapiens_pl.boxes.json_boxes import JsonBoxes
from sapiens_pl.data.crops import CropCutter
from sapiens_pl.data.datamodule import ImageDataModule
from sapiens_pl.data.dataset import PictureDataset
from sapiens_pl.demo import CHECKPOINT
from sapiens_pl.demo.draw import random_scenes, write_scenes
from sapiens_pl.inference import module as module_room
from sapiens_pl.inference.module import PoseModule, normalise
from sapiens_pl.inference.transfer import PendingPrediction
from sapiens_pl.models.checkpoints import load_network
from sapiens_pl.models.zoo import sapiens_shape
from sapiens_pl.products.chosen import ChosenProduct
from sapiens_pl.products.json_files import JsonFiles
from sapiens_pl.products.making import Products
from sapiens_pl.products.second_read import Photographs, PictureReader
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.records.store import make_store
from sapiens_pl.records.writer import PoseWriter

STAGES = ("forward", "reading and cropping", "normalising", "decoding", "writing")


class Case(NamedTuple):
    """One run: its network, crops a batch, how many images, Lightning's precision, loader processes."""

    name: str
    network: Callable[[], Any]
    batch_size: int
    num_images: int
    precision: str = "32-true"
    num_workers: int = 0
    compile_mode: str | None = None


class BareForward(L.Callback):
    """After each full batch, the same pass over ready tensors; counts from the second on.

    Attributes:
        seconds: of the run, without these passes.
        bare_seconds: of these passes.
        crops: that either has seen.
        stages: seconds of each stage of the run, as `watched` fills it.
    """

    def __init__(self) -> None:
        self.seconds = self.bare_seconds = 0.0
        self.crops = 0
        self.stages: Counter[str] = Counter()
        self._resumed: float | None = None

    def on_predict_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, *given: Any) -> None:
        wait_for(pl_module.device)
        now = time.perf_counter()
        if len(batch.crops) < trainer.datamodule.batch_size:  # type: ignore[attr-defined]
            return
        inputs = normalise(batch.crops, next(pl_module.network.parameters()).dtype, pl_module.crop_settings)
        wait_for(pl_module.device)
        begin = time.perf_counter()
        with trainer.precision_plugin.predict_step_context():
            pl_module.network(inputs)
        wait_for(pl_module.device)
        end = time.perf_counter()
        if self._resumed is None:
            self.stages.clear()
        else:
            self.seconds += now - self._resumed
            self.bare_seconds += end - begin
            self.crops += len(batch.crops)
            self.counted = Counter(self.stages)
        self._resumed = time.perf_counter()


@contextmanager
def watched(stages: Counter[str]) -> Iterator[None]:
    """Adds up what the stages beside the network cost; writing, which threads do, in their own processor time."""

    def clocked(function: Callable, stage: str, clock: Callable[[], float]) -> Callable:
        def call(*given: Any, **named: Any) -> Any:
            begin = clock()
            try:
                return function(*given, **named)
            finally:
                stages[stage] += clock() - begin

        return call

    places = [
        (PictureDataset, "cut", "reading and cropping", time.perf_counter),
        (CropCutter, "batch", "reading and cropping", time.perf_counter),
        (PoseModule, "forward", "forward", time.perf_counter),
        (module_room, "normalise", "normalising", time.perf_counter),
        (module_room, "decode_heatmaps", "decoding", time.perf_counter),
        (PendingPrediction, "result", "decoding", time.perf_counter),
        (PoseWriter, "_record", "writing", time.thread_time),
        (PoseWriter, "_make", "writing", time.thread_time),
    ]
    patches = [
        patch.object(room, name, clocked(getattr(room, name), stage, clock)) for room, name, stage, clock in places
    ]
    for one in patches:
        one.start()
    try:
        yield
    finally:
        for one in patches:
            one.stop()


def measure(case: Case, folder: Path, bare: BareForward | None) -> PoseWriter:
    """Runs the case as the command would, over drawn scenes of all sizes with 0 to 7 boxes each."""
    write_scenes(folder, random_scenes(case.num_images, seed=3))
    network = case.network()
    data = ImageDataModule(
        str(folder / "images"),
        JsonBoxes(str(folder / "people.json")),
        network.shape.input_hw,
        batch_size=case.batch_size,
        num_workers=case.num_workers,
        crop_settings=network.crop_settings,
    )
    run = RunFolder(str(folder / "run"), 0, 0, 1)
    run.open()
    make_store(run.records, network.keypoint_set, {})
    chosen, photographs = (
        [ChosenProduct("json", JsonFiles(), {})],
        Photographs(lambda: PictureReader(60, 100, lambda: False)),
    )
    writer = PoseWriter(run, network.keypoint_set, Products(run, chosen, network.keypoint_set, photographs))
    trainer = L.Trainer(
        accelerator=default_device().type,
        devices=1,
        precision=case.precision,  # type: ignore[arg-type]
        callbacks=[writer, *([bare] if bare else [])],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,
    )
    module = PoseModule(network, compile_mode=case.compile_mode)
    with watched(bare.stages if bare else Counter()):
        trainer.predict(module, datamodule=data, return_predictions=False)
    return writer


def row(case: Case) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        bare = BareForward()
        measure(case, Path(folder), bare)
    parts = {name: bare.counted[name] / bare.seconds for name in STAGES}
    parts["forward"] -= parts["normalising"]
    return {
        "network": case.name,
        "batch": case.batch_size,
        "precision": case.precision,
        "crops": bare.crops,
        "run, crops/s": bare.crops / bare.seconds,
        "bare forward, crops/s": bare.crops / bare.bare_seconds,
        "efficiency": bare.bare_seconds / bare.seconds,
        **parts,
        "unexplained": 1 - sum(parts.values()),
    }


def run(quick: bool) -> Result:
    if quick:
        cases = [Case("tiny", lambda: build(tiny_shape()), 2, 3)]
    else:
        cases = [
            Case("demo", lambda: load_network(CHECKPOINT), 8, 60),
            Case("0.3b shape, 308 keypoints, random weights", lambda: build(sapiens_shape("0.3b", 308)), 2, 3),
        ]
    notes = [
        "Files of mixed sizes with 0 to 7 boxes each, all read, cropped, decoded and written as in any run.",
        "Efficiency: the run's crops/s over those of the bare forward pass. The columns behind it: parts of the run's "
        "time, its own forward passes among them (the bare ones may differ from those by what else the machine has to "
        "do); unexplained is what they leave.",
    ]
    return Result(
        "pipeline", "How much of the bare forward pass's speed does a whole run reach?", [row(c) for c in cases], notes
    )
