"""Expressions of one head as expressions of another: least squares on points that both heads name, frame by frame.

The points are MediaPipe's landmarks, which every head carries; the jaw, neck and eyes keep their turns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import lsq_linear
from torch import Tensor

from flare_cli.errors import HeadError
from flare_cli.head.joints import Joint
from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import at_points, joint_transforms, pose_vertices

FIRST_IRIS = 468
"""Landmarks from here on lie on the eyeballs, which turn with the eye joints."""
LEAST_POINTS = 100
"""Far more than a head has coefficients that matter; heads that share fewer lack a landmark file."""
NOISE = 0.001
"""Metres by which corresponding landmarks are uncertain: so much may be left, rather than a wild expression."""
TYPICAL = {True: 0.5, False: 1.5}
"""Standard deviation of a coefficient, of named units (0..1) and of components."""
INDEPENDENT = 60.0
"""How many independent points the correlated landmarks are worth."""
ROUNDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertedExpressions:
    """Coefficients of the other head.

    `residual` (metres, root mean square over points and frames) is what it can't make of a motion as large as `motion`.
    """

    expression: Float[Tensor, "N E"]
    residual: float
    motion: float


def convert_expressions(
    source: HeadModel, target: HeadModel, *, expression: Float[Tensor, "N E"], pose: Float[Tensor, "N J 3"]
) -> ConvertedExpressions:
    """Find the target's coefficients that move its landmarks as the source's are moved, relative to both neutrals.

    Only the jaw's turn is taken from `pose`: it is the same joint on both heads. Raises `HeadError` where the heads
    share too few landmarks.
    """
    index = common_landmarks(source, target)
    source_points, target_points = (_points(head, index) for head in (source, target))
    jaw = torch.zeros_like(pose)
    jaw[:, Joint.JAW] = pose[:, Joint.JAW]
    still = jaw.new_zeros(len(jaw), target.n_expression)
    scale = _size(target_points) / _size(source_points)
    wanted = scale * (_posed(source_points, expression, jaw) - source_points.template)
    fitted = still
    for _ in range(ROUNDS):  # the joints move a little with the expression: the second round sees by how much
        left = wanted - (_posed(target_points, fitted, jaw) - target_points.template)
        fitted = torch.stack([_solved(target_points, fitted[i], jaw[i], left[i]) for i in range(len(jaw))])
    left = wanted - (_posed(target_points, fitted, jaw) - target_points.template)
    return ConvertedExpressions(expression=fitted, residual=_root_mean_square(left), motion=_root_mean_square(wanted))


def _root_mean_square(vectors: Float[Tensor, "N K 3"]) -> float:
    return float(vectors.square().sum(-1).mean().sqrt())


def common_landmarks(source: HeadModel, target: HeadModel) -> Int[Tensor, "K"]:
    """MediaPipe's points that have a place on the skin of both heads."""
    both = (source.landmarks.face >= 0) & (target.landmarks.face >= 0)
    both[FIRST_IRIS:] = False
    index = torch.nonzero(both)[:, 0]
    if len(index) < LEAST_POINTS:
        raise HeadError(
            f"{source.name} and {target.name} share {len(index)} landmarks, at least {LEAST_POINTS} are needed",
            hint="add the head again with its landmark files (`flare head add --mediapipe`)",
        )
    return index


def _points(head: HeadModel, index: Int[Tensor, "K"]) -> HeadModel:
    return at_points(head, head.landmarks.face[index], head.landmarks.barycentric[index])


def _size(points: HeadModel) -> float:
    return float((points.template - points.template.mean(0)).square().sum(1).mean().sqrt())


def _posed(points: HeadModel, expression: Float[Tensor, "N E"], pose: Float[Tensor, "N J 3"]) -> Float[Tensor, "N K 3"]:
    return pose_vertices(
        points,
        shape=expression.new_zeros(points.n_shape),
        expression=expression,
        pose=pose,
        translation=expression.new_zeros(len(expression), 3),
    )


def _solved(
    points: HeadModel, start: Float[Tensor, "E"], pose: Float[Tensor, "J 3"], left: Float[Tensor, "K 3"]
) -> Float[Tensor, "E"]:
    """One Gauss-Newton step from `start`, drawn to 0 by the prior; named units stay within 0..1."""
    transforms = joint_transforms(points.joints, pose[None], points.parents)[0, :, :3, :3]
    turns = torch.einsum("kj,jab->kab", points.weights, transforms)
    jacobian = (turns @ points.expression_dirs).flatten(0, 1).double().numpy()
    wanted = left.flatten().double().numpy() + jacobian @ start.double().numpy()
    weight = np.sqrt(INDEPENDENT / len(left)) / NOISE
    prior = np.eye(points.n_expression) / TYPICAL[points.is_named]
    matrix = np.concatenate([weight * jacobian, prior])
    vector = np.concatenate([weight * wanted, np.zeros(points.n_expression)])
    if points.is_named:
        solution = lsq_linear(matrix, vector, bounds=(0, 1)).x
    else:
        solution = np.linalg.lstsq(matrix, vector, rcond=None)[0]
    return torch.from_numpy(np.asarray(solution)).to(start)
