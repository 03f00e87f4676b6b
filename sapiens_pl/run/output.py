"""Where the output goes: the settings of `output` that follow from a URL, and from where pictures come."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.remote import check_protocol, hidden, is_url
from sapiens_pl.products.chosen import DEFAULT_FORMATS
from sapiens_pl.records.scratch import scratch_folder

log = logging.getLogger(__name__)

_DIR, _HYDRAS, _SCRATCH = "output.dir", "hydra.run.dir", "output.scratch"


def check_output(output: DictConfig) -> None:
    """Raises ConfigError for an `output.dir` of a protocol that is not known here, or whose library is missing, and
    for a URL that all jobs of a sweep would share.
    """
    if not is_url(output.dir):
        return
    check_protocol(output.dir)
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise ConfigError(
            f"output.dir={hidden(output.dir)} is a URL, but a sweep (-m) needs a folder on a disk; give one, or start "
            "the jobs one by one, each with a URL of its own."
        )


def fill_in_formats(cfg: DictConfig, from_shards: bool) -> None:
    """Fills in `output.formats=null`: for tars and buckets, a file for each of a million pictures is not made by
    default.

    Args:
        from_shards: the pictures come from tars or tables.
    """
    if cfg.output.formats is not None:
        return
    cfg.output.formats = [] if from_shards or is_url(cfg.output.dir) else list(DEFAULT_FORMATS)
    if not cfg.output.formats:
        log.warning(
            "output.formats is [] (no JSON files beside the records), as %s: python -m sapiens_pl.make OUTPUT "
            "formats=[json] makes them later, output.formats=[json] during the run.",
            "pictures come from tars or tables" if from_shards else "output.dir is a URL",
        )


@contextmanager
def run_folder_of_a_url() -> Iterator[None]:
    """Gives Hydra, which makes a run folder before any job begins, the one on this machine that mirrors the URL.

    Raises:
        ConfigError: it cannot be made.
    """
    given = {name.lstrip("+"): value for name, sign, value in (each.partition("=") for each in sys.argv[1:]) if sign}
    url = next((text for key in (_DIR, _HYDRAS) if is_url(text := _text(key, given))), None)
    if url is None or {"-m", "--multirun"} & {*sys.argv[1:]} or not is_url(_text(_HYDRAS, given) or url):
        yield
        return
    check_protocol(url)
    folder = scratch_folder(url, _text(_SCRATCH, given) or None)
    others = [each for each in sys.argv[1:] if not each.startswith(f"{_HYDRAS}=")]
    own = [] if _DIR in given else [f"{_DIR}={given[_HYDRAS]}"]
    sys.argv[1:] = [f"{_HYDRAS}={folder}", *own, *others]
    yield


def _text(key: str, given: dict[str, str]) -> str:
    """The value of an argument as Hydra reads it."""
    try:
        value = OverridesParser.create().parse_override(f"{key}={given.get(key, '')}").value()
    except HydraException:
        return given.get(key, "")
    return value if isinstance(value, str) and value != "null" else ""
