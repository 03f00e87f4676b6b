"""The keypoint sets that come with the package, a file each, and which set a network has.

COCO's 17, COCO-WholeBody's 133 and Goliath's 308 are here; other sets are files of the same form.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from sapiens_pl.core.errors import CheckpointError, ConfigError
from sapiens_pl.core.keypoint_descriptions import described_set
from sapiens_pl.core.keypoints import NUMBERED, KeypointSet, numbered_set
from sapiens_pl.core.wording import one_line

_FOLDER = Path(__file__).parent
COCO, WHOLEBODY, GOLIATH = OURS = ("coco_17", "coco_wholebody_133", "goliath_308")
"""By the names of their files."""
NAME_KEY, DESCRIPTION_KEY = "keypoint_set", "keypoint_set_description"
"""In a weights file's metadata: the name of the set, and, of a set that is not one of ours, its description as JSON."""
_ENDINGS = (".yaml", ".yml", ".json")
_MOST_BYTES = 4 * 2**20
_CHOICES = f"give one of {', '.join(OURS)}, or the path of a YAML file that describes one"


class _OneOfAKey(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads plain values only, and refuses a key that a mapping has twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]
        twice = next((key for index, key in enumerate(keys) if key in keys[:index]), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice} twice", node.start_mark)
        return super().construct_mapping(node, deep)


@lru_cache
def our_set(name: str) -> KeypointSet:
    """The set of that name, of `OURS`."""
    return _read(f"The keypoint set {name}", _FOLDER / f"{name}.yaml")


def named_set(named: Any, setting: str = "model.keypoint_set") -> KeypointSet:
    """The keypoint set that a setting means: one of `OURS` by its name, or a YAML (or JSON) file by its path.

    Args:
        named: a text, or a path.
        setting: what has the value, for the sentence.

    Raises:
        ConfigError: there is no such set, or its file cannot be read or contradicts itself.
    """
    if named in OURS:
        return our_set(named)
    try:
        path = Path(named).expanduser()
        is_file = path.is_file()
    except (
        TypeError,
        ValueError,
        RuntimeError,
        OSError,
    ):  # not text, a zero byte, ~NAME of no user, too long
        raise ConfigError(f"{setting}={str(named)[:60]!r} names no keypoint set; {_CHOICES}.") from None
    if is_file:
        return _read(f"{setting}={path}", path)
    if path.exists():
        raise ConfigError(f"{setting}={path} is not a file; {_CHOICES}.")
    if path.suffix in _ENDINGS or len(path.parts) > 1:
        raise ConfigError(f"{setting}={path} does not exist; {_CHOICES}.")
    alike = get_close_matches(str(named), OURS, 1)
    hint = f"did you mean {alike[0]}?" if alike else f"{_CHOICES}."
    raise ConfigError(f"{setting}={named} is not a keypoint set; {hint}")


def _read(source: str, path: Path) -> KeypointSet:
    try:
        with open(path, "rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ConfigError(f"{source} has over {_MOST_BYTES >> 20} MiB, as no keypoint set has; give another file.")
        text = content.decode("utf-8-sig")
        description = json.loads(text) if path.suffix == ".json" else yaml.load(text, _OneOfAKey)
    except OSError as error:
        raise ConfigError(f"{source} cannot be read ({error.strerror}); fix that and run again.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{source} is not UTF-8; save it as UTF-8.") from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:  # YAML's dates may be invalid
        kind = "JSON" if path.suffix == ".json" else "YAML"
        raise ConfigError(f"{source} is not a {kind} file ({one_line(error)}); correct it.") from None
    return described_set(source, description, path.stem)


def set_of_network(
    source: str, num_keypoints: int, given: Any = None, metadata: Mapping[str, str] | None = None
) -> KeypointSet:
    """The keypoint set of a network: the one given, else the one that its file names, else ours of that size.

    A network of another size, or whose file names a set that is not one of ours, gets a set without relations.

    Args:
        source: the network's file, for the sentence.
        num_keypoints: how many heatmaps it makes.
        given: a `KeypointSet`, or what `named_set` takes; None if the user says nothing.
        metadata: of its file.

    Raises:
        CheckpointError: the set has another number of keypoints.
        ConfigError: it cannot be read.
    """
    found, whose = _given_or_named(source, given, metadata or {})
    if found is None:
        name = (metadata or {}).get(NAME_KEY, NUMBERED)
        ours = next((ours for ours in map(our_set, OURS) if ours.num_keypoints == num_keypoints), None)
        return ours if ours is not None and name == NUMBERED else numbered_set(num_keypoints, name[:80])
    if found.num_keypoints != num_keypoints:
        raise CheckpointError(
            f"{source} has {num_keypoints} keypoints, but {whose} has {found.num_keypoints}; give model.keypoint_set "
            "the set that this network was trained with."
        )
    return found


def _given_or_named(source: str, given: Any, metadata: Mapping[str, str]) -> tuple[KeypointSet | None, str]:
    """The set that is chosen or named by the file, and which of the two it is from."""
    if isinstance(given, KeypointSet):
        return given, f"the keypoint set {given.dataset_name}"
    if given is not None:
        return named_set(given), f"model.keypoint_set={given}"
    if DESCRIPTION_KEY in metadata:
        return _of_metadata(source, metadata[DESCRIPTION_KEY]), "the keypoint set in its metadata"
    name = metadata.get(NAME_KEY)
    # Files that were converted before sets had names of their own name the data set.
    ours = next((ours for ours in OURS if name in (ours, our_set(ours).dataset_name)), None)
    return None if ours is None else our_set(ours), f"the keypoint set {name} in its metadata"


def _of_metadata(source: str, text: str) -> KeypointSet:
    remedy = "describe it by model.keypoint_set=FILE.yaml"
    try:
        return described_set(f"The metadata of {source}", json.loads(text))
    except (ValueError, RecursionError):
        raise ConfigError(f"The keypoint set in the metadata of {source} is not JSON; {remedy}.") from None
    except ConfigError as error:
        raise ConfigError(f"{str(error).rstrip('.')} (or {remedy}).") from None


def metadata_of(keypoint_set: KeypointSet) -> dict[str, str]:
    """What a weights file says of its network's set, for `set_of_network` to read."""
    for name in OURS:
        if our_set(name) == keypoint_set:
            return {NAME_KEY: name}
    return {
        NAME_KEY: keypoint_set.dataset_name,
        DESCRIPTION_KEY: json.dumps(keypoint_set.description(), ensure_ascii=False),
    }
