"""Whole files of every kind that the package reads, and how it reads them: what `benchmarks.fuzz` starts from."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

from sapiens_pl.boxes.coco_boxes import CocoBoxes
from sapiens_pl.boxes.csv_boxes import CsvBoxes
from sapiens_pl.boxes.json_boxes import JsonBoxes
from sapiens_pl.boxes.mot_boxes import MotBoxes
from sapiens_pl.boxes.yolo_boxes import YoloBoxes
from sapiens_pl.core.columns import Names
from sapiens_pl.core.plan import Pictures
from sapiens_pl.detection.fcos_small import fcos_small
from sapiens_pl.detection.torchvision_detector import load_torchvision
from sapiens_pl.models.checkpoints import load_network, save_network
from sapiens_pl.models.sapiens import SapiensPose, SapiensShape
from sapiens_pl.models.sapiens2 import Sapiens2Pose, Sapiens2Shape
from sapiens_pl.pictures import read_image

NAMES = [f"{number:06d}.jpg" for number in range(1, 6)]


class Kind(NamedTuple):
    """One kind of file: whole samples by name, made in a scratch folder, and the reader of one."""

    samples: Callable[[Path], dict[str, bytes]]
    read: Callable[[Path], object]
    takes_bombs: bool = False


def _saved(content: object, **options: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def _pose_samples(folder: Path) -> dict[str, bytes]:
    torch.manual_seed(0)
    network = SapiensPose(SapiensShape(8, 1, 2, 16, (8,), (8,), 17, (64, 48))).requires_grad_(False).eval()
    save_network(network, folder / "w.safetensors")
    crops = torch.zeros(1, 3, 64, 48)
    torch.jit.trace(network, crops).save(str(folder / "w.pt2"))
    torch.export.save(torch.export.export(network, (crops,)), folder / "exported.pt2")
    weights = {"state_dict": {f"module.{name}": weight for name, weight in network.state_dict().items()}}
    second = Sapiens2Pose(Sapiens2Shape(16, 1, 2, (2,), 16, 2, (8,), (8,), 17, (64, 48)))
    save_network(second, folder / "second.safetensors")
    names = ("w.safetensors", "w.pt2", "exported.pt2", "second.safetensors")
    made = {name: (folder / name).read_bytes() for name in names}
    old = _saved(weights | {"meta": {"epoch": 3}}, _use_new_zipfile_serialization=False)
    bare = _saved({"model": second.state_dict()})
    return made | {"second.pth": bare, "w.pth": _saved(weights), "old.pth": old, "module.pth": _saved(network)}


def _read_pose(path: Path) -> object:
    return load_network(path, None if path.stem == "second" else 2, dtype=torch.float32)


def _detector_samples(folder: Path) -> dict[str, bytes]:
    torch.manual_seed(0)
    weights = fcos_small().state_dict()
    old = _saved({"model": weights}, _use_new_zipfile_serialization=False)
    return {"w.safetensors": save(weights), "w.pth": _saved({"model": weights}), "old.pth": old}


def _folder_samples(folder: Path) -> dict[str, bytes]:
    try:
        import transformers
    except ImportError:
        return {}
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    labels = {"id2label": {0: "dog", 1: "person"}, "label2id": {"dog": 0, "person": 1}}
    config = transformers.YolosConfig(**sizes, image_size=[32, 32], num_detection_tokens=4, **labels)
    path = folder / "whole"
    transformers.utils.logging.disable_progress_bar()
    transformers.AutoModelForObjectDetection.from_config(config).save_pretrained(path)
    transformers.YolosImageProcessor().save_pretrained(path)
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


def _read_folder(path: Path) -> object:
    """The whole folder with that one file in it."""
    from sapiens_pl.detection.transformers_detector import load_transformers

    for file in (path.parents[1] / "whole").iterdir():
        if file.name != path.name:
            (path.parent / file.name).write_bytes(file.read_bytes())
    return load_transformers(str(path.parent))


def _box_samples(folder: Path) -> dict[str, bytes]:
    images = [{"id": index, "file_name": name, "width": 64, "height": 48} for index, name in enumerate(NAMES, 1)]
    rows = [
        {"id": index, "image_id": index, "category_id": 1, "bbox": [1.5, 2, 20, 30], "score": 0.5, "keypoints": []}
        for index in range(1, 6)
    ]
    coco = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "person"}]}
    entries = {name: [[1, 2, 20, 30], {"bbox": [1, 1, 2, 2], "score": 0.5, "id": 7}] for name in NAMES}
    lines = "".join(f"{name},1,2,20.5,30,0.9,{index}\n" for index, name in enumerate(NAMES))
    mot = "".join(f"{index},7,1,2,20,30,0.9,1,1\n" for index in range(1, 6))
    texts = {
        "coco.json": json.dumps(coco),
        "results.json": json.dumps(rows),
        "boxes.json": json.dumps(entries),
        "lines.jsonl": "".join(json.dumps({"image": name, "bboxes": boxes}) + "\n" for name, boxes in entries.items()),
        "boxes.csv": "image,x1,y1,x2,y2,score,id\n" + lines,
        "mot.txt": mot,
        f"{NAMES[0]}.txt".replace(".jpg", ""): "0 0.5 0.5 0.2 0.3\n0 0.4 0.4 0.1 0.1 0.9 3\n",
    }
    return {name: text.encode() for name, text in texts.items()} | {"wide.csv": texts["boxes.csv"].encode("utf-16")}


def _read_boxes(path: Path) -> object:
    source = Pictures("/photos", Names.of(NAMES), True)
    if path.name == "mot.txt":
        return MotBoxes(str(path))(source)
    if path.suffix == ".txt":
        return YoloBoxes(str(path.parent))(source)
    if path.suffix == ".csv":
        return CsvBoxes(str(path))(source)
    kind = CocoBoxes if path.name in ("coco.json", "results.json") else JsonBoxes
    return kind(str(path))(source)


def _picture_samples(folder: Path) -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    pixels = cv2.GaussianBlur(rng.integers(0, 256, (48, 64, 3)).astype(np.uint8), (5, 5), 0)
    files = {}
    for suffix in (".jpg", ".png", ".bmp", ".tiff", ".webp", ".ppm"):
        files[f"p{suffix}"] = cv2.imencode(suffix, pixels)[1].tobytes()
    files["deep.png"] = cv2.imencode(".png", pixels.astype(np.uint16) * 257)[1].tobytes()
    files["float.tiff"] = cv2.imencode(".tiff", pixels.astype(np.float32) / 255)[1].tobytes()
    picture, exif = Image.fromarray(pixels), Image.Exif()
    exif[0x0112] = 6
    for name, options in (
        ("turned.jpg", {"exif": exif}),
        ("progressive.jpg", {"progressive": True}),
        ("restart.jpg", {"restart_marker_rows": 1}),
        ("p.gif", {}),
        ("turned.tiff", {"tiffinfo": {0x0112: 6}}),
        ("p.avif", {}),
    ):
        buffer = io.BytesIO()
        try:
            picture.save(buffer, name.rpartition(".")[2].replace("jpg", "jpeg"), **options)
        except (KeyError, OSError):  # not in this Pillow
            continue
        files[name] = buffer.getvalue()
    return files


KINDS = {
    "pose": Kind(_pose_samples, _read_pose, True),
    "detector": Kind(_detector_samples, lambda path: load_torchvision("fcos_small", str(path)), True),
    "detector_folder": Kind(_folder_samples, _read_folder),
    "boxes": Kind(_box_samples, _read_boxes),
    "pictures": Kind(_picture_samples, lambda path: read_image(str(path), 20.0)),
}
