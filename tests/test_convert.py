"""`python -m sapiens_pl.convert`: every kind of file into a clean one that needs no further setting."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import COCO, GOLDEN, TINY, TINY_HEADS
from safetensors import safe_open

from sapiens_pl import PoseEstimator
from sapiens_pl.convert import convert, main
from sapiens_pl.core.errors import CheckpointError, ConfigError, WriteError
from sapiens_pl.models.checkpoints import load_network, save_network
from sapiens_pl.models.sapiens import SapiensPose, SapiensShape


@pytest.mark.parametrize("name", ["tiny_mmpose.pth", "tiny_torchscript.pt2", "tiny_bfloat16.pt2"])
def test_every_kind_becomes_a_clean_file(tmp_path, name):
    target = tmp_path / "clean.safetensors"
    convert(GOLDEN / name, target, num_heads=TINY_HEADS)
    expected = load_network(GOLDEN / name, num_heads=TINY_HEADS, dtype=None)
    network = load_network(target, dtype=None)
    assert network.shape == expected.shape
    for weight_name, weight in expected.state_dict().items():
        assert torch.equal(network.state_dict()[weight_name], weight), weight_name
        assert network.state_dict()[weight_name].dtype == weight.dtype
    with safe_open(target, "pt") as file:
        metadata = file.metadata()
    assert metadata == {
        "model": "sapiens-v1-pose",
        "num_heads": "4",
        "input_hw": "1024,768",
        "num_keypoints": "17",
        "keypoint_set": "coco_17",
        "source_sha256": hashlib.sha256((GOLDEN / name).read_bytes()).hexdigest(),
    }
    assert os.listdir(tmp_path) == ["clean.safetensors"]
    mask = os.umask(0o022)
    os.umask(mask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~mask


def test_a_run_gives_the_same_with_the_clean_file(tmp_path, predict):
    convert(TINY, tmp_path / "clean.safetensors", num_heads=TINY_HEADS)
    options = [f"data.images={COCO / '000000000785.jpg'}", "boxes=whole_image", "trainer.accelerator=cpu"]
    clean = predict(f"model.checkpoint={tmp_path / 'clean.safetensors'}", *options, folder="clean")
    source = predict(f"model.checkpoint={TINY}", f"model.num_heads={TINY_HEADS}", *options, folder="source")
    assert clean.code == source.code == 0, clean.err
    assert clean.results == source.results != {}


def test_the_file_keeps_the_keypoint_set_that_it_is_given(tmp_path, monkeypatch, capsys):
    names = [f"leg_{number}" for number in range(17)]
    (tmp_path / "spider.yaml").write_text(f"names: {names}\nflip_pairs: [[0, 1]]".replace("'", ""))
    target = tmp_path / "spider.safetensors"
    arguments = [str(TINY), str(target), "--num-heads", "4", "--keypoint-set", str(tmp_path / "spider.yaml")]
    monkeypatch.setattr(sys, "argv", ["convert", *arguments])
    main()
    assert "keypoint_set spider, num_keypoints 17" in capsys.readouterr().out
    (tmp_path / "spider.yaml").unlink()
    kept = load_network(target, dtype=None).keypoint_set
    assert kept.dataset_name == "spider" and list(kept.names) == names and kept.flip_indices[:3] == (1, 0, 2)
    convert(target, tmp_path / "again.safetensors")
    assert load_network(tmp_path / "again.safetensors", dtype=None).keypoint_set == kept
    with pytest.raises(CheckpointError, match="tiny_mmpose.pth has 17 keypoints, but model.keypoint_set=goliath_308"):
        convert(TINY, tmp_path / "none.safetensors", num_heads=TINY_HEADS, keypoint_set="goliath_308")
    assert not (tmp_path / "none.safetensors").exists()


def test_input_sizes_that_a_file_cannot_tell_are_kept(tmp_path):
    save_network(SapiensPose(SapiensShape(8, 1, 2, 8, (8, 8), (8,), 5, (96, 32))), tmp_path / "own.safetensors")
    assert load_network(tmp_path / "own.safetensors").shape.input_hw == (96, 32)


def test_bfloat16_halves_the_file(tmp_path, monkeypatch, capsys):
    arguments = [str(TINY), str(tmp_path / "half.safetensors"), "--num-heads", "4", "--dtype", "bfloat16"]
    monkeypatch.setattr(sys, "argv", ["convert", *arguments])
    main()
    assert "keypoint_set coco_17, num_keypoints 17, input_hw 1024,768" in capsys.readouterr().out
    convert(TINY, tmp_path / "full.safetensors", num_heads=TINY_HEADS)
    full, half = (load_network(tmp_path / f"{name}.safetensors", dtype=None) for name in ("full", "half"))
    assert all(
        torch.equal(a.bfloat16(), b)
        for a, b in zip(full.state_dict().values(), half.state_dict().values(), strict=True)
    )
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "full")]
    assert np.isclose(sizes[0] / sizes[1], 0.5, atol=0.02)


def test_nothing_is_overwritten_and_bad_input_is_said_in_a_sentence(tmp_path, monkeypatch, capsys):
    target = tmp_path / "there.safetensors"
    target.write_text("precious")
    with pytest.raises(ConfigError, match=r"there\.safetensors exists already; remove it or choose another name\.$"):
        convert(TINY, target, num_heads=TINY_HEADS)
    with pytest.raises(ConfigError, match="must end in .safetensors"):
        convert(TINY, tmp_path / "out.pth", num_heads=TINY_HEADS)
    with pytest.raises(CheckpointError, match=r"set model\.num_heads"):
        convert(TINY, tmp_path / "out.safetensors")
    with pytest.raises(WriteError, match=r"absent/out\.safetensors could not be written"):
        convert(TINY, tmp_path / "absent" / "out.safetensors", num_heads=TINY_HEADS)
    assert target.read_text() == "precious" and os.listdir(tmp_path) == ["there.safetensors"]
    monkeypatch.setattr(sys, "argv", ["convert", str(tmp_path / "none.pth"), str(tmp_path / "out.safetensors")])
    with pytest.raises(SystemExit) as end:
        main()
    told = capsys.readouterr().err
    assert end.value.code == 2 and told.count("\n") == 1 and "is not a file" in told


SHIM = """
#include <errno.h>
int link(const char *a, const char *b) { errno = EPERM; return -1; }
int linkat(int d, const char *a, int e, const char *b, int f) { errno = EPERM; return -1; }
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None or sys.platform != "linux", reason="a C library that cannot link files")
def test_file_systems_without_hard_links(tmp_path):
    (tmp_path / "shim.c").write_text(SHIM)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", tmp_path / "shim.so", tmp_path / "shim.c"], check=True)
    script = """
import sys
from sapiens_pl.convert import convert
from sapiens_pl.core.errors import ConfigError
for target in sys.argv[2:]:
    try:
        convert(sys.argv[1], target, num_heads=4)
    except ConfigError as error:
        print(error)
"""
    target = tmp_path / "out" / "clean.safetensors"
    target.parent.mkdir()
    environment = os.environ | {"LD_PRELOAD": str(tmp_path / "shim.so")}
    command = [sys.executable, "-c", script, TINY, target, target]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{target} exists already; remove it or choose another name.\n"
    assert os.listdir(target.parent) == [target.name]
    assert load_network(target).shape.num_keypoints == 17


def test_what_comes_in_the_meantime_is_never_replaced(tmp_path, monkeypatch):
    """Without hard links, too: the name is taken before it is given."""
    target = tmp_path / "out.safetensors"

    def no_link(source, path):
        target.write_text("another's")
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_link)
    with pytest.raises(ConfigError, match="exists already"):
        convert(TINY, target, num_heads=TINY_HEADS)
    assert target.read_text() == "another's" and os.listdir(tmp_path) == [target.name]


def test_weights_that_share_their_bytes_are_written_out(tmp_path):
    """As those that are cut from one flat parameter."""
    weights = load_network(TINY, num_heads=TINY_HEADS).state_dict()
    flat, position, parts = torch.cat([weight.flatten() for weight in weights.values()]), 0, {}
    for name, weight in weights.items():
        parts[name] = flat[position : position + weight.numel()].view(weight.shape)
        position += weight.numel()
    torch.save({"state_dict": parts}, tmp_path / "flat.pth")
    convert(tmp_path / "flat.pth", tmp_path / "clean.safetensors", num_heads=TINY_HEADS)
    found = load_network(tmp_path / "clean.safetensors").state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in weights.items())


@pytest.mark.parametrize("source", ["~nobody-of-that-name/w.pth", "a\0b", "", "x" * 5000, None, 5, "/proc/self/mem"])
def test_odd_paths_are_one_sentence(tmp_path, source):
    for call in (
        lambda: convert(source, tmp_path / "out.safetensors"),
        lambda: PoseEstimator.from_checkpoint(source, device="cpu"),
    ):
        with pytest.raises(ConfigError) as caught:
            call()
        assert "\n" not in str(caught.value) and len(str(caught.value).replace(str(source), "")) < 300
    if isinstance(source, str) and len(source) < 99 and source.startswith(("~", "a")):
        with pytest.raises(ConfigError, match="is not a path"):
            convert(TINY, source, num_heads=TINY_HEADS)


@pytest.mark.parametrize("options", [{"num_heads": 0}, {"num_heads": -4}, {"input_hw": 5.0}, {"input_hw": [0, 0]}])
def test_odd_settings_are_one_sentence(tmp_path, options):
    with pytest.raises(ConfigError, match=f"^{next(iter(options))}="):
        convert(TINY, tmp_path / "out.safetensors", **{"num_heads": TINY_HEADS} | options)
