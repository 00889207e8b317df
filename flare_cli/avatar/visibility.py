"""What each vertex sees of the light in any pose: nine harmonics, linear in a few factors of the motion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from flare_cli.head.joints import Joint
from flare_cli.render.light.sphere import ONE, harmonics, turned_harmonics

# Factors besides expressions: 1, and the turn of neck and jaw about three axes each.
FIXED_FACTORS = 7
# Holds back factors that the traced poses hardly tell apart, as a part of a factor's mean square. Not tuned.
RIDGE = 0.01
# Of its deviation over the track below which a factor is left out, in radians or in metres: nothing moves.
LEAST_DEVIATION = 1e-4
LEAST_GAPE = 1e-6  # keeps an eye that is shut in all poses solvable


@dataclass(frozen=True, slots=True)
class Eyeball:
    """The n vertices of an eyeball, their directions from its centre at rest, and in N poses in the head's frame."""

    vertices: Int[Tensor, " n"]
    rest: Float[Tensor, "n 3"]
    turned: Float[Tensor, "N n 3"]

    def between_lids(self, traced: Float[Tensor, "N n 9"]) -> Float[Tensor, "n 9"]:
        """What each vertex sees when it lies between the lids: linear in its direction, as found where they gape.

        A ball turns under its lids: what a gaze brings forth was hidden in all poses that were traced, and black.
        """
        ahead = (traced * harmonics(self.turned.to(traced))).sum(-1, keepdim=True)
        gape = ahead.clamp(0, 1).square().flatten(0, 1)
        inputs = torch.cat([torch.ones_like(self.turned[..., :1]), self.turned], -1).flatten(0, 1).to(traced)
        normal = inputs.T @ (gape * inputs)
        held = RIDGE * gape.sum() * normal.new_tensor([0, 1, 1, 1]) + LEAST_GAPE
        normal += held.diag()
        linear = torch.linalg.solve(normal, inputs.T @ (gape * traced.flatten(0, 1)))
        return linear[0] + self.rest.to(linear) @ linear[1:]


def softened(values: Float[Tensor, "B N C"], places: Float[Tensor, "N 3"], deviation: float) -> Float[Tensor, "B N C"]:
    """Values at places (metres), each the mean of those around it by a Gaussian of their distance."""
    share = torch.exp(-0.5 * (torch.cdist(places, places) / deviation).square())
    return (share / share.sum(1, keepdim=True)) @ values


@final
class PosedVisibility(nn.Module):
    """Visibility at the head model's own V vertices, in the frame of the head, as a linear function of F factors.

    The frame is the neck joint's, which turns with the head. Factors are 1, the sines of neck and jaw, and principal
    components of the expressions of a track, each over its deviation there and held to its range there: beyond it
    nothing was traced. Not trained: `follow` and `learn` set the buffers, in place. Until then all is seen.
    """

    def __init__(self, *, vertices: int, n_motion: int, factors: int, device: torch.device) -> None:
        super().__init__()
        self.basis: Tensor
        self.centre: Tensor
        self.reach: Tensor
        self.coefficients: Tensor
        self.register_buffer("basis", torch.zeros(n_motion, factors - 1, device=device))
        self.register_buffer("centre", torch.zeros(n_motion, device=device))
        self.register_buffer("reach", torch.zeros(2, factors - 1, device=device))
        open_everywhere = torch.zeros(factors, vertices, 9, dtype=torch.half, device=device)
        open_everywhere[0, :, 0] = ONE
        self.register_buffer("coefficients", open_everywhere)

    @torch.no_grad()
    def forward(self, motion: Float[Tensor, "B K"], head: Float[Tensor, "B 3 3"]) -> Float[Tensor, "B V 9"]:
        """Harmonics in world space where the motion has these factors (`Motion`) and the head is turned by `head`."""
        local = self._factors(motion) @ self.coefficients.flatten(1).float()
        return local.unflatten(1, (-1, 9)) @ turned_harmonics(head)

    @torch.no_grad()
    def follow(self, motion: Float[Tensor, "N K"], moves: Float[Tensor, " E"]) -> None:
        """Choose the factors that tell a track's moments apart; `moves` is how far each expression moves vertices."""
        n_expression, n_factors = len(moves), self.basis.shape[1]
        basis = torch.zeros_like(self.basis)
        for i, joint in enumerate((Joint.NECK, Joint.JAW)):
            first = n_expression + 9 * (joint - 1)  # of its R - I, row-major: the skew part holds sine times axis
            for k, (plus, minus) in enumerate(((7, 5), (2, 6), (3, 1))):
                basis[first + plus, 3 * i + k], basis[first + minus, 3 * i + k] = 0.5, -0.5
        moved = (motion - motion.mean(0))[:, :n_expression] * moves
        components = torch.linalg.svd(moved.double(), full_matrices=False).Vh[: n_factors - 6].T.to(motion)
        basis[:n_expression, 6 : 6 + components.shape[1]] = components * moves[:, None]
        self.centre.copy_(motion.mean(0))
        values = (motion - self.centre) @ basis
        deviation = values.square().mean(0).sqrt()
        self.basis.copy_(torch.where(deviation > LEAST_DEVIATION, basis / deviation, 0.0))
        values = (motion - self.centre) @ self.basis
        self.reach.copy_(torch.stack([values.amin(0), values.amax(0)]))

    @torch.no_grad()
    def spread_out(self, motion: Float[Tensor, "N K"], n: int) -> Int[Tensor, " M"]:
        """At most `n` moments far apart in the factors: the one nearest to the mean, then always the farthest."""
        factors = self._factors(motion)[:, 1:]
        chosen = [int(factors.square().sum(1).argmin())]
        distance = (factors - factors[chosen[0]]).square().sum(1)
        while len(chosen) < min(n, len(motion)) and float(distance.max()) > 0:
            chosen.append(int(distance.argmax()))
            distance = torch.minimum(distance, (factors - factors[chosen[-1]]).square().sum(1))
        return torch.tensor(chosen, device=motion.device)

    @torch.no_grad()
    def learn(
        self,
        motion: Float[Tensor, "N K"],
        head: Float[Tensor, "N 3 3"],
        traced: Float[Tensor, "N V 9"],
        eyeballs: Sequence[Eyeball] = (),
    ) -> None:
        """Take over what was traced (world space) in these poses: ridge least squares at each vertex."""
        local = (traced @ turned_harmonics(head.transpose(1, 2))).flatten(1).double()
        factors = self._factors(motion).double()
        ridge = RIDGE * len(motion) * torch.eye(factors.shape[1]).to(factors)
        ridge[0, 0] = 0
        solved = torch.linalg.solve(factors.T @ factors + ridge, factors.T @ local)
        solved = solved.unflatten(1, (-1, 9))
        for ball in eyeballs:
            solved[:, ball.vertices] = 0
            solved[0, ball.vertices] = ball.between_lids(local.unflatten(1, (-1, 9))[:, ball.vertices])
        self.coefficients.copy_(solved)

    def _factors(self, motion: Float[Tensor, "B K"]) -> Float[Tensor, "B F"]:
        values = torch.clamp((motion - self.centre) @ self.basis, self.reach[0], self.reach[1])
        return torch.cat([torch.ones_like(values[:, :1]), values], 1)
