"""A configuration that does not belong to its weights, or makes no sense, is one sentence that names the file."""

from __future__ import annotations

import json
import re
import time

import pytest
from safetensors.torch import load_file, save_file
from sapiens2_cases import SMALL, small_network, write_folder

from sapiens_pl.core.errors import CheckpointError
from sapiens_pl.models.checkpoints import load_network
from sapiens_pl.models.sapiens2_config import CONFIG_KEY


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("hub") / "folder", small_network().state_dict(), SMALL)


def check_refused(path, words):
    began = time.process_time()
    with pytest.raises(CheckpointError, match=words) as caught:
        load_network(path)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 600 and text.endswith(".") and time.process_time() - began < 5


@pytest.fixture
def put(folder):
    """Writes one of the folder's JSON files anew; afterwards it is as it was."""
    before = {name: (folder / name).read_bytes() for name in ("config.json", "preprocessor_config.json")}

    def write(name, content):
        content = content if isinstance(content, bytes) else content.encode()
        (folder / name).write_bytes(content)

    yield write
    for name, content in before.items():
        (folder / name).write_bytes(content)


SIZES = ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "num_register_tokens"]


@pytest.mark.parametrize("value", [1_000_000, 10**400, -3, 0, 7, 1.5, "3", True, [3], {}, 1e300])
@pytest.mark.parametrize("key", SIZES)
def test_sizes_are_believed_only_as_the_weights_have_them(folder, put, key, value):
    put("config.json", json.dumps(json.loads((folder / "config.json").read_text()) | {key: value}))
    check_refused(folder, rf"config\.json gives {key}=.*the weights are those of a network with {getattr_of(key)}")


def getattr_of(key):
    return {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128}.get(key, 8)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("patch_size", 14),
        ("patch_size", [16, 8]),
        ("num_channels", 4),
        ("hidden_act", "gelu"),
        ("use_gated_mlp", False),
        ("use_qk_norm", False),
        ("num_labels", 308),
        ("num_key_value_heads_per_layer", [4] * 1_000_000),
        ("num_key_value_heads_per_layer", [4, 1, 4]),
        ("head_config", {"upsample_out_channels": [32, 64]}),
        ("head_config", {"conv_out_channels": "32"}),
        ("head_config", {"use_pixel_shuffle": True}),
        ("head_config", [1]),
        ("head_config", "none"),
        ("rms_norm_eps", 0),
        ("rms_norm_eps", -1e-6),
        ("rms_norm_eps", "1e-6"),
        ("rms_norm_eps", True),
        ("rms_norm_eps", float("nan")),
        ("rms_norm_eps", None),
    ],
)
def test_another_networks_configuration_is_refused(folder, put, key, value):
    put("config.json", json.dumps(json.loads((folder / "config.json").read_text()) | {key: value}))
    check_refused(folder, rf"config\.json gives {key if isinstance(value, (str, list, type(None))) else ''}")


@pytest.mark.parametrize(
    "value", [0, -100, float("nan"), float("inf"), 10**400, "100", True, [100], None, 1e-320, 1e39]
)
def test_rotary_bases_that_make_no_sense_are_refused(tmp_path, value):
    weights = small_network().state_dict()
    weights.pop("backbone.rope_embed.periods")
    check_refused(
        write_folder(tmp_path / "folder", weights, SMALL, rope_theta=value), r"config\.json gives rope_theta=.*number"
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is damaged: no JSON"),
        ("", "is damaged: no JSON"),
        ("[1, 2]", "is not a JSON object"),
        ("null", "is not a JSON object"),
        (b"\xff\xfe{}", "not UTF-8 text"),
        ("[" * 1_000_000, "is damaged: no JSON"),
        (" " * 20_000_000, "larger than any configuration"),
    ],
)
@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_what_is_no_json_object_is_refused(folder, put, name, content, words):
    put(name, content)
    check_refused(folder, rf"{re.escape(name)}.*{words}")


def test_a_configuration_may_say_less(folder, put):
    put("config.json", "{}")
    put("preprocessor_config.json", "{}")
    assert load_network(folder).shape == SMALL


@pytest.mark.parametrize(
    "size",
    [
        {"height": -16, "width": 768},
        {"height": 1024, "width": 7},
        {"height": 0, "width": 0},
        {"height": 1000, "width": 750},
        {"height": 1_000_000, "width": 1_000_000},
        {"height": "1024", "width": "768"},
        {"height": 1024.0, "width": 768.0},
        {"height": True, "width": True},
        {"height": 1024},
        {"shortest_edge": 1024},
        {},
        [1024, 768],
        1024,
        "1024x768",
        {"height": float("nan"), "width": 768},
        {"height": 10**400, "width": 768},
    ],
)
def test_preprocessor_sizes_that_no_crop_can_have_are_refused(folder, put, size):
    put("preprocessor_config.json", json.dumps({"size": size}))
    check_refused(folder, r"preprocessor_config\.json gives the crops' size as .*model\.input_hw=\[1024,768\]")
    assert load_network(folder, input_hw=(1024, 768)).shape == SMALL  # what the sentence says


def test_other_sizes_are_taken(folder, put):
    put("preprocessor_config.json", json.dumps({"size": {"height": 512, "width": 384}}))
    assert load_network(folder).shape.input_hw == (512, 384)
    assert load_network(folder, input_hw=(256, 192)).shape.input_hw == (256, 192)


@pytest.mark.parametrize("text", ["", "1024", "1024,768,3", "-16,768", "1024,7", "a,b", "1024,", "9" * 5000 + ",16"])
def test_our_own_metadata_is_checked_too(folder, tmp_path, text):
    weights = load_file(folder / "model.safetensors")
    save_file(weights, tmp_path / "own.safetensors", {"input_hw": text})
    check_refused(tmp_path / "own.safetensors", r"own\.safetensors gives the crops' size as")
    save_file(weights, tmp_path / "own.safetensors", {"input_hw": "512,384", CONFIG_KEY: text})
    check_refused(tmp_path / "own.safetensors", r"own\.safetensors is damaged|own\.safetensors gives")
