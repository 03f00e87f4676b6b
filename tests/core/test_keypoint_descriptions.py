"""Descriptions of keypoint sets: what is right in any form, what is refused in one sentence."""

from __future__ import annotations

import math

import pytest

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.keypoint_descriptions import described_set
from sapiens_pl.core.keypoints import KeypointSet

INSECT = {
    "names": ["head", "left wing", "right wing", "tail"],
    "skeleton": [["head", "tail"], [1, 2]],
    "flip_pairs": [["left wing", 2]],
}


def test_keypoints_go_by_names_or_by_numbers_and_all_but_the_names_may_be_left_out():
    names = tuple(INSECT["names"])
    assert described_set("F", INSECT, "insect") == KeypointSet("insect", names, (0, 2, 1, 3), ((0, 3), (1, 2)))
    assert described_set("F", {"names": INSECT["names"], "sigmas": None}) == KeypointSet("custom", names)
    again = described_set("F", INSECT | {"dataset": "bee", "sigmas": [1, 0.5, 0.5, 2], "parts": {"face": ["head"]}})
    assert again.dataset_name == "bee" and again.sigmas == (1, 0.5, 0.5, 2) and again.parts == {"face": (0,)}
    twice = described_set("F", INSECT | {"flip_pairs": [[1, 2], ["right wing", "left wing"]]})
    assert twice.flip_indices == (0, 2, 1, 3), "said twice, and meaning the same"
    assert described_set("F", INSECT | {"flip_pairs": []}).flip_indices == (0, 1, 2, 3), "a worm: all stay"


BAD = {
    "holds a list where a mapping is expected": [],
    "holds nothing where": None,
    "holds a text where": "names",
    'has a key "skelton", which no keypoint set has; did you mean skeleton?': INSECT | {"skelton": []},
    "has a key 3, which no keypoint set has; there are dataset, names": INSECT | {3: []},
    "has no names; list the keypoints' names": {"skeleton": []},
    "has no names; ": {"names": []},
    "has a mapping for names": {"names": {"head": 0}},
    "has a text for names": {"names": "head, tail"},
    "calls keypoint 1 false, which is not text; put its name in quotes": {"names": ["yes", False]},
    "calls keypoint 0 7, which": {"names": [7]},
    'calls keypoint 1 "", which': {"names": ["head", ""]},
    'calls keypoint 0 " head", which': {"names": [" head"]},
    r'calls keypoint 0 "a\\nb", which': {"names": ["a\nb"]},
    'calls keypoint 0 "=1", which a spreadsheet would': {"names": ["=1"]},
    'names "head" twice; give each keypoint a name of its own': {"names": ["head", "tail", "head"]},
    "gives dataset: 3, which is not text": INSECT | {"dataset": 3},
    "has a mapping for flip_pairs, where a list is expected": INSECT | {"flip_pairs": {"left wing": "right wing"}},
    r"has \[1\] in flip_pairs, which is not a pair": INSECT | {"flip_pairs": [[1]]},
    r"has \[1, 2, 3\] in skeleton, which is not a pair": INSECT | {"skeleton": [[1, 2, 3]]},
    'has "head-tail" in skeleton, which is not a pair': INSECT | {"skeleton": ["head-tail"]},
    'has "left wng" in skeleton, which is none of its names; did you mean left wing?': INSECT
    | {"skeleton": [["left wng", "tail"]]},
    'has "nose" in flip_pairs, which is none of its names; correct it': INSECT | {"flip_pairs": [["nose", "tail"]]},
    "has keypoint 4 in flip_pairs, but its 4 names are numbered from 0 to 3": INSECT | {"flip_pairs": [[3, 4]]},
    "has keypoint -1 in skeleton": INSECT | {"skeleton": [[-1, 0]]},
    "has 1.0 in skeleton, which is not a keypoint": INSECT | {"skeleton": [[1.0, 0]]},
    "has true in skeleton, which is not a keypoint": INSECT | {"skeleton": [[True, 0]]},
    r'has \["head"\] in skeleton, which is not a keypoint': INSECT | {"skeleton": [[["head"], 0]]},
    "has 1 in skeleton, which may be a name or a number": {"names": ["1", "2"], "skeleton": [[1, 0]]},
    'pairs "head" with itself in flip_pairs; remove that pair': INSECT | {"flip_pairs": [["head", "head"]]},
    'has "head" in two flip_pairs, with "tail" and with "left wing"': INSECT
    | {"flip_pairs": [["head", "tail"], ["left wing", "head"]]},
    "has 3 sigmas for 4 names; give one a keypoint": INSECT | {"sigmas": [1, 1, 1]},
    "has a mapping for sigmas": INSECT | {"sigmas": {"head": 1}},
    "has 0 in sigmas, which is not a number above 0": INSECT | {"sigmas": [1, 1, 0, 1]},
    "has NaN in sigmas": INSECT | {"sigmas": [math.nan] * 4},
    "has Infinity in sigmas": INSECT | {"sigmas": [math.inf] * 4},
    'has "0.1" in sigmas': INSECT | {"sigmas": ["0.1"] * 4},
    "has a list for parts, where a mapping is expected": INSECT | {"parts": ["body"]},
    'has a part "wings"; there are body, feet': INSECT | {"parts": {"wings": [1, 2]}},
    "has 4 keypoints in parts.body, which has 17 in every set": INSECT | {"parts": {"body": [0, 1, 2, 3]}},
    "has a keypoint twice in parts.face": INSECT | {"parts": {"face": ["head", 0]}},
    "calls keypoint 0 a list, which is not text": {"names": [[["head"]]]},
    "has a list in skeleton, which is not a keypoint": INSECT | {"skeleton": [[[["head"]], 0]]},
    "has a text for parts.face": INSECT | {"parts": {"face": "head"}},
    'has "nose" in parts.face, which is none of its names': INSECT | {"parts": {"face": ["nose"]}},
}


@pytest.mark.parametrize("sentence", BAD)
def test_what_contradicts_itself_is_told_in_one_sentence(sentence):
    with pytest.raises(ConfigError, match=f"^The file F {sentence}") as told:
        described_set("The file F", BAD[sentence])
    assert str(told.value).endswith((".", "?")) and "\n" not in str(told.value) and len(str(told.value)) < 300


def test_lists_that_hold_themselves_are_told_too():
    endless: list = ["head"]
    endless.append(endless)
    for description in ({"names": endless}, INSECT | {"skeleton": endless}, INSECT | {"flip_pairs": [endless]}):
        with pytest.raises(ConfigError, match="^F "):
            described_set("F", description)


def test_sentences_stay_short_whatever_the_file_holds():
    with pytest.raises(ConfigError) as told:
        described_set("F", {"names": ["head", ["x"] * 10_000]})
    assert len(str(told.value)) < 200
