"""Loop subdivision against its published masks and its limit."""

import numpy as np
import pytest
import trimesh

from flare_cli.synthetic.loop_subdivision import loop_subdivision


@pytest.fixture
def grid():
    """A 5 x 5 grid of vertices, triangulated alike everywhere, so that inner vertices have six neighbours."""
    y, x = np.mgrid[0:5, 0:5]
    points = np.stack([x + 0.5 * y, np.sqrt(0.75) * y, 0 * x], -1).reshape(-1, 3).astype(float)
    corner = (np.arange(4)[:, None] * 5 + np.arange(4)).ravel()
    faces = np.concatenate(
        [np.stack([corner, corner + 1, corner + 5], 1), np.stack([corner + 1, corner + 6, corner + 5], 1)]
    )
    return points, faces


def test_weights_are_loops_masks(grid):
    smooth = loop_subdivision(grid[1], 25, levels=1)
    matrix = smooth.matrix.toarray()
    np.testing.assert_allclose(matrix.sum(1), 1)
    inner = matrix[12]  # the middle vertex: 5/8 itself, 1/16 each of six neighbours
    assert inner[12] == pytest.approx(5 / 8)
    assert sorted(inner[inner > 0]) == pytest.approx([1 / 16] * 6 + [5 / 8])
    border = matrix[2]  # on the bottom edge: 1/8, 3/4, 1/8
    assert border[[1, 2, 3]] == pytest.approx([1 / 8, 3 / 4, 1 / 8])
    middles = [tuple(sorted(row[row > 0])) for row in matrix[25:]]
    assert set(middles) == {(0.125, 0.125, 0.375, 0.375), (0.5, 0.5)}


def test_a_flat_even_grid_stays_even(grid):
    points, faces = grid
    smooth = loop_subdivision(faces, 25, levels=2)
    fine = smooth.matrix @ points
    np.testing.assert_allclose(fine[12], points[12], atol=1e-12)  # away from the border, linear functions are kept
    mesh = trimesh.Trimesh(fine, smooth.faces, process=False)
    assert len(smooth.faces) == 16 * len(faces)
    assert (mesh.face_normals[:, 2] > 0.999).all()


def test_an_icosahedron_becomes_round():
    rough = trimesh.creation.icosahedron()
    smooth = loop_subdivision(rough.faces, len(rough.vertices), levels=4)
    radius = np.linalg.norm(smooth.matrix @ rough.vertices, axis=1)
    assert radius.std() / radius.mean() < 0.02
    assert trimesh.Trimesh(smooth.matrix @ rough.vertices, smooth.faces, process=False).is_watertight
