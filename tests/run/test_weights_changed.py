"""Weights that are written to while a run reads them: nothing posed with others is kept under the first one's name."""

from __future__ import annotations

import shutil

import pytest
import torch
from conftest import COCO
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sapiens_pl import PoseEstimator
from sapiens_pl.core.errors import WeightsChangedError

IMAGES = sorted(str(path) for path in COCO.glob("*.jpg"))
INJECTED = """
import os, shutil
from sapiens_pl.inference.module import PoseModule
path, other = {path!r}, {other!r}
decode, passes = PoseModule._decode, []
def overwrite_and_set_the_time_back():
    times = os.stat(path)
    open(path, "rb+").write(open(other, "rb").read())
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
changes = {changes}
def changed_decode(*given):
    passes.append(1)
    changes.get(len(passes), int)()
    return decode(*given)
PoseModule._decode = changed_decode
"""
OVERWRITE = "{3: overwrite_and_set_the_time_back}"
CUT = "{3: lambda: os.truncate(path, 100)}"
HARMLESS = """{
    2: lambda: (os.utime(path), os.chmod(path, 0o600)), 3: lambda: os.replace(other, path), 4: lambda: os.remove(path)
}"""


@pytest.fixture
def weights(tmp_path, mini):
    """A copy of the mini network, and a file of the same size with others."""
    path, other = tmp_path / "weights.safetensors", tmp_path / "others.safetensors"
    shutil.copy(mini[0].partition("=")[2], path)
    content = load_file(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file({name: torch.randn_like(weight) for name, weight in content.items()}, other, metadata)
    assert path.stat().st_size == other.stat().st_size
    return path, other


def options(mini, path):
    return [f"data.images={COCO}", "boxes=whole_image", "data.batch_size=1", f"model.checkpoint={path}", *mini[1:]]


def test_what_is_posed_with_other_weights_is_not_kept_and_what_does_no_harm_ends_nothing(predict, mini, weights):
    path, other = weights
    content = path.read_bytes()
    calm = predict(*options(mini, path), folder="calm")
    names = {"path": str(path), "other": str(other)}
    run = predict(*options(mini, path), inject=INJECTED.format(changes=OVERWRITE, **names))
    assert run.code == 1 and "Traceback" not in run.err
    assert f"{path} was written to while its weights were in use; what was posed since is not kept" in run.err
    assert run.info["status"] == "failed"
    assert list(run.results) == list(calm.results)[:2]
    assert all(calm.results[name] == result for name, result in run.results.items())

    path.write_bytes(content)
    cut = predict(*options(mini, path), folder="cut", inject=INJECTED.format(changes=CUT, **names))
    assert cut.code == 1 and f"{path} was written to while" in cut.err and "Traceback" not in cut.err
    assert cut.info["status"] == "failed" and cut.results == run.results

    path.write_bytes(other.read_bytes())
    changed = predict(*options(mini, path))
    assert changed.code == 2 and "made with model.checkpoint" in changed.err
    path.write_bytes(content)
    again = predict(*options(mini, path), inject=INJECTED.format(changes=HARMLESS, **names))
    assert again.code == 0 and again.results == calm.results, again.err
    assert again.info["counts"]["images_done_before"] == 2 and again.info["settings"] == calm.info["settings"]
    assert other.exists()  # two images were left, so two passes

    whole = predict(*options(mini, path), folder="whole", inject=INJECTED.format(changes=HARMLESS, **names))
    assert whole.code == 0 and whole.results == calm.results, whole.err
    assert whole.info["settings"] == calm.info["settings"] and not path.exists()


def test_weights_that_are_copied_may_go(weights):
    path, _ = weights
    estimator = PoseEstimator.from_checkpoint(path, num_heads=2, device="cpu", precision="bf16-true")
    before = estimator.predict(IMAGES[:1])
    path.write_bytes(b"")
    after = estimator.predict(IMAGES[:1])
    assert (before[0].keypoints == after[0].keypoints).all()


@pytest.mark.parametrize("size", [None, 100])
def test_the_python_api_raises(weights, size):
    path, other = weights
    estimator = PoseEstimator.from_checkpoint(path, num_heads=2, device="cpu")
    assert len(estimator.predict(IMAGES[:2])) == 2
    with open(path, "rb+") as file:
        file.write(other.read_bytes())
        file.truncate(size)
    with pytest.raises(WeightsChangedError, match="was written to while its weights were in use"):
        estimator.predict(IMAGES[:2])
