"""Descriptions of keypoint sets, as files and metadata have them, into checked `KeypointSet`s.

`models/keypoint_sets/coco_17.yaml` explains their keys.
"""

from __future__ import annotations

import math
from difflib import get_close_matches
from typing import Any

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.keypoints import PART_SIZES, KeypointSet
from sapiens_pl.core.wording import shown

_KEYS = ("dataset", "names", "skeleton", "flip_pairs", "sigmas", "parts")


class _Unusable(ValueError):
    """What is wrong with a description and what to do, in words that follow on its source."""


def described_set(source: str, description: Any, dataset_name: str = "custom") -> KeypointSet:
    """The keypoint set that a description describes.

    Args:
        source: what names the description, for the sentence.
        description: a mapping with `names` (texts) and, each optional, `dataset` (a text), `skeleton` and
            `flip_pairs` (pairs of keypoints), `sigmas` (a number above 0 a keypoint) and `parts` (lists of keypoints
            by the names in `PART_SIZES`). Keypoints go by their names, or by their numbers from 0. What is None counts
            as left out.
        dataset_name: for a set that does not name it.

    Raises:
        ConfigError: it has another form, or contradicts itself.
    """
    try:
        return _checked_set(description, dataset_name)
    except _Unusable as error:
        end = "" if str(error).endswith("?") else "."
        raise ConfigError(f"{source} {error}{end}") from None


def _checked_set(description: Any, dataset_name: str) -> KeypointSet:
    if not isinstance(description, dict):
        raise _Unusable(
            f"holds {_kind(description)} where a mapping is expected; write the keys {', '.join(_KEYS[1:4])} as in "
            "sapiens_pl/models/keypoint_sets/coco_17.yaml"
        )
    for key in description:
        if key not in _KEYS:
            alike = get_close_matches(str(key), _KEYS, 1)
            hint = f"did you mean {alike[0]}?" if alike else f"there are {', '.join(_KEYS)}"
            raise _Unusable(f"has a key {_shown(key)}, which no keypoint set has; {hint}")
    given = {key: value for key, value in description.items() if value is not None}
    names = _names(given.get("names"))
    numbers = {name: number for number, name in enumerate(names)}
    flips = _pairs("flip_pairs", given["flip_pairs"], numbers) if "flip_pairs" in given else None
    return KeypointSet(
        _dataset(given.get("dataset", dataset_name)),
        names,
        None if flips is None else _flip_indices(flips, names),
        tuple(_pairs("skeleton", given.get("skeleton", []), numbers)),
        _sigmas(given["sigmas"], len(names)) if "sigmas" in given else None,
        _parts(given.get("parts", {}), numbers),
    )


def _dataset(value: Any) -> str:
    if not _is_text(value):
        raise _Unusable(f"gives dataset: {_shown(value)}, which is not text; put it in quotes")
    return str(value)


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        had = "has no names" if value is None or value == [] else f"has {_kind(value)} for names"
        raise _Unusable(f"{had}; list the keypoints' names in the network's order, names: [nose, left_eye, ...]")
    seen: set[str] = set()
    for number, name in enumerate(value):
        if not _is_text(name):
            raise _Unusable(f"calls keypoint {number} {_shown(name)}, which is not text; put its name in quotes")
        if name.startswith(("=", "+", "-", "@")):
            raise _Unusable(
                f"calls keypoint {number} {_shown(name)}, which a spreadsheet would read as a formula; rename it"
            )
        if name in seen:
            raise _Unusable(f"names {_shown(name)} twice; give each keypoint a name of its own")
        seen.add(name)
    return tuple(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.strip() == value != "" and value.isprintable()


def _pairs(key: str, value: Any, numbers: dict[str, int]) -> list[tuple[int, int]]:
    pairs = []
    for pair in _list(key, value):
        if not isinstance(pair, list) or len(pair) != 2:
            raise _Unusable(f"has {_shown(pair)} in {key}, which is not a pair; write [left_eye, right_eye]")
        one, other = (_index(key, keypoint, numbers) for keypoint in pair)
        if one == other:
            raise _Unusable(f"pairs {_shown(pair[0])} with itself in {key}; remove that pair")
        pairs.append((one, other))
    return pairs


def _list(key: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _Unusable(f"has {_kind(value)} for {key}, where a list is expected; write {key}: [...]")
    return value


def _index(key: str, keypoint: Any, numbers: dict[str, int]) -> int:
    """Which keypoint a name or a number means."""
    if isinstance(keypoint, str):
        if keypoint in numbers:
            return numbers[keypoint]
        alike = get_close_matches(keypoint, numbers, 1)
        hint = f"did you mean {alike[0]}?" if alike else "correct it"
        raise _Unusable(f"has {_shown(keypoint)} in {key}, which is none of its names; {hint}")
    if isinstance(keypoint, bool) or not isinstance(keypoint, int):
        raise _Unusable(f"has {_shown(keypoint)} in {key}, which is not a keypoint; give one of its names")
    if str(keypoint) in numbers:
        raise _Unusable(
            f"has {keypoint} in {key}, which may be a name or a number; put it in quotes if the name is meant, else "
            "give the keypoint's name"
        )
    if not 0 <= keypoint < len(numbers):
        raise _Unusable(
            f"has keypoint {keypoint} in {key}, but its {len(numbers)} names are numbered from 0 to "
            f"{len(numbers) - 1}; correct it, or give the keypoint's name"
        )
    return keypoint


def _flip_indices(pairs: list[tuple[int, int]], names: tuple[str, ...]) -> tuple[int, ...]:
    """Keypoints that no pair names stay where they are."""
    partners: dict[int, int] = {}
    for one, other in pairs:
        for first, second in ((one, other), (other, one)):
            if partners.setdefault(first, second) != second:
                raise _Unusable(
                    f"has {_shown(names[first])} in two flip_pairs, with {_shown(names[partners[first]])} and with "
                    f"{_shown(names[second])}; a keypoint changes places with one other, remove one of the pairs"
                )
    return tuple(partners.get(index, index) for index in range(len(names)))


def _sigmas(value: Any, count: int) -> tuple[float, ...]:
    sigmas = _list("sigmas", value)
    if len(sigmas) != count:
        raise _Unusable(f"has {len(sigmas)} sigmas for {count} names; give one a keypoint, or omit sigmas")
    for sigma in sigmas:
        if isinstance(sigma, bool) or not isinstance(sigma, int | float) or not 0 < sigma < math.inf:
            raise _Unusable(f"has {_shown(sigma)} in sigmas, which is not a number above 0; correct it, or omit them")
    return tuple(float(sigma) for sigma in sigmas)


def _parts(value: Any, numbers: dict[str, int]) -> dict[str, tuple[int, ...]]:
    if not isinstance(value, dict):
        raise _Unusable(f"has {_kind(value)} for parts, where a mapping is expected; write parts: {{body: [...]}}")
    parts = {}
    for part, keypoints in value.items():
        if part not in PART_SIZES:
            raise _Unusable(f"has a part {_shown(part)}; there are {', '.join(PART_SIZES)}")
        indices = tuple(_index(f"parts.{part}", keypoint, numbers) for keypoint in _list(f"parts.{part}", keypoints))
        if len(set(indices)) < len(indices):
            raise _Unusable(f"has a keypoint twice in parts.{part}; remove one of the two")
        if len(indices) != (PART_SIZES[part] or len(indices)):
            raise _Unusable(
                f"has {len(indices)} keypoints in parts.{part}, which has {PART_SIZES[part]} in every set; give them "
                "in the order of sapiens_pl/models/keypoint_sets/coco_17.yaml, or omit that part"
            )
        parts[part] = indices
    return parts


def _kind(value: Any) -> str:
    return {list: "a list", dict: "a mapping", str: "a text", type(None): "nothing"}.get(type(value)) or shown(
        value, 40
    )


def _shown(value: Any) -> str:
    """Nested lists are only named: one line of YAML can describe what takes gigabytes to print."""
    if isinstance(value, list | dict) and (len(value) > 8 or any(isinstance(inner, list | dict) for inner in value)):
        return _kind(value)
    return shown(value, 40)
