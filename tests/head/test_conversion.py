"""Expressions of one head become those of another that moves the same points alike."""

from dataclasses import replace

import pytest
import torch

from flare_cli.errors import HeadError
from flare_cli.head.arkit import ARKIT_NAMES, EXPRESSION_NAMES
from flare_cli.head.conversion import common_landmarks, convert_expressions
from flare_cli.head.model import ArkitMap, HeadModel
from flare_cli.head.skinning import landmark_points, pose_vertices


def performance(head: HeadModel, frames: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """A smile, a pucker, raised brows and a talking mouth."""
    expression, pose = torch.zeros(frames, head.n_expression), torch.zeros(frames, 5, 3)
    for frame, names in enumerate(
        (["mouthSmileLeft", "mouthSmileRight"], ["mouthPucker"], ["browInnerUp"], ["mouthFunnel"])
    ):
        for name in names:
            expression[frame, EXPRESSION_NAMES.index(name)] = 0.8
    pose[3, 2, 0] = 0.3
    return expression, pose


@pytest.fixture(scope="module")
def mixed_head(open_head: HeadModel) -> tuple[HeadModel, torch.Tensor]:
    """The open head a tenth larger, whose 51 components of any sign are known mixtures of the units."""
    mix = torch.linalg.qr(torch.randn(51, 51, generator=torch.Generator().manual_seed(0)))[0]
    large = {
        name: 1.1 * getattr(open_head, name)
        for name in ("template", "shape_dirs", "pose_dirs", "joints", "joint_shape_dirs")
    }
    head = replace(
        open_head,
        **large,
        name="mixed",
        expression_dirs=1.1 * open_head.expression_dirs @ mix,
        expression_names=tuple(f"component {i}" for i in range(51)),
        arkit=ArkitMap(expression=torch.zeros(len(ARKIT_NAMES), 51), pose=open_head.arkit.pose),
    )
    return head, mix


def points(head: HeadModel, expression: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
    shape, still = torch.zeros(head.n_shape), torch.zeros(len(pose), 3)
    vertices = pose_vertices(head, shape=shape, expression=expression, pose=pose, translation=still)
    return landmark_points(head, vertices)[:, common_landmarks(head, head)]


def test_components_that_span_the_units_move_the_same_points(open_head, mixed_head):
    head, _ = mixed_head
    expression, pose = performance(open_head)
    found = convert_expressions(open_head, head, expression=expression, pose=pose)
    theirs, ours = points(open_head, expression, pose), points(head, found.expression, pose)
    assert found.motion > 0.002
    assert found.residual < 0.1 * found.motion
    distance = (ours - 1.1 * theirs).norm(dim=-1)
    assert distance.square().mean().sqrt() == pytest.approx(found.residual, rel=0.05)


def test_units_come_back_from_components(open_head, mixed_head):
    head, mix = mixed_head
    expression, pose = performance(open_head)
    there = expression @ mix  # the same motion by definition: dirs·mix·mixᵀe = dirs·e
    found = convert_expressions(head, open_head, expression=there, pose=pose)
    assert found.expression.min() >= 0
    assert found.expression.max() <= 1
    assert (found.expression - expression).abs().max() < 0.15
    assert found.residual < 0.1 * found.motion


def test_rest_is_rest(open_head, mixed_head):
    head, _ = mixed_head
    found = convert_expressions(open_head, head, expression=torch.zeros(1, 51), pose=torch.zeros(1, 5, 3))
    assert found.expression.abs().max() < 1e-4


def test_heads_without_common_landmarks_are_refused(open_head):
    nowhere = replace(open_head.landmarks, face=torch.full_like(open_head.landmarks.face, -1))
    with pytest.raises(HeadError, match="share 0 landmarks"):
        common_landmarks(open_head, replace(open_head, name="blank", landmarks=nowhere))


def test_flame_plays_what_the_open_head_plays_and_back(open_head, flame_head):
    """The FLAME-like head was built from the open head, so it can nearly make its motion; smiles stay smiles."""
    expression, pose = performance(open_head)
    there = convert_expressions(open_head, flame_head, expression=expression, pose=pose)
    assert there.expression.shape == (4, 100)
    assert there.residual < 0.35 * there.motion
    back = convert_expressions(flame_head, open_head, expression=there.expression, pose=pose)
    smile = EXPRESSION_NAMES.index("mouthSmileLeft")
    assert back.expression[0, smile] > 0.4
    assert back.expression[1:, smile].max() < 0.3
    brow = EXPRESSION_NAMES.index("browInnerUp")
    assert back.expression[2].argmax() == brow or back.expression[2, brow] > 0.4
