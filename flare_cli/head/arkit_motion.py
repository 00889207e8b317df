"""A head's own motion as ARKit weights, and the turns that those leave to the joints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import lsq_linear
from scipy.spatial.transform import Rotation
from torch import Tensor

from flare_cli.head.arkit import ARKIT_NAMES, JAW_OPEN
from flare_cli.head.joints import Joint
from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import pose_vertices

# Root mean square over the vertices (metres) by which a weight of 1 should be worth its while: holds back units that
# cancel each other. A hundredth of what opening the jaw does. Not tuned.
RIDGE = 1e-4
FACE_JOINTS = [Joint.JAW, Joint.EYE_LEFT, Joint.EYE_RIGHT]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArkitMotion:
    """ARKit weights in 0..1, and axis-angle turns of all joints after what the weights turn."""

    weights: Float[Tensor, "N 52"]
    pose: Float[Tensor, "N J 3"]


def as_arkit(head: HeadModel, *, expression: Float[Tensor, "N E"], pose: Float[Tensor, "N J 3"]) -> ArkitMotion:
    """The weights that make this motion of the face. What jaw and eyes turn besides is left to their joints.

    Of a head whose expressions are ARKit's they are read off; of another fitted by least squares to all vertices.
    """
    weights = _named(head, expression, pose) if head.is_named else _fitted(head, expression, pose)
    turned = torch.einsum("nk,kjc->njc", weights, head.arkit.pose)
    left = pose.clone()
    for joint in FACE_JOINTS:
        rotation = Rotation.from_rotvec(pose[:, joint].numpy()) * Rotation.from_rotvec(turned[:, joint].numpy()).inv()
        left[:, joint] = torch.from_numpy(rotation.as_rotvec()).to(left)
    return ArkitMotion(weights=weights, pose=left)


def _named(head: HeadModel, expression: Float[Tensor, "N E"], pose: Float[Tensor, "N J 3"]) -> Float[Tensor, "N 52"]:
    weights = expression.new_zeros(len(expression), len(ARKIT_NAMES))
    weights[:, [ARKIT_NAMES.index(name) for name in head.expression_names]] = expression
    jaw = ARKIT_NAMES.index(JAW_OPEN)
    axis = head.arkit.pose[jaw, Joint.JAW]
    weights[:, jaw] = pose[:, Joint.JAW] @ axis / axis.square().sum()
    return weights.clamp(0, 1)


def _fitted(head: HeadModel, expression: Float[Tensor, "N E"], pose: Float[Tensor, "N J 3"]) -> Float[Tensor, "N 52"]:
    face = torch.zeros_like(pose)
    face[:, FACE_JOINTS] = pose[:, FACE_JOINTS]
    units = _moved(head, head.arkit.expression, head.arkit.pose).flatten(1).double()
    wanted = _moved(head, expression, face).flatten(1).double()
    ridge = len(head.template) * RIDGE**2 * torch.eye(len(units)).double()
    lower = torch.linalg.cholesky(units @ units.T + ridge)
    targets = torch.linalg.solve_triangular(lower, units @ wanted.T, upper=False).T.numpy()
    solved = [lsq_linear(lower.T.numpy(), target, bounds=(0, 1)).x for target in targets]
    return torch.from_numpy(np.stack(solved)).to(expression)


def _moved(head: HeadModel, expression: Float[Tensor, "N E"], pose: Float[Tensor, "N J 3"]) -> Float[Tensor, "N V 3"]:
    posed = pose_vertices(
        head,
        shape=expression.new_zeros(head.n_shape),
        expression=expression,
        pose=pose,
        translation=expression.new_zeros(len(expression), 3),
    )
    return posed - head.template
