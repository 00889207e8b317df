"""What refined frames teach about the other frames of a track, whose pictures nobody looks at: offset, scale, noise."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flare_cli.fit.track.residuals import PER_FRAME
from flare_cli.head.joints import Joint
from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import joint_transforms, shaped_joints
from flare_cli.subject.track import Track

# Parts of the recording, one after the other: on each a correction is judged that was learnt on the others. Frames next
# to each other err alike, so that single ones would judge too kindly. Not tuned.
FOLDS = 6
# Ridges to choose from, as parts of a feature's sum of squares; the last one leaves the offset alone.
RIDGES = (0.01, 0.1, 1.0, 1e9)


def calibrated(given: Track, refined: Track, head: HeadModel) -> Track:
    """`given` with the frames of `refined` as they are there, and all others corrected by what those frames show.

    Of each parameter a correction is learnt by ridge least squares: an offset, a factor on its value, and one on what
    is abrupt about it. Where parts of the recording that took no part say so, it is the offset alone, or nothing.
    For translation stands the place of the middle of the head: turns about the far root joint carry it along, and a
    tracker makes up for their errors by shifts. The cameras are the refined ones.
    """
    place = torch.full((int(given.frames.max()) + 1,), -1)
    place[given.frames] = torch.arange(len(given))
    rows = place[refined.frames]
    centred, wanted = _by_centre(given, head), _by_centre(refined, head)
    parts: dict[str, Tensor] = {}
    for name in PER_FRAME:
        values = getattr(centred, name)
        flat, flat_wanted = values.flatten(1).double(), getattr(wanted, name).flatten(1).double()
        correction = learnt_correction(flat, _abrupt(flat, given), flat_wanted - flat[rows], rows)
        parts[name] = (flat + correction).view_as(values).to(values)
        parts[name][rows] = getattr(wanted, name)
    whole = replace(given, camera=refined.camera, **parts)
    whole = replace(whole, translation=whole.translation - _centre(whole, head))
    whole.translation[rows] = refined.translation
    return whole


def _by_centre(track: Track, head: HeadModel) -> Track:
    """The track with the place of the head's middle for its translation."""
    return replace(track, translation=track.translation + _centre(track, head))


def _centre(track: Track, head: HeadModel) -> Float[Tensor, "N 3"]:
    """The mean place of what the neck joint carries, posed but not yet translated."""
    carried = head.weights[:, Joint.NECK, None]
    middle = ((head.template + head.shape_dirs @ track.shape) * carried).sum(0) / carried.sum()
    joints = shaped_joints(head, track.shape, track.expression)
    transform = joint_transforms(joints, track.pose, head.parents)[:, Joint.NECK, :3]
    return transform[:, :, :3] @ middle + transform[:, :, 3]


def learnt_correction(
    values: Float[Tensor, "N K"], abrupt: Float[Tensor, "N K"], residuals: Float[Tensor, "M K"], rows: Int[Tensor, " M"]
) -> Float[Tensor, "N K"]:
    """What to add to each of K parameters in all N frames, from the `residuals` of some of them, the `rows`."""
    abrupt = abrupt.clamp(abrupt[rows].amin(0), abrupt[rows].amax(0))  # faster motion looks as abrupt as noise
    features = torch.stack([torch.ones_like(values), values - values[rows].mean(0), abrupt], 2).transpose(0, 1)
    features = features / features[:, rows].square().mean(1, keepdim=True).sqrt().clamp(min=1e-9)
    seen, wanted = features[:, rows], residuals.T[..., None]
    nothing = torch.zeros_like(features[..., :1])
    corrections = torch.stack([nothing, *(features @ _ridge_solution(seen, wanted, ridge) for ridge in RIDGES)])
    misses = [wanted.square().sum((1, 2)), *(_unseen_miss(seen, wanted, ridge) for ridge in RIDGES)]
    best = torch.stack(misses).argmin(0)
    return corrections[best, torch.arange(len(best))][..., 0].T


def _ridge_solution(features: Float[Tensor, "K M 3"], wanted: Float[Tensor, "K M 1"], ridge: float) -> Tensor:
    """(K, 3, 1) factors on the features: least squares, held back by `ridge` but for the offset."""
    held = ridge * features.shape[1] * features.new_tensor([0.0, 1.0, 1.0]).diag()
    return torch.linalg.solve(features.mT @ features + held, features.mT @ wanted)


def _unseen_miss(features: Float[Tensor, "K M 3"], wanted: Float[Tensor, "K M 1"], ridge: float) -> Float[Tensor, " K"]:
    """Squares of what is left in each fold after a correction that the others taught."""
    fold = torch.arange(wanted.shape[1]) * FOLDS // wanted.shape[1]
    miss = torch.zeros_like(wanted)
    for number in fold.unique():
        inside = fold == number
        factors = _ridge_solution(features[:, ~inside], wanted[:, ~inside], ridge)
        miss[:, inside] = wanted[:, inside] - features[:, inside] @ factors
    return miss.square().sum((1, 2))


def _abrupt(values: Float[Tensor, "N K"], track: Track) -> Float[Tensor, "N K"]:
    """How far each frame is from the middle between the ones before and after it; 0 where there is none."""
    whole = (track.frames[2:] - track.frames[:-2]) == 2
    if track.video is not None:
        whole &= track.video[2:] == track.video[:-2]
    abrupt = torch.zeros_like(values)
    middle = values[1:-1] - 0.5 * (values[:-2] + values[2:])
    abrupt[1:-1] = torch.where(whole[:, None], middle, 0.0)
    return abrupt
