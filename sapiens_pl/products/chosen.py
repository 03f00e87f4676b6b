"""Which products a run makes: `output.formats`, of those in `conf/products/`."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from sapiens_pl.core.errors import ConfigError, SapiensError
from sapiens_pl.core.keypoints import KeypointSet
from sapiens_pl.core.protocols import PictureProduct, RunProduct, VideoProduct
from sapiens_pl.core.settings import SWITCH, check, either
from sapiens_pl.core.wording import one_line

Product = PictureProduct | VideoProduct | RunProduct

DEFAULT_FORMATS = ["json"]

OF_VIDEOS = {"json": "frames_json"}
"""A format of photographs only, and the one for videos: if the first is asked for, both are made."""


class ChosenProduct(NamedTuple):
    """A product by the name of its format, and what decides its bytes besides the records: its own settings."""

    name: str
    product: Product
    settings: dict[str, Any]


def chosen_formats(cfg: DictConfig) -> list[str]:
    """The names in `output.formats`, each once; `output.overlay=true` is short for one of them.

    Args:
        cfg: with `output` and `products`, as `conf/predict.yaml` composes them.

    Raises:
        ConfigError: a name is not in `conf/products/`, or `output.overlay` is not true or false.
    """
    check({"overlay": either(SWITCH, None)}, cfg.output, "output")
    given = cfg.output.formats if cfg.output.formats is not None else OmegaConf.create(DEFAULT_FORMATS)
    formats = list(given) if isinstance(given, ListConfig) else [given]
    for name in formats:
        if not isinstance(name, str) or name not in cfg.products:
            alike = get_close_matches(str(name), map(str, cfg.products), 1)
            hint = f"did you mean {alike[0]}? There are" if alike else "choose from"
            own = "" if alike else " (one of your own needs --config-dir=FOLDER)"
            choices = f"{hint} {', '.join(map(str, cfg.products))}{own}"
            raise ConfigError(f"output.formats={name} is not a format; {choices}.")
    if cfg.output.get("overlay"):
        formats.append("overlay")
    return list(dict.fromkeys(formats))


def choose_products(cfg: DictConfig) -> list[ChosenProduct]:
    """Those that `output.formats` names.

    Raises:
        ConfigError: an unknown name, or a setting that cannot be used.
    """
    names = chosen_formats(cfg)
    names += [OF_VIDEOS[name] for name in names if OF_VIDEOS.get(name) in cfg.products]
    return [_built(name, cfg.products[name]) for name in dict.fromkeys(names)]


def check_products(cfg: DictConfig) -> None:
    """Looks at the settings of all that there are, so that a mistake in one is told before it is asked for.

    Raises:
        ConfigError: a setting that cannot be used.
    """
    for name, node in cfg.products.items():
        _built(str(name), node)


def all_products(cfg: DictConfig) -> list[type[Product]]:
    """The classes of all that there are, whether asked for or not."""
    return [get_class(node._target_) for node in cfg.products.values()]


def check_keypoint_set(chosen: Sequence[ChosenProduct], keypoint_set: KeypointSet) -> None:
    """Raises ConfigError for a product that needs to know more about the keypoints than is known."""
    for name, product, _ in chosen:
        unknown = [part for part in product.needs if part not in keypoint_set.parts]
        if unknown:
            raise ConfigError(
                f"output.formats={name} needs to know which keypoints are the {' and the '.join(unknown)}, which the "
                f"set {keypoint_set.dataset_name} ({keypoint_set.num_keypoints} keypoints) does not say; omit it."
            )


def _built(name: str, node: Any) -> ChosenProduct:
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise ConfigError(
            f"products.{name} has no _target_; begin the file of a format of your own with `# @package _global_`, and "
            "name the class below products and the format's name (docs/extending.md)."
        )
    try:
        product = instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause: BaseException = error
        while cause.__cause__ is not None and not isinstance(cause, SapiensError):  # Hydra's wrappings
            cause = cause.__cause__
        if isinstance(cause, SapiensError):
            raise cause from None
        raise ConfigError(
            f"products.{name}: {node._target_} cannot be made ({one_line(cause, 300)}); correct its file, and let its "
            "module lie where the command runs, in a folder of PYTHONPATH, or among what is installed."
        ) from None
    settings = OmegaConf.to_container(node, resolve=True)
    assert isinstance(settings, dict), node
    if not isinstance(product, PictureProduct | VideoProduct | RunProduct):
        raise ConfigError(
            f"products.{name} is a {type(product).__name__}, which is not a product; build it on PictureProduct, "
            "VideoProduct or RunProduct, as sapiens_pl/core/protocols.py describes them."
        )
    del settings["_target_"]
    return ChosenProduct(name, product, {str(key): value for key, value in settings.items()})
