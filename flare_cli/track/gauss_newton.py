"""The descent: Levenberg-Marquardt on all frames at once, with a Gauss-Newton matrix and the exact gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.track.jacobian import landmark_jacobian, posed_landmarks
from flare_cli.track.normal_equations import step_with_neighbours, step_with_shared
from flare_cli.track.posterior import (
    PER_FRAME,
    SHARED,
    Problem,
    Unknowns,
    beyond_bounds,
    expression_deviation,
    misfit,
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
    value = _sum(problem, now, seen)
    for done in range(rounds):
        system = normal_system(problem, now, seen, share=share)
        for _ in range(MAX_DAMPINGS):
            trial = _stepped(now, _step(system, damping, share=share))
            new_value = _sum(problem, trial, seen)
            if new_value < value:
                break
            damping *= 8
        else:
            break
        gain, damping = (value - new_value) / value, max(damping / 8, 1e-7)
        now, value = trial, new_value
        progress(done + 1)
        if gain < ENOUGH:
            break
        if done % 3 == 2:
            seen = visibility(problem, now)
            value = _sum(problem, now, seen)
    progress(rounds)
    return now


def _sum(problem: Problem, now: Unknowns, seen: Float[Tensor, "N L"]) -> float:
    """What is minimised."""
    N = len(now.root)

    def of_part(part: Tensor) -> float:
        return misfit(problem.frames(part), now.frames(part), seen[part]).sum().item() / N

    return sum(in_parallel(of_part, _parts(N, seen.device)), strain(problem, now).item())


def _parts(N: int, device: torch.device) -> list[Tensor]:
    """The numbers of N frames, a few at a time: derivatives of all at once would fill the memory."""
    return list(torch.arange(N, device=device).split(CHUNK))


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalSystem:
    """The normal matrix's parts and the gradient, in float64; those of `SHARED` are empty if it isn't solved for.

    `own` is the part of the diagonal that no landmark is needed for.
    """

    blocks: Float[Tensor, "N D D"]
    own: Float[Tensor, "N D"]
    cross: Float[Tensor, "N D G"]
    shared: Float[Tensor, "G G"]
    next_one: Float[Tensor, "N D"]
    next_two: Float[Tensor, "N D"]
    frame_gradient: Float[Tensor, "N D"]
    shared_gradient: Float[Tensor, "G"]


def normal_system(problem: Problem, now: Unknowns, seen: Float[Tensor, "N L"], *, share: bool) -> NormalSystem:
    """Gauss-Newton's matrix: the robust function's weights are held, priors count where they are active."""
    p, N = problem.priors, len(now.root)

    def of_part(part: Tensor) -> list[Tensor]:
        some, at = problem.frames(part), now.frames(part)
        posed = posed_landmarks(some, at)
        away = (posed.pixels - some.observed.mT) / some.eye_distance[:, None, None]
        held = p.outlier**2 / (p.outlier**2 + away.square().sum(1)) / p.noise
        root = held * (seen[part] * problem.weights * (p.points / (away.shape[2] * N))).sqrt()
        moved = landmark_jacobian(some.head, posed, root / some.eye_distance[:, None], share=share)
        left = (root[:, None] * away)[:, :, None].double()
        products = _products([moved.expression, torch.cat([moved.pose.mT, left], 2).mT, moved.shared])
        # One column of `left` lies between what is each frame's and what is shared.
        D = moved.expression.shape[3] + moved.pose.shape[3]
        own, others = products[:, :D], products[:, D + 1 :]
        return [own[..., :D], own[..., D + 1 :], others[..., D + 1 :], own[..., D], others[..., D]]

    found = zip(*in_parallel(of_part, _parts(N, seen.device)), strict=True)
    blocks, cross, shared, by_frame, by_shared = (torch.cat(parts) for parts in found)
    shared, shared_gradient = shared.sum(0), by_shared.sum(0)
    _eyes_of(blocks).add_(_eyes_together(problem).to(blocks) / N)
    prior = _strain_gradient(problem, now)
    if share:
        shape = now.shape.new_full((len(now.shape),), 1 / p.shape**2)
        shared = shared + torch.cat([shape.new_tensor([1 / p.focal**2]), shape]).diag()
        shared_gradient = shared_gradient + torch.cat([prior[name].reshape(-1) for name in SHARED])
    rough = _roughness_bands(problem, now)
    return NormalSystem(
        blocks=blocks,
        own=_prior_diagonal(problem, now) + rough[0],
        cross=cross,
        shared=shared,
        next_one=rough[1],
        next_two=rough[2],
        frame_gradient=by_frame + torch.cat([prior[name].reshape(N, -1) for name in PER_FRAME], 1),
        shared_gradient=shared_gradient,
    )


def _products(parts: list[Float[Tensor, "N 2 L _"]]) -> Float[Tensor, "N T T"]:
    """Each frame's products of all columns with each other, summed over its landmarks."""
    widths = [part.shape[3] for part in parts]
    whole = parts[0].new_empty(len(parts[0]), sum(widths), sum(widths))
    places = [rows.split(widths, 2) for rows in whole.split(widths, 1)]
    for i, one in enumerate(parts):
        for j, other in enumerate(parts[: i + 1]):
            product = (one.mT @ other).sum(1)
            places[i][j].copy_(product)
            places[j][i].copy_(product.mT)
    return whole


def _strain_gradient(problem: Problem, now: Unknowns) -> dict[str, Tensor]:
    names = (*SHARED, *PER_FRAME)
    free = Unknowns(**{name: getattr(now, name).clone().requires_grad_() for name in names})
    found = torch.autograd.grad(strain(problem, free), [getattr(free, name) for name in names])
    return dict(zip(names, found, strict=True))


def _prior_diagonal(problem: Problem, now: Unknowns) -> Float[Tensor, "N D"]:
    """Second derivatives of the strain within a frame but for what ties the eyes, over N."""
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
        "eyes": even(4, p.eyes),
        "translation": even(3, p.translation),
    }
    return torch.cat([parts[name] for name in PER_FRAME], 1).double() / N


def _eyes_of(blocks: Float[Tensor, "N D D"]) -> Float[Tensor, "N 4 4"]:
    """The part of the blocks (not a copy) for both eyes' angles; only translation comes after them."""
    return blocks[:, -7:-3, -7:-3]


def _eyes_together(problem: Problem) -> Float[Tensor, "4 4"]:
    """Second derivatives of the strain by the angles between the eyes."""
    return torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).kron(torch.eye(2)) / problem.priors.eyes_apart**2


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


def _step(system: NormalSystem, damping: float, *, share: bool) -> dict[str, Tensor]:
    """The damped step of every unknown that is solved for."""
    diagonal = system.blocks.diagonal(dim1=1, dim2=2) + system.own
    own = system.own + damping * diagonal + 1e-9
    if not share:
        return {
            "frames": step_with_neighbours(system.blocks, own, system.next_one, system.next_two, system.frame_gradient)
        }
    shared = system.shared + (damping * system.shared.diagonal() + 1e-9).diag()
    blocks = system.blocks + torch.diag_embed(own)
    frames, both = step_with_shared(blocks, system.cross, shared, system.frame_gradient, system.shared_gradient)
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
