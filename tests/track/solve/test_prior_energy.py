"""The prior energy by hand, and its curvature against automatic differentiation."""

import math
from dataclasses import replace

import pytest
import torch
from support.toy_problem import dense, exact_curvature, problem_of, state_of, with_the_mean_held

from flare_cli.track.solve.energy import PER_FRAME, Priors, Problem, TrackParameters
from flare_cli.track.solve.levenberg_marquardt import normal_system
from flare_cli.track.solve.prior_energy import (
    frame_priors,
    means_of_shots,
    prior_energy,
    temporal_smoothness_energy,
)

N = 6
FOLLOWING = [True, False, True, True]  # a gap in time


def with_a_gap(problem: Problem) -> Problem:
    return replace(problem, neighbours=torch.tensor(FOLLOWING))


@pytest.mark.parametrize("scale", [0.0, 0.7])
@pytest.mark.parametrize("which", ["open_head", "flame_head"])
def test_curvature_is_the_hessian_but_for_the_roots_mean(which: str, scale: float, request):
    head = request.getfixturevalue(which)
    problem, now = with_a_gap(problem_of(head, N)), state_of(head, scale, N)
    if scale and head.is_named:
        assert (now.expression < 0).any()
        assert (now.expression > 1).any()
    unseen = torch.zeros(problem.observed.shape[:2], dtype=torch.float64)  # landmarks pull nowhere
    expected = with_the_mean_held(exact_curvature(lambda at: prior_energy(problem, at), now), problem, now)
    curvature = dense(normal_system(problem, now, unseen, share=True))
    torch.testing.assert_close(curvature, expected, rtol=1e-9, atol=1e-12 * float(expected.abs().max()))


@pytest.mark.parametrize("frames", [1, 2])
def test_frames_too_few_to_bend_have_no_bands(open_head, frames: int):
    problem = replace(problem_of(open_head, 2), neighbours=torch.zeros(0, dtype=torch.bool))
    problem, now = problem.frames(torch.arange(frames)), state_of(open_head, 0.4, frames)
    system = normal_system(problem, now, torch.zeros(problem.observed.shape[:2]).double(), share=False)
    assert temporal_smoothness_energy(problem, now) == 0
    assert not system.next_one.any()
    assert not system.next_two.any()


def test_on_a_kink_the_side_counts_where_nothing_is_believed(open_head):
    problem, now = problem_of(open_head), state_of(open_head, 0.0)
    columns = now.columns(PER_FRAME)

    def curvature(jaw: float, unit: float) -> tuple[float, float]:
        at = replace(now, jaw=torch.full_like(now.jaw, jaw), expression=torch.full_like(now.expression, unit))
        total = torch.zeros(3, columns["translation"].stop, dtype=torch.float64)
        for term in frame_priors(problem, at):
            total[:, columns[term.parameter]][:, term.numbers] += term.curvature()
        return float(total[0, columns["jaw"].start]), float(total[0, 0])

    p, little = problem.priors, 1e-9
    firm, usual = 1 / p.jaw_closed**2, 1 / p.expression**2
    assert curvature(0.0, 0.0) == pytest.approx((0.0, usual))
    assert curvature(-little, -little) == pytest.approx((firm, usual + 1 / p.expression_bound**2))
    assert curvature(little, 1.0) == pytest.approx((0.0, usual))
    assert curvature(1.0, 1.0 + little) == pytest.approx((0.0, usual + 1 / p.expression_bound**2))


def at_rest(open_head, problem: Problem) -> TrackParameters:
    focal = problem.priors.focal_mean * problem.camera_model.size
    return replace(state_of(open_head, 0.0, N), log_focal=torch.tensor(math.log(focal), dtype=torch.float64))


@pytest.mark.parametrize(
    ("name", "number", "value", "energy"),
    [
        ("log_focal", (), 0.15, 0.5),
        ("shape", 4, 2.0, 2.0),
        ("neck", 1, 1.0, 2.0),
        ("jaw", 0, 0.3, 0.0),
        ("jaw", 0, -0.04, 2.0),
        ("jaw", 2, -0.03, 0.5),
        ("eyes", (0, 1), 0.3, 0.5 + 18.0),  # the left eye alone: six times what eyes are usually apart
        ("translation", 2, 2.0, 2.0),
        ("root", 0, 0.05, 0.0),  # all frames alike are their own mean
    ],
)
def test_one_number_in_all_frames_costs_half_its_square_over_the_deviation(open_head, name, number, value, energy):
    problem = with_a_gap(problem_of(open_head, N))
    now = at_rest(open_head, problem)
    assert prior_energy(problem, now) == 0
    moved = getattr(now, name).clone()
    moved[(..., *number) if isinstance(number, tuple) else (..., number)] += value
    assert prior_energy(problem, replace(now, **{name: moved})).item() == pytest.approx(energy, abs=1e-12)


@pytest.mark.parametrize(
    ("unit", "value", "energy"),
    [
        ("mouthPucker", 0.7, 2.0),
        ("mouthPucker", -0.06, 0.5 * (0.06 / 0.35) ** 2 + 2.0),
        ("mouthPucker", 1.06, 0.5 * (1.06 / 0.35) ** 2 + 2.0),
        ("tongueOut", 0.1, 0.5 * (0.1 / 0.35) ** 2 + 1e4 * 0.1**2),
    ],
)
def test_units_cost_more_beyond_their_bounds_and_where_nothing_shows_them(open_head, unit, value, energy):
    problem = with_a_gap(problem_of(open_head, N))
    now = at_rest(open_head, problem)
    now.expression[:, open_head.expression_names.index(unit)] = value
    assert prior_energy(problem, now).item() == pytest.approx(energy, rel=1e-12)


def test_only_the_roots_own_motion_costs(open_head):
    problem = replace(problem_of(open_head, N), priors=replace(Priors(), smooth_root=math.inf))
    now = at_rest(open_head, problem)
    now.root[0, 0] = 0.6  # 0.5 from the mean in one frame, 0.1 in five
    assert prior_energy(problem, now).item() == pytest.approx(0.5 * (0.5**2 + 5 * 0.1**2) / 0.05**2 / N)


@pytest.mark.parametrize(("fps", "relative"), [(30.0, 1.0), (60.0, 0.25)])
def test_second_differences_cost_where_three_frames_follow_each_other(open_head, fps, relative):
    problem = replace(with_a_gap(problem_of(open_head, N)), fps=fps)
    now = at_rest(open_head, problem)
    # Frame 2 is the last of 0 1 2 and the first of 2 3 4, which follow each other; 1 2 3 don't.
    now.translation[2, 1] = 0.003
    expected = 2 * 0.5 * (0.003 / (0.0015 * relative)) ** 2 / N
    assert temporal_smoothness_energy(problem, now).item() == pytest.approx(expected, rel=1e-6)


def test_the_mean_of_a_shot_is_of_its_own_frames():
    values = torch.tensor([[1.0], [3.0], [10.0], [20.0], [30.0]])
    shots = torch.tensor([0, 0, 4, 4, 4])
    torch.testing.assert_close(means_of_shots(values, shots), torch.tensor([[2.0], [2.0], [20.0], [20.0], [20.0]]))
    torch.testing.assert_close(means_of_shots(values, None), torch.full((5, 1), 12.8))
