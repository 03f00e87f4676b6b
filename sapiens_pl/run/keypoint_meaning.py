"""What a run needs from its keypoint set: refused before anything is loaded if the set lacks it."""

from __future__ import annotations

from omegaconf import DictConfig

from sapiens_pl.accuracy.average_precision import check_comparable
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.keypoints import KeypointSet, flip_indices_for
from sapiens_pl.core.protocols import PoseNetwork
from sapiens_pl.models.keypoint_sets import named_set
from sapiens_pl.products.chosen import check_keypoint_set, choose_products


def check_named_meaning(cfg: DictConfig) -> None:
    """Looks at the set that the configuration names, if it does; nothing is loaded yet.

    Raises:
        ConfigError: as `check_meaning`, or the set cannot be read.
    """
    if cfg.model.keypoint_set is not None:
        check_meaning(cfg, named_set(cfg.model.keypoint_set))


def check_network_meaning(cfg: DictConfig, network: PoseNetwork) -> None:
    """Looks at the set that the network has.

    Raises:
        ConfigError: as `check_meaning`, or the network has not taken the set that the configuration names.
    """
    named = cfg.model.keypoint_set
    if named is not None and named_set(named) != network.keypoint_set:
        raise ConfigError(
            f"model.network has the keypoint set {network.keypoint_set.dataset_name} and takes no other, so "
            f"model.keypoint_set={named} cannot be used; remove it, or pass it on in the model's YAML "
            "(network.keypoint_set: ${model.keypoint_set})."
        )
    check_meaning(cfg, network.keypoint_set)


def check_meaning(cfg: DictConfig, keypoint_set: KeypointSet) -> None:
    """Checks that the set has what a flip test, the products and the comparison with annotations need.

    Raises:
        ConfigError: it does not.
    """
    if cfg.model.flip_test:
        flip_indices_for(keypoint_set)
    check_keypoint_set(choose_products(cfg), keypoint_set)
    if cfg.annotations is not None:
        check_comparable(keypoint_set)
