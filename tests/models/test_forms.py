"""One network's weights in every form that the world has them in: the same weights, or the true reason why not."""

from __future__ import annotations

import io
import pickle
import tarfile
import zipfile

import pytest
import torch
from conftest import GOLDEN
from safetensors.torch import load_file, save_file
from torch import nn

from sapiens_pl.core.errors import CheckpointError
from sapiens_pl.models.checkpoints import load_network
from sapiens_pl.models.sapiens import SapiensPose, SapiensShape

SAPIENS2 = GOLDEN / "tiny_sapiens2_pose.safetensors"
SHAPE = SapiensShape(32, 2, 2, 64, (16,), (16,), 17, (64, 48))


class Holder(nn.Module):
    """As training scripts have the network in a module of their own."""

    def __init__(self, name: str, network: nn.Module) -> None:
        super().__init__()
        self.add_module(name, network)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SapiensPose(SHAPE).requires_grad_(False).eval()


def assert_same(path, network, **options):
    found = load_network(path, num_heads=2, dtype=None, **options).state_dict()
    expected = network.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) and found[name].dtype == torch.float32 for name in found)


WRAPPERS = [("state_dict",), ("model",), ("model_state_dict",), ("ema",), ("state_dict", "module"), ()]
PREFIXES = ["", "module.", "_orig_mod.", "model.", "net.", "module._orig_mod.model.", "model._orig_mod.net.module."]


@pytest.mark.parametrize("wrapper", WRAPPERS, ids=".".join)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_what_stands_before_the_names_is_left_out(tmp_path, network, wrapper, prefix):
    content = {f"{prefix}{name}": weight for name, weight in network.state_dict().items()}
    for name in reversed(wrapper):
        content = {name: content, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}}}
    torch.save(content, tmp_path / "w.pth")
    assert_same(tmp_path / "w.pth", network)


@pytest.mark.parametrize("prefix", ["model.", "state_dict.", "ema._orig_mod.", "backbone._orig_mod."])
def test_in_safetensors_and_inside_the_names_as_well(tmp_path, network, prefix):
    if prefix.startswith("backbone"):  # torch.compile(network.backbone)
        content = {name.replace("backbone.", prefix): weight for name, weight in network.state_dict().items()}
    else:
        content = {f"{prefix}{name}": weight for name, weight in network.state_dict().items()}
    save_file(content, tmp_path / "w.safetensors")
    assert_same(tmp_path / "w.safetensors", network)


def test_of_two_networks_the_trained_one_is_taken_or_none(tmp_path, network, caplog):
    weights = dict(network.state_dict())
    average = {name: weight + 1 for name, weight in weights.items()}
    torch.save({"ema_state_dict": average, "state_dict": weights}, tmp_path / "both.pth")
    assert_same(tmp_path / "both.pth", network)
    assert "holds 2 networks ('ema_state_dict', 'state_dict'); 'state_dict' is used" in caplog.text
    torch.save({"teacher": average, "student": weights}, tmp_path / "either.pth")
    with pytest.raises(CheckpointError, match=r"either.pth holds 2 networks \('student', 'teacher'\); save the one"):
        load_network(tmp_path / "either.pth", num_heads=2)


def test_a_whole_module_and_one_in_lightnings_file(tmp_path, network):
    torch.save(network, tmp_path / "module.pth")
    assert_same(tmp_path / "module.pth", network)
    lightning = {
        **{"epoch": 1, "global_step": 9, "pytorch-lightning_version": "2.6.0", "loops": {}, "lr_schedulers": []},
        "state_dict": Holder("network", network).state_dict(),
        "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]}],
        "hyper_parameters": {"lr": 0.1},
    }
    torch.save(lightning, tmp_path / "last.ckpt")
    assert_same(tmp_path / "last.ckpt", network)


def test_an_averaged_model_and_what_else_stands_beside(tmp_path, network):
    averaged = torch.optim.swa_utils.AveragedModel(network).state_dict()
    assert "n_averaged" in averaged
    torch.save(averaged, tmp_path / "averaged.pth")
    assert_same(tmp_path / "averaged.pth", network)
    others = {"a": torch.zeros(1).expand(1000), "b": torch.zeros(3, device="meta"), "c": torch.eye(3).to_sparse()}
    torch.save({"state_dict": network.state_dict(), "others": others}, tmp_path / "beside.pth")
    assert_same(tmp_path / "beside.pth", network)


@pytest.mark.parametrize("protocol", [1, 2, 4])
def test_the_form_before_zip(tmp_path, network, protocol):
    path = tmp_path / "old.pth"
    options = {"_use_new_zipfile_serialization": False, "pickle_protocol": protocol}
    torch.save({"meta": {"epoch": 2}, "state_dict": network.state_dict()}, path, **options)
    assert not zipfile.is_zipfile(path)
    assert_same(path, network)
    torch.save(network, path, **options)  # with the classes' sources
    assert_same(path, network)
    data = path.read_bytes()
    for part in (0.1, 0.5, 0.999):
        path.write_bytes(data[: int(len(data) * part)])
        with pytest.raises(CheckpointError, match="old.pth is damaged or incomplete.*download it again"):
            load_network(path, num_heads=2)


def test_nothing_in_the_form_before_zip_runs(tmp_path, network):
    class Hostile:
        def __reduce__(self):
            return (tmp_path / "ran").touch, ()

    content = {"state_dict": network.state_dict(), "extra": Hostile()}
    torch.save(content, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert_same(tmp_path / "old.pth", network)
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_an_exported_program_of_this_pytorch(tmp_path, network):
    program = torch.export.export(network, (torch.zeros(1, 3, 64, 48),))
    torch.export.save(program, tmp_path / "program.pt2")
    assert_same(tmp_path / "program.pt2", network)
    held = torch.export.export(Holder("model", network).model, (torch.zeros(1, 3, 64, 48),))
    torch.export.save(held, tmp_path / "held.pt2")
    assert_same(tmp_path / "held.pt2", network)


@pytest.mark.parametrize("entry", ["serialized_state_dict.pt", "archive/data/weights/model.pt"])
def test_exported_programs_of_earlier_ones(tmp_path, network, entry):
    """Up to 2.7, and 2.8: the weights are a file of torch.save in the zip."""
    weights = io.BytesIO()
    torch.save(network.state_dict(), weights)
    with zipfile.ZipFile(tmp_path / "program.pt2", "w") as archive:
        archive.writestr("archive/models/model.json", "{}")
        archive.writestr(entry, weights.getvalue())
    assert_same(tmp_path / "program.pt2", network)


def test_what_cannot_be_read_says_why(tmp_path):
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"state_dict": {}}))
    (tmp_path / "w.pth.gz").write_bytes(b"\x1f\x8b\x08" + bytes(40))
    with tarfile.open(tmp_path / "ancient.pth", "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            archive.addfile(tarfile.TarInfo(name))
    for name, reason in (
        ("plain.pth", "a pickle, but none that torch.save has written"),
        ("w.pth.gz", r"is packed \(gzip\); unpack it"),
        ("ancient.pth", r"a tar file, which only PyTorch before 0\.2 wrote"),
    ):
        with pytest.raises(CheckpointError, match=f"{name}.*{reason}"):
            load_network(tmp_path / name)


@pytest.mark.parametrize("form", ["zip", "before zip", "safetensors"])
def test_sapiens2_as_well(tmp_path, form):
    weights = load_file(SAPIENS2)
    wrapped = {f"module.model.{name}": weight for name, weight in weights.items()}
    path = tmp_path / "w.safetensors"
    if form == "safetensors":
        save_file(wrapped, path)
    else:
        torch.save({"ema": wrapped}, path, _use_new_zipfile_serialization=form == "zip")
    expected = load_network(SAPIENS2, dtype=None).state_dict()
    found = load_network(path, dtype=None).state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())
