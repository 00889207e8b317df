"""The solver on FLAME: components instead of named units."""

import math

import torch

from flare_cli.head.skinning import landmark_points, pose_vertices
from flare_cli.render.camera import Cameras
from flare_cli.track.solve.solver import solve

N, SIZE = 10, 512


def test_landmarks_of_a_flame_head_are_met_with_components_of_either_sign(flame_head):
    flame = flame_head
    generator = torch.Generator().manual_seed(3)
    time = torch.arange(N) / 30

    def wave(rate, phase=0.0):
        return torch.sin(2 * math.pi * rate * time + phase)

    pose = torch.zeros(N, 5, 3)
    pose[:, 1] = torch.stack([0.1 * wave(0.8), 0.3 * wave(0.9), 0.05 * wave(1.3, 2)], 1)
    pose[:, 2, 0] = 0.1 * (1 + wave(1.5))
    expression = torch.zeros(N, flame.n_expression)
    expression[:, :6] = 0.8 * torch.stack([wave(0.8, k) for k in range(6)], 1)
    shape = 0.5 * torch.randn(flame.n_shape, generator=generator)
    translation = 0.01 * torch.stack([wave(1.0), wave(0.7, 1), wave(0.5, 2)], 1)
    vertices = pose_vertices(flame, shape=shape, expression=expression, pose=pose, translation=translation)
    camera = Cameras(
        intrinsics=torch.tensor([[1000.0, 1000.0, 256, 256]]),
        camera_from_world=torch.tensor([[[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 0.8]]]),
        height=SIZE,
        width=SIZE,
    )
    points = camera.expand(N).project(landmark_points(flame, vertices))
    solution = solve(flame, points, time, fps=30.0, size=SIZE, principal=(256.0, 256.0), key_frames=6, rounds=12)
    assert solution.error.max() < 0.01
    assert solution.parameters.expression.min() < -0.2  # not held above 0
    parameters = solution.parameters
    turn = parameters.neck - parameters.neck.mean(0)
    true = pose[:, 1] - pose[:, 1].mean(0)
    assert (turn - true)[:, 1].abs().max() < math.radians(3)
