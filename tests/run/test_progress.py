"""How far a run is: in a terminal, in a log, and in `run.json` for whoever watches."""

from __future__ import annotations

import json
import time
from typing import NamedTuple

import lightning as L
from torch.utils.data import DataLoader

from sapiens_pl.core.structures import CropSpan, ImagePart
from sapiens_pl.records.run_folder import RunFolder
from sapiens_pl.run import progress as module
from sapiens_pl.run.account import POSING, Account, Live, Terms, read_account, write_account
from sapiens_pl.run.lives import write_live
from sapiens_pl.run.progress import PassProgress, Tally

SLOW_AND_TOLD_AT_ONCE = """
import time
from sapiens_pl.inference.module import PoseModule
from sapiens_pl.run import progress
step = PoseModule.predict_step
PoseModule.predict_step = lambda *given: (time.sleep(0.3), step(*given))[1]
progress._SECONDS_BETWEEN_LOOKS = progress._SECONDS_BETWEEN_ACCOUNTS = 0.0
"""


class Batch(NamedTuple):
    parts: list[ImagePart]


class Watching(L.LightningModule):
    """Reads `run.json` at each step, as another program does."""

    def __init__(self, run_file) -> None:
        super().__init__()
        self.run_file, self.seen = run_file, []

    def predict_step(self, batch, batch_idx=0):
        self.seen.append(read_account(self.run_file))


def batch_of(image_index):
    return Batch(
        [ImagePart(CropSpan(image_index, 0, 2), (9, 9), []), ImagePart(CropSpan(image_index + 1, 3, 4), None, [])]
    )


def test_whoever_watches_a_run_reads_how_far_all_of_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "_SECONDS_BETWEEN_LOOKS", 0.0)
    monkeypatch.setattr(module, "_SECONDS_BETWEEN_ACCOUNTS", 0.0)
    folder, other = RunFolder(tmp_path / "run", 0, 0, 2), RunFolder(tmp_path / "run", 0, 1, 2)
    folder.processes.mkdir()
    for each in (folder, other):
        each.open()
    write_account(folder, Account(status="running", terms=Terms({"a": 1})))
    write_live(other, Live(POSING, 10, 40, 5, 1, 20, 2.0))
    progress = PassProgress(folder, POSING, lambda: Tally(9, 6), lambda: Tally(4, 2, 1))
    watching = Watching(folder.run_file)
    options = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    trainer = L.Trainer(accelerator="cpu", devices=1, callbacks=[progress], enable_progress_bar=False, **options)
    loader = DataLoader([batch_of(index) for index in (0, 2, 4)], batch_size=None)
    trainer.predict(watching, loader, return_predictions=False)
    progress.close()
    assert [seen.status for seen in watching.seen] == ["running"] * 3
    assert all(seen.terms.settings == {"a": 1} for seen in watching.seen)  # what is not the progress stays
    first, *_, last = watching.seen
    assert first.progress[:4] == last.progress[:4] == (POSING, 26, 7, 2)
    assert first.progress.crops_per_second == 2.0 and last.progress.crops_per_second > 2.0  # its own are added
    assert last.progress.seconds_left == 15.0 and last.progress.when >= first.progress.when
    assert "poses: 100% 9/9 [" in capsys.readouterr().err  # the bar is of its own shard
    for each in (folder, other):
        each.close()


def test_a_run_can_be_watched_from_its_beginning_to_its_end(start, mini, tmp_path):
    run = start(
        *mini,
        "data.batch_size=2",
        "data.num_workers=0",
        "trainer.enable_progress_bar=false",
        inject=SLOW_AND_TOLD_AT_ONCE,
    )
    seen = []
    while run.code is None:
        if (run.folder / "run.json").exists():
            seen.append(json.loads((run.folder / "run.json").read_text()))  # always whole
        time.sleep(0.02)
    ended = run.finish()
    assert ended.code == 0 and "poses" not in ended.err, ended.err
    under_way = [each["progress"] for each in seen if 0 < each["progress"]["images_done"] < 6]
    assert under_way and all(each["images_planned"] == 6 and each["state"] == "posing" for each in under_way)
    assert any(each.get("seconds_left", 0) > 0 and each["crops_per_second"] > 0 for each in under_way)
    last = ended.info
    assert last["status"] == last["progress"]["state"] == "complete" and last["version"] == 2
    assert last["progress"]["images_done"] == 6 and last["progress"]["seconds_left"] == 0
    assert last["folder"]["done"] == 6 and last["counts"]["images_done"] == 6
