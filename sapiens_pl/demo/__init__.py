"""The bundled demo: calibration figures, a small network that knows them, and its accuracy."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from sapiens_pl.core.errors import ConfigError

if TYPE_CHECKING:  # a command whose settings are wrong ends without Lightning and torch
    from sapiens_pl.demo.notes import DemoNotes
    from sapiens_pl.records.run_folder import RunFolder

_ASSETS = Path(__file__).parent / "assets"
BUNDLED = "bundled"
"""The value of `model.checkpoint` that means `CHECKPOINT` (conf/model/demo.yaml)."""
CHECKPOINT = _ASSETS / "demo_network.safetensors"
DETECTOR_MODEL = "fcos_small"
DETECTOR = _ASSETS / "demo_detector.safetensors"
"""Finds calibration figures, and nothing else."""
IMAGES = _ASSETS / "images"
PEOPLE = _ASSETS / "people.json"
"""Boxes in the form of `boxes=json`, with the drawn keypoints beside them as [x, y, visible]."""
ANNOTATIONS = _ASSETS / "annotations.json"
"""The same as a COCO annotation file."""
DEMO_VIDEO = "demo-video"
"""The value of `data.images` that means `FILM`."""
FILM = _ASSETS / "film" / "crossing.mp4"
FILM_PEOPLE = _ASSETS / "film" / "people.json"
"""As `PEOPLE`, an entry a frame; `figures` says who each is."""


def name_film(cfg: DictConfig) -> None:
    """Puts the film's path where `data.images` calls it by its name."""
    if cfg.data.images == DEMO_VIDEO:
        cfg.data.images = str(FILM)


def fill_in(cfg: DictConfig) -> DemoNotes:
    """Puts the demo's checkpoint, images and boxes where the configuration leaves them open.

    Returns:
        What the user should know about the choice, to be logged when the run starts.

    Raises:
        ConfigError: no model was chosen for the user's own images.
    """
    no_images = cfg.data.images is None
    figures = no_images or _are_figures(cfg.data.images)
    check_choice(cfg)
    demo_network = not _is_chosen(cfg) or cfg.model.checkpoint == BUNDLED
    if demo_network:
        cfg.model.checkpoint = str(CHECKPOINT)
    if no_images:
        cfg.data.images = str(IMAGES)
    if figures:
        _fill_in_boxes(cfg)
    if cfg.output.overlay is None:
        cfg.output.overlay = no_images
        if _is_film(cfg.data.images) and "video" not in cfg.output.formats:
            cfg.output.formats = [*cfg.output.formats, "video"]
    if no_images and demo_network and cfg.annotations is None and find_spec("pycocotools"):
        cfg.annotations = str(ANNOTATIONS)
    from sapiens_pl.demo.notes import DemoNotes

    return DemoNotes(_notes(cfg, figures) if demo_network else [])


def check_choice(cfg: DictConfig) -> None:
    """Raises ConfigError if no model was chosen for the user's own images."""
    if not _is_chosen(cfg) and cfg.data.images is not None and not _are_figures(cfg.data.images):
        raise ConfigError(
            f"no model is chosen for data.images={cfg.data.images}, and the bundled demo network knows only drawn "
            "calibration figures; choose model=sapiens_1b_308 or another of those that python -m sapiens_pl.models "
            "lists, model.checkpoint=FILE, or model=demo to use that network anyway."
        )


def _is_chosen(cfg: DictConfig) -> bool:
    of_files = OmegaConf.select(cfg, "model.network._target_") == "sapiens_pl.models.checkpoints.load_network"
    return cfg.model.checkpoint is not None or cfg.model.hub.repository is not None or not of_files


def _are_figures(images: Any) -> bool:
    """Whether `data.images` names the demo's own folder, or something in it, or its film."""
    path = Path(str(images)).expanduser().resolve()
    return _is_film(images) or IMAGES.resolve() in (path, *path.parents)


def _is_film(images: Any) -> bool:
    return Path(str(images)).expanduser().resolve() == FILM.resolve()


def _fill_in_boxes(cfg: DictConfig) -> None:
    """The boxes of the demo's images, or of its film, where these are all that there is to do."""
    path = Path(cfg.data.images).expanduser().resolve()
    people = {IMAGES.resolve(): PEOPLE, FILM.resolve(): FILM_PEOPLE}.get(path)
    if people is None:
        return
    if "demo_file" in cfg.boxes:
        cfg.boxes.demo_file = str(people)
    elif "weights" in cfg.boxes and cfg.boxes.model is None and cfg.boxes.weights is None:
        cfg.boxes.model, cfg.boxes.weights = DETECTOR_MODEL, str(DETECTOR)


def _notes(cfg: DictConfig, figures: bool) -> list[str]:
    notes = []
    if not figures:
        notes.append(
            "The demo network knows only drawn calibration figures; for photographs set model=NAME (python -m "
            "sapiens_pl.models lists them) or model.checkpoint=FILE."
        )
    if cfg.model.flip_test:
        notes.append(
            "The calibration figures' left and right differ by colour, which a mirror does not swap, so "
            "model.flip_test=true makes the demo worse; it is meant for photographs."
        )
    return notes


def tell_accuracy(config: Any, folder: RunFolder) -> None:
    """Prints after a demo run what it was, how accurate it was, and how to use a real model."""
    people = {str(IMAGES): PEOPLE, str(FILM): FILM_PEOPLE}.get(str(config["data"]["images"]))
    if people is None:
        return
    from sapiens_pl.demo.telling import Truth, tell
    from sapiens_pl.tracking.of_records import GROUPS, TrackingOfRun

    tracking = TrackingOfRun(OmegaConf.create({group: config[group] for group in GROUPS}))
    known_boxes = config["boxes"].get("demo_file") == str(people)
    tell(
        tracking(folder.read_records()),
        Truth.read(people),
        boxes_by_detector=config["boxes"].get("weights") == str(DETECTOR),
        demo_poses=known_boxes and config["model"]["checkpoint"] == str(CHECKPOINT),
    )
