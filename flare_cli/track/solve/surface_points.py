"""Points of skin and torso, followed through the film by what they look like.

Landmarks are guesses of a network that errs alike in all frames and slides over the skin as a head turns. What a place
of the skin looks like stays: every frame is unrolled by the track as it is, all are compared with their mean, and where
a place is found aside, the track is off (docs/experiments.md, "Skin that is followed").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import joint_transforms, pose_features, shaped_joints, some_points
from flare_cli.parallel.threads import in_parallel
from flare_cli.track.solve.chart import TEXELS, Chart
from flare_cli.track.solve.energy import CameraModel, Problem, TrackParameters, visible_part

# Frames that a thread unrolls at once: the head's directions are laid out once for all of them.
CHUNK = 16
# Texels below this visibility (a cosine of 0.15) are too slanted to be compared.
LEAST_VISIBLE = 0.5
# Local contrast: brightness less its mean, over its deviation (bytes, with a floor), both by a Gaussian of so many
# texels. It leaves out most of the light, which stays while the head turns.
CONTRAST, DEVIATION_FLOOR = TEXELS / 16, 2.0
BYTE_PER_DEVIATION = 40
# Difference from the mean, in deviations, at which a frame counts half for it: a wrong one leaves no ghost.
HALF_WEIGHT_DIFFERENCE = 0.7
# Part of the frames that have to show a texel.
LEAST_SHOWN = 0.1
# Points are corners of the mean, at most so many, so far apart (texels), of this part of the best corner's quality.
MOST_POINTS, APART, QUALITY = 400, TEXELS / 40, 0.01
# Window of Lucas and Kanade's method in texels. A window of 15 finds half as many of the points again.
WINDOW = 25
# A point is believed if the way back leads to within half a texel, and found no farther away than this.
MOST_ASIDE = TEXELS / 12


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfacePoints:
    """K points of the surface as a head's vertices, where each was found (pixels), and whether it was."""

    head: HeadModel
    normals: Float[Tensor, "K 3"]
    observed: Float[Tensor, "N K 2"]
    is_found: Bool[Tensor, "N K"]

    def frames(self, index: Int[Tensor, "n"]) -> SurfacePoints:
        """The same points in some of the frames."""
        return replace(self, observed=self.observed[index], is_found=self.is_found[index])


def follow_surface(
    chart: Chart,
    problem: Problem,
    now: TrackParameters,
    pictures: Sequence[UInt8[np.ndarray, "S S"]],
    *,
    of_mean: Int[Tensor, "K"] | None = None,
) -> SurfacePoints:
    """Find points of a chart in all frames' grey `pictures`, which may be of another size, from the track `now`.

    The mean, of which the points are corners, is that of the frames `of_mean`; None: of all.
    """
    everywhere = torch.arange(len(pictures))
    unroll = partial(_unrolled, chart, _laid_out(chart, now), problem.camera_model, now, pictures)
    averaged = list(chain.from_iterable(in_parallel(unroll, (everywhere if of_mean is None else of_mean).split(CHUNK))))
    mean = _mean(averaged)
    points = _corners(mean, np.mean([frame.is_visible for frame in averaged], 0) > LEAST_SHOWN)
    # Frames are unrolled again rather than kept: places of a minute's would fill the memory.
    find = partial(_found, chart, mean, points, unroll)
    found = list(chain.from_iterable(in_parallel(find, everywhere.split(CHUNK))))
    chosen = torch.from_numpy(np.searchsorted(chart.index, points[:, 1] * TEXELS + points[:, 0]))
    return SurfacePoints(
        head=some_points(chart.head, chosen),
        normals=chart.normals[chosen],
        observed=torch.from_numpy(np.stack([places for places, _ in found])).to(problem.observed),
        is_found=torch.from_numpy(np.stack([is_found for _, is_found in found])),
    )


@dataclass(frozen=True, slots=True)
class _Texels:
    """A chart's texels on one person, laid out for all frames: K numbers that move them at all, and texels last."""

    head: HeadModel
    rest: Float[Tensor, "T3"]
    moves: Int[Tensor, "K"]
    directions: Float[Tensor, "K T3"]
    weights: Float[Tensor, "J T"]
    normals: Float[Tensor, "3 T"]


def _laid_out(chart: Chart, now: TrackParameters) -> _Texels:
    head = chart.head
    directions = torch.cat([head.expression_dirs, head.pose_dirs], 2)
    moves = directions.flatten(0, 1).any(0).nonzero()[:, 0]
    return _Texels(
        head=head,
        rest=(head.template + head.shape_dirs @ now.shape).T.flatten(),
        moves=moves,
        directions=directions[..., moves].permute(2, 1, 0).flatten(1).contiguous(),
        weights=head.weights.T.contiguous(),
        normals=chart.normals.T.contiguous(),
    )


def _placed(
    texels: _Texels, model: CameraModel, now: TrackParameters
) -> tuple[Float[Tensor, "N T 2"], Bool[Tensor, "N T"]]:
    """Where the texels are in each frame's picture (pixels), and which face the camera.

    The same as `projected_landmarks` and `visibility` say, in less time: the camera and the frame's
    translation are taken into the joints' transforms.
    """
    head, pose, camera = texels.head, now.pose(), model.camera(now.log_focal)
    moved = torch.cat([now.expression, pose_features(pose)], 1)[:, texels.moves]
    x, y, z = (texels.rest + moved @ texels.directions).unflatten(1, (3, 1, -1)).unbind(1)
    joints = shaped_joints(head, now.shape, now.expression)
    view = camera.camera_from_world[0]
    to_world = joint_transforms(joints, pose, head.parents)[:, :, :3]
    to_camera = view[:, :3] @ to_world
    to_camera[..., 3] += (now.translation @ view[:, :3].T + view[:, 3])[:, None]
    blended = (to_camera.flatten(2).mT @ texels.weights).unflatten(1, (3, 4))
    in_camera = (
        blended[:, :, 3].addcmul(blended[:, :, 0], x).addcmul_(blended[:, :, 1], y).addcmul_(blended[:, :, 2], z)
    )
    pixels = in_camera[:, :2] / in_camera[:, 2:] * camera.intrinsics[0, :2, None] + camera.intrinsics[0, 2:, None]
    # The camera looks along -z of the world, which is its own z.
    facing = visible_part(-(blended[:, 2, :3] * texels.normals).sum(1))
    return pixels.mT, facing > LEAST_VISIBLE


@dataclass(frozen=True, slots=True)
class _Unrolled:
    """A frame's local contrast on the chart, 128 in the middle and where nothing is visible.

    `places` is where the texels are in its picture (pixels; -1 without skin).
    """

    places: Float[np.ndarray, "n n 2"]
    contrast: UInt8[np.ndarray, "n n"]
    is_visible: Bool[np.ndarray, "n n"]


def _unrolled(
    chart: Chart,
    texels: _Texels,
    model: CameraModel,
    now: TrackParameters,
    pictures: Sequence[UInt8[np.ndarray, "S S"]],
    frames: Int[Tensor, "N"],
) -> list[_Unrolled]:
    unrolled: list[_Unrolled] = []
    pixels, visible = (tensor.numpy() for tensor in _placed(texels, model, now.frames(frames)))
    for frame, of_texel, is_visible in zip(frames.tolist(), pixels, visible, strict=True):
        picture, places = pictures[frame], chart.square(of_texel, elsewhere=-1)
        # OpenCV counts from pixel centres, we count from pixel corners.
        in_picture = places * np.float32(len(picture) / model.size) - np.float32(0.5)
        x, y = cv2.split(in_picture)
        grey = cv2.remap(picture, x, y, cv2.INTER_LINEAR).astype(np.float32)
        # The picture's border is no pattern of what it cuts off.
        inside = (np.minimum(x, y) >= 0) & (np.maximum(x, y) <= len(picture) - 1)
        shown = chart.square(is_visible, elsewhere=False) & inside
        unrolled.append(_Unrolled(places, _local_contrast(grey, shown), shown))
    return unrolled


def _local_contrast(grey: Float[np.ndarray, "n n"], is_visible: Bool[np.ndarray, "n n"]) -> UInt8[np.ndarray, "n n"]:
    weight = is_visible.astype(np.float32)
    around = np.maximum(cv2.GaussianBlur(weight, (0, 0), CONTRAST), 1e-3)

    def blurred(values: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
        return cv2.GaussianBlur(values * weight, (0, 0), CONTRAST) / around

    less_mean = grey - blurred(grey)
    contrast = less_mean / np.sqrt(blurred(less_mean**2) + DEVIATION_FLOOR**2)
    return _as_bytes(np.where(is_visible, contrast, 0))


def _as_bytes(contrast: Float[np.ndarray, "n n"]) -> UInt8[np.ndarray, "n n"]:
    return np.clip(contrast * BYTE_PER_DEVIATION + 128, 0, 255).astype(np.uint8)


def _mean(frames: list[_Unrolled]) -> UInt8[np.ndarray, "n n"]:
    """The frames' mean contrast, then once more without what is far from it."""
    mean = np.zeros((TEXELS, TEXELS), np.float32)
    for half_weight in (np.inf, HALF_WEIGHT_DIFFERENCE * BYTE_PER_DEVIATION):
        total, weights = np.zeros_like(mean), np.full_like(mean, 1e-3)
        for frame in frames:
            contrast = frame.contrast - np.float32(128)
            weight = frame.is_visible / (1 + ((contrast - mean) / half_weight) ** 2)
            total += contrast * weight
            weights += weight
        mean = total / weights
    return _as_bytes(mean / BYTE_PER_DEVIATION)


def _corners(mean: UInt8[np.ndarray, "n n"], shown: Bool[np.ndarray, "n n"]) -> Int[np.ndarray, "K 2"]:
    """Texels (x, y) in the middle of a pattern that can only be in one place."""
    inside = cv2.erode(shown.astype(np.uint8), np.ones((5, 5), np.uint8))
    corners: Any = cv2.goodFeaturesToTrack(mean, MOST_POINTS, QUALITY, APART, mask=inside, blockSize=7)
    # Without any there is None.
    return np.zeros((0, 2), np.int64) if corners is None else corners[:, 0].astype(np.int64)


def _searched(
    here: UInt8[np.ndarray, "n n"], there: UInt8[np.ndarray, "n n"], points: Float[np.ndarray, "K 2"]
) -> tuple[Float[np.ndarray, "K 2"], Bool[np.ndarray, "K"]]:
    """Where what one picture shows at the points is in another, and whether it is anywhere."""
    search: Any = cv2.calcOpticalFlowPyrLK
    moved, status, _ = search(here, there, points, None, winSize=(WINDOW, WINDOW), maxLevel=1, minEigThreshold=1e-3)
    return moved, status[:, 0] > 0


def _found(
    chart: Chart,
    mean: UInt8[np.ndarray, "n n"],
    points: Int[np.ndarray, "K 2"],
    unroll: Callable[[Int[Tensor, "N"]], list[_Unrolled]],
    frames: Int[Tensor, "N"],
) -> list[tuple[Float[np.ndarray, "K 2"], Bool[np.ndarray, "K"]]]:
    """Where the pictures of some frames show the points (pixels), and whether that is to be believed."""
    if len(points) == 0:
        return [(np.zeros((0, 2), np.float32), np.zeros(0, bool))] * len(frames)
    start, is_skin = points.astype(np.float32), chart.square(np.ones(len(chart.index), bool), elsewhere=False)
    found: list[tuple[Float[np.ndarray, "K 2"], Bool[np.ndarray, "K"]]] = []
    for frame in unroll(frames):
        contrast, is_visible = frame.contrast, frame.is_visible
        visible_mean = np.where(is_visible, mean, 128).astype(np.uint8)
        there, is_there = _searched(visible_mean, contrast, start)
        back, is_back = _searched(contrast, visible_mean, there)
        is_found = is_there & is_back & is_visible[points[:, 1], points[:, 0]]
        is_found &= np.linalg.norm(back - start, axis=1) < 0.5
        is_found &= np.linalg.norm(there - start, axis=1) < MOST_ASIDE
        # Between texels that all are on skin.
        x, y = np.clip(np.floor(there).astype(np.int64), 0, TEXELS - 2).T
        is_found &= is_skin[y, x] & is_skin[y + 1, x] & is_skin[y, x + 1] & is_skin[y + 1, x + 1] & is_visible[y, x]
        found.append((cv2.remap(frame.places, there[:, :1], there[:, 1:], cv2.INTER_LINEAR)[:, 0], is_found))
    return found
