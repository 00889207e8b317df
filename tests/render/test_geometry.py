import pytest
import torch
import trimesh

from flare_cli.render.geometry import (
    adjacent_faces,
    face_normals,
    mesh_edges,
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
    assert (face_normals(vertices[None] * 1e-5, faces)[0] == torch.tensor([0.0, 0.0, 1.0])).all()
    assert vertex_normals(vertices[None] * 1e-5, faces)[0, :4].norm(dim=-1) == pytest.approx([1.0] * 4)


def test_edges_are_listed_once(square, sphere):
    assert mesh_edges(square[1]).tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [2, 3]]
    vertices, faces = sphere
    assert len(vertices) - len(mesh_edges(faces)) + len(faces) == 2  # Euler


def test_twins_lie_on_the_other_side(square, sphere):
    assert twin_half_edges(square[1]).tolist() == [[-1, -1, 3], [2, -1, -1]]
    assert adjacent_faces(square[1]).tolist() == [[0, 1]]
    faces = sphere[1]
    twins = twin_half_edges(faces).flatten().long()
    assert (twins[twins] == torch.arange(len(twins))).all()
    assert (faces.flatten()[twins] == faces.roll(-1, 1).flatten()).all()


def test_a_third_face_on_an_edge_has_a_border_there():
    twins = twin_half_edges(torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4]]))
    assert twins[:, 0].tolist() == [3, 0, -1]


def test_the_laplacian_is_mean_of_neighbours_minus_self(square):
    vertices, faces = square
    change = uniform_laplacian(vertices[None], mesh_edges(faces))[0]
    torch.testing.assert_close(change[0], torch.tensor([2 / 3, 2 / 3, 0.0]))
    torch.testing.assert_close(change[1], torch.tensor([-0.5, 0.5, 0.0]))
    assert (change[4] == 0).all()


def test_the_laplacian_of_a_flat_interior_vanishes():
    ring = torch.tensor([[torch.cos(a), torch.sin(a), 1.0] for a in torch.arange(6) * torch.pi / 3])
    vertices = torch.cat([torch.tensor([[0.0, 0.0, 1.0]]), ring])
    faces = torch.tensor([[0, 1 + k, 1 + (k + 1) % 6] for k in range(6)])
    assert uniform_laplacian(vertices[None], mesh_edges(faces))[0, 0].abs().max() < 1e-6


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
