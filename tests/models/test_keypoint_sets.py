"""The sets that come with the package, and which set a network has."""

from __future__ import annotations

import json
import os

import pytest
import torch
import yaml

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.keypoints import numbered_set
from sapiens_pl.models.checkpoints import load_network, save_network
from sapiens_pl.models.keypoint_sets import OURS, metadata_of, named_set, our_set, set_of_network
from sapiens_pl.models.sapiens import SapiensPose, SapiensShape

PARTS = {
    "coco_17": {"body": 17},
    "coco_wholebody_133": {"body": 17, "feet": 6, "left_hand": 21, "right_hand": 21, "face": 68},
    "goliath_308": {"body": 17, "feet": 6, "left_hand": 21, "right_hand": 21, "face": 243},
}
SPIDER = {
    "dataset": "spider",
    "names": ["eyes", *(f"{side}_leg_{number}" for number in range(8) for side in ("left", "right"))],
    "skeleton": [["eyes", "left_leg_0"]],
    "flip_pairs": [[f"left_leg_{number}", f"right_leg_{number}"] for number in range(8)],
}
"""17 keypoints that are not COCO's."""


@pytest.mark.parametrize("name", OURS)
def test_parts_have_what_their_names_say(name):
    ours = our_set(name)
    assert ours.num_keypoints == int(name.rpartition("_")[2]) == len(ours.sigmas)
    assert {part: len(set(indices)) for part, indices in ours.parts.items()} == PARTS[name]
    named = {part: [ours.names[index] for index in indices] for part, indices in ours.parts.items()}
    assert named["body"] == list(our_set("coco_17").names)
    if name != "coco_17":
        assert named["feet"][:3] == ["left_big_toe", "left_small_toe", "left_heel"]
        for side in ("left", "right"):
            hand = named[f"{side}_hand"]
            assert all(name.startswith(side) for name in hand)
            assert [hand[index] for index in (4, 8, 20)] == [
                f"{side}_{n}4" for n in ("thumb", "forefinger", "pinky_finger")
            ]
        assert not any("hand" in name or "toe" in name or "shoulder" in name for name in named["face"])


@pytest.mark.parametrize("name", OURS)
def test_a_mirror_makes_one_side_the_other_and_keeps_the_rest(name):
    ours = our_set(name)
    for index, partner in enumerate(ours.flip_indices):
        one, other = ours.names[index], ours.names[partner]
        assert ours.flip_indices[partner] == index
        if "left" in one or "right" in one:
            assert one.replace("left", "right") == other.replace("left", "right") and one != other
    mirrored = {part: [ours.flip_indices[index] for index in indices] for part, indices in ours.parts.items()}
    if name != "coco_17":
        assert mirrored.pop("left_hand") == list(ours.parts["right_hand"])
        assert mirrored.pop("right_hand") == list(ours.parts["left_hand"])
    assert all(set(indices) == set(ours.parts[part]) for part, indices in mirrored.items())


def file_of(folder, content=None, name="spider.yaml"):
    path = folder / name
    text = yaml.safe_dump(content or SPIDER) if path.suffix != ".json" else json.dumps(content or SPIDER)
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize("name", ["spider.yaml", "spider.yml", "spider.json", "spider"])
def test_a_set_of_somebody_elses_is_a_file(tmp_path, monkeypatch, name):
    path = file_of(tmp_path, name=name)
    spider = named_set(str(path))
    assert spider.dataset_name == "spider" and spider.flip_indices[:3] == (0, 2, 1) and spider.skeleton == ((0, 1),)
    monkeypatch.chdir(tmp_path)
    assert named_set(name) == named_set(path) == spider
    unnamed = {key: value for key, value in SPIDER.items() if key != "dataset"}
    assert named_set(file_of(tmp_path, unnamed, name)).dataset_name == "spider", "the file's name"


def test_texts_in_other_scripts_and_with_a_mark_of_their_encoding_are_fine(tmp_path):
    path = tmp_path / "bee.yaml"
    path.write_text("names: [Fühler, 'no', \"1\"]", "utf-8-sig")
    assert named_set(path).names == ("Fühler", "no", "1")


BAD_FILES = {
    "is not UTF-8; save it as UTF-8": "names: [Fühler]".encode("latin-1"),
    "is not a YAML file": b"names: [head",
    "is not a YAML file .*the key names twice": b"names: [a]\nnames: [b]",
    "is not a YAML file .*python/object": b"!!python/object/apply:os.system ['touch /tmp/never']",
    "is not a YAML file.*": b"names: [2001-99-99]",
    "has over 4 MiB": b"#" * (5 << 20),
    "holds nothing where a mapping is expected": b"",
    "holds a list where": b"- head",
    "calls keypoint 1 false, which is not text; put its name in quotes": b"names: [yes_please, no]",
    "holds a text where": b"head",
}


@pytest.mark.parametrize("sentence", BAD_FILES)
def test_a_bad_file_is_told_in_one_sentence_that_names_it(tmp_path, sentence):
    path = tmp_path / "bee.yaml"
    path.write_bytes(BAD_FILES[sentence])
    with pytest.raises(ConfigError, match=f"model.keypoint_set={path} {sentence}") as told:
        named_set(str(path))
    assert "\n" not in str(told.value)


def test_what_names_no_set_is_told_with_those_there_are(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    for named, sentence in {
        "coco17": r"model.keypoint_set=coco17 is not a keypoint set; did you mean coco_17\?$",
        "halpe": "=halpe is not a keypoint set; give one of coco_17, .* or the path of a YAML",
        str(tmp_path / "absent.yaml"): "absent.yaml does not exist; give one of",
        str(tmp_path): "is not a file; give",
        str(tmp_path / "pipe.yaml"): "is not a file; give",
        17: "='17' names no keypoint set",
        "a\0b": "is not a keypoint set|names no",
        "x" * 5000: "names no keypoint set|is not a keypoint set",
    }.items():
        with pytest.raises(ConfigError, match=sentence):
            named_set(named)


def test_a_network_has_the_set_that_is_given_else_its_files_else_ours_of_that_number(tmp_path):
    spider, coco = named_set(file_of(tmp_path)), our_set("coco_17")
    path = str(tmp_path / "spider.yaml")
    assert set_of_network("F", 17) == coco and set_of_network("F", 133) == our_set("coco_wholebody_133")
    assert set_of_network("F", 17, spider) == set_of_network("F", 17, path, {"keypoint_set": "coco_17"}) == spider
    assert set_of_network("F", 17, None, metadata_of(spider)) == spider
    assert set_of_network("F", 17, "coco_17", metadata_of(spider)) == coco
    assert metadata_of(coco) == {"keypoint_set": "coco_17"}
    assert set_of_network("F", 17, None, {"keypoint_set": "coco"}) == coco, "as files said that were converted before"
    assert set_of_network("F", 17, None, {"keypoint_set": "beetle"}) == numbered_set(17, "beetle")
    assert set_of_network("F", 26, None, {"keypoint_set": "custom"}) == set_of_network("F", 26) == numbered_set(26)


@pytest.mark.parametrize(
    ("count", "given", "metadata", "sentence"),
    [
        (133, "coco_17", {}, "F has 133 keypoints, but model.keypoint_set=coco_17 has 17; give"),
        (133, None, {"keypoint_set": "coco_17"}, "F has 133 keypoints, but the keypoint set coco_17 in its metadata"),
        (18, None, metadata_of(our_set("coco_17")._replace(dataset_name="x")), "F has 18 .* in its metadata has 17"),
        (3, None, {"keypoint_set_description": "{"}, "in the metadata of F is not JSON; describe it by"),
        (3, None, {"keypoint_set_description": '{"names": 3}'}, r"The metadata of F has 3 for names; .*\(or describe"),
    ],
)
def test_a_set_of_another_number_of_keypoints_is_refused(count, given, metadata, sentence):
    with pytest.raises(ConfigError, match=sentence):
        set_of_network("F", count, given, metadata)


def test_a_checkpoint_keeps_its_set(tmp_path):
    torch.manual_seed(0)
    network = SapiensPose(SapiensShape(8, 1, 2, 16, (8, 8), (8,), 17, (64, 48)))
    assert network.keypoint_set == our_set("coco_17")
    network.keypoint_set = named_set(file_of(tmp_path))
    save_network(network, tmp_path / "spider.safetensors")
    assert load_network(tmp_path / "spider.safetensors").keypoint_set == network.keypoint_set
    assert load_network(tmp_path / "spider.safetensors", keypoint_set="coco_17").keypoint_set == our_set("coco_17")
    with pytest.raises(ConfigError, match=r"spider.safetensors has 17 keypoints, but model.keypoint_set=goliath_308"):
        load_network(tmp_path / "spider.safetensors", keypoint_set="goliath_308")
