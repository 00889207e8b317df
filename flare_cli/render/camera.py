"""Pinhole cameras in OpenCV axes, batched; one value for intrinsics, pose and picture size."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

# Metres: nearer than any face is filmed, farther than any. Only the near plane cuts (docs/conventions.md).
NEAR, FAR = 0.02, 20.0
# Half a turn about x. Our world's axes are OpenGL's, so this is also the rotation of the usual frontal camera.
OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0])
OPENGL_FROM_OPENCV = OPENCV_FROM_OPENGL.T


@dataclass(frozen=True, slots=True, kw_only=True)
class Cameras:
    """`B` cameras that make pictures of one size.

    `intrinsics` is (fx, fy, cx, cy) in pixels; `camera_from_world` is [R | t] in metres (docs/conventions.md).
    """

    intrinsics: Float[Tensor, "B 4"]
    camera_from_world: Float[Tensor, "B 3 4"]
    height: int
    width: int

    def __len__(self) -> int:
        return self.intrinsics.shape[0]

    def __getitem__(self, index: slice | Tensor) -> Cameras:
        return replace(self, intrinsics=self.intrinsics[index], camera_from_world=self.camera_from_world[index])

    def to(self, device: torch.device | str) -> Cameras:
        """Return the same cameras with tensors on `device`."""
        return replace(self, intrinsics=self.intrinsics.to(device), camera_from_world=self.camera_from_world.to(device))

    def expand(self, batch: int) -> Cameras:
        """Repeat a single camera `batch` times."""
        return replace(
            self,
            intrinsics=self.intrinsics.expand(batch, 4),
            camera_from_world=self.camera_from_world.expand(batch, 3, 4),
        )

    def resized(self, height: int, width: int) -> Cameras:
        """The same view as pictures of another size."""
        scale = self.intrinsics.new_tensor([width / self.width, height / self.height] * 2)
        return replace(self, intrinsics=self.intrinsics * scale, height=height, width=width)

    def turned(self, rotation: Float[Tensor, "B 3 3"]) -> Cameras:
        """The cameras after the whole world is turned about its origin: they see what they saw."""
        turned = self.camera_from_world[:, :, :3] @ rotation.transpose(1, 2)
        return replace(self, camera_from_world=torch.cat([turned, self.camera_from_world[:, :, 3:]], 2))

    def centres(self) -> Float[Tensor, "B 3"]:
        """Camera centres in world space."""
        rotation, translation = self.camera_from_world[:, :, :3], self.camera_from_world[:, :, 3]
        return -(rotation.transpose(1, 2) @ translation[..., None])[..., 0]

    def clip_from_world(self) -> Float[Tensor, "B 4 4"]:
        """Projection to clip space: w is camera depth, y points down, z/w runs from -1 (near) to 1 (far)."""
        fx, fy, cx, cy = self.intrinsics.unbind(-1)
        zero, one = torch.zeros_like(fx), torch.ones_like(fx)
        depth_scale, depth_shift = (FAR + NEAR) / (FAR - NEAR), -2 * FAR * NEAR / (FAR - NEAR)
        rows = [
            [2 * fx / self.width, zero, 2 * cx / self.width - 1, zero],
            [zero, 2 * fy / self.height, 2 * cy / self.height - 1, zero],
            [zero, zero, one * depth_scale, one * depth_shift],
            [zero, zero, one, zero],
        ]
        clip_from_camera = torch.stack([torch.stack(row, -1) for row in rows], -2)
        view = self.camera_from_world
        bottom = torch.eye(4, dtype=view.dtype, device=view.device)[3].expand(len(self), 1, 4)
        return clip_from_camera @ torch.cat([view, bottom], 1)

    def projections(self) -> Projections:
        """What a renderer needs of these cameras."""
        return Projections(self.clip_from_world(), self.centres(), self.height, self.width)

    def clip(self, world: Float[Tensor, "B V 3"]) -> Float[Tensor, "B V 4"]:
        """World points in clip space."""
        return self.projections().clip(world)

    def project(self, world: Float[Tensor, "B V 3"]) -> Float[Tensor, "B V 2"]:
        """World points in pixels."""
        rotation, translation = self.camera_from_world[:, :, :3], self.camera_from_world[:, None, :, 3]
        camera = world @ rotation.transpose(1, 2) + translation
        return camera[..., :2] / camera[..., 2:] * self.intrinsics[:, None, :2] + self.intrinsics[:, None, 2:]


@dataclass(frozen=True, slots=True)
class Projections:
    """What drawing needs of `B` cameras: worked out once for many pictures, and indexed for each batch."""

    clip_from_world: Float[Tensor, "B 4 4"]
    centres: Float[Tensor, "B 3"]
    height: int
    width: int

    def __len__(self) -> int:
        return self.centres.shape[0]

    def __getitem__(self, index: slice | Tensor) -> Projections:
        return replace(self, clip_from_world=self.clip_from_world[index], centres=self.centres[index])

    def clip(self, world: Float[Tensor, "B V 3"]) -> Float[Tensor, "B V 4"]:
        """World points in clip space."""
        return world @ self.clip_from_world[:, :, :3].transpose(1, 2) + self.clip_from_world[:, None, :, 3]


def look_at(
    eye: Float[Tensor, "B 3"], target: Float[Tensor, "B 3"], *, fov_y: float, height: int, width: int
) -> Cameras:
    """Cameras at `eye` that look at `target` with +y up; `fov_y` is the vertical field of view in radians."""
    forward = torch.nn.functional.normalize(target - eye, dim=-1)
    up = torch.tensor([0.0, 1.0, 0.0], dtype=eye.dtype, device=eye.device).expand_as(forward)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, up), dim=-1)
    rotation = torch.stack([right, torch.linalg.cross(forward, right), forward], 1)
    translation = -(rotation @ eye[..., None])
    focal = 0.5 * height / math.tan(fov_y / 2)
    intrinsics = eye.new_tensor([focal, focal, width / 2, height / 2]).expand(eye.shape[0], 4)
    return Cameras(
        intrinsics=intrinsics,
        camera_from_world=torch.cat([rotation, translation], 2),
        height=height,
        width=width,
    )
