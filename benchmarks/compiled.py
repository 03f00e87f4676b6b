"""torch.compile: how often the network is compiled in a run over ragged images, and what it gains."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.batch_sizes import one_pass
from benchmarks.networks import build, crops_for, tiny_shape
from benchmarks.report import Result, default_device, interleaved, times_faster
from sapiens_pl.demo import CHECKPOINT
from sapiens_pl.inference.module import PoseModule
from sapiens_pl.models.checkpoints import load_network, save_network

_COUNTED = """
from sapiens_pl.inference.module import PoseModule
from torch._dynamo.utils import counters
PoseModule.on_predict_end = lambda self: print("graphs:", counters["stats"]["unique_graphs"])
from sapiens_pl.predict import main
main()
"""


def graphs_of_a_run(num_images: int) -> dict[str, Any]:
    """Runs the command, compiled, over images of mixed sizes with 0 to 7 boxes, one in fifty of them broken."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "images").mkdir()
        people = {}
        for index in range(num_images):
            width, height = (int(side) for side in rng.integers(40, 300, 2))
            path = folder / "images" / f"{index:04d}.png"
            cv2.imwrite(str(path), rng.integers(0, 256, (height, width, 3)).astype(np.uint8))
            if index % 50 == 7:
                path.write_bytes(b"no picture")
            corners = rng.uniform(0, 20, (int(rng.integers(0, 8)), 2))
            people[path.name] = np.concatenate([corners, corners + 20], axis=1).tolist()
        (folder / "people.json").write_text(json.dumps(people))
        save_network(build(tiny_shape()).cpu(), folder / "tiny.safetensors")
        (folder / "counted.py").write_text(_COUNTED)
        command = [sys.executable, str(folder / "counted.py"), f"data.images={folder / 'images'}", "boxes=json"]
        command += [f"boxes.file={folder / 'people.json'}", f"model.checkpoint={folder / 'tiny.safetensors'}"]
        command += ["model.num_heads=2", "model.compile=true", "data.batch_size=16", f"hydra.run.dir={folder / 'run'}"]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        counts = json.loads((folder / "run" / "run.json").read_text())["counts"]
    graphs = int(done.stdout.split("graphs: ")[1].split()[0])
    return {"images": counts["images_done"], "broken": counts["images_failed"], "crops": counts["people"]} | {
        "graphs": graphs,
        "recompilations": graphs - 1,
    }


def speed(name: str, network: Any, batch_size: int, mode: str, rounds: int) -> float:
    """How many times faster a compiled pass is, decoding included."""
    plain = PoseModule(network)
    crops = crops_for(network, batch_size)
    twin = type(network)(network.shape).to(crops.device).eval().requires_grad_(False)
    twin.load_state_dict(network.state_dict())
    compiled = PoseModule(twin, compile_mode=mode)
    compiled.compile_for(batch_size)
    seconds = interleaved(
        {"plain": partial(one_pass, plain, crops), "compiled": partial(one_pass, compiled, crops)}, rounds
    )
    return times_faster(seconds["plain"], seconds["compiled"])


def run(quick: bool) -> Result:
    if default_device().type == "cpu":
        torch.set_num_threads(1)  # on a busy machine, several threads mostly wait for each other
    row = graphs_of_a_run(500 if not quick else 12)
    network, rounds = (load_network(CHECKPOINT), 9) if not quick else (build(tiny_shape()), 1)
    with torch.inference_mode():
        row |= {"times faster (demo, batch of 8)": speed("demo", network, 8, "default", rounds)}
    notes = [
        "One graph is the compilation itself. Images of 40 to 300 px with 0 to 7 boxes each, batches of 16; the "
        "speed on one thread."
    ]
    return Result("compiled", "Does torch.compile compile once, and what does it gain?", [row], notes)
