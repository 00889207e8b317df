"""A rig's triangles: the head's own, and more where they stray from the fit's."""

import pytest
import torch

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.baking.detail import STRAY, of_detail, places_in
from flare_cli.config.loading import load_config
from flare_cli.fit.avatar_spec import stage_spec
from flare_cli.head.flame.surface import border_loops
from flare_cli.head.model import HeadModel


@pytest.fixture
def fine(open_head: HeadModel) -> Avatar:
    config = load_config("cpu", ["material.log2_entries=10"])
    avatar = Avatar(open_head, torch.zeros(open_head.n_shape), stage_spec(config, config.stage[0])).requires_grad_(
        False
    )
    avatar.subdivide_mesh()
    return avatar.requires_grad_(False)


def edges_of_teeth(avatar: Avatar) -> int:
    return int(avatar.head.regions["teeth"][avatar.mesh.topology.subdivisions[0].parents].all(1).sum())


def test_a_mesh_that_was_only_divided_is_the_heads_but_for_teeth(fine: Avatar):
    light = of_detail(fine, "light")
    n = len(fine.head.template)
    assert len(light.mesh.offsets) == n + edges_of_teeth(fine)
    torch.testing.assert_close(light.neutral_vertices()[:n], fine.neutral_vertices()[:n], atol=1e-6, rtol=0)
    assert of_detail(fine, "full") is fine


def test_what_strays_stays_divided_without_gaps_or_lost_area(fine: Avatar):
    n, topology = len(fine.head.template), fine.mesh.topology
    parents = topology.subdivisions[0].parents
    moved = torch.tensor([4000, 4001, 4002, 9000])
    assert not fine.head.regions["teeth"][parents[moved]].any()
    fine.mesh.offsets[n + moved, 2] += 5 * STRAY
    light = of_detail(fine, "light")
    mesh = light.mesh.topology
    same = places_in(topology, mesh, n)
    assert len(same) == n + edges_of_teeth(fine) + len(moved)
    assert set((n + moved).tolist()) <= set(same.tolist())
    torch.testing.assert_close(light.neutral_vertices()[n:], fine.neutral_vertices()[same[n:]], atol=1e-6, rtol=0)
    assert len(border_loops(mesh.faces.numpy())) == len(border_loops(fine.head.faces.numpy()))

    def area(uv: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
        (ax, ay), (bx, by) = ((uv[faces[:, i]] - uv[faces[:, 0]]).double().unbind(1) for i in (1, 2))
        return (ax * by - ay * bx).abs().sum()

    torch.testing.assert_close(area(mesh.uv, mesh.uv_faces), area(topology.uv, topology.uv_faces))


def test_undivided_triangles_are_nearer_to_a_bulged_surface_than_its_own_vertices(fine: Avatar):
    n, first = len(fine.head.template), fine.mesh.topology.subdivisions[0]
    fine.mesh.offsets[n:] += 0.5 * STRAY * torch.tensor([0.0, 0.0, 1.0])
    light, wanted = of_detail(fine, "light"), fine.neutral_vertices()
    skin = ~fine.head.regions["teeth"][first.parents].all(1)

    def off(ends: torch.Tensor) -> float:
        return float((first.carried(ends)[n:] - wanted[n:])[skin].square().mean())

    assert off(light.neutral_vertices()[:n]) < 0.3 * off(wanted[:n])
