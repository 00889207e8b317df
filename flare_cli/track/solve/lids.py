"""Lids that close and open when the eye does: after the solve, both are set by the gap between the lids alone.

Two things keep solved blinks half open. The gap is a few of 478 landmarks, and the rest of the eye's, which no head
fits exactly, pull on the same unit; and the iris network never sees an eye quite shut, since the lashes are left
(docs/experiments.md, "Lids that close"). The first of them, and the belief in small expressions, also leave eyes that
are torn open as they usually are ("Eighteen recordings").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.track.face.landmarks import LEFT_EYE_INNER, LEFT_EYE_OUTER, RIGHT_EYE_INNER, RIGHT_EYE_OUTER
from flare_cli.track.solve.energy import Problem, TrackParameters, projected_landmarks

# Each eye's units that close and open it, its corners, and points on the upper lid and those below them.
EYES = (
    (("eyeBlinkRight", "eyeWideRight"), (RIGHT_EYE_OUTER, RIGHT_EYE_INNER), (160, 159, 158), (144, 145, 153)),
    (("eyeBlinkLeft", "eyeWideLeft"), (LEFT_EYE_INNER, LEFT_EYE_OUTER), (385, 386, 387), (380, 374, 373)),
)
# What is seen of the gap, in widths of the eye, when it is shut: the least of two recordings, and less than the mean of
# three synthetic people (0.10), whose shut eyes are known.
SHUT = 0.06
# Parts of the way from usual to shut up to which the solve is believed, and from which on the gap is.
BELIEVED, DECIDED = 0.2, 0.4
# The same of the seen gap over its usual one and over the solved one: some eyes are always seen too wide.
WIDE_BELIEVED, WIDE_DECIDED = 1.1, 1.25
# A unit that closes an eye less than this (widths) is not seen: the eye is turned away.
LEAST_EFFECT = 0.15
LEAST_WIDENING = 0.05  # the same of a unit that opens it: 0.16 from the front


def with_lids_as_seen(
    problem: Problem, fitted: TrackParameters, points: Float[Tensor, "N 478 2"], used: Tensor
) -> TrackParameters:
    """`fitted` with blinks that close the drawn eye by the part of its usual gap that the seen one has closed.

    Eyes are opened that are seen far wider than usual, and than they are drawn: as far as both say.

    `used` tells which of the landmarks `points` are the vertices of the problem's head. Heads without named units are
    left as they are.
    """
    names = problem.head.expression_names
    if not problem.head.is_named or any(unit not in names for units, *_ in EYES for unit in units):
        return fitted
    expression = fitted.expression.clone()
    still = torch.zeros_like(expression)
    for (blink, wide), *landmarks in EYES:
        column = names.index(blink)

        def drawn(units: Float[Tensor, "N E"], where: list[tuple[int, ...]] = landmarks) -> Float[Tensor, "N"]:
            pixels = points.new_full(points.shape, torch.nan)
            pixels[:, used] = projected_landmarks(problem, replace(fitted, expression=units))
            return lid_gap(pixels, *where)

        def effect(column: int, units: Float[Tensor, "N E"], of: Callable[..., Float[Tensor, "N"]] = drawn) -> Tensor:
            """What one more of a unit adds to the gap."""
            more = units.clone()
            more[:, column] += 1
            return of(more) - of(units)

        rest = drawn(still)
        turned = rest / rest.median()  # what the head's pose alone makes of the gap
        seen = lid_gap(points, *landmarks)
        solved = drawn(fitted.expression) / turned
        usual = (seen / turned).median()
        closed = ((usual - seen / turned) / (usual - SHUT).clamp(min=SHUT)).clamp(0, 1)
        shuts = -effect(column, fitted.expression) / turned
        wanted = expression[:, column] + (solved - solved.median() * (1 - closed)) / shuts.clamp(min=LEAST_EFFECT)
        shut = ((closed - BELIEVED) / (DECIDED - BELIEVED)).clamp(0, 1) * (shuts > LEAST_EFFECT)
        expression[:, column] = expression[:, column].lerp(wanted.clamp(0, 1), shut.nan_to_num())

        column = names.index(wide)
        gap, opens = drawn(expression), effect(column, expression)
        lack = torch.minimum(seen, solved.median() * seen / usual) - gap
        wanted = expression[:, column] + lack.clamp(min=0) / opens.clamp(min=LEAST_WIDENING)
        wider = torch.minimum(seen / turned / usual, seen / gap.clamp(min=SHUT))
        belief = ((wider - WIDE_BELIEVED) / (WIDE_DECIDED - WIDE_BELIEVED)).clamp(0, 1)
        belief = belief * (1 - shut) * (opens > LEAST_WIDENING)
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
