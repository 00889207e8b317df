"""Posing a head: blend shapes, joints, and linear blend skinning, differentiable and batched.

The formula is in docs/conventions.md ("Posing"). The lower-level functions take vertices and weights of any mesh, so an
avatar with other vertices is posed by the same code.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flare_cli.head.model import HeadModel, LandmarkEmbedding

PER_VERTEX = ("template", "shape_dirs", "expression_dirs", "pose_dirs", "weights")


def rotation_from_axis_angle(axis_angle: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices (Rodrigues). Value and first derivative are exact at 0; gradients are finite everywhere."""
    squared = axis_angle.square().sum(-1)[..., None, None]
    small = squared < 1e-6
    # The double `where` keeps the unused branch's infinite derivative out of the gradient.
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    sine = torch.where(small, 1 - squared / 6, angle.sin() / angle)
    versine = torch.where(small, 0.5 - squared / 24, (1 - angle.cos()) / safe)
    cross = _cross_matrix(axis_angle)
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return identity + sine * cross + versine * (cross @ cross)


def _cross_matrix(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    rows = [[zero, -z, y], [z, zero, -x], [-y, x, zero]]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def pose_features(pose: Float[Tensor, "B J 3"]) -> Float[Tensor, "B P"]:
    """What `pose_dirs` multiply: R - I of every joint but the root, row-major."""
    rotation = rotation_from_axis_angle(pose[:, 1:])
    return (rotation - torch.eye(3, dtype=pose.dtype, device=pose.device)).flatten(1)


def shaped_joints(
    head: HeadModel, shape: Float[Tensor, "S"], expression: Float[Tensor, "B E"]
) -> Float[Tensor, "B J 3"]:
    """Joints of this person at rest, before posing."""
    person = head.joints + head.joint_shape_dirs @ shape
    return person + torch.einsum("jce,be->bjc", head.joint_expression_dirs, expression)


def rest_vertices(
    head: HeadModel,
    shape: Float[Tensor, "S"],
    expression: Float[Tensor, "B E"],
    pose: Float[Tensor, "B J 3"],
) -> Float[Tensor, "B V 3"]:
    """Vertices before skinning: person, expression and pose correctives."""
    person = head.template + head.shape_dirs @ shape
    V = len(person)
    moved = torch.cat([expression, pose_features(pose)], 1)
    dirs = torch.cat([head.expression_dirs, head.pose_dirs], 2)
    return person + (moved @ dirs.reshape(V * 3, -1).T).reshape(-1, V, 3)


def joint_transforms(
    joints: Float[Tensor, "*batch J 3"], pose: Float[Tensor, "B J 3"], parents: tuple[int, ...]
) -> Float[Tensor, "B J 4 4"]:
    """Matrices that carry a point from rest to posed, one per joint. A joint turns about its rest place."""
    joints = joints.expand(len(pose), -1, -1)
    rotation = rotation_from_axis_angle(pose)
    bottom = torch.eye(4, dtype=pose.dtype, device=pose.device)[3].expand(len(pose), 1, 4)
    transforms: list[Tensor] = []
    for j, parent in enumerate(parents):
        centre = joints[:, j, :, None]
        about = torch.cat([torch.cat([rotation[:, j], centre - rotation[:, j] @ centre], 2), bottom], 1)
        transforms.append(about if parent < 0 else transforms[parent] @ about)
    return torch.stack(transforms, 1)


def skin(
    rest: Float[Tensor, "B V 3"],
    joints: Float[Tensor, "*batch J 3"],
    pose: Float[Tensor, "B J 3"],
    weights: Float[Tensor, "V J"],
    parents: tuple[int, ...],
) -> Float[Tensor, "B V 3"]:
    """Linear blend skinning. `joints` is (J, 3), or (B, J, 3) where they differ in the batch."""
    return blend_transforms(rest, joint_transforms(joints, pose, parents)[:, :, :3], weights)


def blend_transforms(
    rest: Float[Tensor, "B V 3"], transforms: Float[Tensor, "B J 3 4"], weights: Float[Tensor, "V J"]
) -> Float[Tensor, "B V 3"]:
    """Every vertex carried by the weighted mean of its joints' transforms."""
    blended = (transforms.flatten(2).mT @ weights.T).unflatten(1, (3, 4))
    # A sum of products: as one small matrix product per vertex it takes a GPU ten times as long. Vertices last: with
    # three numbers last a processor takes five times as long.
    posed = (blended[:, :, :3] * rest.mT[:, None]).sum(2) + blended[:, :, 3]
    return posed.mT.contiguous()


def pose_vertices(
    head: HeadModel,
    *,
    shape: Float[Tensor, "S"],
    expression: Float[Tensor, "B E"],
    pose: Float[Tensor, "B J 3"],
    translation: Float[Tensor, "B 3"],
) -> Float[Tensor, "B V 3"]:
    """The head in `B` frames, in world space."""
    rest = rest_vertices(head, shape, expression, pose)
    joints = shaped_joints(head, shape, expression)
    return skin(rest, joints, pose, head.weights, head.parents) + translation[:, None]


def landmark_points(
    head: HeadModel, vertices: Float[Tensor, "B V 3"], landmarks: LandmarkEmbedding | None = None
) -> Float[Tensor, "B N 3"]:
    """Facial points on posed vertices, MediaPipe's unless told. Points that have no place on the head are NaN."""
    landmarks = landmarks or head.landmarks
    corners = vertices[:, head.faces[landmarks.face.clamp(min=0)]]
    points = torch.einsum("nk,bnkc->bnc", landmarks.barycentric.to(vertices.dtype), corners)
    return torch.where((landmarks.face >= 0)[:, None], points, torch.nan)


def at_points(head: HeadModel, face: Int[Tensor, "N"], barycentric: Float[Tensor, "N 3"]) -> HeadModel:
    """A head whose vertices are points on the surface: everything per vertex is blended by their weights.

    Between points there are no faces and no regions; the landmarks are still those of the whole head.
    Skinning is linear in the rest position and in the skin weights, not in their product, so a point is off by the
    change of weights over one face: at most a few tenths of a millimetre on the open head, near the jaw.
    """
    corners = head.faces[face]
    blended = {name: torch.einsum("nk,nk...->n...", barycentric, getattr(head, name)[corners]) for name in PER_VERTEX}
    return replace(head, **blended, faces=head.faces[:0], uv_faces=head.uv_faces[:0], regions={})


def some_points(points: HeadModel, chosen: Int[Tensor, "K"]) -> HeadModel:
    """Some of the points that `at_points` made."""
    return replace(points, **{name: getattr(points, name)[chosen] for name in PER_VERTEX})


def joined_points(one: HeadModel, other: HeadModel) -> HeadModel:
    """The points of both, one after the other, of the same head."""
    return replace(one, **{name: torch.cat([getattr(one, name), getattr(other, name)]) for name in PER_VERTEX})
