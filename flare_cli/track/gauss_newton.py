"""The descent: Levenberg-Marquardt on all frames at once, with a Gauss-Newton matrix and the exact gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.track.jacobian import landmark_jacobian
from flare_cli.track.normal_equations import step_with_neighbours, step_with_shared
from flare_cli.track.posterior import (
    PER_FRAME,
    SHARED,
    Problem,
    Unknowns,
    beyond_bounds,
    expression_deviation,
    misfit,
    projected_landmarks,
    smoothness,
    strain,
    unseen_units,
    visibility,
)
from flare_cli.track.threads import in_parallel

CHUNK = 32  # frames whose derivatives one thread holds at the same time
# A round that gains less than this part of the sum is the last.
ENOUGH = 1e-4
MAX_DAMPINGS = 10


def descended(
    problem: Problem, start: Unknowns, rounds: int, progress: Callable[[int], None], *, share: bool
) -> Unknowns:
    """Levenberg-Marquardt. With `share` also for focal length and shape, and then without ties between frames."""
    now, damping = start, 1e-3
    seen = visibility(problem, now)
    value, gradients = _sum_and_gradients(problem, now, seen)
    for done in range(rounds):
        system = _system(problem, now, seen, share=share)
        for _ in range(MAX_DAMPINGS):
            trial = _stepped(now, _step(system, gradients, damping, share=share))
            new_value, new_gradients = _sum_and_gradients(problem, trial, seen)
            if new_value < value:
                break
            damping *= 8
        else:
            break
        gain, damping = (value - new_value) / value, max(damping / 8, 1e-7)
        now, value, gradients = trial, new_value, new_gradients
        progress(done + 1)
        if gain < ENOUGH:
            break
        if done % 3 == 2:
            seen = visibility(problem, now)
            value, gradients = _sum_and_gradients(problem, now, seen)
    progress(rounds)
    return now


def _sum_and_gradients(problem: Problem, now: Unknowns, seen: Float[Tensor, "N L"]) -> tuple[float, dict[str, Tensor]]:
    """What is minimised, and its exact gradient."""
    free = _free(now)
    strained = strain(problem, free)
    strained.backward()
    value, gradients = strained.item(), {name: _gradient(free, name) for name in (*SHARED, *PER_FRAME)}

    def of_part(part: Tensor) -> tuple[Tensor, float, Unknowns]:
        some = _free(now.frames(part))
        away = misfit(problem.frames(part), some, seen[part]).sum() / len(now.root)
        away.backward()
        return part, away.item(), some

    for part, away, some in in_parallel(of_part, _parts(len(now.root), seen.device)):
        value += away
        for name in SHARED:
            gradients[name] += _gradient(some, name)
        for name in PER_FRAME:
            gradients[name][part] += _gradient(some, name)
    return value, gradients


def _free(now: Unknowns) -> Unknowns:
    return Unknowns(**{name: getattr(now, name).detach().clone().requires_grad_() for name in (*SHARED, *PER_FRAME)})


def _gradient(of: Unknowns, name: str) -> Tensor:
    leaf: Tensor = getattr(of, name)
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def _parts(N: int, device: torch.device) -> list[Tensor]:
    """The numbers of N frames, a few at a time: derivatives of all at once would fill the memory."""
    return list(torch.arange(N, device=device).split(CHUNK))


@dataclass(frozen=True, slots=True, kw_only=True)
class _System:
    """The normal matrix's parts, in float64. `cross` and `shared` are empty when only frames are solved for."""

    blocks: Float[Tensor, "N D D"]
    cross: Float[Tensor, "N D G"]
    shared: Float[Tensor, "G G"]
    next_one: Float[Tensor, "N D"]
    next_two: Float[Tensor, "N D"]


def _system(problem: Problem, now: Unknowns, seen: Float[Tensor, "N L"], *, share: bool) -> _System:
    """Gauss-Newton's matrix: the robust function's weights are held, priors count where they are active."""
    p, N = problem.priors, len(now.root)

    def of_part(part: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        some, at = problem.frames(part), now.frames(part)
        away = (projected_landmarks(some, at) - some.observed) / some.eye_distance[:, None, None]
        held = (p.outlier**2 / (p.outlier**2 + away.square().sum(-1)) / p.noise).square()
        weight = held * seen[part] * problem.weights * (p.points / (away.shape[1] * N))
        scale = (weight / some.eye_distance[:, None].square()).double().sqrt()[..., None, None]
        moved = landmark_jacobian(some, at, share=share)
        own, others = ((scale * columns).flatten(1, 2) for columns in (moved.per_frame, moved.shared))
        return own.transpose(1, 2) @ own, own.transpose(1, 2) @ others, (others.transpose(1, 2) @ others).sum(0)

    found = list(in_parallel(of_part, _parts(N, seen.device)))
    blocks = torch.cat([own for own, _, _ in found]) + _prior_blocks(problem, now)
    shared = torch.stack([both for _, _, both in found]).sum(0)
    if share:
        shape = now.shape.new_full((len(now.shape),), 1 / p.shape**2)
        shared = shared + torch.cat([shape.new_tensor([1 / p.focal**2]), shape]).diag()
    rough = _roughness_bands(problem, now)
    return _System(
        blocks=blocks + torch.diag_embed(rough[0]),
        cross=torch.cat([cross for _, cross, _ in found]),
        shared=shared,
        next_one=rough[1],
        next_two=rough[2],
    )


def _prior_blocks(problem: Problem, now: Unknowns) -> Float[Tensor, "N D D"]:
    """Second derivatives of the strain within a frame, over N."""
    p, N = problem.priors, len(now.root)
    units = now.expression
    outside = (beyond_bounds(problem.head, units) > 0).to(units)
    hidden = 2e4 * unseen_units(problem.head).to(units)
    even = lambda width, sigma: units.new_full((N, width), 1 / sigma**2)  # noqa: E731
    closed = (now.jaw[:, :1] < 0).to(units) / p.jaw_closed**2
    parts = {
        "expression": 1 / expression_deviation(problem) ** 2 + outside / p.expression_bound**2 + hidden,
        "root": even(3, p.root),
        "neck": even(3, p.neck),
        "jaw": torch.cat([closed, even(2, p.jaw_side)], 1),
        "eyes": even(4, p.eyes) + 1 / p.eyes_apart**2,
        "translation": even(3, p.translation),
    }
    blocks = torch.diag_embed(torch.cat([parts[name] for name in PER_FRAME], 1).double())
    first = sum(parts[name].shape[1] for name in PER_FRAME[: PER_FRAME.index("eyes")])
    for k in range(2):
        blocks[:, first + k, first + 2 + k] -= 1 / p.eyes_apart**2
        blocks[:, first + 2 + k, first + k] -= 1 / p.eyes_apart**2
    return blocks / N


def _roughness_bands(problem: Problem, now: Unknowns) -> tuple[Tensor, Tensor, Tensor]:
    """Second derivatives of the roughness: each frame's own, with the next, with the one after the next."""
    N = len(now.root)
    sigma = smoothness(problem)
    weight = torch.cat([(1 / sigma[name].square()).expand(getattr(now, name)[0].numel()) for name in PER_FRAME])
    weight = weight.double() / N
    own, one, two = (torch.zeros(N, len(weight), dtype=torch.float64, device=weight.device) for _ in range(3))
    if N > 2:
        tied = problem.neighbours.double()[:, None] * weight
        own[:-2] += tied
        own[1:-1] += 4 * tied
        own[2:] += tied
        one[:-2] -= 2 * tied
        one[1:-1] -= 2 * tied
        two[:-2] += tied
    return own, one, two


def _step(system: _System, gradients: dict[str, Tensor], damping: float, *, share: bool) -> dict[str, Tensor]:
    """The damped step of every unknown that is solved for."""
    N, D = system.next_one.shape
    frame_gradient = torch.cat([gradients[name].reshape(N, -1) for name in PER_FRAME], 1).double()
    diagonal = system.blocks.diagonal(dim1=1, dim2=2)
    blocks = system.blocks + torch.diag_embed(damping * diagonal + 1e-9)
    if not share:
        return {"frames": step_with_neighbours(blocks, system.next_one, system.next_two, frame_gradient)}
    shared = system.shared + (damping * system.shared.diagonal() + 1e-9).diag()
    shared_gradient = torch.cat([gradients[name].reshape(-1) for name in SHARED]).double()
    frames, both = step_with_shared(blocks, system.cross, shared, frame_gradient, shared_gradient)
    assert frames.shape == (N, D)
    return {"frames": frames, "shared": both}


def _stepped(now: Unknowns, step: dict[str, Tensor]) -> Unknowns:
    moved: dict[str, Tensor] = {}
    for names, part in ((PER_FRAME, step["frames"]), (SHARED, step.get("shared"))):
        at = 0
        for name in names if part is not None else ():
            value = getattr(now, name)
            width = value[0].numel() if names is PER_FRAME else value.numel()
            assert part is not None
            moved[name] = value + part[..., at : at + width].reshape(value.shape).to(value)
            at += width
    return replace(now, **moved)
