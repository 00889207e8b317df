"""Levenberg-Marquardt on all frames at once, with a Gauss-Newton matrix and the exact gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flare_cli.parallel.threads import in_parallel
from flare_cli.track.solve.energy import PER_FRAME, SHARED, Problem, TrackParameters, data_energy, visibility
from flare_cli.track.solve.jacobian import Jacobian, landmark_jacobian, posed_landmarks
from flare_cli.track.solve.normal_equations import step_with_neighbours, step_with_shared
from flare_cli.track.solve.prior_energy import (
    PriorTerm,
    eyes_apart,
    frame_priors,
    prior_energy,
    shared_priors,
    temporal_smoothness_bands,
)

# Frames whose derivatives one thread holds at the same time. 8, 16, 32 and 64 took 25, 18.8, 18.7 and 20.2 ms for 32
# frames (docs/experiments.md, "A minute in less than a minute: track").
CHUNK = 32
# A round that gains less than this part of the energy is the last.
ENOUGH = 1e-4
# Damping is a part of the diagonal; it grows by a factor after a step that gains nothing, and shrinks after another.
FIRST_DAMPING, DAMPING_FACTOR, LEAST_DAMPING, MAX_DAMPINGS = 1e-3, 8, 1e-7, 10
# Which landmarks are visible is held for so many rounds: the energy has to be the same one from step to step.
VISIBILITY_EVERY = 3
# Keeps the system regular where nothing is known of a number.
TINY = 1e-9


def fitted_parameters(
    problem: Problem, start: TrackParameters, rounds: int, progress: Callable[[int], None], *, share: bool
) -> TrackParameters:
    """The parameters of least energy near `start`, by Levenberg-Marquardt.

    With `share` focal length, shape and the places of `Problem.free` are solved for as well, and then without ties
    between frames.
    """
    now, damping = start, FIRST_DAMPING
    visible = visibility(problem, now)
    value = _energy(problem, now, visible)
    for done in range(rounds):
        system = normal_system(problem, now, visible, share=share)
        for _ in range(MAX_DAMPINGS):
            trial = _stepped(now, _step(system, damping, share=share))
            new_value = _energy(problem, trial, visible)
            if new_value < value:
                break
            damping *= DAMPING_FACTOR
        else:
            break
        gain, damping = (value - new_value) / value, max(damping / DAMPING_FACTOR, LEAST_DAMPING)
        now, value = trial, new_value
        progress(done + 1)
        if gain < ENOUGH:
            break
        if done % VISIBILITY_EVERY == VISIBILITY_EVERY - 1:
            visible = visibility(problem, now)
            value = _energy(problem, now, visible)
    progress(rounds)
    return now


def _energy(problem: Problem, now: TrackParameters, visible: Float[Tensor, "N L"]) -> float:
    """What is minimised: the data energy and the prior energy, per frame."""
    N = len(now.root)

    def of_part(part: Tensor) -> float:
        return data_energy(problem.frames(part), now.frames(part), visible[part]).sum().item() / N

    return sum(in_parallel(of_part, _parts(N, visible.device)), prior_energy(problem, now).item())


def _parts(N: int, device: torch.device) -> list[Tensor]:
    """The numbers of N frames, a few at a time: derivatives of all at once would fill the memory."""
    return list(torch.arange(N, device=device).split(CHUNK))


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalSystem:
    """The normal matrix's parts and the gradient, in float64; those of `SHARED` are empty if it isn't solved for.

    What is shared also has the places, after `SHARED`.
    `prior_diagonal` is the part of the diagonal that comes from the priors alone.
    """

    blocks: Float[Tensor, "N D D"]
    prior_diagonal: Float[Tensor, "N D"]
    cross: Float[Tensor, "N D G"]
    shared: Float[Tensor, "G G"]
    next_one: Float[Tensor, "N D"]
    next_two: Float[Tensor, "N D"]
    frame_gradient: Float[Tensor, "N D"]
    shared_gradient: Float[Tensor, "G"]


def normal_system(
    problem: Problem, now: TrackParameters, visible: Float[Tensor, "N L"], *, share: bool
) -> NormalSystem:
    """Gauss-Newton's matrix, an approximation of the energy's second derivatives; the gradient is exact.

    Of the data energy the robust function's weights are held, and landmarks count as moving in straight lines: where
    they all lie on the observed ones this is exact. Of the prior energy the root's mean is held; all else is exact,
    but that on a kink (a unit of exactly 0 or 1, a jaw of exactly 0) the side counts where nothing is believed.
    """
    p, N = problem.priors, len(now.root)

    def of_part(part: Tensor) -> list[Tensor]:
        some = problem.frames(part)
        posed = posed_landmarks(some, now.frames(part))
        away = (posed.pixels - some.observed.mT) / some.eye_distance[:, None, None]
        held = some.cap / (some.cap + away.square().sum(1)) / p.noise
        root = held * (visible[part] * problem.weights * (p.points / (away.shape[2] * N))).sqrt()
        moved = landmark_jacobian(some.head, posed, root / some.eye_distance[:, None], share=share)
        left = (root[:, None] * away)[:, :, None].double()
        products = _products([moved.expression, torch.cat([moved.pose.mT, left], 2).mT, moved.shared])
        # One column of `left` lies between what is each frame's and what is shared.
        D = moved.expression.shape[3] + moved.pose.shape[3]
        of_frame, of_shared = products[:, :D], products[:, D + 1 :]
        parts = [
            of_frame[..., :D],
            of_frame[..., D + 1 :],
            of_shared[..., D + 1 :],
            of_frame[..., D],
            of_shared[..., D],
        ]
        return _with_places(parts, moved, left, problem.free) if len(problem.free) and share else parts

    sums = zip(*in_parallel(of_part, _parts(N, visible.device)), strict=True)
    blocks, cross, shared, by_frame, by_shared = (torch.cat(parts) for parts in sums)
    shared, shared_gradient = shared.sum(0), by_shared.sum(0)
    eyes = eyes_apart(problem, now)
    eye_columns = now.columns(PER_FRAME)[eyes.parameter]
    blocks[:, eye_columns, eye_columns] += eyes.curvature().to(blocks) / N
    prior = _prior_gradient(problem, now)
    if share:
        of_places = (problem.place.double() ** -2).repeat_interleave(3)
        diagonal = _diagonal(shared_priors(problem, now), now.columns(SHARED))
        shared = shared + torch.cat([diagonal, of_places]).diag()
        gradients = [*(prior[name].reshape(-1) for name in SHARED), of_places * now.places.flatten()]
        shared_gradient = shared_gradient + torch.cat(gradients)
    smooth = temporal_smoothness_bands(problem, now)
    return NormalSystem(
        blocks=blocks,
        prior_diagonal=_diagonal(frame_priors(problem, now), now.columns(PER_FRAME)) / N + smooth[0],
        cross=cross,
        shared=shared,
        next_one=smooth[1],
        next_two=smooth[2],
        frame_gradient=by_frame + torch.cat([prior[name].reshape(N, -1) for name in PER_FRAME], 1),
        shared_gradient=shared_gradient,
    )


def _products(parts: list[Float[Tensor, "N 2 L _"]]) -> Float[Tensor, "N T T"]:
    """Each frame's products of all columns with each other, summed over its landmarks."""
    widths = [part.shape[3] for part in parts]
    whole = parts[0].new_empty(len(parts[0]), sum(widths), sum(widths))
    tiles = [rows.split(widths, 2) for rows in whole.split(widths, 1)]
    for i, one in enumerate(parts):
        for j, other in enumerate(parts[: i + 1]):
            product = (one.mT @ other).sum(1)
            tiles[i][j].copy_(product)
            tiles[j][i].copy_(product.mT)
    return whole


def _with_places(
    parts: list[Tensor], moved: Jacobian, left: Float[Tensor, "N 2 1 L"], free: Int[Tensor, "F"]
) -> list[Tensor]:
    """The products of `normal_system` with places among what is shared. A place moves its own landmark alone, so that
    the products of two are 0."""
    blocks, cross, shared, by_frame, by_shared = parts
    place = moved.place[:, :, free]
    of_frame = torch.cat([moved.expression, moved.pose], 3)[:, :, free]

    def by_place(columns: Float[Tensor, "N 2 F W"]) -> Float[Tensor, "N W _"]:
        """Products of some columns with those of the places, 3 a landmark."""
        return torch.einsum("nrfw,nrfc->nwfc", columns, place).flatten(2)

    own = torch.einsum("nrfw,nrfc->nfwc", place, place)
    # The matrix of one frame's places would be large, and only its sum is wanted.
    places = torch.block_diag(*own.sum(0))
    with_shared = by_place(moved.shared[:, :, free]).sum(0)
    whole = torch.cat([torch.cat([shared.sum(0), with_shared], 1), torch.cat([with_shared.mT, places], 1)])
    by_places = by_place(left[:, :, 0, free, None])[:, 0]
    return [
        blocks,
        torch.cat([cross, by_place(of_frame)], 2),
        whole[None],
        by_frame,
        torch.cat([by_shared, by_places], 1),
    ]


def _prior_gradient(problem: Problem, now: TrackParameters) -> dict[str, Tensor]:
    names = (*SHARED, *PER_FRAME)
    free = TrackParameters(**{name: getattr(now, name).clone().requires_grad_() for name in names})
    gradients = torch.autograd.grad(prior_energy(problem, free), [getattr(free, name) for name in names])
    return dict(zip(names, gradients, strict=True))


def _diagonal(terms: list[PriorTerm], columns: dict[str, slice]) -> Float[Tensor, "*N W"]:
    """The terms' curvature in a row with those columns, in float64."""
    like = terms[0].residual
    total = like.new_zeros(*like.shape[:-1], max(column.stop for column in columns.values()))
    for term in terms:
        total[..., columns[term.parameter]][..., term.numbers] += term.curvature()
    return total.double()


def _step(system: NormalSystem, damping: float, *, share: bool) -> dict[str, Tensor]:
    """The damped step of every parameter that is solved for."""
    diagonal = system.blocks.diagonal(dim1=1, dim2=2) + system.prior_diagonal
    damped = system.prior_diagonal + damping * diagonal + TINY
    if not share:
        bands = (damped, system.next_one, system.next_two)
        return {"frames": step_with_neighbours(system.blocks, *bands, system.frame_gradient)}
    shared = system.shared + (damping * system.shared.diagonal() + TINY).diag()
    blocks = system.blocks + torch.diag_embed(damped)
    frames, both = step_with_shared(blocks, system.cross, shared, system.frame_gradient, system.shared_gradient)
    return {"frames": frames, "shared": both}


def _stepped(now: TrackParameters, step: dict[str, Tensor]) -> TrackParameters:
    moved: dict[str, Tensor] = {}
    for names, part in ((PER_FRAME, step["frames"]), (SHARED, step.get("shared"))):
        if part is not None:
            for name, column in now.columns(names).items():
                value = getattr(now, name)
                moved[name] = value + part[..., column].reshape(value.shape).to(value)
    if "shared" in step:
        of_places = step["shared"][len(step["shared"]) - now.places.numel() :]
        moved["places"] = now.places + of_places.view_as(now.places).to(now.places)
    return replace(now, **moved)
