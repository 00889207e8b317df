"""Subdividing part of a mesh: no gaps, Loop's surface inside, the old one outside."""

import numpy as np
import trimesh

from flare_cli.synthetic.loop_subdivision import loop_subdivision
from flare_cli.synthetic.people.refined_mesh import refined


def test_choosing_everything_is_loop_subdivision():
    ball = trimesh.creation.icosphere(subdivisions=1)
    faces, n = np.asarray(ball.faces), len(ball.vertices)
    ours, whole = refined(faces, n, [np.ones(n)] * 2), loop_subdivision(faces, n, levels=2)
    assert abs(ours.matrix - whole.matrix).max() < 1e-12
    np.testing.assert_array_equal(ours.faces, whole.faces)


def test_a_part_is_finer_and_nothing_gapes():
    ball = trimesh.creation.icosphere(subdivisions=2)
    upper = (ball.vertices[:, 2] > 0.3).astype(float)
    fine = refined(np.asarray(ball.faces), len(ball.vertices), [upper, upper])
    mesh = trimesh.Trimesh(fine.matrix @ ball.vertices, fine.faces, process=False)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume > 0
    np.testing.assert_allclose(np.asarray(fine.matrix.sum(1)).ravel(), 1, atol=1e-12)
    below = ball.vertices[:, 2] < 0.0
    np.testing.assert_array_equal((fine.matrix @ ball.vertices)[: len(below)][below], ball.vertices[below])
    heights = mesh.triangles_center[:, 2]
    assert (heights > 0.5).sum() > 8 * (ball.triangles_center[:, 2] > 0.5).sum()
