"""Lids that close when the eye does: after the solve, blinks are set by the gap between the lids alone.

Two things keep solved blinks half open. The gap is a few of 478 landmarks, and the rest of the eye's, which no head
fits exactly, pull on the same unit; and the iris network never sees an eye quite shut, since the lashes are left
(docs/experiments.md, "Lids that close").
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.track.face.landmarks import LEFT_EYE_INNER, LEFT_EYE_OUTER, RIGHT_EYE_INNER, RIGHT_EYE_OUTER
from flare_cli.track.solve.energy import Problem, TrackParameters, projected_landmarks

# Each eye's unit, its corners, and points on the upper lid and those below them.
EYES = (
    ("eyeBlinkRight", (RIGHT_EYE_OUTER, RIGHT_EYE_INNER), (160, 159, 158), (144, 145, 153)),
    ("eyeBlinkLeft", (LEFT_EYE_INNER, LEFT_EYE_OUTER), (385, 386, 387), (380, 374, 373)),
)
# What is seen of the gap, in widths of the eye, when it is shut: the least of two recordings, and less than the mean of
# three synthetic people (0.10), whose shut eyes are known.
SHUT = 0.06
# Parts of the way from usual to shut up to which the solve is believed, and from which on the gap is.
BELIEVED, DECIDED = 0.2, 0.4
# A unit that closes an eye less than this (widths) is not seen: the eye is turned away.
LEAST_EFFECT = 0.15


def with_closed_lids(
    problem: Problem, fitted: TrackParameters, points: Float[Tensor, "N 478 2"], used: Tensor
) -> TrackParameters:
    """`fitted` with blinks that close the drawn eye by the part of its usual gap that the seen one has closed.

    `used` tells which of the landmarks `points` are the vertices of the problem's head. Heads without named units are
    left as they are.
    """
    names = problem.head.expression_names
    if not problem.head.is_named or any(unit not in names for unit, *_ in EYES):
        return fitted
    expression = fitted.expression.clone()
    still = torch.zeros_like(expression)
    for unit, *landmarks in EYES:
        column = names.index(unit)

        def drawn(units: Float[Tensor, "N E"], where: list[tuple[int, ...]] = landmarks) -> Float[Tensor, "N"]:
            pixels = points.new_full(points.shape, torch.nan)
            pixels[:, used] = projected_landmarks(problem, replace(fitted, expression=units))
            return lid_gap(pixels, *where)

        rest = drawn(still)
        turned = rest / rest.median()  # what the head's pose alone makes of the gap
        seen, solved = lid_gap(points, *landmarks) / turned, drawn(fitted.expression) / turned
        usual = seen.median()
        closed = ((usual - seen) / (usual - SHUT).clamp(min=SHUT)).clamp(0, 1)
        shut = fitted.expression.clone()
        shut[:, column] += 1
        effect = solved - drawn(shut) / turned
        wanted = expression[:, column] + (solved - solved.median() * (1 - closed)) / effect.clamp(min=LEAST_EFFECT)
        belief = ((closed - BELIEVED) / (DECIDED - BELIEVED)).clamp(0, 1) * (effect > LEAST_EFFECT)
        expression[:, column] = expression[:, column].lerp(wanted.clamp(0, 1), belief.nan_to_num())
    return replace(fitted, expression=expression)


def lid_gap(
    points: Float[Tensor, "N 478 2"], corners: tuple[int, ...], upper: tuple[int, ...], lower: tuple[int, ...]
) -> Float[Tensor, "N"]:
    """How far the lower lid is below the upper one, square to the line of the eye's corners, in parts of its length."""
    along = points[:, corners[1]] - points[:, corners[0]]
    width = along.norm(dim=-1)
    down = torch.stack([-along[:, 1], along[:, 0]], -1) / width[:, None]  # corners run to the right, y downwards
    away = points[:, list(lower)].mean(1) - points[:, list(upper)].mean(1)
    return (away * down).sum(-1) / width
