from __future__ import annotations

import pytest
import torch

from sapiens_pl.models.sapiens import PUBLISHED_HEADS, SapiensPose, SapiensShape

PUBLISHED = [(1024, 24, 329.7), (1280, 32, 661.2), (1536, 40, 1168.9), (1920, 48, 2166.4)]


def published_shape(embed_dim, num_layers):
    heads = PUBLISHED_HEADS[embed_dim]
    return SapiensShape(embed_dim, num_layers, heads, 4 * embed_dim, (768, 768), (768, 768), 308, (1024, 768))


@pytest.mark.parametrize(("embed_dim", "num_layers", "millions"), PUBLISHED)
def test_published_sizes_have_the_published_number_of_parameters(embed_dim, num_layers, millions):
    with torch.device("meta"):
        network = SapiensPose(published_shape(embed_dim, num_layers))
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 1) == millions


@pytest.mark.parametrize("mode", ["autocast", "weights"])
def test_heatmaps_are_float32_and_not_rounded_to_bfloat16(mode):
    torch.manual_seed(0)
    network = SapiensPose(SapiensShape(32, 1, 2, 64, (16, 16), (16,), 5, (64, 48))).eval()
    crops = torch.randn(2, 3, 64, 48)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=mode == "autocast"):
        if mode == "weights":
            network, crops = network.bfloat16(), crops.bfloat16()
        heatmaps = network(crops)
    assert heatmaps.dtype == torch.float32
    assert heatmaps.shape == (2, 5, 16, 12)
    assert (heatmaps != heatmaps.bfloat16().float()).any()
