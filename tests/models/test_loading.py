"""The host never holds the weights twice (benchmarks/loading.py shows the same for a published size)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import sapiens_pl
from sapiens_pl.models.checkpoints import save_network
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
