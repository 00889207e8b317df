"""Where the middle of the head is: to turn about it does not carry the head away, as to turn about the root does."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.head.joints import Joint
from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import joint_transforms, shaped_joints

TURNING = 2
"""Root and neck, the first joints: what turns the whole head."""


def head_centre(
    head: HeadModel,
    *,
    shape: Float[Tensor, "S"],
    expression: Float[Tensor, "B E"],
    pose: Float[Tensor, "B J 3"],
) -> Float[Tensor, "B 3"]:
    """The mean place of what the neck joint carries, after posing and before translation. World axes, metres."""
    carried = head.weights[:, Joint.NECK, None]
    middle = ((head.template + head.shape_dirs @ shape) * carried).sum(0) / carried.sum()
    joints = shaped_joints(head, shape, expression)[:, :TURNING]
    transform = joint_transforms(joints, pose[:, :TURNING], head.parents[:TURNING])[:, Joint.NECK, :3]
    return transform[:, :, :3] @ middle + transform[:, :, 3]


def turning_levers(
    head: HeadModel,
    *,
    shape: Float[Tensor, "S"],
    expression: Float[Tensor, "B E"],
    pose: Float[Tensor, "B J 3"],
) -> Float[Tensor, "B 3 6"]:
    """Derivatives of the head's centre by the axis-angles of root and neck: metres a radian."""
    pose = pose.detach().clone().requires_grad_()
    with torch.enable_grad():
        centre = head_centre(head, shape=shape, expression=expression, pose=pose)
        rows = [torch.autograd.grad(centre[:, axis].sum(), pose, retain_graph=True)[0] for axis in range(3)]
    return torch.stack([row[:, :TURNING].flatten(1) for row in rows], 1)
