from dataclasses import replace

import pytest
import torch

from flare_cli.avatar.avatar import Avatar
from flare_cli.config.schema import Config
from flare_cli.fit.avatar_spec import stage_spec
from flare_cli.head.model import HeadModel
from flare_cli.head.skinning import pose_vertices


@pytest.fixture
def parameters(open_head: HeadModel) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {
        "expression": 0.5 * torch.rand(2, open_head.n_expression, generator=generator),
        "pose": 0.2 * torch.randn(2, 5, 3, generator=generator),
        "translation": 0.1 * torch.randn(2, 3, generator=generator),
    }


def make(head: HeadModel, config: Config, subdivisions: int = 0) -> Avatar:
    torch.manual_seed(0)
    shape = torch.randn(head.n_shape, generator=torch.Generator().manual_seed(1))
    return Avatar(head, shape, stage_spec(config, config.stage[0], subdivisions=subdivisions))


def test_new_avatar_moves_exactly_like_its_head(open_head, tiny_config, parameters):
    avatar = make(open_head, tiny_config)
    expected = pose_vertices(open_head, shape=avatar.shape, **parameters)
    torch.testing.assert_close(avatar.posed(**parameters).vertices, expected, atol=2e-5, rtol=0)


def test_subdivision_keeps_the_surface_and_the_motion_of_old_vertices(open_head, tiny_config, parameters):
    avatar = make(open_head, tiny_config)
    with torch.no_grad():
        avatar.mesh.offsets.normal_(std=0.002)
    before = avatar.posed(**parameters).vertices
    count = len(open_head.template)
    avatar.subdivide_mesh()
    after = avatar.posed(**parameters).vertices
    torch.testing.assert_close(after[:, :count], before)
    assert len(avatar.mesh.topology.faces) == 4 * len(open_head.faces)
    assert len(avatar.mesh.topology.uv_faces) == len(avatar.mesh.topology.faces)


def test_subdivided_uvs_stay_on_their_own_triangles(open_head, tiny_config):
    topology = make(open_head, tiny_config, subdivisions=1).mesh.topology
    triangles = topology.uv[topology.uv_faces[: 4 * 50]].reshape(50, 4, 3, 2)
    undivided = open_head.uv[open_head.uv_faces[:50]]

    def area(t):
        return 0.5 * torch.linalg.det(torch.stack([t[..., 1, :] - t[..., 0, :], t[..., 2, :] - t[..., 0, :]], -1))

    torch.testing.assert_close(area(triangles).sum(1), area(undivided), atol=1e-8, rtol=1e-3)


def test_zero_corrections_give_the_heads_weights_back(open_head, tiny_config):
    avatar = make(open_head, tiny_config)
    weights = avatar.skinning_weights(avatar.corrections())
    torch.testing.assert_close(weights, open_head.weights, atol=1e-4, rtol=0)
    torch.testing.assert_close(weights.sum(1), torch.ones(len(weights)))


def test_material_positions_fill_the_unit_cube_and_keep_the_lips_apart(open_head, tiny_config):
    avatar = make(open_head, tiny_config)
    positions = avatar.material_positions()
    assert positions.min() > 0
    assert positions.max() < 1
    closed = make(open_head, replace(tiny_config, mesh=replace(tiny_config.mesh, jaw_open=0.0))).material_positions()
    lower = open_head.regions["lips"] & (open_head.weights[:, 2] > 0.5)
    assert (positions[lower] - closed[lower]).norm(dim=1).mean() > 0.005


def test_materials_do_not_move_with_the_offsets(open_head, tiny_config):
    avatar = make(open_head, tiny_config)
    before = avatar.material_positions()
    with torch.no_grad():
        avatar.mesh.offsets.add_(0.01)
    torch.testing.assert_close(avatar.material_positions(), before)


def test_gradients_reach_every_trained_part(open_head, tiny_config, parameters):
    avatar = make(open_head, tiny_config)
    posed = avatar.posed(**parameters)
    material = avatar.material(avatar.material_positions()[:100].contiguous())
    light = avatar.light.diffuse(posed.normals[0, :100])
    (posed.vertices.sum() + (material.albedo * light).sum()).backward()
    assert avatar.mesh.offsets.grad is not None
    for part in (avatar.deformer, avatar.material, avatar.light):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
