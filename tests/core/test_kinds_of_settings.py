"""The vocabulary of settings: what each kind takes, and how either caller hears of the rest."""

from __future__ import annotations

import numpy as np
import pytest
from omegaconf import OmegaConf

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.settings import SWITCH, check, either, number, numbers, one_of, whole_number
from sapiens_pl.data.datamodule import ImageDataModule

INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    "kind, good, bad",
    [
        (whole_number(1), [1, 10**30, np.int64(3)], [0, -1, 1.0, "1", True, None, NAN, [1], np.bool_(True)]),
        (whole_number(0), [0, np.uint8(0)], [-1, False]),
        (number(), [0, -1.5, INF, np.float32(2)], [NAN, True, "1", None, 1j, [1.0]]),
        (number(above=0), [1e-9, INF], [0, -1, NAN]),
        (number(least=0), [0, 0.5], [-1e-9]),
        (number(above=0, below=10), [9.99], [0, 10, INF]),
        (numbers(3, "three numbers"), [(1, 2, 3.5), OmegaConf.create([1, 2, 3])], ["123", [1], [1, 2, "3"], 3]),
        (one_of("a", "b", "c"), ["a", "c"], ["d", "A", None, ["a"], 1]),
        (SWITCH, [True, False], [0, 1, "true", None]),
        (either(whole_number(1), "auto"), ["auto", 2], ["Auto", "", None, 0]),
        (either(SWITCH, None), [None, True], ["null", 0]),
    ],
    ids=lambda value: value.words if hasattr(value, "words") else "",
)  # fmt: skip
def test_what_each_kind_takes(kind, good, bad):
    for value in good:
        check({"it": kind}, {"it": value})
    for value in bad:
        with pytest.raises(ValueError, match=r"^it=.* must be .*\.$"):
            check({"it": kind}, {"it": value})


def test_a_command_hears_hydras_keys_and_python_its_own():
    kinds = {"workers": either(whole_number(0), None), "compile": SWITCH}
    with pytest.raises(ConfigError, match=r"^data\.workers=-1 must be a whole number of at least 0, or null\.$"):
        check(kinds, OmegaConf.create({"workers": -1}), "data")
    with pytest.raises(ConfigError, match=r"^workers='x' must be a whole number of at least 0, or None\.$"):
        check(kinds, {"workers": "x"})
    with pytest.raises(ConfigError, match=r"^compile='true' must be True or False\.$"):
        check(kinds, {"compile": "true"})
    with pytest.raises(ConfigError, match=r"^compile=yes must be true or false\.$"):
        check(kinds, {"compile": "yes"}, "")
    with pytest.raises(ConfigError) as told:
        check(kinds, {"compile": "x" * 10_000}, "model")
    assert len(str(told.value)) < 150
    check(kinds, {})  # what is not given has its default


@pytest.mark.parametrize(
    "given", [{"batch_size": "many"}, {"batch_size": 0}, {"num_workers": -1}, {"prefetch_factor": 0.5},
              {"max_megapixels": "x"}, {"read_timeout": NAN}, {"max_memory_gib": True}],
)  # fmt: skip
def test_a_data_module_made_by_hand_speaks_python(given):
    name, value = next(iter(given.items()))
    with pytest.raises(ValueError, match=f"^{name}={value!r} must be"):
        ImageDataModule("photos", lambda source: None, (64, 48), **given)
