"""The progress of a run: one bar for both passes, and `run.json`, which is updated while the run goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import lightning as L

from sapiens_pl.core.bar import Bar
from sapiens_pl.core.devices import peak_gib
from sapiens_pl.core.errors import ConfigError, WriteError
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.run.account import (
    DETECTING,
    POSING,
    Live,
    ShardProgress,
    VideoProgress,
    read_account,
    write_account,
)
from sapiens_pl.run.film_time import VideoTally
from sapiens_pl.run.lives import progress_of, read_lives, shard_progress, video_progress, write_live

_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_BETWEEN_ACCOUNTS = 10.0
_NAME_AND_UNIT = {DETECTING: ("people", "image"), POSING: ("poses", "crop")}


class Tally(NamedTuple):
    """What this process has to do, or has done: crops (in the detection pass, images), images by outcome, and what of
    these are frames of videos; where whole tars are planned one after the other, how many of them.
    """

    crops: int
    images: int
    images_failed: int = 0
    video: VideoTally | None = None
    shards: ShardProgress | None = None


class PassProgress(L.Callback):
    """Follows one pass of a run: its crops in the bar of rank 0, all processes' numbers in the run's folder.

    Each process leaves its numbers there; rank 0 of each shard sums them up for its bar, and now and then for all in
    `run.json`.

    Args:
        folder: the run's.
        state: what the pass is (`account.DETECTING`, `account.POSING`).
        planned: gives what this process has to do, once that is known.
        done: gives the images that it has done and those that failed.
        shown: show a bar.
    """

    def __init__(
        self,
        folder: RunFolder,
        state: str,
        planned: Callable[[], Tally],
        done: Callable[[], Tally],
        shown: bool = True,
    ) -> None:
        self._folder, self._state, self._planned, self._done, self._shown = folder, state, planned, done, shown
        self._is_looking = False
        self._bar: Bar | None = None
        self._crops = 0
        self._begin = self._looked_at = self._told_at = 0.0

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        # Not in on_predict_start: with nothing left to predict, that is never called.
        if self._bar is None:
            self._start(trainer)

    def _start(self, trainer: L.Trainer) -> None:
        self._device = trainer.strategy.root_device
        self._num_ranks = trainer.world_size
        self._bar = Bar(*_NAME_AND_UNIT[self._state], shown=self._shown and trainer.is_global_zero)
        self._begin = time.monotonic()
        self.look(at_once=True)

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._crops += sum(part.span.stop - part.span.start for part in batch.parts)
        self.look()

    @contextmanager
    def looking(self, num_images: int, trainer: L.Trainer) -> Iterator[Callable[[int], None]]:
        """While people are looked for in the pictures of some tars, between the poses: gives what is told of so many
        more of them.
        """
        if self._bar is None:
            self._start(trainer)
        bar = Bar(*_NAME_AND_UNIT[DETECTING], shown=self._shown and trainer.is_global_zero, stays=False)
        seen = 0

        def tell(count: int) -> None:
            nonlocal seen
            seen += count
            bar.show(seen, num_images, "")
            self.look()

        self._is_looking = True
        try:
            self.look(at_once=True)
            yield tell
        finally:
            self._is_looking = False
            bar.close()

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.look(at_once=True)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self.close()

    def look(self, at_once: bool = False) -> None:
        """Updates bar and files if that is due; may be called at any time."""
        if self._bar is None:
            return
        moment = time.monotonic()
        if not at_once and moment - self._looked_at < _SECONDS_BETWEEN_LOOKS:
            return
        self._looked_at = moment
        own = self._own(moment)
        several = self._num_ranks > 1
        if several or self._folder.num_shards > 1 or at_once:
            write_live(self._folder, own)
        if self._folder.rank:
            return
        everybody = read_lives(self._folder, own_shard=True) if several else [own]
        note = f"{_images(everybody)}, {peak_gib(self._device):.1f} GiB peak"
        if len(everybody) < self._num_ranks:  # what the others have to do is not counted yet
            note += f", {len(everybody)} of {self._num_ranks} processes"
        self._bar.show(sum(live.crops for live in everybody), sum(live.crops_expected for live in everybody), note)
        if at_once or moment - self._told_at > _SECONDS_BETWEEN_ACCOUNTS:
            self._told_at = moment
            tell_progress(self._folder, everybody if self._folder.num_shards == 1 else None)

    def _own(self, moment: float) -> Live:
        planned, done = self._planned(), self._done()
        seconds = moment - self._begin
        return Live(
            state=DETECTING if self._is_looking else self._state,
            crops=self._crops,
            crops_planned=planned.crops,
            images_done=done.images,
            images_failed=done.images_failed,
            images_planned=planned.images,
            crops_per_second=round(self._crops / seconds, 3) if seconds and self._crops else None,
            video=_video(planned.video, done.video, seconds),
            shards=planned.shards,
        )

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _video(planned: VideoTally | None, done: VideoTally | None, seconds: float) -> VideoProgress | None:
    if planned is None or done is None:
        return None
    rate = round(done.seconds / seconds, 3) if seconds and done.seconds else None
    return VideoProgress(done.frames, planned.frames, round(done.seconds, 3), round(planned.seconds, 3), rate)


def _images(everybody: list[Live]) -> str:
    """How many of the images are there, and how much of the videos."""
    done, planned = (
        sum(live.images_done + live.images_failed for live in everybody),
        sum(live.images_planned for live in everybody),
    )
    video, shards = video_progress(everybody), shard_progress(everybody)
    if shards is not None:
        return f"{done}/{planned} images of the first {shards.planned} of {shards.all} shards"
    if video is None:
        return f"{done}/{planned} images"
    frames = f"{video.frames_done}/{video.frames_planned} frames"
    counted = frames if planned == video.frames_planned else f"{done}/{planned} images, {frames}"
    rate = f" ({video.times_real_time:.2f}x real time)" if video.times_real_time else ""
    return f"{counted}, {video.seconds_done:.1f}/{video.seconds_planned:.1f} s of video{rate}"


def tell_progress(folder: RunFolder, lives: list[Live] | None = None) -> None:
    """Writes the progress of all processes into `run.json`.

    Args:
        lives: the numbers of all processes; None: they are read from the folder.
    """
    if lives is None:
        folder.outlet.look_at_others()
    with suppress(ConfigError, WriteError, OSError), folder.turn():
        progress = progress_of(read_lives(folder) if lives is None else lives)
        write_account(folder, read_account(folder.run_file)._replace(progress=progress), durable=False)
