"""Draws a folder of calibration figures with their boxes: `python -m sapiens_pl.demo.draw FOLDER`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from sapiens_pl.demo.figures import Scene, draw_scene

# Name, width, height, figures: the bundled images.
DEMO_SCENES = (
    ("one.jpg", 480, 640, 1),
    ("two.png", 300, 400, 2),
    ("wide/four.jpg", 1024, 384, 4),
    ("wide/seven.jpg", 1280, 720, 7),
    ("nobody.jpg", 512, 512, 0),
    ("three.jpg", 720, 540, 3),
)


def write_scenes(folder: Path, scenes: list[tuple[str, Scene]]) -> None:
    """Writes `folder/images/NAME`, `folder/people.json` (boxes for `boxes=json`, and keypoints) and
    `folder/annotations.json`, a COCO annotation file.
    """
    people = []
    images: list[dict] = []
    annotations: list[dict] = []
    for name, scene in scenes:
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), scene.image)
        triples = np.concatenate([scene.keypoints, scene.visible[..., None]], axis=2)
        people.append(
            {
                "image": name,
                "bboxes": np.round(scene.bboxes_xyxy, 2).tolist(),
                "keypoints": np.round(triples, 2).tolist(),
            }
        )
        height, width = scene.image.shape[:2]
        images.append({"id": len(images) + 1, "file_name": name, "width": width, "height": height})
        for triple, box in zip(triples, scene.bboxes_xyxy):
            annotations.append(_annotation(len(annotations) + 1, len(images), triple, box))
    rows = ",\n".join(json.dumps(entry) for entry in people)
    (folder / "people.json").write_text(f"[\n{rows}\n]\n", encoding="utf-8")
    coco = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    (folder / "annotations.json").write_text(json.dumps(coco) + "\n", encoding="utf-8")


def _annotation(number: int, image_id: int, triples: np.ndarray, bbox_xyxy: np.ndarray) -> dict:
    """COCO's form of one figure; its area is the box's."""
    left, top, right, bottom = bbox_xyxy.tolist()
    width, height = right - left, bottom - top
    visible = triples[:, 2:] > 0
    labelled = np.where(visible, np.concatenate([triples[:, :2], np.full_like(triples[:, 2:], 2)], axis=1), 0)
    return {
        "id": number,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": np.round([left, top, width, height], 2).tolist(),
        "area": round(width * height, 1),
        "num_keypoints": int(visible.sum()),
        "keypoints": np.round(labelled, 2).ravel().tolist(),
    }


def random_scenes(count: int, seed: int) -> list[tuple[str, Scene]]:
    """Scenes of any sizes with 0 to 7 figures each."""
    rng = np.random.default_rng(seed)
    scenes = []
    for index in range(count):
        width, height = (int(side) for side in rng.integers(200, 900, 2))
        scenes.append((f"{index:06d}.jpg", draw_scene(rng, width, height, int(rng.integers(0, 8)))))
    return scenes


def demo_scenes(seed: int) -> list[tuple[str, Scene]]:
    """The bundled demo's scenes."""
    rng = np.random.default_rng(seed)
    return [(name, draw_scene(rng, width, height, count)) for name, width, height, count in DEMO_SCENES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, help="how many; without it, the bundled demo's six")
    parser.add_argument("--seed", type=int, default=2024)
    args = parser.parse_args()
    write_scenes(args.folder, random_scenes(args.images, args.seed) if args.images else demo_scenes(args.seed))


if __name__ == "__main__":
    main()
