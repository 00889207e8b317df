import numpy as np
import pytest

from flare_cli.score.truth import Truth, score_truth


@pytest.fixture
def truth() -> Truth:
    generator = np.random.default_rng(0)
    normal = generator.normal(size=(8, 9, 3))
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    inside = np.ones((8, 9), bool)
    inside[:, :2] = False
    return Truth(albedo=generator.random((8, 9, 3)), normal=normal, inside=inside)


def test_truth_scores_best_against_itself(truth: Truth):
    score = score_truth([truth.albedo], [truth.normal], [truth])
    assert score.albedo_raw == 100
    assert score.normal_degrees == pytest.approx(0, abs=1e-4)


def test_one_factor_per_channel_is_forgiven_only_by_the_aligned_score(truth: Truth):
    score = score_truth([truth.albedo * [0.5, 0.8, 1.2]], [truth.normal], [truth])
    assert score.albedo_aligned == 100
    assert score.albedo_raw < 20


def test_turned_normals_score_their_angle(truth: Truth):
    angle = np.radians(10)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    flat = np.zeros_like(truth.normal)
    flat[..., 0] = 1  # across the axis of the turn
    level = Truth(albedo=truth.albedo, normal=flat, inside=truth.inside)
    assert score_truth([truth.albedo], [flat @ turn.T], [level]).normal_degrees == pytest.approx(10)


def test_pixels_without_truth_or_drawing_do_not_count(truth: Truth):
    albedo, normal = truth.albedo.copy(), truth.normal.copy()
    albedo[:, :2], normal[:, 5], albedo[:, 5] = 9, 0, 0
    assert score_truth([albedo], [normal], [truth]).albedo_raw == 100
