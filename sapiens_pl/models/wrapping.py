"""Prefixes of a network's names in a file: `state_dict.module.backbone...` becomes `backbone...`.

Trainers put the weights under a name (`state_dict`, `model`, `ema`), and into modules of their own; torch.compile,
DataParallel, FSDP and checkpointing add names in between. One rule for all: what stands before a name that every
network of the kind has is not part of its names.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from sapiens_pl.core.errors import CheckpointError

log = logging.getLogger(__name__)

_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""No part of a network of ours has such a name, so they may stand anywhere."""
_COUNTER = "n_averaged"
"""What torch's AveragedModel keeps beside its network."""
_USUAL = ("state_dict", "model", "model_state_dict", "network", "net")
"""Of several networks in a file, the one below only these names is meant: not its average, not its teacher."""


def unwrap(path: Path, tensors: dict[str, Tensor], known_names: Sequence[str]) -> dict[str, Tensor]:
    """The tensors of one network under their own names, without what stands before; all if no name is known.

    Args:
        path: the file, for the sentence.
        known_names: of each kind of network one that all of them have.

    Raises:
        CheckpointError: several networks, and it is not clear which one is meant.
    """
    tensors = {name: tensor for name, tensor in tensors.items() if name.rpartition(".")[2] != _COUNTER}
    plain = {_without_wrappers(name): tensor for name, tensor in tensors.items()}
    if len(plain) < len(tensors):
        plain = tensors  # two networks, one of them wrapped
    prefixes = {
        name[: -len(known)] for name in plain for known in known_names if name == known or name.endswith(f".{known}")
    }
    if not prefixes:
        return tensors
    usual = [prefix for prefix in prefixes if all(part in _USUAL for part in prefix.split(".")[:-1])]
    prefix = min(usual or prefixes, key=lambda one: (one.count("."), one))
    others = tuple(prefixes - {prefix})
    if others:
        shown = ", ".join(repr(one.rstrip(".")) for one in sorted(prefixes)[:4])
        if not usual:
            raise CheckpointError(
                f"{path} holds {len(prefixes)} networks ({shown}); save the one that you mean in a file of its own."
            )
        log.warning("%s holds %d networks (%s); %r is used.", path, len(prefixes), shown, prefix.rstrip("."))
    inside = {name: tensor for name, tensor in plain.items() if name.startswith(prefix)}
    beside = [one for one in others if one.startswith(prefix)]
    return {name[len(prefix) :]: tensor for name, tensor in inside.items() if not name.startswith(tuple(beside))}


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)
