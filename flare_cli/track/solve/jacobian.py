"""How the projected landmarks move with the track parameters, in closed form.

A joint that turns carries everything behind it about its own place: a point moves by a cross product. So derivatives
cost little more than the landmarks themselves; automatic differentiation makes a pass for each of 67 numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import joint_transforms, rest_vertices, rotation_from_axis_angle, shaped_joints
from flare_cli.track.solve.energy import Problem, TrackParameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Jacobian:
    """Pixels per unit of each parameter, in float64: `expression`, then all else of `PER_FRAME`; and `SHARED`.

    `place` is by each landmark's own place at rest.
    """

    expression: Float[Tensor, "N 2 L E"]
    pose: Float[Tensor, "N 2 L _"]
    shared: Float[Tensor, "N 2 L G"]
    place: Float[Tensor, "N 2 L 3"]


def landmark_jacobian(head: HeadModel, posed: PosedLandmarks, scale: Float[Tensor, "N L"], *, share: bool) -> Jacobian:
    """Derivatives of `posed.pixels`, each landmark's times its `scale`; `shared` is empty unless asked for."""
    to_pixels = posed.to_pixels * scale[:, None, None]
    seen_at_rest = _seen_at_rest(to_pixels, posed.rotation)
    expression = _moved(seen_at_rest, head.expression_dirs)
    _add_by_centres(expression, posed, to_pixels, head.joint_expression_dirs)
    turned = _turned(head, posed, to_pixels, seen_at_rest)
    pose = [turned[:, :, :3].flatten(2, 3), turned[:, :, 3, :2], turned[:, :, 4, :2], to_pixels]
    shared = expression[..., :0]
    if share:
        shape = _moved(seen_at_rest, head.shape_dirs)
        _add_by_centres(shape, posed, to_pixels, head.joint_shape_dirs)
        shared = torch.cat([(posed.along_focal * scale[:, None])[..., None], shape], 3)
    place = seen_at_rest.unflatten(1, (-1, 2)).permute(1, 2, 0, 3)
    return Jacobian(expression=expression, pose=torch.cat(pose, 2).double().mT, shared=shared, place=place)


@dataclass(frozen=True, slots=True, kw_only=True)
class PosedLandmarks:
    """Landmarks as the camera sees them, and what their derivatives need; landmarks last, as processors like it.

    `to_pixels` is by metres in the world, `along_focal` by the logarithm of the focal length.
    `lever` is what a joint carries of a point, as seen from the joint's place and times its weight; `axes` are the
    directions about which a joint turns when its axis-angle grows, and `local` how its own rotation changes then;
    `slide` is how its place moves what it carries.
    """

    pixels: Float[Tensor, "N 2 L"]
    to_pixels: Float[Tensor, "N 2 3 L"]
    along_focal: Float[Tensor, "N 2 L"]
    rotation: Float[Tensor, "N 3 3 L"]
    carried: Float[Tensor, "J L"]
    lever: Float[Tensor, "N J 3 L"]
    axes: Float[Tensor, "N J 3 3"]
    local: Float[Tensor, "N J 3 3 3"]
    slide: Float[Tensor, "N J 3 3"]


def posed_landmarks(problem: Problem, now: TrackParameters) -> PosedLandmarks:
    """The same as `projected_landmarks`, with what `landmark_jacobian` needs."""
    head, pose = problem.placed(now.places), now.pose()
    rest = rest_vertices(head, now.shape, now.expression, pose)
    joints = shaped_joints(head, now.shape, now.expression)
    transforms = joint_transforms(joints, pose, head.parents)[:, :, :3]
    N, J = transforms.shape[:2]
    each = (transforms[..., :3].reshape(N, J * 3, 3) @ rest.mT).unflatten(1, (J, 3))
    each = (each + transforms[..., 3:]) * head.weights.T[:, None]
    behind = _behind(head).to(rest)
    rotation, turns = rotation_from_axis_angle(pose), _turning_axes(pose)
    identity = torch.eye(3, dtype=rest.dtype, device=rest.device)
    outer, places = [], []
    for j, parent in enumerate(head.parents):
        before = identity.expand(N, 3, 3) if parent < 0 else transforms[:, parent, :, :3]
        shift = torch.zeros_like(joints[:, j]) if parent < 0 else transforms[:, parent, :, 3]
        outer.append(before)
        places.append((before @ joints[:, j, :, None])[..., 0] + shift)
    outer, places = torch.stack(outer, 1), torch.stack(places, 1)
    carried = behind @ head.weights.T
    pixels, to_pixels, along_focal = _projection(problem, now, each.sum(1) + now.translation[..., None])
    return PosedLandmarks(
        pixels=pixels,
        to_pixels=to_pixels,
        along_focal=along_focal,
        rotation=(transforms[..., :3].flatten(2).mT @ head.weights.T).unflatten(1, (3, 3)),
        carried=carried,
        lever=(behind @ each.flatten(2)).view_as(each) - carried[:, None] * places[..., None],
        axes=outer @ turns,
        local=_cross(turns.transpose(2, 3)) @ rotation[:, :, None],
        slide=outer @ (identity - rotation),
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
    problem: Problem, now: TrackParameters, world: Float[Tensor, "N 3 L"]
) -> tuple[Float[Tensor, "N 2 L"], Float[Tensor, "N 2 3 L"], Float[Tensor, "N 2 L"]]:
    """Pixels, and how they change by metres in the world and by the logarithm of the focal length."""
    camera = problem.camera_model.camera(now.log_focal)
    rotation, shift = camera.camera_from_world[0, :, :3, None], camera.camera_from_world[0, :, 3:]
    in_camera = rotation[..., 0] @ world + shift
    depth = in_camera[:, 2:]
    slope = in_camera[:, :2] / depth
    focal, principal = camera.intrinsics[0, :, None].split(2)
    to_pixels = (focal / depth)[:, :, None] * (rotation[:2] - slope[:, :, None] * rotation[2])
    # The camera steps back as its focal length grows.
    along_focal = focal * slope * (1 - shift[2] / depth)
    return focal * slope + principal, to_pixels, along_focal


def _seen_at_rest(to_pixels: Float[Tensor, "N 2 3 L"], rotation: Float[Tensor, "N 3 3 L"]) -> Float[Tensor, "L N2 3"]:
    """Pixels per metre at rest, where directions are turned as the skin is; by landmarks, as `_moved` wants it."""
    first, second, third = (to_pixels[:, :, c, None] * rotation[:, None, c] for c in range(3))
    return (first + second + third).permute(3, 0, 1, 2).flatten(1, 2).double().contiguous()


def _moved(seen_at_rest: Float[Tensor, "L N2 3"], dirs: Float[Tensor, "L 3 K"]) -> Float[Tensor, "N 2 L K"]:
    """Pixels per unit of directions at rest: one matrix product per landmark, for all frames."""
    return (seen_at_rest @ dirs.double()).unflatten(1, (-1, 2)).permute(1, 2, 0, 3)


def _turned(
    head: HeadModel,
    posed: PosedLandmarks,
    to_pixels: Float[Tensor, "N 2 3 L"],
    seen_at_rest: Float[Tensor, "L N2 3"],
) -> Float[Tensor, "N 2 J 3 L"]:
    """Pixels per radian of every joint's axis-angle, by what it carries and by its pose correctives."""
    # A turn about an axis moves by axis x lever, seen by a row of `to_pixels`: the same as (lever x row) . axis.
    a, b, c = posed.lever[:, None].unbind(3)
    x, y, z = to_pixels[:, :, None].unbind(3)
    around = torch.stack([b * z - c * y, c * x - a * z, a * y - b * x], 3)
    turned = posed.axes.mT[:, None] @ around
    for j in range(1, len(head.parents)):
        dirs = head.pose_dirs[..., 9 * (j - 1) : 9 * j]
        if dirs.any():  # most joints have none
            turned[:, :, j] += posed.local[:, None, j].flatten(3).double() @ _moved(seen_at_rest, dirs).mT
    return turned


def _add_by_centres(
    columns: Float[Tensor, "N 2 L K"],
    posed: PosedLandmarks,
    to_pixels: Float[Tensor, "N 2 3 L"],
    dirs: Float[Tensor, "J 3 K"],
) -> None:
    """Add pixels per unit of what moves the joints' places; on the open head expressions don't."""
    if dirs.any():
        carried = (to_pixels[:, :, None] * posed.carried[:, None]).flatten(2, 3)
        columns += carried.mT @ (posed.slide @ dirs).flatten(1, 2)[:, None]
