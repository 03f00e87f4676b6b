"""The pass before the poses, if boxes come from a detector."""

from __future__ import annotations

import gc

import lightning as L

from sapiens_pl.core.devices import free_cached
from sapiens_pl.detection.boxes import DetectorBoxes
from sapiens_pl.detection.data import DetectionData
from sapiens_pl.detection.module import DetectionModule
from sapiens_pl.detection.record import DetectionRecord
from sapiens_pl.detection.writer import DetectionWriter
from sapiens_pl.run.account import DETECTING, Detection
from sapiens_pl.run.progress import PassProgress, Tally
from sapiens_pl.run.ranks import build_trainer, go_on_from, keep_weights_apart
from sapiens_pl.run.running import Run


def detect_people(run: Run, boxes: DetectorBoxes, poses: L.Trainer) -> Detection:
    """Looks for people in this process's share; leaves nothing of itself on the device.

    Args:
        boxes: gets them.
        poses: the trainer that goes on from here.
    """
    found = _detect(run, boxes)
    gc.collect()  # the detector and its trainer know each other
    free_cached(poses.strategy.root_device)
    go_on_from(poses)
    return found


def plan_detection(run: Run, boxes: DetectorBoxes) -> DetectionData:
    """The images of this process's share, and those among them in which nobody has looked for people yet."""
    run.folder.open()
    record = DetectionRecord(run.folder)
    if run.is_first and run.folder.lock.only_one:
        record.settle()
    boxes.in_folder(record)
    assert run.data is not None
    data = DetectionData(run.data, boxes)
    data.setup()
    return data


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
    return Detection(
        images=writer.num_images,
        images_failed=len(boxes.failures),
        people=writer.num_people,
        seconds=round(writer.seconds, 3),
        images_per_second=round(writer.num_images / writer.seconds, 3) if writer.seconds else 0.0,
        largest_working_batch=module.largest_working_batch,
    )
