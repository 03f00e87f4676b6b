"""The shapes of the published networks. What they cost stands in `conf/model/`."""

from __future__ import annotations

from sapiens_pl.models.sapiens import PUBLISHED_HEADS, SapiensShape
from sapiens_pl.models.sapiens2 import INPUT_HW, Sapiens2Shape

SAPIENS_SIZES = {"0.3b": (1024, 24), "0.6b": (1280, 32), "1b": (1536, 40), "2b": (1920, 48)}
"""Embedding and layers (model cards)."""

SAPIENS2_SIZES = {
    "0.4b": (1024, 24, 16, (1024, 768), (512, 512, 256)),
    "0.8b": (1280, 32, 16, (1024, 768), (512, 512, 256)),
    "1b": (1536, 40, 24, (1536, 1024), (768, 512, 256)),
    "5b": (2432, 56, 32, (1024, 768), (512, 512, 256)),
}
"""Embedding, layers, heads (model cards), and the channels of the pose head's deconvolutions and convolutions."""

_FULL_ATTENTION = 8
"""Layers at either end of Sapiens2 that share no keys and values; between them two heads share (paper)."""


def sapiens_shape(size: str, num_keypoints: int) -> SapiensShape:
    """The shape of a published Sapiens v1 pose network."""
    embed_dim, num_layers = SAPIENS_SIZES[size]
    heads, channels = PUBLISHED_HEADS[embed_dim], (768, 768)
    return SapiensShape(embed_dim, num_layers, heads, 4 * embed_dim, channels, channels, num_keypoints, INPUT_HW)


def sapiens2_shape(size: str, num_keypoints: int = 308) -> Sapiens2Shape:
    """The shape of a published Sapiens2 pose network."""
    embed_dim, num_layers, heads, head_dims, conv_dims = SAPIENS2_SIZES[size]
    middle = (heads // 2,) * (num_layers - 2 * _FULL_ATTENTION)
    kv_heads = (heads,) * _FULL_ATTENTION + middle + (heads,) * _FULL_ATTENTION
    return Sapiens2Shape(
        *(embed_dim, num_layers, heads, kv_heads, 4 * embed_dim, 8, head_dims, conv_dims, num_keypoints, INPUT_HW)
    )
