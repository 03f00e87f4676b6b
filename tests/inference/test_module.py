"""The step from crops to keypoints: compiled, mirrored, in half precision, and its results on their way."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from conftest import COCO, check_same

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.structures import CropBatch
from sapiens_pl.demo import CHECKPOINT
from sapiens_pl.demo.draw import random_scenes, write_scenes
from sapiens_pl.demo.evaluate import figures
from sapiens_pl.estimator import PoseEstimator
from sapiens_pl.inference.compiling import rounds_on_cpu
from sapiens_pl.inference.module import PoseModule, normalise
from sapiens_pl.models.sapiens import SapiensPose, SapiensShape
from sapiens_pl.models.sapiens2 import Sapiens2Pose, Sapiens2Shape, _turned

SHAPE = SapiensShape(8, 1, 2, 16, (8, 8), (8,), 17, (64, 48))
MIRRORED = [0, *(partner for left in range(1, 17, 2) for partner in (left + 1, left))]


def network() -> SapiensPose:
    torch.manual_seed(0)
    return SapiensPose(SHAPE).eval().requires_grad_(False)


def graph_counters():
    """torch's own count of compiled graphs, from zero."""
    from torch._dynamo.utils import counters  # seconds of imports, only for those who compile

    counters.clear()
    return counters


def batch_of(count: int) -> CropBatch:
    random = torch.Generator().manual_seed(count)
    crops = torch.randint(0, 256, (count, 64, 48, 3), dtype=torch.uint8, generator=random).permute(0, 3, 1, 2)
    nothing, ones = np.zeros(count, np.int64), np.full((count, 2), 100.0)
    return CropBatch(crops, nothing, nothing, np.zeros((count, 4)), ones, ones, [])


def check_alike(found, expected):
    """Up to the order of rounding in bfloat16; the mini network's peaks are so flat that keypoints may differ."""
    np.testing.assert_allclose(found.keypoint_scores, expected.keypoint_scores, atol=0.1)
    assert np.corrcoef(found.keypoint_scores.ravel(), expected.keypoint_scores.ravel())[0, 1] > 0.99


@pytest.mark.slow
@torch.inference_mode()
@torch.autocast("cpu", torch.bfloat16)
def test_one_graph_does_for_batches_of_all_sizes_until_memory_runs_out(monkeypatch):
    compile_it = torch.nn.Module.compile  # without its slowest part, the C++ compiler
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda *given, options, **o: compile_it(*given, backend="aot_eager", **o)
    )
    plain = PoseModule(network(), MIRRORED)
    module = PoseModule(network(), MIRRORED, compile_mode="default")
    names = list(module.state_dict())
    counters = graph_counters()
    module.compile_for(4)
    for count in (3, 4, 1, 4):
        found = module.predict_step(batch_of(count))
        assert found.keypoints.shape == (count, 17, 2)
        check_alike(found, plain.predict_step(batch_of(count)))
    assert counters["stats"]["unique_graphs"] == 1
    assert list(module.state_dict()) == names

    tried = []

    def hungry(crops):
        tried.append(len(crops))
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    module.network._compiled_call_impl = hungry
    check_alike(module.predict_step(batch_of(1)), plain.predict_step(batch_of(1)))  # one crop, but a pass of four
    assert tried == [8] and module.compiled_for == module.largest_working_batch == 2
    check_alike(module.predict_step(batch_of(3)), plain.predict_step(batch_of(3)))
    assert counters["stats"]["unique_graphs"] == 2


@pytest.mark.slow
@torch.inference_mode()
def test_sapiens2_is_one_graph_too(monkeypatch):
    if not rounds_on_cpu():
        pytest.skip("this PyTorch does not compile it for a CPU")
    compile_it = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda *given, options, **o: compile_it(*given, backend="aot_eager", **o)
    )
    torch.manual_seed(0)
    shape = Sapiens2Shape(32, 2, 2, (2, 2), 64, 2, (16, 16), (16,), 17, (64, 48))
    module = PoseModule(Sapiens2Pose(shape).eval(), compile_mode="default")
    plain = PoseModule(module.network).predict_step(batch_of(3))
    counters = graph_counters()
    module.compile_for(4)
    check_alike(module.predict_step(batch_of(3)), plain)
    module.predict_step(batch_of(4))
    assert counters["stats"]["unique_graphs"] == 1


class Rotation(torch.nn.Module):
    """What of Sapiens2 is computed in bfloat16, by itself: it compiles in seconds."""

    rounds_between_layers, crop_settings = Sapiens2Pose.rounds_between_layers, Sapiens2Pose.crop_settings

    def __init__(self):
        super().__init__()
        self.network = Sapiens2Pose(Sapiens2Shape(64, 0, 2, (), 64, 2, (16,), (), 17, (64, 48)))
        self.keypoint_set = self.network.keypoint_set

    def forward(self, queries):
        turn = self.network.backbone.rope_embed((4, 3))
        return _turned(queries, *turn).float()


@pytest.mark.slow
@torch.inference_mode()
def test_compiled_sapiens2_rounds_as_it_does_uncompiled():
    """Inductor would keep positions and products in float32."""
    module, queries = PoseModule(Rotation(), compile_mode="default"), torch.randn(1, 2, 14, 32)
    plain = module.network(queries)
    if not rounds_on_cpu():
        with pytest.raises(ConfigError, match="omit model.compile, or take a newer PyTorch"):
            module.compile_for(1)
        return
    module.compile_for(1)
    assert torch.equal(module.network(queries), plain)


COUNT_GRAPHS = """
from sapiens_pl.inference.module import PoseModule
from torch._dynamo.utils import counters
def count_graphs(self):
    print("graphs:", counters["stats"]["unique_graphs"], "for", self.compiled_for)
PoseModule.on_predict_end = count_graphs
"""
BEST_OF_FOUR = """
import sapiens_pl.run.pose_run as m
def best(module, trainer, ceiling):
    assert module.compiled_for is None  # each size tried would be compiled
    return 4
m.best_batch_size = best
"""


def test_a_compiled_run_over_ragged_images_has_one_graph_and_the_same_results(predict, tmp_path):
    write_scenes(tmp_path / "set", random_scenes(8, seed=8))
    (tmp_path / "set" / "images" / "000002_broken.jpg").write_bytes(b"\xff\xd8 no picture")  # a gap in a batch
    boxes = [*json.loads((tmp_path / "set" / "people.json").read_text())]
    boxes.append({"image": "000002_broken.jpg", "bboxes": [[0, 0, 9, 9]] * 3})
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    settings = [f"data.images={tmp_path / 'set' / 'images'}", "boxes=json", f"boxes.file={tmp_path}/boxes.json"]
    settings += ["trainer.accelerator=cpu", "data.num_workers=0"]
    plain = predict(*settings, "data.batch_size=4", folder="plain")
    settings += ["data.batch_size=auto", "model.compile=true"]
    run = predict(*settings, inject=COUNT_GRAPHS + BEST_OF_FOUR, folder="compiled")
    assert run.code == 0 and "graphs: 1 for 4" in run.out and len(run.failures) == 1, run.err
    check_same(run.results, plain.results, but_one_in=100)


@pytest.mark.parametrize("setting", ["model.compile_mode=fast", "model.compile=perhaps"])
def test_a_compilation_that_cannot_be_meant_is_refused(predict, mini, setting):
    run = predict(*mini, f"data.images={COCO}", "boxes=whole_image", "model.compile=true", setting)
    assert run.code == 2 and setting.split("=")[0] in run.err and run.err.count("\n") == 1, run.err


def test_a_machine_that_cannot_compile_says_so_in_a_sentence(predict, mini):
    inject = "import torch._inductor.config as c; c.cpp.cxx, c.force_disable_caches = ('/no/compiler',), True"
    run = predict(*mini, f"data.images={COCO}", "boxes=whole_image", "model.compile=true", inject=inject)
    assert run.code == 2 and "model.compile=true does not work here" in run.err and "Traceback" not in run.err, run.err


@torch.inference_mode()
def test_the_doubled_batch_of_the_flip_test_equals_two_passes():
    net, crops = network(), batch_of(5).crops
    inputs = normalise(crops, torch.float32)
    twice = (net(inputs) + net(inputs.flip(3)).flip(3)[:, MIRRORED]) / 2
    assert (twice - net(inputs)).abs().max() > 0.1
    torch.testing.assert_close(PoseModule(net, MIRRORED)(crops), twice, atol=1e-5, rtol=0)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_bfloat16_hardly_moves_the_keypoints_of_the_demos_figures(exact_figures, precision):
    """Those that float32 finds: of two equally wrong maxima any may be the larger one."""
    images, boxes, right, exact = exact_figures
    rough = PoseEstimator.from_checkpoint(CHECKPOINT, device="cpu", precision=precision).predict(images, boxes)
    corners = np.concatenate(boxes)
    sides = (corners[:, 2:] - corners[:, :2]).max(axis=1, keepdims=True)
    moved = (np.linalg.norm(np.concatenate([r.keypoints for r in rough]) - exact, axis=2) / sides)[right]
    assert 0 < moved.mean() < 0.0005
    assert np.percentile(moved, 99.9) < 0.005


@pytest.fixture(scope="module")
def exact_figures():
    """20 figures' images and boxes, which keypoints float32 finds within 10% of the box, and where."""
    images, boxes, drawn, visible = figures(20, seed=12)
    results = PoseEstimator.from_checkpoint(CHECKPOINT, device="cpu").predict(images, boxes)
    exact, corners = np.concatenate([r.keypoints for r in results]), np.concatenate(boxes)
    sides = (corners[:, 2:] - corners[:, :2]).max(axis=1, keepdims=True)
    right = visible & (np.linalg.norm(exact - drawn, axis=2) < 0.1 * sides)
    assert right.sum() > 0.9 * visible.sum()
    return images, boxes, right, exact


def test_normalised_crops_keep_their_means_in_half_precision():
    grey = torch.full((1, 3, 2, 2), 124, dtype=torch.uint8)
    red, green, blue = normalise(grey, torch.bfloat16)[0, :, 0, 0].double().tolist()
    assert [red, green, blue] == pytest.approx([0.325 / 58.395, 7.72 / 57.12, 20.47 / 57.375], rel=0.01)


LATE = """
import os, signal
from sapiens_pl.inference.module import PoseModule
step = PoseModule.predict_step
class Late:
    is_ready = False
    def __init__(self, prediction):
        self.prediction = prediction
    def result(self):
        return self.prediction
def late_step(self, batch, batch_idx=0):
    if batch_idx == 5:
        {end}
    return Late(step(self, batch))
PoseModule.predict_step = late_step
"""


@pytest.mark.parametrize(
    ("end", "code", "batches"),
    [("pass", 0, 10), ("os.kill(os.getpid(), signal.SIGTERM)", 143, 6), ("raise ValueError('a bug')", 1, 5)],
)
def test_results_that_the_device_still_owes_are_written_whatever_ends_the_run(
    predict, mini, tmp_path, end, code, batches
):
    for index in range(30):
        cv2.imwrite(str(tmp_path / f"{index:02d}.png"), np.full((40, 30, 3), 8 * index, np.uint8))
    settings = [*mini, f"data.images={tmp_path}/*.png", "boxes=whole_image", "data.batch_size=3"]
    run = predict(*settings, inject=LATE.format(end=end))
    assert run.code == code, run.err
    assert list(run.results) == [f"{index:02d}.png" for index in range(3 * batches)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda crops: None, "gives NoneType for 3 crops"),
        (lambda crops: (crops,), "gives tuple for 3 crops"),
        (lambda crops: crops[:, 0, 0], r"gives a tensor of the shape \(3, 48\) for 3 crops"),
        (lambda crops: crops[:1], r"gives a tensor of the shape \(1, 3, 64, 48\) for 3 crops"),
        (lambda crops: crops[:, :, :1, :1], r"gives a tensor of the shape \(3, 3, 1, 1\) for 3 crops"),
    ],
)
def test_what_is_no_heatmaps_is_a_sentence(given, said):
    module = PoseModule(network())
    module.network.forward = given
    with pytest.raises(ConfigError, match=f"The network {said}.*, not heatmaps of the shape"):
        module.predict_step(batch_of(3))
