from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from sapiens_pl.models import sapiens
from sapiens_pl.models.sapiens import PUBLISHED_HEADS, SapiensPose, SapiensShape, _InstanceNorm

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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_instance_norm_keeps_its_statistics_in_float32(dtype):
    features = (torch.randn(2, 8, 64, 48, generator=torch.Generator().manual_seed(0)) * 3 + 5).to(dtype)
    exact = F.instance_norm(features.double())
    found = _InstanceNorm(8)(features)
    assert found.dtype == dtype
    # Nothing but the rounding of the output.
    assert (found.double() - exact).abs().mean() < 1.01 * (exact.to(dtype).double() - exact).abs().mean()
    assert (F.instance_norm(features).double() - exact).abs().mean() > 2 * (found.double() - exact).abs().mean()


@torch.inference_mode()
def test_the_head_gives_the_same_whether_it_takes_all_crops_or_some_at_a_time(monkeypatch):
    torch.manual_seed(0)
    network = SapiensPose(SapiensShape(32, 1, 2, 64, (16, 16), (16,), 5, (64, 48))).eval()
    crops = torch.randn(5, 3, 64, 48)
    whole = network(crops)
    sizes = []
    parts = network.head._heatmaps
    monkeypatch.setattr(network.head, "_heatmaps", lambda features: (sizes.append(len(features)), parts(features))[1])
    monkeypatch.setattr(sapiens, "_HEAD_VALUES", 2 * 16 * 16 * 12 + 1)
    torch.testing.assert_close(network(crops), whole, atol=1e-6, rtol=0)
    assert sizes == [2, 2, 1]
