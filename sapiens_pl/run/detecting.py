"""Looking for people, if boxes come from a detector: in all pictures before the poses, or tar by tar between them."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import lightning as L
import numpy as np
import torch

from sapiens_pl.core.devices import free_cached
from sapiens_pl.core.plan import Tasks
from sapiens_pl.core.protocols import PictureSource
from sapiens_pl.core.structures import Failure
from sapiens_pl.detection.boxes import DetectorBoxes
from sapiens_pl.detection.data import DetectionData, whole_images
from sapiens_pl.detection.module import DetectionModule
from sapiens_pl.detection.record import DetectionRecord
from sapiens_pl.detection.writer import DetectionWriter, too_many_failures
from sapiens_pl.records.pace import Pace
from sapiens_pl.run.account import DETECTING, Detection
from sapiens_pl.run.progress import PassProgress, Tally
from sapiens_pl.run.ranks import build_trainer, go_on_from, keep_weights_apart, meet_once
from sapiens_pl.run.running import Run


def detect_people(run: Run, boxes: DetectorBoxes, poses: L.Trainer) -> Detection:
    """Looks for people in this process's share; leaves nothing on the device.

    Args:
        boxes: gets the boxes that are found.
        poses: the trainer that continues from here.
    """
    found = _detect(run, boxes)
    gc.collect()  # the detector and its trainer know each other
    free_cached(poses.strategy.root_device)
    go_on_from(poses)
    return found


def plan_detection(run: Run, boxes: DetectorBoxes) -> DetectionData:
    """The images of this process's share, and those among them in which nobody has looked for people yet."""
    take_record(run, boxes)
    assert run.data is not None
    data = DetectionData(run.data, boxes)
    data.setup()
    return data


def take_record(run: Run, boxes: DetectorBoxes) -> None:
    """Shows the boxes what earlier runs have detected; of tars that are looked at one by one, it is read with these."""
    run.folder.open()
    record = DetectionRecord(run.folder)
    if run.is_first and run.folder.lock.only_one:
        record.settle()
    boxes.in_folder(record)
    assert run.data is not None
    if run.data.goes_by_shards:
        record.read(of_shards=False)


class PeopleFinder:
    """Looks for people in the pictures of some tars at a time, in the process and on the device of the poses.

    It takes turns with them, in the main thread: precision and graphs of the poses concern the whole process.

    Args:
        run: its data go by shards.
        boxes: get what is found.
        poses: the trainer.
        progress: of the poses; shows that people are looked for.
        pace: of the poses; time spent here is left out of it.
    """

    def __init__(self, run: Run, boxes: DetectorBoxes, poses: L.Trainer, progress: PassProgress, pace: Pace) -> None:
        self._run, self._boxes, self._poses, self._progress, self._pace = run, boxes, poses, progress, pace
        self._module: DetectionModule | None = None
        self._images = self._failed = self._people = 0
        self._seconds = 0.0
        take_record(run, boxes)
        boxes.find = self._find
        meet_once(poses)

    def found(self) -> Detection:
        """What it has come to."""
        limit = None if self._module is None else self._module.largest_working_batch
        return _detection(self._images, self._failed, self._people, self._seconds, limit)

    def _find(
        self, source: PictureSource, tasks: Tasks, note: Callable[[int, tuple[int, int], np.ndarray], None]
    ) -> list[Failure]:
        """As `detection.boxes.Find`; ends early if the run is to stop."""
        data, device, failures = self._run.data, self._poses.strategy.root_device, list[Failure]()
        assert data is not None
        module = self._begun()
        begin, before = time.perf_counter(), self._seconds
        with self._progress.looking(len(tasks), self._poses) as tell:
            for batch in whole_images(data, source, tasks, self._boxes.batch_size(device), data.stopped):
                with torch.inference_mode():
                    found = module.predict_step(batch.on(device))
                people = dict(zip(batch.image_indices.tolist(), found))
                for part in batch.parts:
                    failures += part.failures
                    if not part.failures:
                        assert part.image_wh is not None
                        number = part.span.image_index
                        note(int(tasks.indices[number]), part.image_wh, people[number])
                self._images += len(batch.parts)
                self._people += sum(map(len, found))
                self._seconds = before + time.perf_counter() - begin
                tell(len(batch.parts))
                self._stop_at_too_many(self._failed + len(failures))
        self._failed += len(failures)
        self._pace.leave_out(self._seconds - before)
        free_cached(device)  # for the poses
        return failures

    def _begun(self) -> DetectionModule:
        """The detector on the device; from the first time on, a signal lets the batch in flight end."""
        if self._module is None:
            module = DetectionModule(self._boxes.take_detector(), self._boxes.rules).eval()
            self._module = module.to(self._poses.strategy.root_device)
            self._run.stop.on_predict_start(self._poses, module)
        return self._module

    def _stop_at_too_many(self, failed: int) -> None:
        most = self._run.cfg.output.max_failures
        if most is not None and failed > most:
            self._run.stop.ask(too_many_failures(most, self._run.folder.failures.file))


def _detect(run: Run, boxes: DetectorBoxes) -> Detection:
    data, module = plan_detection(run, boxes), DetectionModule(boxes.take_detector(), boxes.rules)
    writer = DetectionWriter(boxes, run.folder.failures, run.cfg.output.max_failures, run.stop.ask)

    def done() -> Tally:
        failed = len(boxes.failures)
        return Tally(writer.num_images, writer.num_images - failed, failed)

    progress = PassProgress(run.folder, DETECTING, lambda: Tally(len(data.tasks), len(data.tasks)), done, run.has_bar)
    # float32, whatever the poses have: bfloat16 moved corners of the demo's boxes by up to 2.7 px.
    trainer = build_trainer(run.cfg, [writer, progress, run.stop], precision="32-true")
    run.processes.trained_by(trainer)
    trainer.predict(keep_weights_apart(module), datamodule=data, return_predictions=False)
    progress.close()
    failed, limit = len(boxes.failures), module.largest_working_batch
    return _detection(writer.num_images, failed, writer.num_people, writer.seconds, limit)


def _detection(images: int, failed: int, people: int, seconds: float, limit: int | None) -> Detection:
    return Detection(
        images=images,
        images_failed=failed,
        people=people,
        seconds=round(seconds, 3),
        images_per_second=round(images / seconds, 3) if seconds else 0.0,
        largest_working_batch=limit,
    )
