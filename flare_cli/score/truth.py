"""Comparison with known truth: albedo and normals of a synthetic subject, raw and without the scale ambiguity."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8

from flare_cli.data.celebamask import Label
from flare_cli.score.metrics import psnr

WHOLLY_COVERED = 0.99  # below, the outline mixes the head with what is behind it; leaves room for rounding to 16 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What a synthetic frame was made of, at the pixels that are wholly head (clothes left out)."""

    albedo: Float[np.ndarray, "H W 3"]
    normal: Float[np.ndarray, "H W 3"]
    inside: Bool[np.ndarray, "H W"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthScore:
    """PSNR in dB on linear albedo, over all pixels of all frames together; normals as the mean angle in degrees.

    `albedo_aligned` allows one factor per channel for the whole recording: pictures show light times albedo and can't
    tell how bright, or of which tint, each of the two is.
    """

    albedo_raw: float
    albedo_aligned: float
    normal_degrees: float


def load_truth(path: Path, label: UInt8[np.ndarray, "H W"]) -> Truth:
    """Read `truth/<n>.npz` (docs/formats.md)."""
    with np.load(path) as arrays:
        inside = (arrays["coverage"].astype(np.float32) > WHOLLY_COVERED) & (label != Label.CLOTH)
        return Truth(
            albedo=arrays["albedo"].astype(np.float32), normal=arrays["normal"].astype(np.float32), inside=inside
        )


def score_truth(
    albedo: list[Float[np.ndarray, "H W 3"]], normal: list[Float[np.ndarray, "H W 3"]], truth: list[Truth]
) -> TruthScore:
    """Compare drawn buffers (0 where nothing is drawn) with the truth, where shared show the head."""
    shared = [t.inside & (np.linalg.norm(n, axis=-1) > 0.5) for n, t in zip(normal, truth, strict=True)]
    drawn = np.concatenate([a[m] for a, m in zip(albedo, shared, strict=True)])
    true = np.concatenate([t.albedo[m] for t, m in zip(truth, shared, strict=True)])
    scale = (drawn * true).sum(0) / np.maximum((drawn * drawn).sum(0), 1e-12)
    cosines = [(n[m] * t.normal[m]).sum(-1) for n, t, m in zip(normal, truth, shared, strict=True)]
    return TruthScore(
        albedo_raw=psnr(float(np.square(drawn - true).mean())),
        albedo_aligned=psnr(float(np.square(drawn * scale - true).mean())),
        normal_degrees=float(np.degrees(np.arccos(np.concatenate(cosines).clip(-1, 1))).mean()),
    )
