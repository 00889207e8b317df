"""Closest points, borders and pockets, against brute force and solids whose answers are known."""

import numpy as np
import pytest
import trimesh

from flare_cli.head.flame.holes import Eyeball, close_holes
from flare_cli.head.flame.surface import barycentric_of_closest, border_loops, closest_points, corner_normals, parts


def test_closest_points_agree_with_dense_sampling():
    rng = np.random.default_rng(0)
    corners = rng.normal(size=(200, 3, 3))
    points = rng.normal(size=(200, 3)) * 2
    found = barycentric_of_closest(points, corners)
    np.testing.assert_allclose(found.sum(1), 1)
    assert found.min() >= -1e-12
    distance = np.linalg.norm(np.einsum("nk,nkc->nc", found, corners) - points, axis=1)
    u, v = np.meshgrid(np.linspace(0, 1, 101), np.linspace(0, 1, 101))
    inside = u + v <= 1
    grid = np.stack([1 - u - v, u, v], -1)[inside]
    sampled = np.linalg.norm(np.einsum("gk,nkc->ngc", grid, corners) - points[:, None], axis=2).min(1)
    assert (distance <= sampled + 1e-9).all()
    assert (distance >= sampled - 0.06).all()


def test_points_around_a_sphere_are_projected_to_it():
    ball = trimesh.creation.icosphere(4, 1.0)
    rng = np.random.default_rng(1)
    points = rng.normal(size=(300, 3))
    points *= (rng.uniform(0.7, 1.5, 300) / np.linalg.norm(points, axis=1))[:, None]
    found = closest_points(points, ball.vertices, ball.faces)
    np.testing.assert_allclose(found.distance, np.abs(np.linalg.norm(points, axis=1) - 1), atol=2e-3)
    place = np.einsum("nk,nkc->nc", found.barycentric, ball.vertices[ball.faces[found.face]])
    np.testing.assert_allclose(place, found.place, atol=1e-12)
    np.testing.assert_allclose(corner_normals(ball.vertices, ball.faces), ball.vertices, atol=2e-2)


def _grid(n: int) -> tuple[np.ndarray, np.ndarray]:
    """A flat square of n x n cells that faces +z."""
    y, x = np.mgrid[: n + 1, : n + 1]
    index = np.arange((n + 1) ** 2).reshape(n + 1, n + 1)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, c), (a, c, d))])
    return np.stack([x, y, 0 * x], -1).reshape(-1, 3).astype(float), faces


def test_borders_are_found_also_where_two_holes_touch():
    vertices, faces = _grid(6)
    middles = vertices[faces].mean(1)

    def in_cell(x, y):
        return (np.floor(middles[:, 0]) == x) & (np.floor(middles[:, 1]) == y)

    loops = border_loops(faces[~in_cell(1, 1) & ~in_cell(2, 2) & ~in_cell(4, 4)])
    assert sorted(len(loop) for loop in loops) == [4, 4, 4, 24]
    outline = max(loops, key=len)
    x, y = vertices[outline, 0], vertices[outline, 1]
    assert (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() > 0  # the mesh lies to the left of its border


def test_parts_are_counted():
    vertices, faces = _grid(2)
    both = np.concatenate([faces, faces + len(vertices)])
    assert np.bincount(parts(both, 2 * len(vertices))).tolist() == [9, 9]


@pytest.fixture
def holed() -> trimesh.Trimesh:
    """A sphere of radius 1 with a hole at the bottom, one in front, and a small one on top of the front."""
    ball = trimesh.creation.icosphere(4, 1.0)
    middle = ball.triangles_center / np.linalg.norm(ball.triangles_center, axis=1, keepdims=True)
    front, upper = np.array([0, 0, 1.0]), np.array([0, 0.6, 0.8])
    kept = (middle[:, 1] > -0.8) & (middle @ front < 0.95) & (middle @ upper < 0.995)
    ball.update_faces(kept)
    ball.remove_unreferenced_vertices()
    return ball


def test_pockets_close_everything_but_the_lowest_border(holed):
    n = len(holed.vertices)
    eye = Eyeball(centre=np.array([0, 0.6, 0.8]) * 0.93, radius=0.08)
    closed = close_holes(np.array(holed.vertices), np.array(holed.faces), [eye])
    loops = border_loops(closed.faces)
    assert len(loops) == 1
    assert closed.vertices[loops[0], 1].max() < -0.7
    np.testing.assert_array_equal(closed.vertices[:n], holed.vertices)
    np.testing.assert_array_equal(closed.faces[: len(holed.faces)], holed.faces)
    assert np.linalg.norm(closed.vertices[closed.sockets] - eye.centre, axis=1).min() > eye.radius
    assert np.linalg.norm(closed.vertices[closed.mouth], axis=1).max() < 1
    np.testing.assert_allclose(np.asarray(closed.carry.sum(1)).ravel(), 1)
    whole = trimesh.Trimesh(closed.vertices, closed.faces, process=False)
    assert whole.is_winding_consistent


def test_a_mesh_without_holes_stays_as_it_is():
    ball = trimesh.creation.icosphere(1)
    closed = close_holes(np.array(ball.vertices), np.array(ball.faces), [])
    assert len(closed.vertices) == len(ball.vertices)
    assert closed.carry.nnz == len(ball.vertices)
