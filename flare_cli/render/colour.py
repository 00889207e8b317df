"""Colour: the sRGB curve and the tone map under which pictures are compared."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def srgb_from_linear(linear: Float[Tensor, "*batch C"]) -> Float[Tensor, "*batch C"]:
    """Encode linear radiance for display (IEC 61966-2-1).

    1.0 is diffuse white; brighter input stays above 1. Gradients are finite at 0.
    """
    toe = 12.92 * linear
    curve = 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, toe, curve)


def linear_from_srgb(encoded: Float[Tensor, "*batch C"]) -> Float[Tensor, "*batch C"]:
    """Decode display values (IEC 61966-2-1); the inverse of `srgb_from_linear`."""
    toe = encoded / 12.92
    curve = ((encoded.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(encoded <= 0.04045, toe, curve)


def tone_mapped(linear: Float[Tensor, "*batch C"]) -> Float[Tensor, "*batch C"]:
    """sRGB(log(1 + x)): compresses highlights so that the colour loss does not chase them (FLARE, nvdiffrec)."""
    return srgb_from_linear(torch.log1p(linear.clamp(min=0)))
