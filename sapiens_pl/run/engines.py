"""This job's share of the images: from the settings, else from the engine that has started it.

An engine that starts one command many times tells each job its number in an environment variable. Settings
count more; a job of a sweep (`-m`) is not a share of anything.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.data.packing import check_shard

SIZE = "SAPIENS_NUM_SHARDS"
"""The number of jobs, for engines that do not tell it."""


class Share(NamedTuple):
    """`taken_from` says which variables have said so; None for settings and for all images."""

    num_shards: int = 1
    shard: int = 0
    taken_from: str | None = None


class _Engine(NamedTuple):
    name: str
    index_key: str
    size_key: str


_ENGINES = (
    _Engine("SLURM's job array", "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT"),
    _Engine("Kubernetes' Indexed Job", "JOB_COMPLETION_INDEX", SIZE),
    _Engine("AWS Batch's array job", "AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE"),
)


def share_of(data: DictConfig, environment: Mapping[str, str] = os.environ) -> Share:
    """The share that `data.num_shards` and `data.shard` mean.

    Args:
        data: has both; null takes them from the environment.
        environment: what the engine has set.

    Raises:
        ConfigError: one of the two alone, or numbers that are not a share.
    """
    num_shards, shard = data.num_shards, data.shard
    if num_shards is not None:
        check_shard(num_shards, 0 if shard is None else shard)
    if shard is not None:
        if num_shards is None:
            raise ConfigError(f"data.shard={shard} does not say of how many; give data.num_shards too.")
        return Share(num_shards, shard)
    if num_shards == 1 or (num_shards is None and _is_sweep()):
        return Share()
    engine = _engine_of(environment)
    if engine is None:
        _refuse_half(num_shards, environment)
        return Share()
    return _share_by(engine, num_shards, environment)


def _share_by(engine: _Engine, num_shards: int | None, environment: Mapping[str, str]) -> Share:
    index, count = _position(engine, environment)
    said = {name: environment[name] for name in (engine.index_key, engine.size_key, SIZE) if name in environment}
    sizes = {"data.num_shards": num_shards, engine.size_key: count, SIZE: _number(SIZE, environment)}
    known = {name: size for name, size in sizes.items() if size is not None}
    if not known:
        if _is_node_of_torchrun(environment):
            return Share()
        raise ConfigError(
            f"{engine.index_key}={index} says which job of {engine.name} this is, but not of how many; set {SIZE} to "
            "their number (a Kubernetes Job's completions), or data.num_shards=1 to do all images here."
        )
    if len(set(known.values())) > 1:
        listed = " and ".join(f"{name}={size}" for name, size in known.items())
        raise ConfigError(
            f"{listed} do not agree on the number of shards; make them agree, or give data.num_shards and data.shard."
        )
    size = next(iter(known.values()))
    if not 0 <= index < size:
        listed = " ".join(f"{name}={text}" for name, text in (said | {"data.num_shards": str(size)}).items())
        raise ConfigError(
            f"{listed}: {engine.name} does not count its jobs from 0 to {size - 1}; give data.num_shards and "
            "data.shard."
        )
    return Share(size, index, ", ".join(f"{name}={text}" for name, text in said.items()))


def told(share: Share) -> str:
    """A sentence on what was taken from the environment, and how to change it."""
    return (
        f"This job does data.shard={share.shard} of data.num_shards={share.num_shards}, as the environment says "
        f"({share.taken_from}); data.num_shards=1 does all images in one job."
    )


def _engine_of(environment: Mapping[str, str]) -> _Engine | None:
    found = [engine for engine in _ENGINES if engine.index_key in environment]
    if len(found) > 1:
        listed = " and ".join(engine.index_key for engine in found)
        raise ConfigError(
            f"{listed} are both set, so it is not clear which of them counts the shards; give data.num_shards and "
            "data.shard, or data.num_shards=1 to do all images here."
        )
    return found[0] if found else None


def _refuse_half(num_shards: int | None, environment: Mapping[str, str]) -> None:
    """Refuses a number of shards alone: every job would do the same, or all images."""
    size = f"data.num_shards={num_shards}" if num_shards is not None else f"{SIZE}={environment.get(SIZE)}"
    if num_shards is None and SIZE not in environment:
        return
    indices = ", ".join(engine.index_key for engine in _ENGINES)
    raise ConfigError(
        f"{size} does not say which of the shards this job does, and no engine has set {indices} (a Kubernetes Job "
        "needs completionMode: Indexed); give data.num_shards and data.shard=0, 1, ..., or neither."
    )


def _position(engine: _Engine, environment: Mapping[str, str]) -> tuple[int, int | None]:
    """Which of the engine's jobs this is, counted from 0, and of how many, if the engine says so."""
    index, count = _number(engine.index_key, environment), _number(engine.size_key, environment)
    assert index is not None
    if engine is not _ENGINES[0]:
        return index, count
    first, last, step = (_number(f"SLURM_ARRAY_TASK_{name}", environment) for name in ("MIN", "MAX", "STEP"))
    first, step = first or 0, step or 1
    steps = None if last is None else (last - first) // step + 1
    count = steps if count is None else count
    if (index - first) % step or (steps is not None and steps != count):
        raise ConfigError(
            f"SLURM's job array is not a regular row of numbers ({engine.index_key}={index}, "
            f"{engine.size_key}={count}): "
            "the place of this job in it is not known; use --array=0-N, or give data.num_shards and data.shard."
        )
    return (index - first) // step, count


def _number(name: str, environment: Mapping[str, str]) -> int | None:
    text = environment.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise ConfigError(f"the environment's {name}={text} is not a whole number; correct it, or unset it.")
    return int(text)


def _is_node_of_torchrun(environment: Mapping[str, str]) -> bool:
    """The jobs of the engine are nodes of one torchrun then, which deals the images itself."""
    return int(environment.get("GROUP_WORLD_SIZE", 1)) > 1 and "TORCHELASTIC_RUN_ID" in environment


def _is_sweep() -> bool:
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
