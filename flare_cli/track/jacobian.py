"""How the projected landmarks move with the unknowns, in closed form.

A joint that turns carries everything behind it about its own place: a point moves by a cross product. So derivatives
cost little more than the landmarks themselves; automatic differentiation makes a pass for each of 67 unknowns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import joint_transforms, rest_vertices, rotation_from_axis_angle, shaped_joints
from flare_cli.track.posterior import Problem, Unknowns


@dataclass(frozen=True, slots=True, kw_only=True)
class Jacobian:
    """Pixels per unit of each unknown, in the order of `PER_FRAME` and of `SHARED`, in float64."""

    per_frame: Float[Tensor, "N L 2 D"]
    shared: Float[Tensor, "N L 2 G"]


def landmark_jacobian(problem: Problem, now: Unknowns, scale: Float[Tensor, "N L"], *, share: bool) -> Jacobian:
    """Derivatives of `projected_landmarks`, each landmark's times its `scale`; `shared` is empty unless asked for."""
    head, pose = problem.head, now.pose()
    posed = _posed(head, now, pose, rest_vertices(head, now.shape, now.expression, pose))
    to_pixels, along_focal = _projection(problem, now, posed.points + now.translation[:, None])
    to_pixels = to_pixels * scale[..., None, None]
    # Directions at rest, turned as the skin is turned there, and seen.
    seen_rest = to_pixels @ posed.rotation
    expression, turned = _moved(seen_rest, head.expression_dirs), _turned(head, posed, to_pixels, seen_rest)
    per_frame = _side_by_side([expression, *turned[:3], turned[3][..., :2], turned[4][..., :2], to_pixels])
    _add_by_centres(per_frame[..., : head.n_expression], posed, to_pixels, head.joint_expression_dirs)
    shared = per_frame[..., :0]
    if share:
        shared = _side_by_side([(along_focal * scale[..., None])[..., None], _moved(seen_rest, head.shape_dirs)])
        _add_by_centres(shared[..., 1:], posed, to_pixels, head.joint_shape_dirs)
    return Jacobian(per_frame=per_frame, shared=shared)


def _side_by_side(parts: list[Tensor]) -> Float[Tensor, "N L 2 D"]:
    """The columns of all parts, written once."""
    whole = parts[0].new_empty(*parts[0].shape[:3], sum(part.shape[3] for part in parts), dtype=torch.float64)
    for place, part in zip(whole.split([part.shape[3] for part in parts], 3), parts, strict=True):
        place.copy_(part)
    return whole


@dataclass(frozen=True, slots=True, kw_only=True)
class _Posed:
    """Points after skinning, and what their derivatives need.

    `lever` is what a joint carries of a point, as seen from the joint's place and times its weight; `axes` are the
    directions about which a joint turns when its axis-angle grows, and `local` how its own rotation changes then;
    `slide` is how its place moves what it carries.
    """

    points: Float[Tensor, "N L 3"]
    rotation: Float[Tensor, "N L 3 3"]
    carried: Float[Tensor, "L J"]
    lever: Float[Tensor, "N L J 3"]
    axes: Float[Tensor, "N J 3 3"]
    local: Float[Tensor, "N J 3 3 3"]
    slide: Float[Tensor, "N J 3 3"]


def _posed(head: HeadModel, now: Unknowns, pose: Float[Tensor, "N J 3"], rest: Float[Tensor, "N L 3"]) -> _Posed:
    joints = shaped_joints(head, now.shape, now.expression)
    transforms = joint_transforms(joints, pose, head.parents)[:, :, :3]
    N, J = transforms.shape[:2]
    each = (rest @ transforms[..., :3].reshape(N, J * 3, 3).transpose(1, 2)).unflatten(2, (J, 3))
    each = (each + transforms[:, None, :, :, 3]) * head.weights[:, :, None]
    behind = _behind(head).to(rest)
    rotation, turns = rotation_from_axis_angle(pose), _turning_axes(pose)
    own = torch.eye(3, dtype=rest.dtype, device=rest.device)
    outer, places = [], []
    for j, parent in enumerate(head.parents):
        before = own.expand(N, 3, 3) if parent < 0 else transforms[:, parent, :, :3]
        shift = torch.zeros_like(joints[:, j]) if parent < 0 else transforms[:, parent, :, 3]
        outer.append(before)
        places.append((before @ joints[:, j, :, None])[..., 0] + shift)
    outer, places = torch.stack(outer, 1), torch.stack(places, 1)
    carried = head.weights @ behind.T
    return _Posed(
        points=each.sum(2),
        rotation=(head.weights @ transforms[..., :3].flatten(2)).unflatten(2, (3, 3)),
        carried=carried,
        lever=torch.einsum("jk,nlkc->nljc", behind, each) - carried[..., None] * places[:, None],
        axes=outer @ turns,
        local=_cross(turns.transpose(2, 3)) @ rotation[:, :, None],
        slide=outer @ (own - rotation),
    )


def _behind(head: HeadModel) -> Float[Tensor, "J J"]:
    """1 where the second joint is the first or hangs on it."""
    J = len(head.parents)
    behind = torch.eye(J)
    for j, parent in enumerate(head.parents):
        if parent >= 0:
            behind[:, j] += behind[:, parent]
    return behind


def _turning_axes(pose: Float[Tensor, "N J 3"]) -> Float[Tensor, "N J 3 3"]:
    """The left Jacobian of SO(3): column i is the axis of the turn that component i of an axis-angle adds."""
    vector = pose.double()
    squared = vector.square().sum(-1)[..., None, None]
    small = squared < 1e-8
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    first = torch.where(small, 0.5 - squared / 24, (1 - angle.cos()) / safe)
    second = torch.where(small, 1 / 6 - squared / 120, (angle - angle.sin()) / (safe * angle))
    cross = _cross(vector)
    identity = torch.eye(3, dtype=vector.dtype, device=vector.device)
    return (identity + first * cross + second * (cross @ cross)).to(pose)


def _cross(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The matrix whose product with a vector is the cross product."""
    basis = torch.eye(3, dtype=vector.dtype, device=vector.device)
    return torch.linalg.cross(vector[..., None].expand(*vector.shape, 3), basis.expand(*vector.shape, 3), dim=-2)


def _projection(
    problem: Problem, now: Unknowns, world: Float[Tensor, "N L 3"]
) -> tuple[Float[Tensor, "N L 2 3"], Float[Tensor, "N L 2"]]:
    """Pixels per metre in the world, and pixels per unit of the logarithm of the focal length."""
    camera = problem.view.camera(now.log_focal)
    rotation, shift = camera.camera_from_world[0, :, :3], camera.camera_from_world[0, :, 3]
    seen = world @ rotation.T + shift
    depth = seen[..., 2:]
    slope = seen[..., :2] / depth
    focal = camera.intrinsics[0, :2]
    to_pixels = (focal / depth)[..., None] * (rotation[:2] - slope[..., None] * rotation[2])
    # The camera steps back as its focal length grows.
    along_focal = focal * slope * (1 - shift[2] / depth)
    return to_pixels, along_focal


def _turned(
    head: HeadModel, posed: _Posed, to_pixels: Float[Tensor, "N L 2 3"], seen_rest: Float[Tensor, "N L 2 3"]
) -> list[Float[Tensor, "N L 2 3"]]:
    """For every joint: pixels per radian of its axis-angle, by what it carries and by its pose correctives."""
    # A turn about an axis moves by axis x lever, seen by a row of `to_pixels`: the same as (lever x row) . axis.
    a, b, c = posed.lever[:, :, None].unbind(-1)
    x, y, z = to_pixels[..., None, :].unbind(-1)
    around = torch.stack([b * z - c * y, c * x - a * z, a * y - b * x], -1)
    moved: list[Tensor] = []
    for j in range(len(head.parents)):
        columns = around[..., j, :].flatten(1, 2) @ posed.axes[:, j]
        dirs = head.pose_dirs[..., 9 * (j - 1) : 9 * j]
        if j > 0 and dirs.any():
            columns = columns + _moved(seen_rest, dirs).flatten(1, 2) @ posed.local[:, j].flatten(2).transpose(1, 2)
        moved.append(columns.unflatten(1, (-1, 2)))
    return moved


def _moved(seen_rest: Float[Tensor, "N L 2 3"], dirs: Float[Tensor, "L 3 K"]) -> Float[Tensor, "N L 2 K"]:
    """Pixels per unit of directions at rest: one matrix product per landmark, for all frames."""
    N, L = seen_rest.shape[:2]
    return (seen_rest.transpose(0, 1).reshape(L, N * 2, 3) @ dirs).unflatten(1, (N, 2)).transpose(0, 1)


def _add_by_centres(
    columns: Float[Tensor, "N L 2 K"], posed: _Posed, to_pixels: Float[Tensor, "N L 2 3"], dirs: Float[Tensor, "J 3 K"]
) -> None:
    """Add pixels per unit of what moves the joints' places. On the open head expressions don't."""
    if dirs.any():
        carried = (posed.carried[:, None, :, None] * to_pixels[:, :, :, None]).flatten(3).flatten(1, 2)
        columns += (carried @ (posed.slide @ dirs).flatten(1, 2)).view_as(columns)
