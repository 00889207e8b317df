import math

import pytest
import torch
import trimesh

from flare_cli.render.geometry import (
    mesh_edges,
    normal_consistency,
    subdivide,
    twin_half_edges,
    uniform_laplacian,
    vertex_normals,
)


@pytest.fixture
def sphere():
    mesh = trimesh.creation.icosphere(subdivisions=2, radius=0.1)
    return torch.tensor(mesh.vertices.copy(), dtype=torch.float32), torch.tensor(mesh.faces.copy(), dtype=torch.int32)


@pytest.fixture
def square():
    """Two triangles; vertex 4 belongs to none."""
    return torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [5, 5, 5]]), torch.tensor([[0, 1, 2], [0, 2, 3]])


def test_normals_of_a_sphere_point_outward(sphere):
    vertices, faces = sphere
    normals = vertex_normals(vertices[None], faces)[0]
    assert (normals * vertices / 0.1).sum(-1).min() > 0.999


def test_vertex_normals_weight_faces_by_area():
    # Two walls that meet at vertex 0: area 1/2 towards +z, area 3/2 towards +x.
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 3]])
    normals = vertex_normals(vertices[None], torch.tensor([[0, 1, 2], [0, 2, 3]]))[0]
    torch.testing.assert_close(normals[0], torch.tensor([3.0, 0.0, 1.0]) / 10**0.5)


def test_a_vertex_without_faces_has_no_normal_and_finite_gradients(square):
    vertices, faces = square
    vertices.requires_grad_()
    normals = vertex_normals(vertices[None], faces)
    assert (normals[0, 4] == 0).all()
    normals.square().sum().backward()
    assert vertices.grad.isfinite().all()


def test_tiny_triangles_have_unit_normals(square):
    vertices, faces = square
    assert vertex_normals(vertices[None] * 1e-5, faces)[0, :4].norm(dim=-1) == pytest.approx([1.0] * 4)


def test_bending_of_a_fold_is_closed_form():
    angle = math.radians(60)
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0.5, 1, 0], [0.5, -math.cos(angle), math.sin(angle)]])
    faces = torch.tensor([[0, 1, 2], [1, 0, 3]])
    expected = (1 - math.cos(angle)) ** 2
    assert normal_consistency(vertices, faces, twin_half_edges(faces)).item() == pytest.approx(expected, abs=1e-6)


def normals_twin(vertices, faces):
    a, b, c = vertices[:, faces.long()].unbind(2)
    area = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(vertices)
    for corner in faces.long().T:
        total = total.index_add(1, corner, area)
    return torch.nn.functional.normalize(total, dim=-1, eps=1e-20)


def normal_consistency_twin(vertices, faces):
    a, b, c = vertices[faces.long()].unbind(1)
    normals = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1, eps=1e-20)
    first, second = torch.tensor(trimesh.graph.face_adjacency(faces.numpy())).T
    return (1 - (normals[first] * normals[second]).sum(-1)).square().mean()


def laplacian_twin(values, faces):
    n = len(values)
    linked = torch.zeros(n, n, dtype=values.dtype)
    for k in range(3):
        linked[faces[:, k].long(), faces[:, (k + 1) % 3].long()] = 1
        linked[faces[:, (k + 1) % 3].long(), faces[:, k].long()] = 1
    return linked @ values / linked.sum(1, keepdim=True) - values


@pytest.mark.parametrize(
    ("ours", "twin"),
    [
        (
            lambda v, f: vertex_normals(torch.stack([v, 2 * v.flip(1)]), f),
            lambda v, f: normals_twin(torch.stack([v, 2 * v.flip(1)]), f),
        ),
        (lambda v, f: normal_consistency(v, f, twin_half_edges(f)), normal_consistency_twin),
        (lambda v, f: uniform_laplacian(v, mesh_edges(f)), laplacian_twin),
    ],
)
def test_values_and_gradients_match_the_twin(sphere, ours, twin):
    vertices, faces = sphere
    faces = faces[:-7]  # with a border
    generator = torch.Generator().manual_seed(0)
    vertices = vertices * (1 + 0.1 * torch.rand(len(vertices), 1, generator=generator))
    results = []
    for function, dtype in ((ours, torch.float32), (twin, torch.float64)):
        leaf = vertices.to(dtype).requires_grad_()
        values = function(leaf, faces)
        weight = torch.randn(values.shape, generator=torch.Generator().manual_seed(1))
        (grad,) = torch.autograd.grad((values * weight).sum(), [leaf])
        results.append([values.detach().double(), grad.double()])
    torch.testing.assert_close(results[0], results[1], rtol=1e-3, atol=1e-4)


def test_edges_are_listed_once(square, sphere):
    assert mesh_edges(square[1]).tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [2, 3]]
    vertices, faces = sphere
    assert len(vertices) - len(mesh_edges(faces)) + len(faces) == 2  # Euler


def test_twins_lie_on_the_other_side(square, sphere):
    assert twin_half_edges(square[1]).tolist() == [[-1, -1, 3], [2, -1, -1]]
    faces = sphere[1]
    twins = twin_half_edges(faces).flatten().long()
    assert (twins[twins] == torch.arange(len(twins))).all()
    assert (faces.flatten()[twins] == faces.roll(-1, 1).flatten()).all()


def test_a_third_face_on_an_edge_has_a_border_there():
    twins = twin_half_edges(torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4]]))
    assert twins[:, 0].tolist() == [3, 0, -1]


def test_the_laplacian_is_mean_of_neighbours_minus_self(square):
    vertices, faces = square
    change = uniform_laplacian(vertices, mesh_edges(faces))
    torch.testing.assert_close(change[0], torch.tensor([2 / 3, 2 / 3, 0.0]))
    torch.testing.assert_close(change[1], torch.tensor([-0.5, 0.5, 0.0]))
    assert (change[4] == 0).all()


def test_the_laplacian_of_a_flat_interior_vanishes():
    ring = torch.tensor([[torch.cos(a), torch.sin(a), 1.0] for a in torch.arange(6) * torch.pi / 3])
    vertices = torch.cat([torch.tensor([[0.0, 0.0, 1.0]]), ring])
    faces = torch.tensor([[0, 1 + k, 1 + (k + 1) % 6] for k in range(6)])
    assert uniform_laplacian(vertices, mesh_edges(faces))[0].abs().max() < 1e-6


def test_subdivision_keeps_the_surface_and_carries_attributes(sphere):
    vertices, faces = sphere
    finer = subdivide(faces, len(vertices))
    moved = finer.carried(vertices)
    before, after = trimesh.Trimesh(vertices, faces), trimesh.Trimesh(moved, finer.faces)
    assert len(finer.faces) == 4 * len(faces)
    assert after.is_watertight
    assert after.is_winding_consistent
    assert after.volume == pytest.approx(before.volume, rel=1e-5)
    assert (moved[: len(vertices)] == vertices).all()
    weights = torch.rand(2, len(vertices), 5)
    torch.testing.assert_close(finer.carried(weights)[:, len(vertices)], weights[:, finer.parents[0]].mean(1))


def test_subdivided_texture_faces_stay_in_step(square):
    vertices, faces = square
    seamed = torch.tensor([[0, 1, 2], [3, 4, 5]])  # the two triangles apart in the atlas
    uv = torch.cat([vertices[faces[0]], vertices[faces[1]]])[:, :2]
    finer, finer_uv = subdivide(faces, len(vertices)), subdivide(seamed, len(uv))
    corners = finer.carried(vertices)[finer.faces.long()][..., :2]
    torch.testing.assert_close(corners, finer_uv.carried(uv)[finer_uv.faces.long()])
