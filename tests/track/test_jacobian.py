"""Closed-form derivatives against automatic ones, at a random state of both kinds of heads."""

from dataclasses import replace

import pytest
import torch

from flare_cli.head.model import HeadModel
from flare_cli.track.gauss_newton import normal_system
from flare_cli.track.jacobian import landmark_jacobian, posed_landmarks
from flare_cli.track.landmark_head import landmark_head
from flare_cli.track.posterior import (
    PER_FRAME,
    SHARED,
    Priors,
    Problem,
    Unknowns,
    View,
    misfit,
    projected_landmarks,
)
from flare_cli.track.prior_energy import strain

N = 3


def in_double(head: HeadModel) -> HeadModel:
    names = ("template", "shape_dirs", "expression_dirs", "pose_dirs", "weights", "joints", "joint_shape_dirs")
    return replace(head, **{name: getattr(head, name).double() for name in (*names, "joint_expression_dirs")})


def problem_of(head: HeadModel) -> Problem:
    marks = in_double(landmark_head(head))
    few = ("template", "shape_dirs", "expression_dirs", "pose_dirs", "weights")
    marks = replace(marks, **{name: getattr(marks, name)[::40] for name in few})
    # Directions that heads may lack: whatever is not 0 here is tested.
    random = torch.Generator().manual_seed(1)
    noise = lambda like: 0.01 * torch.randn(like.shape, generator=random, dtype=torch.float64)  # noqa: E731
    extra = {n: getattr(marks, n) + noise(getattr(marks, n)) for n in ("pose_dirs", "joint_expression_dirs")}
    L = len(marks.template)
    return Problem(
        head=replace(marks, **extra),
        normals=torch.zeros(L, 3),
        weights=torch.ones(L),
        observed=torch.zeros(N, L, 2),
        eye_distance=torch.ones(N),
        neighbours=torch.ones(N - 2, dtype=torch.bool),
        view=View(size=512, principal=(250.0, 260.0), focal=900.0, depth=0.8),
        priors=Priors(),
        fps=30.0,
    )


def state_of(head: HeadModel, scale: float) -> Unknowns:
    random = torch.Generator().manual_seed(2)
    draw = lambda *shape: scale * torch.randn(*shape, generator=random, dtype=torch.float64)  # noqa: E731
    return Unknowns(
        log_focal=torch.tensor(6.9, dtype=torch.float64),
        shape=draw(head.n_shape),
        expression=draw(N, head.n_expression),
        root=draw(N, 3),
        neck=draw(N, 3),
        jaw=draw(N, 3),
        eyes=draw(N, 2, 2),
        translation=0.1 * draw(N, 3),
    )


def automatic(problem: Problem, now: Unknowns, name: str) -> torch.Tensor:
    """Frame n's landmarks by frame n's unknowns (or by the shared ones), one column per number."""

    def moved(value: torch.Tensor) -> torch.Tensor:
        return projected_landmarks(problem, replace(now, **{name: value}))

    whole = torch.autograd.functional.jacobian(moved, getattr(now, name))
    if name in SHARED:
        return whole.reshape(*whole.shape[:3], -1)
    return torch.stack([whole[n, :, :, n].flatten(2) for n in range(N)])


@pytest.mark.parametrize("scale", [0.0, 0.4])
@pytest.mark.parametrize("which", ["open_head", "flame_head"])
def test_closed_form_is_what_automatic_differentiation_gives(which: str, scale: float, request):
    head = request.getfixturevalue(which)
    problem, now = problem_of(head), state_of(head, scale)
    scale = torch.rand(problem.observed.shape[:2], generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    posed = posed_landmarks(problem, now)
    torch.testing.assert_close(posed.pixels.mT, projected_landmarks(problem, now))
    found = landmark_jacobian(problem.head, posed, scale, share=True)
    per_frame = torch.cat([found.expression, found.pose], 3)
    for names, columns in ((PER_FRAME, per_frame), (SHARED, found.shared)):
        expected = torch.cat([automatic(problem, now, name) for name in names], -1) * scale[..., None, None]
        torch.testing.assert_close(
            columns.transpose(1, 2), expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max())
        )
    assert landmark_jacobian(problem.head, posed, scale, share=False).shared.shape[-1] == 0


@pytest.mark.parametrize("which", ["open_head", "flame_head"])
def test_gradient_is_that_of_the_sum(which: str, request):
    head = request.getfixturevalue(which)
    problem, now = problem_of(head), state_of(head, 0.2)
    random = torch.Generator().manual_seed(4)
    near = projected_landmarks(problem, now)
    near = near + 20 * torch.randn(near.shape, generator=random, dtype=torch.float64)
    problem = replace(problem, observed=near, eye_distance=torch.full((N,), 200.0, dtype=torch.float64))
    seen = torch.rand(near.shape[:2], generator=random, dtype=torch.float64)
    free = replace(now, **{name: getattr(now, name).clone().requires_grad_() for name in (*SHARED, *PER_FRAME)})
    (strain(problem, free) + misfit(problem, free, seen).mean()).backward()
    system = normal_system(problem, now, seen, share=True)
    frames = torch.cat([getattr(free, name).grad.reshape(N, -1) for name in PER_FRAME], 1)
    shared = torch.cat([getattr(free, name).grad.reshape(-1) for name in SHARED])
    torch.testing.assert_close(system.frame_gradient, frames, rtol=1e-6, atol=1e-6 * float(frames.abs().max()))
    torch.testing.assert_close(system.shared_gradient, shared, rtol=1e-6, atol=1e-6 * float(shared.abs().max()))
