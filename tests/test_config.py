from __future__ import annotations

from itertools import groupby, zip_longest
from operator import itemgetter
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_class, get_method
from omegaconf import DictConfig, OmegaConf
from slowness import a_third

from sapiens_pl.core.configs import config_folder

CHOICES = [
    (path.parent.relative_to(config_folder()).as_posix(), path.stem)
    for path in sorted(Path(config_folder()).rglob("*.yaml"))
    if path.parent.name not in (Path(config_folder()).name, "products", "sources") and not path.name.startswith("_")
]
"""Groups and their files. Files whose names begin with _ are not choices: others build on them."""
GROUPS = [[f"{group}={name}" for _, name in choices] for group, choices in groupby(CHOICES, key=itemgetter(0))]
ALONE = [group for group in GROUPS if group[0].startswith("experiment=")]  # they choose in other groups
TOGETHER = [
    [choice for choice in row if choice] for row in zip_longest(*(group for group in GROUPS if group not in ALONE))
]
"""The first choices of all groups, the second ones, ...: each composition costs a tenth of a second."""


def targets(node):
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield node._target_
        for key in node:
            if not OmegaConf.is_missing(node, key) and not OmegaConf.is_interpolation(node, key):
                yield from targets(node[key])


@pytest.mark.parametrize(
    "choices", a_third([*TOGETHER, *([choice] for (group,) in [ALONE] for choice in group)]), ids=" ".join
)
def test_every_choice_composes_and_names_what_exists(choices):
    with initialize_config_dir(config_folder(), version_base="1.3"):
        cfg = compose("predict", overrides=choices)
    found = list(targets(cfg))
    assert len(found) >= 4
    for target in found:
        assert get_method(target) if target.rpartition(".")[2].islower() else get_class(target)


def test_every_product_is_composed_whatever_is_chosen():
    with initialize_config_dir(config_folder(), version_base="1.3"):
        cfg = compose("predict", overrides=["output.overlay_score_threshold=0.5"])
    assert (
        set(cfg.products) == {path.stem for path in Path(config_folder(), "products").glob("*.yaml")} > {"json", "csv"}
    )
    assert cfg.products.overlay.score_threshold == 0.5
    assert len(list(targets(cfg.products))) == len(cfg.products)


def test_every_source_names_what_exists_and_says_what_it_takes():
    for path in Path(config_folder(), "sources").glob("*.yaml"):
        source = OmegaConf.load(path)
        assert get_class(source._target_) and len(source.takes), path


def test_every_setting_is_explained():
    for path in Path(config_folder()).rglob("*.yaml"):
        assert path.read_text().lstrip().startswith("#"), path.name
