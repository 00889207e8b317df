"""How close buffers of pixels are to the true ones, where `inside` says that both show the head.

All pixels of all pictures count alike, whichever picture they are in. None where `inside` is empty.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from flare_cli.score.metrics import psnr

ROUNDS = 8  # of choosing anew which pixels a factor leaves below 1


def psnr_inside(
    drawn: Float[Tensor, "*pixels C"], true: Float[Tensor, "*pixels C"], inside: Bool[Tensor, "*pixels"]
) -> float | None:
    """PSNR (dB, peak 1, at most 100) over the channels of these pixels together."""
    return psnr(float((drawn - true)[inside].square().mean())) if inside.any() else None


def psnr_of_all(
    drawn: Float[Tensor, "*pixels C"], true: Float[Tensor, "*pixels C"], inside: Bool[Tensor, "*pixels"]
) -> float:
    """The squared error of these pixels over the number of all: higher the smaller the head is in the picture."""
    return psnr(float((drawn - true)[inside].square().sum()) / drawn.numel())


def channel_factors(
    drawn: Float[Tensor, "*pixels C"], true: Float[Tensor, "*pixels C"], inside: Bool[Tensor, "*pixels"]
) -> Float[Tensor, " C"]:
    """The number per channel that brings `drawn` closest to `true` (least squares); 1 where nothing is drawn.

    Of what is shown, up to 1: a highlight of a hundred must not outweigh the rest. Least squares of clipped numbers
    first, and then of those that the number found leaves below 1, since those above stay white.
    """
    d, t = drawn[inside].double(), true[inside].double().clamp(max=1)
    factors = _least_squares(d.clamp(max=1), t, d.new_ones(d.shape[1]))
    for _ in range(ROUNDS):
        shown = d * factors < 1
        factors = _least_squares(d * shown, t, factors)
    return factors.to(drawn.dtype)


def _least_squares(
    d: Float[Tensor, "P C"], t: Float[Tensor, "P C"], otherwise: Float[Tensor, " C"]
) -> Float[Tensor, " C"]:
    power = d.square().sum(0)
    return torch.where(power > 0, (d * t).sum(0) / power.clamp(min=1e-30), otherwise)


def angle_degrees(
    drawn: Float[Tensor, "*pixels 3"], true: Float[Tensor, "*pixels 3"], inside: Bool[Tensor, "*pixels"]
) -> float | None:
    """Mean angle between two directions of any length."""
    if not inside.any():
        return None
    return float(torch.rad2deg(angles(drawn[inside], true[inside])).mean())


def angles(a: Float[Tensor, "*pixels 3"], b: Float[Tensor, "*pixels 3"]) -> Float[Tensor, "*pixels"]:
    """Radians between directions of any length, by the tangent: the cosine of a small angle rounds to 1."""
    return torch.atan2(torch.linalg.cross(a, b).norm(dim=-1), (a * b).sum(-1))


def hue_degrees(
    drawn: Float[Tensor, "*pixels 3"], true: Float[Tensor, "*pixels 3"], inside: Bool[Tensor, "*pixels"]
) -> float | None:
    """Mean difference of hue, weighted by the true colour's chroma: what is grey has no hue to miss.

    Hue and chroma are angle and length in the plane across the grey axis of linear RGB (Preucil's hue circle).
    """
    drawn_plane, true_plane = _across_grey(drawn[inside]), _across_grey(true[inside])
    chroma = true_plane.norm(dim=-1)
    if not float(chroma.sum()) > 0:
        return None
    turn = torch.atan2(drawn_plane[..., 1], drawn_plane[..., 0]) - torch.atan2(true_plane[..., 1], true_plane[..., 0])
    difference = (torch.remainder(turn + math.pi, 2 * math.pi) - math.pi).abs()
    return float(torch.rad2deg((difference * chroma).sum() / chroma.sum()))


def _across_grey(rgb: Float[Tensor, "*pixels 3"]) -> Float[Tensor, "*pixels 2"]:
    red, green, blue = rgb.unbind(-1)
    return torch.stack([red - 0.5 * (green + blue), 0.5 * math.sqrt(3) * (green - blue)], -1)


def relief_error(
    drawn: Float[Tensor, "N H W"], true: Float[Tensor, "N H W"], inside: Bool[Tensor, "N H W"]
) -> float | None:
    """Mean absolute error of depth, after each picture's median offset: one camera can't tell how far a head is."""
    errors = [(d - t)[m] for d, t, m in zip(drawn, true, inside, strict=True) if m.any()]
    if not errors:
        return None
    return float(torch.cat([(error - error.median()).abs() for error in errors]).mean())


def mean_error(
    drawn: Float[Tensor, "*pixels"], true: Float[Tensor, "*pixels"], inside: Bool[Tensor, "*pixels"]
) -> float | None:
    """Mean absolute difference."""
    return float((drawn - true)[inside].abs().mean()) if inside.any() else None


def intersection_over_union(drawn: Bool[Tensor, "*pixels"], true: Bool[Tensor, "*pixels"]) -> float:
    """Of two areas; 1 where both are empty."""
    union = int((drawn | true).sum())
    return int((drawn & true).sum()) / union if union else 1.0
