"""ARKit's units on a head that has other expressions: least squares on corresponding points of the open head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.head.flame.registration import Registration, Target
from flare_cli.head.joints import Joint
from flare_cli.head.model import ArkitMap, HeadModel
from flare_cli.head.skinning import at_points, pose_vertices

# Chosen, not measured: no experiment is logged. `flare head add` reports the mean part of a unit that is lost.
NOISE = 0.001  # metres, of the correspondence
INDEPENDENT = 200.0  # how many independent measurements the surface's points are worth
TYPICAL_COMPONENT, TYPICAL_JAW = 1.5, 0.4  # standard deviations of an expression's component and of the jaw (radians)
NEWTON_ROUNDS = 6
NEAR = 0.004  # metres within which a registered point counts as lying on the surface
FIXED = 1e12  # stiffness of a jaw that must not turn


def fit_arkit(
    open_head: HeadModel, registration: Registration, head: HeadModel, target: Target
) -> tuple[ArkitMap, dict[str, float]]:
    """The linear map, and for each unit the part of its motion (root mean square) that the head can't make.

    Only units of the jaw turn the jaw joint; the eyes' turns are taken over.
    """
    regions = open_head.regions
    hidden = regions["inner_mouth"] | regions["eye_sockets"]
    face = (regions["face"] | regions["lips"] | regions["nose"] | regions["eyelids"]) & regions["skin"] & ~hidden
    numbers = torch.nonzero(face)[:, 0].numpy()
    closest = target.closest(registration.vertices[numbers], target.skin)
    near = closest.distance < NEAR
    wanted = _displacements(open_head)[:, numbers[near]] * registration.scale
    points = at_points(
        head, torch.from_numpy(closest.face[near]), torch.from_numpy(closest.barycentric[near].astype(np.float32))
    )
    expression = torch.zeros(len(ARKIT_NAMES), head.n_expression)
    pose = torch.zeros(len(ARKIT_NAMES), len(head.parents), 3)
    eyes = [Joint.EYE_LEFT, Joint.EYE_RIGHT]
    pose[:, eyes] = open_head.arkit.pose[:, eyes]
    residual: dict[str, float] = {}
    at_rest = _Slope.of(points, torch.zeros(points.n_expression + 3))  # where every unit begins
    for k, name in enumerate(ARKIT_NAMES):
        turns_jaw = name.startswith("jaw")
        expression[k], pose[k, Joint.JAW], left = _solved(points, wanted[k], at_rest, turns_jaw=turns_jaw)
        size = float(wanted[k].square().mean().sqrt())
        residual[name] = left / size if size > 1e-6 else 0.0
    return ArkitMap(expression=expression, pose=pose), residual


def _displacements(head: HeadModel) -> Float[Tensor, "52 V 3"]:
    """How far each unit at 1 moves each vertex."""
    weights = torch.eye(len(ARKIT_NAMES))
    posed = pose_vertices(
        head,
        shape=torch.zeros(head.n_shape),
        expression=weights @ head.arkit.expression,
        pose=torch.einsum("bk,kjc->bjc", weights, head.arkit.pose),
        translation=torch.zeros(len(weights), 3),
    )
    return posed - head.template


def _moved(points: HeadModel, unknown: Float[Tensor, "U"]) -> Float[Tensor, "N 3"]:
    """How far an expression, and behind it the jaw's turn, move the points."""
    E = points.n_expression
    jaw = torch.zeros(1, len(points.parents), 3, dtype=unknown.dtype)
    pose = torch.cat([jaw[:, : Joint.JAW], unknown[None, None, E:], jaw[:, Joint.JAW + 1 :]], 1)
    posed = pose_vertices(
        points, shape=unknown.new_zeros(points.n_shape), expression=unknown[None, :E], pose=pose,
        translation=unknown.new_zeros(1, 3),
    )  # fmt: skip
    return posed[0] - points.template


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slope:
    """What the points' motion is linear in: its Jacobian, times the weight of a coordinate, and the normal matrix."""

    weighted: Float[Tensor, "U R"]
    normal: Float[Tensor, "U U"]

    @staticmethod
    def of(points: HeadModel, unknown: Float[Tensor, "U"]) -> _Slope:
        jacobian = torch.func.jacfwd(lambda u: _moved(points, u).flatten())(unknown).double()
        weighted = INDEPENDENT / (len(jacobian) * NOISE**2) * jacobian.T
        return _Slope(weighted=weighted, normal=weighted @ jacobian)


def _solved(
    points: HeadModel, wanted: Float[Tensor, "N 3"], at_rest: _Slope, *, turns_jaw: bool
) -> tuple[Float[Tensor, "E"], Float[Tensor, "3"], float]:
    """Expression, jaw and what is left (root mean square, metres), by Gauss-Newton: the jaw's turn is not linear."""
    E = points.n_expression
    stiffness = torch.cat([torch.full((E,), TYPICAL_COMPONENT**-2), torch.full((3,), TYPICAL_JAW**-2)]).double()
    if not turns_jaw:
        stiffness[E:] = FIXED

    def residuals(unknown: Float[Tensor, "U"]) -> Float[Tensor, "R"]:
        return (_moved(points, unknown) - wanted).flatten()

    unknown = torch.zeros(E + 3)
    for step in range(NEWTON_ROUNDS if turns_jaw else 1):
        slope = at_rest if step == 0 else _Slope.of(points, unknown)
        gradient = slope.weighted @ residuals(unknown).double() + stiffness * unknown.double()
        unknown = (unknown.double() - torch.linalg.solve(slope.normal + stiffness.diag(), gradient)).float()
    return unknown[:E], unknown[E:], float(residuals(unknown).square().mean().sqrt())
