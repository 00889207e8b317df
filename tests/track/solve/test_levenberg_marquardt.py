"""Gradient and curvature of the whole energy against automatic differentiation."""

from dataclasses import replace

import pytest
import torch
from support.toy_problem import N, dense, exact_curvature, problem_of, state_of, with_places, with_the_mean_held

from flare_cli.track.solve.energy import PER_FRAME, SHARED, TrackParameters, data_energy, projected_landmarks
from flare_cli.track.solve.levenberg_marquardt import fitted_parameters, normal_system
from flare_cli.track.solve.prior_energy import prior_energy

HEADS = ["open_head", "flame_head"]


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("which", HEADS)
def test_gradient_is_that_of_the_sum(which: str, free: bool, request):
    head = request.getfixturevalue(which)
    problem, now = problem_of(head), state_of(head, 0.2)
    if free:
        problem, now = with_places(problem, now)
    random = torch.Generator().manual_seed(4)
    near = projected_landmarks(problem, now)
    near = near + 20 * torch.randn(near.shape, generator=random, dtype=torch.float64)
    problem = replace(problem, observed=near, eye_distance=torch.full((N,), 200.0, dtype=torch.float64))
    visible = torch.rand(near.shape[:2], generator=random, dtype=torch.float64)
    together = (*SHARED, "places") if free else SHARED
    leaf = replace(now, **{name: getattr(now, name).clone().requires_grad_() for name in (*together, *PER_FRAME)})
    (prior_energy(problem, leaf) + data_energy(problem, leaf, visible).mean()).backward()
    system = normal_system(problem, now, visible, share=True)
    frames = torch.cat([getattr(leaf, name).grad.reshape(N, -1) for name in PER_FRAME], 1)
    shared = torch.cat([getattr(leaf, name).grad.reshape(-1) for name in together])
    torch.testing.assert_close(system.frame_gradient, frames, rtol=1e-6, atol=1e-6 * float(frames.abs().max()))
    torch.testing.assert_close(system.shared_gradient, shared, rtol=1e-6, atol=1e-6 * float(shared.abs().max()))


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("which", HEADS)
def test_curvature_is_exact_where_landmarks_lie_on_the_observed_ones_but_for_the_roots_mean(
    which: str, free: bool, request
):
    head = request.getfixturevalue(which)
    problem, now = problem_of(head), state_of(head, 0.2)
    if free:
        problem, now = with_places(problem, now)
    eyes = torch.full((N,), 200.0, dtype=torch.float64)
    problem = replace(problem, observed=projected_landmarks(problem, now), eye_distance=eyes)
    visible = torch.rand(problem.observed.shape[:2], generator=torch.Generator().manual_seed(4), dtype=torch.float64)

    def energy(at: TrackParameters) -> torch.Tensor:
        return prior_energy(problem, at) + data_energy(problem, at, visible).mean()

    expected = with_the_mean_held(exact_curvature(energy, now), problem, now)
    curvature = dense(normal_system(problem, now, visible, share=True))
    torch.testing.assert_close(curvature, expected, rtol=1e-6, atol=1e-9 * float(expected.abs().max()))


def test_the_robust_functions_weights_are_held(open_head):
    problem, now = problem_of(open_head), state_of(open_head, 0.2)
    exact = projected_landmarks(problem, now)
    visible = torch.ones(exact.shape[:2], dtype=torch.float64)
    away = 0.5  # of the eye distance, which is a pixel here: an outlier
    met, missed = (
        normal_system(replace(problem, observed=observed), now, visible, share=True)
        for observed in (exact, exact + torch.tensor([away, 0.0], dtype=torch.float64))
    )
    # Geman-McClure: c x / (c + x) of the square x rises by (c / (c + x))^2.
    cap = problem.priors.outlier**2
    held = (cap / (cap + away**2)) ** 2
    torch.testing.assert_close(missed.cross, held * met.cross, rtol=1e-6, atol=1e-9 * float(missed.cross.abs().max()))


def test_points_that_lie_elsewhere_than_on_the_model_are_put_there_and_the_pose_is_exact(open_head):
    n = 12
    problem, truth = problem_of(open_head, n), state_of(open_head, 0.2, n)
    truth = replace(truth, shape=torch.zeros_like(truth.shape), expression=torch.zeros_like(truth.expression))
    L = len(problem.weights)
    random = torch.Generator().manual_seed(6)
    moved = 0.004 * torch.randn(L - 2, 3, generator=random, dtype=torch.float64)
    free = replace(problem, free=torch.arange(2, L), place=torch.full((L - 2,), 0.01, dtype=torch.float64))
    eyes = torch.full((n,), 100.0, dtype=torch.float64)
    observed = projected_landmarks(free, replace(truth, places=moved))
    # Nothing but the points says anything: the beliefs about parameters are weak.
    sure = replace(problem.priors, points=1e6, expression=1e-4, shape=1e-3, root=10.0, neck=10.0, focal=1e-3)
    start = replace(truth, neck=truth.neck + 0.02 * torch.randn(n, 3, generator=random, dtype=torch.float64))
    errors = []
    for one in (problem, free):
        given = replace(one, observed=observed, eye_distance=eyes, priors=sure, fps=1e-3)
        places = torch.zeros(len(one.free), 3, dtype=torch.float64)
        found = fitted_parameters(given, replace(start, places=places), 60, lambda done: None, share=True)
        at = projected_landmarks(given, found) - observed
        errors.append(((found.neck - truth.neck).std(0).norm().item(), at.norm(dim=-1).mean().item()))
    (turn_on_model, off_on_model), (turn, off) = errors
    assert off < 0.05 * off_on_model
    assert turn < 0.3 * turn_on_model
