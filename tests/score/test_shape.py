"""Points laid onto points and surfaces, against motions that are known."""

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from flare_cli.head.flame.surface import closest_points
from flare_cli.score.shape import similarity, surface_distance, vertex_distance

CLOUD = np.random.default_rng(0).normal(size=(200, 3))
ANGLES = st.tuples(*[st.floats(-3, 3)] * 3)


@settings(max_examples=25, deadline=None)
@given(angles=ANGLES, scale=st.floats(0.2, 5), shift=ANGLES)
def test_a_similarity_is_found_again(angles, scale: float, shift):
    rotation = Rotation.from_euler("xyz", angles).as_matrix()
    target = scale * CLOUD @ rotation.T + np.array(shift)
    found = similarity(CLOUD, target)
    assert found.scale == pytest.approx(scale)
    np.testing.assert_allclose(found.rotation, rotation, atol=1e-9)
    np.testing.assert_allclose(found.moved(CLOUD), target, atol=1e-9)
    assert vertex_distance(CLOUD, target) == pytest.approx(0, abs=1e-9)


def test_a_mirrored_cloud_is_not_laid_on():
    mirrored = CLOUD * np.array([-1.0, 1, 1])
    assert np.linalg.det(similarity(mirrored, CLOUD).rotation) == pytest.approx(1)
    assert vertex_distance(mirrored, CLOUD) > 0.5


def test_vertex_distance_is_in_the_true_size():
    rough = CLOUD + 0.01 * np.random.default_rng(1).normal(size=CLOUD.shape)
    expected = np.linalg.norm(rough - CLOUD, axis=1).mean()
    assert vertex_distance(100 * rough, CLOUD) == pytest.approx(expected, rel=0.05)
    assert vertex_distance(rough, 100 * CLOUD) == pytest.approx(100 * expected, rel=0.05)


def test_points_find_a_surface_that_is_moved_a_little_and_larger():
    mesh = trimesh.creation.icosphere(subdivisions=3)
    true = mesh.vertices * np.array([1.0, 1.5, 2.0])
    turned = Rotation.from_euler("xyz", [0.05, -0.1, 0.05]).as_matrix()
    drawn = 2 * true @ turned.T + 0.05

    def closest(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = closest_points(points, drawn, mesh.faces)
        return found.place, trimesh.Trimesh(drawn, mesh.faces, process=False).face_normals[found.face]

    before = surface_distance(true, closest, scale=1.9, rounds=0)
    after = surface_distance(true, closest, scale=1.9, rounds=8)
    assert before > 0.05
    assert after < before / 20


def test_distance_from_a_surface_is_in_the_true_size():
    def closest(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # of the unit sphere
        outward = points / np.linalg.norm(points, axis=1, keepdims=True)
        return outward, outward

    bumpy = closest(CLOUD)[0] * np.where(np.arange(len(CLOUD)) % 2, 1.1, 0.9)[:, None]
    both_sides = np.concatenate([bumpy, -bumpy])  # so that the bumps pull nowhere
    assert surface_distance(10 * both_sides, closest, scale=0.1, rounds=20) == pytest.approx(1.0, rel=0.03)
