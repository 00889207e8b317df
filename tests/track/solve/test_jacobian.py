"""Closed-form derivatives against automatic ones, at a random state of both kinds of heads."""

from dataclasses import replace

import pytest
import torch
from support.toy_problem import N, problem_of, state_of

from flare_cli.track.solve.energy import PER_FRAME, SHARED, Problem, TrackParameters, projected_landmarks
from flare_cli.track.solve.jacobian import landmark_jacobian, posed_landmarks


def automatic(problem: Problem, now: TrackParameters, name: str) -> torch.Tensor:
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
    jacobian = landmark_jacobian(problem.head, posed, scale, share=True)
    per_frame = torch.cat([jacobian.expression, jacobian.pose], 3)
    for names, columns in ((PER_FRAME, per_frame), (SHARED, jacobian.shared)):
        expected = torch.cat([automatic(problem, now, name) for name in names], -1) * scale[..., None, None]
        torch.testing.assert_close(
            columns.transpose(1, 2), expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max())
        )
    assert landmark_jacobian(problem.head, posed, scale, share=False).shared.shape[-1] == 0
