"""Options of the compiler with which a compiled network gives the same results as the uncompiled one."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn
from torch._inductor import list_mode_options

from sapiens_pl.core.errors import ConfigError


def compile_options(network: nn.Module, mode: str | None) -> dict[str, Any]:
    """torch.compile's options for a network whose weights are on their device.

    The compiler keeps more digits between the layers than the dtypes have. A network that `rounds_between_layers`
    (Sapiens2, whose patches stand at positions rounded to bfloat16) would then be another; the compiler can be told.

    Raises:
        ConfigError: this PyTorch's compiler cannot do so for a CPU.
    """
    options = list_mode_options(mode)
    if not getattr(network, "rounds_between_layers", False):
        return options
    if next(network.parameters()).device.type == "cpu" and not rounds_on_cpu():
        raise ConfigError(
            "model.compile=true: for a CPU this PyTorch's compiler does not round as Sapiens2 needs it (2.8 does not, "
            "2.14 does); omit model.compile, or take a newer PyTorch."
        )
    return options | {"emulate_precision_casts": True}


def rounds_on_cpu() -> bool:
    """PyTorch 2.8 fails over a misspelt argument there."""
    from torch._inductor.codegen.cpp import CppVecOverrides

    return "use_compute_types" in inspect.signature(CppVecOverrides.to_dtype).parameters
