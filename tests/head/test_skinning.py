"""Posing against a plain float64 reference, and against what must hold for any head."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from flare_cli.head.open_head import load_open_head
from flare_cli.head.skinning import (
    joint_transforms,
    landmark_points,
    pose_vertices,
    rest_vertices,
    rotation_from_axis_angle,
    shaped_joints,
    skin,
)


@pytest.fixture(scope="module")
def head():
    return load_open_head()


@pytest.fixture(scope="module")
def motion(head):
    generator = torch.Generator().manual_seed(0)

    def draw(*size):
        return torch.randn(*size, generator=generator)

    return {
        "shape": draw(head.n_shape),
        "expression": draw(3, head.n_expression).abs() * 0.3,
        "pose": draw(3, 5, 3) * 0.4,
        "translation": draw(3, 3) * 0.1,
    }


def reference(head, shape, expression, pose, translation):
    """Linear blend skinning of one frame, vertex by vertex as the conventions page says it, in float64."""

    def as64(t):
        return t.double().numpy()

    shape, expression, pose = as64(shape), as64(expression), as64(pose)
    rotations = Rotation.from_rotvec(pose).as_matrix()
    features = (rotations[1:] - np.eye(3)).ravel()
    rest = as64(head.template) + as64(head.shape_dirs) @ shape
    rest = rest + as64(head.expression_dirs) @ expression + as64(head.pose_dirs) @ features
    joints = as64(head.joints) + as64(head.joint_shape_dirs) @ shape + as64(head.joint_expression_dirs) @ expression
    posed = []
    for j, parent in enumerate(head.parents):
        rotation = rotations[j] if parent < 0 else posed[parent][0] @ rotations[j]
        place = joints[j] if parent < 0 else posed[parent][1] + posed[parent][0] @ (joints[j] - joints[parent])
        posed.append((rotation, place))
    moved = sum(
        as64(head.weights)[:, j, None] * ((rest - joints[j]) @ rotation.T + place)
        for j, (rotation, place) in enumerate(posed)
    )
    return moved + as64(translation)


def test_posing_matches_a_float64_reference(head, motion):
    vertices = pose_vertices(head, **motion).double().numpy()
    for b in range(3):
        one = {name: value if name == "shape" else value[b] for name, value in motion.items()}
        np.testing.assert_allclose(vertices[b], reference(head, **one), atol=1e-6)


def test_turning_the_root_moves_the_head_rigidly(head, motion):
    still = dict(motion, pose=motion["pose"].clone())
    still["pose"][:, 0] = 0
    turned = dict(motion, pose=still["pose"].clone())
    turned["pose"][:, 0] = torch.tensor([0.3, -0.8, 0.1])
    root = shaped_joints(head, motion["shape"], motion["expression"])[:, :1] + motion["translation"][:, None]
    rotation = torch.tensor(Rotation.from_rotvec([0.3, -0.8, 0.1]).as_matrix()).float()
    expected = (pose_vertices(head, **still) - root) @ rotation.T + root
    torch.testing.assert_close(pose_vertices(head, **turned), expected, atol=2e-6, rtol=0)


def test_rotation_agrees_with_scipy_and_has_finite_gradients_at_zero():
    vectors = torch.cat([torch.randn(50, 3, generator=torch.Generator().manual_seed(1)), torch.full((1, 3), 1e-4)])
    expected = Rotation.from_rotvec(vectors.double().numpy()).as_matrix()
    np.testing.assert_allclose(rotation_from_axis_angle(vectors.double()).numpy(), expected, atol=1e-9)
    zero = torch.zeros(2, 3, requires_grad=True)
    rotation_from_axis_angle(zero)[:, 2, 1].sum().backward()
    torch.testing.assert_close(zero.grad, torch.tensor([[1.0, 0.0, 0.0]] * 2))


def test_rotation_gradients_match_finite_differences():
    vectors = torch.tensor([[0.2, -0.5, 0.9], [5e-4, 3e-4, -2e-4], [3.0, 0.3, 0.1]]).double().requires_grad_()
    assert torch.autograd.gradcheck(rotation_from_axis_angle, (vectors,))


def test_joint_transforms_keep_a_joint_where_its_parent_put_it(head, motion):
    joints = shaped_joints(head, motion["shape"], motion["expression"])
    transforms = joint_transforms(joints, motion["pose"], head.parents)
    for j, parent in enumerate(head.parents[1:], start=1):
        own = transforms[:, j, :3, :3] @ joints[:, j, :, None] + transforms[:, j, :3, 3:]
        by_parent = transforms[:, parent, :3, :3] @ joints[:, j, :, None] + transforms[:, parent, :3, 3:]
        torch.testing.assert_close(own, by_parent, atol=1e-6, rtol=0)


def test_skin_takes_one_set_of_joints_for_all_frames(head, motion):
    rest = rest_vertices(head, motion["shape"], motion["expression"], motion["pose"])
    joints = shaped_joints(head, motion["shape"], motion["expression"])
    shared = skin(rest, joints[0], motion["pose"], head.weights, head.parents)
    each = skin(rest, joints, motion["pose"], head.weights, head.parents)
    torch.testing.assert_close(shared, each)


def test_landmarks_without_a_place_are_nan(head):
    face = head.landmarks.face.clone()
    face[7] = -1
    lacking = replace(head, landmarks=replace(head.landmarks, face=face))
    points = landmark_points(lacking, head.template[None])[0]
    assert points[7].isnan().all()
    assert points[8].isfinite().all()


@pytest.mark.gpu
def test_posing_on_the_gpu_agrees(head, motion):
    there = pose_vertices(head.to("cuda"), **{name: value.cuda() for name, value in motion.items()})
    torch.testing.assert_close(there.cpu(), pose_vertices(head, **motion), atol=1e-5, rtol=0)
