"""The prior energy of a track: what heads usually do, each belief stated once, and the curvature that follows from it.

It sums half squares of residuals over standard deviations (`Priors`): of the parameters themselves, and of their second
differences in time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial, reduce
from operator import add

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from flare_cli.head.model import HeadModel
from flare_cli.track.solve.energy import PER_FRAME, Problem, TrackParameters

# The frame rate (1/s) for which the deviations of second differences in `Priors` are meant.
REFERENCE_FPS = 30.0
# The angles of `jaw` that have beliefs of their own: positive opens the mouth, the others turn it to the side.
JAW_OPENING, JAW_SIDEWAYS = slice(0, 1), slice(1, 3)
# Second differences in time: a frame, plus these times the one before it and the one before that.
BEND = (-2.0, 1.0)


def half_square(residual: Float[Tensor, "*N K"], deviation: float | Tensor) -> Float[Tensor, "*N"]:
    """The energy of a normal distribution, up to a constant."""
    return 0.5 * (residual / deviation).square().sum(-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorTerm:
    """One belief about each of some `numbers` of a parameter: that its residual is 0, give or take the deviation.

    A residual moves one for one (up or down) with its own number and with nothing else, so that energy and curvature
    both follow from here. A `one_sided` one rests at 0 on the side where nothing is believed; there, and on the kink
    itself, its curvature is 0.
    """

    parameter: str
    numbers: slice = field(default_factory=partial(slice, None))
    residual: Float[Tensor, "*N K"]
    deviation: float | Float[Tensor, "K"]
    one_sided: bool = False

    def energy(self) -> Float[Tensor, "*N"]:
        """Half the squared residual over the deviation, summed over the numbers."""
        return half_square(self.residual, self.deviation)

    def curvature(self) -> Float[Tensor, "*N K"]:
        """Second derivative of the energy by each number."""
        moving = self.residual > 0 if self.one_sided else torch.ones_like(self.residual)
        return moving.to(self.residual) / self.deviation**2


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorCoupling:
    """A belief about a parameter's numbers together: that sums of them, given by `weights`, are 0."""

    parameter: str
    values: Float[Tensor, "N W"]
    weights: Float[Tensor, "W K"]
    deviation: float

    def energy(self) -> Float[Tensor, "N"]:
        """Half the squared sums over the deviation."""
        return half_square(self.values @ self.weights, self.deviation)

    def curvature(self) -> Float[Tensor, "W W"]:
        """Second derivatives of the energy by the numbers; the same in all frames."""
        return self.weights @ self.weights.mT / self.deviation**2


def shared_priors(problem: Problem, now: TrackParameters) -> list[PriorTerm]:
    """What is believed of the parameters that all frames share."""
    p = problem.priors
    usual = math.log(p.focal_mean * problem.camera_model.size)
    return [
        PriorTerm(parameter="log_focal", residual=(now.log_focal - usual).reshape(1), deviation=p.focal),
        PriorTerm(parameter="shape", residual=now.shape, deviation=p.shape),
    ]


def frame_priors(problem: Problem, now: TrackParameters) -> list[PriorTerm]:
    """What is believed of each frame's parameters on its own, but for `eyes_apart`.

    The root strays from its mean over the frames of its shot. The curvature holds that mean: it leaves out
    -1/(N deviation)^2 between every two frames (and each and itself), which would tie all of them together.
    """
    p, head, units, jaw = problem.priors, problem.head, now.expression, now.jaw
    # Of units that landmarks show nothing more is believed: their deviation is infinite.
    unseen = torch.where(unseen_units(head).to(units.device), units.new_tensor(p.expression_unseen), math.inf)
    outside = beyond_bounds(head, units)
    closed = torch.relu(-jaw[:, JAW_OPENING])
    return [
        PriorTerm(parameter="expression", residual=units, deviation=expression_deviation(problem)),
        PriorTerm(parameter="expression", residual=outside, deviation=p.expression_bound, one_sided=True),
        PriorTerm(parameter="expression", residual=units, deviation=unseen),
        PriorTerm(parameter="root", residual=now.root - means_of_shots(now.root, problem.shots), deviation=p.root),
        PriorTerm(parameter="neck", residual=now.neck, deviation=p.neck),
        PriorTerm(parameter="jaw", numbers=JAW_SIDEWAYS, residual=jaw[:, JAW_SIDEWAYS], deviation=p.jaw_side),
        PriorTerm(parameter="jaw", numbers=JAW_OPENING, residual=closed, deviation=p.jaw_closed, one_sided=True),
        PriorTerm(parameter="eyes", residual=now.eyes.flatten(1), deviation=p.eyes),
        PriorTerm(parameter="translation", residual=now.translation, deviation=p.translation),
    ]


def means_of_shots(values: Float[Tensor, "N K"], shots: Int[Tensor, "N"] | None) -> Float[Tensor, "N K"]:
    """Of each frame the mean over all frames of its shot."""
    if shots is None:
        return values.mean(0).expand_as(values)
    same = (shots[:, None] == shots.unique()).to(values)
    return same @ (same.mT @ values / same.sum(0)[:, None])


def eyes_apart(problem: Problem, now: TrackParameters) -> PriorCoupling:
    """Both eyes look at the same place: pitch and yaw of the left one less the right one's are near 0."""
    left_less_right = now.eyes.new_tensor([[1, 0], [0, 1], [-1, 0], [0, -1]])
    deviation = problem.priors.eyes_apart
    return PriorCoupling(parameter="eyes", values=now.eyes.flatten(1), weights=left_less_right, deviation=deviation)


def prior_energy(problem: Problem, now: TrackParameters) -> Float[Tensor, ""]:
    """The prior energy, per frame: how unlikely the parameters are in themselves."""
    once = [term.energy() for term in shared_priors(problem, now)]
    per_frame = [term.energy() for term in [*frame_priors(problem, now), eyes_apart(problem, now)]]
    places = half_square(now.places, problem.place[: len(now.places), None]).sum()
    return reduce(add, once) + reduce(add, per_frame).mean() + places + temporal_smoothness_energy(problem, now)


def temporal_smoothness_energy(problem: Problem, now: TrackParameters) -> Float[Tensor, ""]:
    """The energy of second differences in time, where three frames follow each other, per frame."""
    total = torch.zeros_like(now.log_focal)
    N = len(now.root)
    if N < 3:
        return total
    sigma, following = smoothness_deviations(problem), problem.neighbours.nonzero()[:, 0]
    for name in PER_FRAME:
        values = getattr(now, name).flatten(1)
        bend = values[2:].add(values[1:-1], alpha=BEND[0]).add(values[:-2], alpha=BEND[1])
        bend = bend[following] / sigma[name]
        total = total + 0.5 * bend.square().sum() / N
    return total


def temporal_smoothness_bands(problem: Problem, now: TrackParameters) -> tuple[Float[Tensor, "N D"], ...]:
    """Second derivatives of the temporal smoothness energy by a number and itself, the same number in the next frame,
    and that in the one after the next.

    In float64; the last frames' entries, which have no partner, are 0.
    """
    N = len(now.root)
    sigma = smoothness_deviations(problem)
    precision = torch.cat([(1 / sigma[name].square()).expand(getattr(now, name)[0].numel()) for name in PER_FRAME])
    tied = problem.neighbours.double()[:, None] * precision.double() / N
    of_three = (*reversed(BEND), 1.0)
    bands = tuple(torch.zeros(N, len(precision), dtype=torch.float64, device=precision.device) for _ in of_three)
    for k, weight in enumerate(of_three if N > 2 else ()):
        for reach, other in enumerate(of_three[k:]):
            bands[reach][k : N - 2 + k] += weight * other * tied
    return bands


def smoothness_deviations(problem: Problem) -> dict[str, Tensor]:
    """Standard deviations of second differences at this frame rate; one number, or one per unit of expression."""
    p, like = problem.priors, problem.weights
    lids = torch.tensor([name.startswith(("eyeBlink", "eyeWide")) for name in problem.head.expression_names])
    slower = (REFERENCE_FPS / problem.fps) ** 2
    even = {
        "root": p.smooth_root,
        "neck": p.smooth_rotation,
        "jaw": p.smooth_jaw,
        "eyes": p.smooth_eyes,
        "translation": p.smooth_translation,
    }
    deviations = {name: like.new_tensor(sigma * slower) for name, sigma in even.items()}
    swing = expression_deviation(problem) / p.expression
    deviations["expression"] = torch.where(lids, p.smooth_lids, p.smooth_expression).to(like) * slower * swing
    return deviations


def expression_deviation(problem: Problem) -> float:
    """How far expressions usually are from 0."""
    return problem.priors.expression if problem.head.is_named else problem.priors.component


def beyond_bounds(head: HeadModel, units: Float[Tensor, "N E"]) -> Float[Tensor, "N E"]:
    """How far named units are below 0 or above 1."""
    return torch.relu(-units) + torch.relu(units - 1) if head.is_named else torch.zeros_like(units)


def unseen_units(head: HeadModel) -> Bool[Tensor, "E"]:
    """Units that landmarks can't show: the tongue."""
    return torch.tensor([name.startswith("tongue") for name in head.expression_names])
