"""One known scene: a toy head with FLAME's numbers of coefficients, moving before a still camera, in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import trimesh

from flare_cli.head.landmarks68 import among_mediapipe
from flare_cli.head.model import ArkitMap, HeadModel, LandmarkEmbedding
from flare_cli.head.skinning import pose_vertices, shaped_joints
from flare_cli.render.backend import choose_rasterizer
from flare_cli.render.camera import Cameras

HEIGHT, WIDTH = 96, 80
LIGHT = np.array([0.6, 0.48, 0.64])
"""Towards a lamp that stands in the room, in world axes."""


@dataclass(frozen=True)
class Scene:
    """True parameters and what the camera sees. The head moves by its root alone, so that every format can hold it."""

    head: HeadModel
    shape: np.ndarray
    expression: np.ndarray
    pose: np.ndarray
    translation: np.ndarray
    intrinsics: np.ndarray
    camera_from_world: np.ndarray

    def __len__(self) -> int:
        return len(self.expression)

    @property
    def vertices(self) -> np.ndarray:
        """World positions (N, V, 3)."""
        head = double(self.head)
        as_tensor = torch.from_numpy
        return pose_vertices(
            head,
            shape=as_tensor(self.shape),
            expression=as_tensor(self.expression),
            pose=as_tensor(self.pose),
            translation=as_tensor(self.translation),
        ).numpy()

    @property
    def root(self) -> np.ndarray:
        """Root joint at rest, per frame (N, 3)."""
        return shaped_joints(double(self.head), torch.from_numpy(self.shape), torch.from_numpy(self.expression))[
            :, 0
        ].numpy()

    def in_camera(self) -> np.ndarray:
        """Vertices in OpenCV camera axes, metres."""
        return self.vertices @ self.camera_from_world[:, :3].T + self.camera_from_world[:, 3]

    def pixels(self) -> np.ndarray:
        """Where the vertices are seen."""
        return project(self.in_camera(), self.intrinsics)

    def brightness(self) -> np.ndarray:
        """Lambert's cosine of the lamp at every vertex of a sphere-like head: (N, V)."""
        return np.stack([vertex_normals(v, self.head.faces.numpy()) @ LIGHT for v in self.vertices])

    def masks(self) -> np.ndarray:
        """Silhouettes (N, H, W) as bytes."""
        camera = Cameras(
            intrinsics=torch.from_numpy(self.intrinsics[None]).float(),
            camera_from_world=torch.from_numpy(self.camera_from_world[None]).float(),
            height=HEIGHT,
            width=WIDTH,
        )
        clip = camera.expand(len(self)).clip(torch.from_numpy(self.vertices).float())
        seen = choose_rasterizer().rasterize(clip, self.head.faces, HEIGHT, WIDTH).triangle >= 0
        return (seen.numpy() * 255).astype(np.uint8)

    def keypoints(self) -> np.ndarray:
        """MediaPipe's points in pixels (N, 478, 2)."""
        first_corner = self.head.faces[self.head.landmarks.face, 0].numpy()  # where every toy landmark sits
        return self.pixels()[:, first_corner]


def project(in_camera: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    fx, fy, cx, cy = intrinsics
    x, y, z = np.moveaxis(in_camera, -1, 0)
    return np.stack([fx * x / z + cx, fy * y / z + cy], -1)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, faces[:, k], np.cross(b - a, c - a))
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def double(head: HeadModel) -> HeadModel:
    from dataclasses import fields, replace

    moved = {
        f.name: getattr(head, f.name).double()
        for f in fields(head)
        if isinstance(getattr(head, f.name), torch.Tensor) and getattr(head, f.name).is_floating_point()
    }
    return replace(head, **moved)


def toy_head(name: str = "flame-2020") -> HeadModel:
    """An egg with FLAME's joints and numbers of coefficients; its directions are smooth random fields."""
    sphere = trimesh.creation.icosphere(subdivisions=3)
    template = np.asarray(sphere.vertices) * [0.075, 0.11, 0.09] + [0, -0.02, 0.01]
    chance = np.random.default_rng(5)

    def fields(count: int, size: float) -> torch.Tensor:
        wave = chance.normal(size=(3, count)) * 20
        phase, axis = chance.uniform(0, 6, count), chance.normal(size=(3, count))
        return torch.from_numpy(size * np.sin(template @ wave + phase)[:, None] * axis).float()

    joints = torch.tensor(
        [[0.0, -0.12, -0.02], [0, -0.08, -0.01], [0, -0.03, 0], [0.03, 0.02, 0.06], [-0.03, 0.02, 0.06]]
    )
    distance = (torch.from_numpy(template).float()[:, None] - joints).norm(dim=-1)
    front = np.flatnonzero(template[np.asarray(sphere.faces)][:, :, 2].min(1) > 0.03)
    landmark = torch.from_numpy(front[np.linspace(0, len(front) - 1, 478).astype(int)])
    barycentric = torch.zeros(478, 3)
    barycentric[:, 0] = 1
    landmarks = LandmarkEmbedding(face=landmark, barycentric=barycentric, spread=torch.zeros(478))
    everywhere = torch.ones(len(template), dtype=torch.bool)
    return HeadModel(
        name=name,
        sha256="toy",
        template=torch.from_numpy(template).float(),
        faces=torch.from_numpy(np.asarray(sphere.faces)).long(),
        uv=torch.zeros(1, 2),
        uv_faces=torch.zeros(len(sphere.faces), 3, dtype=torch.long),
        shape_dirs=fields(300, 4e-4),
        expression_dirs=fields(100, 4e-4),
        expression_names=tuple(f"expression {i}" for i in range(100)),
        pose_dirs=fields(36, 1e-3),
        joints=joints,
        joint_shape_dirs=torch.from_numpy(2e-4 * chance.normal(size=(5, 3, 300))).float(),
        joint_expression_dirs=torch.from_numpy(2e-4 * chance.normal(size=(5, 3, 100))).float(),
        weights=(-40 * distance).softmax(-1),
        parents=(-1, 0, 1, 1, 1),
        regions={"skin": everywhere, "boundary": torch.from_numpy(template[:, 1] < -0.11)},
        landmarks=landmarks,
        landmarks68=among_mediapipe(landmarks),
        arkit=ArkitMap(expression=torch.zeros(52, 100), pose=torch.zeros(52, 5, 3)),
    )


def make_scene(frames: int = 5, *, neck: bool = False, seed: int = 0, head: HeadModel | None = None) -> Scene:
    """A performance that turns, leans and talks. With `neck` the neck moves too (not every format has one)."""
    chance = np.random.default_rng(seed)
    # As float32, which is what every format stores at best.

    def draw(*shape):
        return chance.normal(size=shape).astype(np.float32).astype(np.float64)

    t = np.linspace(0, 1, frames)[:, None]
    pose = np.zeros((frames, 5, 3))
    pose[:, 0] = 0.4 * np.sin(6 * t + [0.3, 1.0, 2.0])
    pose[:, 1] = 0.2 * np.cos(5 * t + [0.0, 1.0, 2.0]) * neck
    pose[:, 2, :1] = 0.15 + 0.1 * np.sin(9 * t)
    pose[:, 3:, :2] = 0.2 * draw(frames, 2, 2)
    shape, expression = np.zeros(300), np.zeros((frames, 100))
    shape[:100] = draw(100)
    expression[:, :50] = draw(frames, 50)
    translation = np.concatenate([0.03 * np.sin(4 * t), 0.02 * np.cos(3 * t), 0.04 * t], 1)
    # Not quite frontal: a rolled, lowered camera, so that a wrong axis shows.
    roll = 0.1
    turn = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    rotation = turn @ np.diag([1.0, -1.0, -1.0])

    def exact(values):
        return np.asarray(values, np.float32).astype(np.float64)

    return Scene(
        head=head or toy_head(),
        shape=shape,
        expression=expression,
        pose=exact(pose),
        translation=exact(translation),
        intrinsics=np.array([210.0, 216.0, 41.5, 46.25]),
        camera_from_world=np.concatenate([rotation, [[0.01], [-0.015], [0.8]]], 1),
    )
