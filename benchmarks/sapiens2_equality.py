"""How equal is a Sapiens2 here to transformers' own? `python benchmarks/sapiens2_equality.py [--steps 800]`

A small Sapiens2 (256x192 px, 17 keypoints) learns the demo's calibration figures: random weights amplify what trained
ones do not. Then both find the figures of scenes that it has not seen, end to end: images and boxes in, keypoints in
image px out; transformers with its image processor, its network and its post-processing. float32. They differ by what
transformers does otherwise than the original: rotary positions and crops that are not rounded.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import lightning as L
import numpy as np
import torch

from benchmarks.networks import transformers_network
from benchmarks.stages import as_xywh, transformers_processor
from sapiens_pl import PoseEstimator
from sapiens_pl.demo.accuracy import accuracy_line
from sapiens_pl.demo.draw import random_scenes
from sapiens_pl.demo.train import HeatmapTraining, fit, lessons
from sapiens_pl.models.checkpoints import save_network
from sapiens_pl.models.sapiens2 import Sapiens2Pose, Sapiens2Shape

SHAPE = Sapiens2Shape(128, 4, 4, (4, 2, 2, 4), 256, 4, (64, 64), (64, 64), 17, (256, 192))


def trained(steps: int) -> Sapiens2Pose:
    L.seed_everything(0, workers=True)
    network = Sapiens2Pose(SHAPE)
    torch.nn.init.normal_(network.decode_head.last_layer.weight, std=0.001)
    fit(HeatmapTraining(network, 1e-3, steps), lessons(0), steps)
    return network.eval().requires_grad_(False)


def of_transformers(network: Sapiens2Pose, images: list[np.ndarray], boxes: list[np.ndarray]) -> list[np.ndarray]:
    """(N, K, 2) keypoints in image px for each image."""
    with tempfile.TemporaryDirectory() as folder:  # transformers reads the original's names
        save_network(network, Path(folder) / "model.safetensors")
        empty = transformers_network(SHAPE)
        whole = type(empty).from_pretrained(folder, config=empty.config).eval()
    processor, found = transformers_processor(), []
    size = {"height": SHAPE.input_hw[0], "width": SHAPE.input_hw[1]}
    for image, corners in zip(images, boxes):
        xywh = [as_xywh(corners)]
        inputs = processor([image[..., ::-1].copy()], boxes=xywh, size=size, return_tensors="pt")
        with torch.inference_mode():
            people = processor.post_process_pose_estimation(whole(inputs["pixel_values"]), boxes=xywh)[0]
        found.append(np.stack([person["keypoints"].numpy() for person in people]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=800, help="of training")
    parser.add_argument("--scenes", type=int, default=200)
    args = parser.parse_args()
    begin = time.perf_counter()
    network = trained(args.steps)
    print(f"trained in {time.perf_counter() - begin:.0f} s")
    scenes = [scene for _, scene in random_scenes(args.scenes, seed=7) if len(scene.bboxes_xyxy)]
    images, boxes = [scene.image for scene in scenes], [scene.bboxes_xyxy for scene in scenes]
    visible = np.concatenate([scene.visible for scene in scenes])
    drawn = np.concatenate([scene.keypoints for scene in scenes])
    corners = np.concatenate(boxes)
    sides = (corners[:, 2:] - corners[:, :2]).max(axis=1)

    results = PoseEstimator(network, device="cpu").predict(images, boxes)
    ours = np.concatenate([result.keypoints for result in results])
    theirs = np.concatenate(of_transformers(network, images, boxes))
    print("sapiens_pl:  ", accuracy_line(ours, drawn, visible, sides))
    print("transformers:", accuracy_line(theirs, drawn, visible, sides))
    apart = np.linalg.norm(ours - theirs, axis=2)
    for name, distances in (("px", apart), ("% of the box's longer side", 100 * apart / sides[:, None])):
        some = distances[visible]
        print(
            f"apart, visible keypoints, {name}: mean {some.mean():.4f}, median {np.median(some):.4f}, "
            f"99th percentile {np.percentile(some, 99):.4f}, 99.9th {np.percentile(some, 99.9):.4f}"
        )


if __name__ == "__main__":
    main()
