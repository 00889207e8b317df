"""What refined frames teach about the other frames of a track, whose pictures nobody looks at: offset, scale, noise."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flare_cli.subject.track import Track

# Parts of the recording, one after the other: on each a correction is judged that was learnt on the others. Frames next
# to each other err alike, so that single ones would judge too kindly. Not tuned.
FOLDS = 6
# Ridges to choose from, as parts of a feature's sum of squares.
RIDGES = (0.01, 0.1, 1.0)
PER_FRAME = ("pose", "expression", "translation")


def calibrated(given: Track, refined: Track) -> Track:
    """`given` with the frames of `refined` as they are there, and all others corrected by what those frames show.

    Of each parameter a correction is learnt by ridge least squares: an offset, a factor on its value, and one on what
    is abrupt about it. Where parts of the recording that took no part say so, it is the offset alone, or nothing. The
    cameras are the refined ones.
    """
    place = torch.full((int(given.frames.max()) + 1,), -1)
    place[given.frames] = torch.arange(len(given))
    rows = place[refined.frames]
    parts: dict[str, Tensor] = {}
    for name in PER_FRAME:
        values, wanted = getattr(given, name), getattr(refined, name)
        flat = values.flatten(1).double()
        correction = learnt_correction(flat, _abrupt(flat, given), wanted.flatten(1).double() - flat[rows], rows)
        parts[name] = (flat + correction).view_as(values).to(values)
        parts[name][rows] = wanted
    return replace(given, camera=refined.camera, **parts)


def learnt_correction(
    values: Float[Tensor, "N K"], abrupt: Float[Tensor, "N K"], residuals: Float[Tensor, "M K"], rows: Int[Tensor, " M"]
) -> Float[Tensor, "N K"]:
    """What to add to each of K parameters in all N frames, from the `residuals` of some of them, the `rows`."""
    abrupt = abrupt.clamp(abrupt[rows].amin(0), abrupt[rows].amax(0))  # faster motion looks as abrupt as noise
    features = torch.stack([torch.ones_like(values), values - values[rows].mean(0), abrupt], 2).transpose(0, 1)
    scale = features[:, rows].square().mean(1, keepdim=True).sqrt().clamp(min=1e-9)
    features, seen = features / scale, (features / scale)[:, rows]
    folds = torch.arange(len(rows)) * FOLDS // len(rows)

    def solved(ridge: float, kept: Tensor) -> Float[Tensor, "K 3 1"]:
        X, y = seen[:, kept], residuals[kept].T[..., None]
        held = ridge * X.shape[1] * torch.diag(torch.tensor([0.0, 1.0, 1.0])).to(X)
        return torch.linalg.solve(X.mT @ X + held, X.mT @ y)

    def off(ridge: float) -> Float[Tensor, " K"]:
        errors = [
            (residuals[folds == fold].T - (seen[:, folds == fold] @ solved(ridge, folds != fold))[..., 0])
            .square()
            .sum(1)
            for fold in range(FOLDS)
            if (folds == fold).any()
        ]
        return torch.stack(errors).sum(0)

    # The largest ridge leaves the offset alone.
    ridges = (*RIDGES, 1e9)
    candidates = [torch.zeros_like(values), *((features @ solved(r, folds >= 0))[..., 0].T for r in ridges)]
    errors = torch.stack([residuals.square().sum(0), *(off(ridge) for ridge in ridges)])
    best = errors.argmin(0)
    return torch.stack(candidates).gather(0, best.expand(1, len(values), -1))[0]


def _abrupt(values: Float[Tensor, "N K"], track: Track) -> Float[Tensor, "N K"]:
    """How far each frame is from the middle between the ones before and after it; 0 where there is none."""
    whole = (track.frames[2:] - track.frames[:-2]) == 2
    if track.video is not None:
        whole &= track.video[2:] == track.video[:-2]
    abrupt = torch.zeros_like(values)
    middle = values[1:-1] - 0.5 * (values[:-2] + values[2:])
    abrupt[1:-1] = torch.where(whole[:, None], middle, 0.0)
    return abrupt
