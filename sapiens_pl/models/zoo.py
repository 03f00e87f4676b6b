"""The published sizes, and what a network of some shape costs: parameters and multiply-adds.

Legend: C embedding, N tokens, h w heatmap px.
"""

from __future__ import annotations

from sapiens_pl.models.sapiens import HEATMAP_STRIDE, PATCH_SIZE, PUBLISHED_HEADS, SapiensShape
from sapiens_pl.models.sapiens2 import INPUT_HW, Sapiens2Shape

_PATCH_VALUES = 3 * PATCH_SIZE * PATCH_SIZE
_DECONV_TAPS = 4 * 4

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


def num_parameters(shape: SapiensShape | Sapiens2Shape) -> int:
    """Weights and biases of all layers."""
    c, mlp = shape.embed_dim, shape.mlp_dim
    patches = (shape.input_hw[0] // PATCH_SIZE) * (shape.input_hw[1] // PATCH_SIZE)
    total = _PATCH_VALUES * c + c + _head_parameters(shape)
    if isinstance(shape, Sapiens2Shape):
        head_dim = c // shape.num_heads
        total += c * (1 + shape.num_registers) + c  # class and register tokens, last norm
        for kv_heads in shape.num_kv_heads:
            attention = 2 * (c * c + c) + 2 * (c + 1) * kv_heads * head_dim + 2 * head_dim
            total += attention + 3 * c * mlp + 2 * mlp + c + 3 * c  # gated MLP; two norms and a scale
        return total
    return total + patches * c + 2 * c + shape.num_layers * (4 * (c * c + c) + 2 * c * mlp + mlp + c + 4 * c)


def flops_a_crop(shape: SapiensShape | Sapiens2Shape) -> int:
    """Floating-point operations of one forward pass of one crop: multiply-adds times 2, of convolutions, matrix
    products and attention.
    """
    c = shape.embed_dim
    patches = (shape.input_hw[0] // PATCH_SIZE) * (shape.input_hw[1] // PATCH_SIZE)
    if isinstance(shape, Sapiens2Shape):
        tokens = patches + 1 + shape.num_registers
        kv_dims = [kv_heads * c // shape.num_heads for kv_heads in shape.num_kv_heads]
        weights = sum(2 * c * c + 2 * c * kv_dim + 3 * c * shape.mlp_dim for kv_dim in kv_dims)
    else:
        tokens = patches
        weights = shape.num_layers * (4 * c * c + 2 * c * shape.mlp_dim)
    attention = shape.num_layers * 2 * tokens * tokens * c
    return 2 * (patches * _PATCH_VALUES * c + tokens * weights + attention + _head_multiply_adds(shape))


def _head_layers(shape: SapiensShape | Sapiens2Shape) -> list[tuple[int, int, int]]:
    """Multiply-adds a pixel, biases, and px of what each layer of the head reads (deconvolutions) or writes."""
    layers = []
    channels, pixels = shape.embed_dim, shape.input_hw[0] * shape.input_hw[1] // PATCH_SIZE**2
    for out in shape.head_dims:
        layers.append((_DECONV_TAPS * channels * out, 0, pixels))
        channels, pixels = out, pixels * 4
    assert pixels == shape.input_hw[0] * shape.input_hw[1] // HEATMAP_STRIDE**2
    for out in (*shape.head_conv_dims, shape.num_keypoints):
        layers.append((channels * out, out, pixels))
        channels = out
    return layers


def _head_parameters(shape: SapiensShape | Sapiens2Shape) -> int:
    return sum(weights + biases for weights, biases, _ in _head_layers(shape))


def _head_multiply_adds(shape: SapiensShape | Sapiens2Shape) -> int:
    return sum(weights * pixels for weights, _, pixels in _head_layers(shape))
