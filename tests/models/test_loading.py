"""The host never holds the weights twice (benchmarks/loading.py shows the same for a published size)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import sapiens_pl
from sapiens_pl.models.checkpoints import save_network
from sapiens_pl.models.mapping import FileMap
from sapiens_pl.models.sapiens import SapiensPose, SapiensShape

BENCHMARKS = Path(sapiens_pl.__file__).parents[1] / "benchmarks"
LOAD = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from loading import load, PRECISIONS
found = {precision: [load(Path(name), precision)[1] for name in sys.argv[2:]] for precision in PRECISIONS}
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak")
def test_a_process_grows_by_no_more_than_the_checkpoint(tmp_path):
    sys.path.insert(0, str(BENCHMARKS))
    from loading import as_torchscript

    torch.manual_seed(0)
    network = SapiensPose(SapiensShape(1024, 3, 16, 4096, (64, 64), (64,), 17, (256, 192))).requires_grad_(False)
    save_network(network, tmp_path / "w.safetensors")
    as_torchscript(network, tmp_path / "w.pt2")
    gib = (tmp_path / "w.safetensors").stat().st_size / 2**30
    assert gib > 0.13
    command = [sys.executable, "-c", LOAD, str(BENCHMARKS), str(tmp_path / "w.safetensors"), str(tmp_path / "w.pt2")]
    grown = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert all(0.9 < growth / gib < 1.25 for growth in grown["32-true"]), grown  # 1.0: the map, once read
    assert all(0.4 < growth / gib < 0.9 for growth in grown["bf16-true"]), grown  # 0.5: the converted weights


@pytest.mark.slow
def test_a_network_may_have_more_tensors_than_a_process_may_have_files(tmp_path):
    """The 5b of Sapiens2 has 1079, and 1024 files are a common limit."""
    pytest.importorskip("resource")
    network = SapiensPose(SapiensShape(32, 30, 2, 64, (16,), (), 17, (64, 48))).requires_grad_(False)
    assert len(network.state_dict()) > 300
    save_network(network, tmp_path / "w.safetensors")
    torch.save({"state_dict": network.state_dict()}, tmp_path / "w.pth")
    script = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from sapiens_pl.models.checkpoints import load_network
for path in sys.argv[1:]:
    print(sum(weight.double().sum().item() for weight in load_network(path, num_heads=2).state_dict().values()))
"""
    command = [sys.executable, "-c", script, str(tmp_path / "w.safetensors"), str(tmp_path / "w.pth")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = sum(weight.double().sum().item() for weight in network.state_dict().values())
    assert [float(line) for line in done.stdout.split()] == pytest.approx([expected, expected])


@pytest.mark.skipif(
    sys.platform != "linux" or Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "2",
    reason="the limit is Linux's, and there may be a stricter one",
)
def test_a_file_may_be_larger_than_the_machines_memory(tmp_path):
    """As a 5b in float32 is, which is to go to the device in bfloat16."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with open(tmp_path / "sparse", "wb") as file:
        file.write(b"weights")
        file.truncate(memory + 64 * 2**30)
    assert bytes(FileMap(tmp_path / "sparse").tensor(0, 7).tolist()) == b"weights"
