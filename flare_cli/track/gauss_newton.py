"""The descent: Levenberg-Marquardt on all frames at once, with a Gauss-Newton matrix and the exact gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

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

CHUNK = 512
# Frames whose derivatives are held at the same time.
JACOBIAN_CHUNK = 64
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
    free = {name: getattr(now, name).detach().requires_grad_() for name in (*SHARED, *PER_FRAME)}
    tried, N = Unknowns(**free), len(now.root)
    value = 0.0
    for first in range(0, N, CHUNK):
        part = torch.arange(first, min(N, first + CHUNK), device=seen.device)
        away = misfit(problem.frames(part), tried.frames(part), seen[part]).sum() / N
        away.backward()
        value += away.item()
    strained = strain(problem, tried)
    strained.backward()
    return value + strained.item(), {name: leaf.grad for name, leaf in free.items() if leaf.grad is not None}


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
    shared_names = SHARED if share else ()
    blocks, crosses = [], []
    shared: Tensor | None = None
    for first in range(0, N, JACOBIAN_CHUNK):
        part = torch.arange(first, min(N, first + JACOBIAN_CHUNK), device=seen.device)
        some, at = problem.frames(part), now.frames(part)
        away = (projected_landmarks(some, at) - some.observed) / some.eye_distance[:, None, None]
        held = (p.outlier**2 / (p.outlier**2 + away.square().sum(-1)) / p.noise).square()
        weight = held * seen[part] * problem.weights * (p.points / (away.shape[1] * N))
        own = _jacobian(some, at, PER_FRAME)
        weighted = own * (weight / some.eye_distance[:, None].square())[..., None, None]
        flat = lambda x: x.flatten(1, 2).double()  # noqa: E731
        blocks.append(flat(weighted).transpose(1, 2) @ flat(own))
        if share:
            others = _jacobian(some, at, shared_names)
            crosses.append(flat(weighted).transpose(1, 2) @ flat(others))
            scaled = others * (weight / some.eye_distance[:, None].square())[..., None, None]
            both = torch.einsum("nkg,nkh->gh", flat(scaled), flat(others))
            shared = both if shared is None else shared + both
    blocks = torch.cat(blocks) + _prior_blocks(problem, now)
    D = blocks.shape[-1]
    if shared is not None:
        shape = now.shape.new_full((len(now.shape),), 1 / p.shape**2)
        shared = shared + torch.cat([shape.new_tensor([1 / p.focal**2]), shape]).diag()
    rough = _roughness_bands(problem, now)
    return _System(
        blocks=blocks + torch.diag_embed(rough[0]),
        cross=torch.cat(crosses) if crosses else blocks.new_zeros(N, D, 0),
        shared=blocks.new_zeros(0, 0) if shared is None else shared,
        next_one=rough[1],
        next_two=rough[2],
    )


def _jacobian(problem: Problem, now: Unknowns, names: tuple[str, ...]) -> Float[Tensor, "N L 2 D"]:
    """How the projected landmarks of each frame move with the named unknowns, by forward differentiation."""
    N = len(now.root)
    per_frame = names == PER_FRAME
    rows = N if per_frame else 1
    packed = torch.cat([getattr(now, name).reshape(rows, -1) for name in names], 1)

    def projected(values: Tensor) -> Tensor:
        parts, at = {}, 0
        for name in names:
            like = getattr(now, name)
            width = like.numel() // rows
            parts[name] = values[:, at : at + width].reshape(like.shape)
            at += width
        return projected_landmarks(problem, replace(now, **parts))

    # Frames are independent, so one direction serves all of them at once.
    directions = torch.eye(packed.shape[1], dtype=packed.dtype, device=packed.device)
    along = lambda one: torch.func.jvp(projected, (packed,), (one.expand(rows, -1),))[1]  # noqa: E731
    return torch.func.vmap(along, out_dims=-1)(directions)


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
