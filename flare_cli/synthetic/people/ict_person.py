"""An ICT head as an actor: scanned shapes, expressions by ARKit's names, turned about the open head's joints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from flare_cli.head.joints import Joint
from flare_cli.head.library import load_head
from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import blend_transforms, joint_transforms, landmark_points
from flare_cli.synthetic.people import ict_head
from flare_cli.synthetic.people.face_space import FaceSpace, carried_space
from flare_cli.synthetic.people.ict_head import IctHead, arkit_matrix, load_ict_head
from flare_cli.synthetic.performance import Performance

SHAPE_SIGMA = 0.7  # deviation of the identity's components, whose variance is 1: a person near the average
# Multi-PIE's 68 points, from the project's README ("Facial Landmarks").
LANDMARKS = (
    *(1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443),
    *(268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509),
    *(978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360),
    *(1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732),
    *(5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841),
    *(5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966),
)
# How far a cornea may stand out of its ball, relative to the ball's radius: the scans' own, 1.1, pierces closed lids.
CORNEA = 1.03
# The blinks, and points on the lids that meet (of the 68): the upper ones and those below them.
BLINKS = (("eyeBlink_R", (37, 38), (41, 40)), ("eyeBlink_L", (43, 44), (47, 46)))
INNER_FACE = slice(17, 68)  # of the 68 points: all but the jaw, which slides
WEIGHT_ROUNDS = 20  # of smoothing, so that the neck bends evenly


@dataclass(frozen=True, slots=True, kw_only=True)
class IctActor:
    """A person of the ICT head. Eyes turn as the open head's do, about the middle of their balls."""

    joints: HeadModel  # whose skeleton and whose turns per ARKit weight it borrows
    faces: Int[Tensor, "F 3"]
    neutral: Float[Tensor, "V 3"]
    expression: Float[Tensor, "52 V 3"]
    weights: Float[Tensor, "V J"]
    centres: Float[Tensor, "J 3"]
    space: FaceSpace

    def control(self, performance: Performance, frame: int) -> Float[Tensor, "V 3"]:
        """The vertices in one frame: expression, then eyes, neck and shoulders."""
        rest = self.neutral + torch.einsum("k,kvc->vc", performance.arkit[frame], self.expression)
        pose = performance.pose(self.joints)[frame : frame + 1].clone()
        pose[:, Joint.JAW] = 0  # jawOpen is a shape here
        transforms = joint_transforms(self.centres, pose, self.joints.parents)[:, :, :3]
        return blend_transforms(rest[None], transforms, self.weights)[0] + performance.translation[frame]

    def parameters(self, performance: Performance) -> None:
        """None: it is not our head."""
        del performance


def ict_actor(seed: int, data: Path) -> IctActor:
    """The person of a seed, standing where the open head does."""
    ict, joints = load_ict_head(data), load_head("open-head")
    kept, faces = _kept(ict)
    ours = landmark_points(joints, joints.template[None], joints.landmarks68)[0, INNER_FACE].double().numpy()
    shift = (ours - ict.template[list(LANDMARKS)][INNER_FACE]).mean(0)
    template = ict.template + shift
    weights = SHAPE_SIGMA * np.random.default_rng(seed).standard_normal(len(ict.identity))
    neutral = template + np.tensordot(weights, ict.identity, 1)
    rim = _rim(faces, len(ict.template))
    inner = _inner_regions(len(ict.template))
    space, skinning = carried_space(joints, template, template[list(LANDMARKS)], rim, inner)
    skinning = _head_weights(skinning, inner, faces)
    centres = joints.joints.clone()
    for joint, (first, last) in zip((Joint.EYE_LEFT, Joint.EYE_RIGHT), ict_head.SCLERAS, strict=True):
        centre = ball_centre(neutral[first:last])
        neutral[first:last] = flatter_ball(neutral[first:last], centre)
        centres[joint] = torch.from_numpy(centre)
    matrix = arkit_matrix(ict.names) * expression_gains(ict, template, neutral)
    return IctActor(
        joints=joints,
        faces=torch.from_numpy(_renumbered(faces, kept)),
        neutral=torch.from_numpy(neutral[kept]).float(),
        expression=torch.from_numpy(np.einsum("ke,evc->kvc", matrix, ict.expression[:, kept], optimize=True)),
        weights=torch.from_numpy(skinning[kept]).float(),
        centres=centres,
        space=FaceSpace(
            places=space.places[kept],
            regions={name: values[kept] for name, values in space.regions.items()},
            rim=rim[kept],
        ),
    )


def ball_centre(points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "3"]:
    """The centre of the sphere nearest to points, in the algebraic sense: |p|^2 = 2 p.c + d."""
    middle = points.mean(0)
    offsets = points - middle
    system = np.c_[2 * offsets, np.ones(len(offsets))]
    return middle + np.linalg.lstsq(system, (offsets**2).sum(1), rcond=None)[0][:3]


def flatter_ball(ball: Float[np.ndarray, "N 3"], centre: Float[np.ndarray, "3"]) -> Float[np.ndarray, "N 3"]:
    """An eyeball whose front stays within `CORNEA` of its radius beside the cornea, 40 to 60 degrees off the axis."""
    offsets = ball - centre
    radius = np.linalg.norm(offsets, axis=1)
    angle = np.degrees(np.arccos(offsets[:, 2] / radius))
    longest = CORNEA * np.median(radius[(angle > 40) & (angle < 60)])
    scale = np.where(angle < 60, np.minimum(longest / radius, 1), 1)
    return centre + scale[:, None] * offsets


def expression_gains(
    ict: IctHead, template: Float[np.ndarray, "V 3"], neutral: Float[np.ndarray, "V 3"]
) -> Float[np.ndarray, "E"]:
    """Factors of the expressions: a blink goes as much farther as this person's lids are farther apart."""
    gains = np.ones(len(ict.names), np.float32)
    for name, upper, lower in BLINKS:
        up, low = ([LANDMARKS[k] for k in points] for points in (upper, lower))

        def opening(places: Float[np.ndarray, "V 3"], up: list[int] = up, low: list[int] = low) -> float:
            return float((places[up] - places[low])[:, 1].mean())

        column = ict.names.index(name)
        closing = -opening(ict.expression[column])
        gains[column] = max(1.0, 1 + (opening(neutral) - opening(template)) / closing)
    return gains


def _kept(ict: IctHead) -> tuple[Bool[np.ndarray, "V"], Int[np.ndarray, "F 3"]]:
    """Which vertices are filmed, and their triangles.

    Not what is there for a game's shader: wet layers, irises behind a cornea (it is painted instead), and cards of
    lashes (people get hairs).
    """
    kept = np.ones(len(ict.template), bool)
    for first, last in (ict_head.WET_LAYERS, ict_head.LASHES, *ict_head.IRISES):
        kept[first:last] = False
    quads = ict.quads[kept[ict.quads[:, 0]]]
    second = quads[quads[:, 3] >= 0][:, [0, 2, 3]]
    return kept, np.concatenate([quads[:, :3], second])


def _renumbered(faces: Int[np.ndarray, "F 3"], kept: Bool[np.ndarray, "V"]) -> Int[np.ndarray, "F 3"]:
    return (np.cumsum(kept) - 1)[faces]


def _rim(faces: Int[np.ndarray, "F 3"], n: int) -> Bool[np.ndarray, "V"]:
    """The cut at the shoulders: the open edge of head and neck."""
    skin = faces[(faces < ict_head.HEAD[1]).all(1)]
    edges = np.sort(np.concatenate([skin[:, [0, 1]], skin[:, [1, 2]], skin[:, [2, 0]]]), 1)
    edges, uses = np.unique(edges, axis=0, return_counts=True)
    rim = np.zeros(n, bool)
    rim[edges[uses == 1]] = True
    rim[: ict_head.HEAD[0]], rim[ict_head.HEAD[1] :] = False, False  # open edges of lids, lips and sockets
    return rim


def _inner_regions(n: int) -> dict[str, Bool[np.ndarray, "V"]]:
    def between(*ranges: tuple[int, int]) -> Bool[np.ndarray, "V"]:
        index = np.arange(n)
        return np.any([(first <= index) & (index < last) for first, last in ranges], 0)

    return {
        "skin": between(ict_head.FACE, ict_head.HEAD),
        "eyes": between(ict_head.EYEBALLS),
        "teeth": between(ict_head.TEETH),
        "tongue": between(ict_head.GUMS_TONGUE),
        "inner_mouth": between(ict_head.MOUTH_SOCKET),
        "eye_sockets": between(ict_head.EYE_SOCKETS),
    }


def _head_weights(
    carried: Float[np.ndarray, "V J"], inner: dict[str, Bool[np.ndarray, "V"]], faces: Int[np.ndarray, "F 3"]
) -> Float[np.ndarray, "V J"]:
    """Shoulders and head share the skin, smoothly; what lies in the head moves with it, each eyeball by itself."""
    root = np.where(inner["skin"], carried[:, Joint.ROOT], 0.0)
    uses = np.maximum(np.bincount(faces.ravel(), minlength=len(root)), 1)
    for _ in range(WEIGHT_ROUNDS):
        root = np.bincount(faces.ravel(), np.repeat(root[faces].mean(1), 3), len(root)) / uses
    weights = np.zeros_like(carried)
    weights[:, Joint.ROOT], weights[:, Joint.NECK] = root, 1 - root
    for joint, (first, last) in zip((Joint.EYE_LEFT, Joint.EYE_RIGHT), ict_head.SCLERAS, strict=True):
        weights[first:last] = 0
        weights[first:last, joint] = 1
    return weights
