"""ARKit's units on a head that has other expressions: least squares on corresponding points of the open head."""

from __future__ import annotations

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
    for k, name in enumerate(ARKIT_NAMES):
        expression[k], pose[k, Joint.JAW], left = _solved(points, wanted[k], turns_jaw=name.startswith("jaw"))
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


def _solved(
    points: HeadModel, wanted: Float[Tensor, "N 3"], *, turns_jaw: bool
) -> tuple[Float[Tensor, "E"], Float[Tensor, "3"], float]:
    """Expression, jaw and what is left (root mean square, metres), by Gauss-Newton: the jaw's turn is not linear."""
    E = points.n_expression
    weight = INDEPENDENT / (wanted.numel() * NOISE**2)
    stiffness = torch.cat([torch.full((E,), TYPICAL_COMPONENT**-2), torch.full((3,), TYPICAL_JAW**-2)]).double()
    if not turns_jaw:
        stiffness[E:] = FIXED

    def residuals(unknown: Float[Tensor, "U"]) -> Float[Tensor, "R"]:
        jaw = torch.zeros(1, len(points.parents), 3, dtype=unknown.dtype)
        pose = torch.cat([jaw[:, : Joint.JAW], unknown[None, None, E:], jaw[:, Joint.JAW + 1 :]], 1)
        posed = pose_vertices(
            points, shape=unknown.new_zeros(points.n_shape), expression=unknown[None, :E], pose=pose,
            translation=unknown.new_zeros(1, 3),
        )  # fmt: skip
        return (posed[0] - points.template - wanted).flatten()

    unknown = torch.zeros(E + 3)
    for _ in range(NEWTON_ROUNDS if turns_jaw else 1):
        jacobian = torch.func.jacfwd(residuals)(unknown).double()
        gradient = weight * jacobian.T @ residuals(unknown).double() + stiffness * unknown.double()
        system = weight * jacobian.T @ jacobian + stiffness.diag()
        unknown = (unknown.double() - torch.linalg.solve(system, gradient)).float()
    return unknown[:E], unknown[E:], float(residuals(unknown).square().mean().sqrt())
