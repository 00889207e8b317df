"""What covers the skull where nobody saw it, hair or a cap: it goes on from where it was seen, down to a hairline.

Whether there is any is decided by what was seen: where the seen part of the skull ends in hair, hair goes on; where it
ends in skin or in cloth, that does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.unseen.locks import Locks, locks_like, samples_of
from flare_cli.avatar.unseen.over_surface import filled_over_surface
from flare_cli.avatar.unseen.ramp import ramp
from flare_cli.avatar.unseen.scalp import Scalp

# Metres, by eye: how soft the hairline is, how far strands reach over it or fall short of it, and how far below it
# there has to be a colour, if it were to grow there.
SOFT, RAGGED, BELOW = 0.024, 0.010, 0.03
# Metres above the hairline up to which what was seen doesn't say whether the rest is covered, for everybody's own
# hairline differs; and from which on it does. Before the ears there is much skin up to the first.
PERHAPS_BARE, WELL_ABOVE = 0.03, 0.05
# How strongly neighbours pull where it is decided, and where the covering gets its colour. A fifth of a fifth, and one
# wrong label at the rim makes a patch; five times as much, and a forehead counts for the back of the head.
DECIDING, SMOOTHNESS = 0.2, 1.0
# From which to which part of what was seen around that is covered the rest begins to be, and is. Not tuned.
NOT_COVERED, COVERED = 0.35, 0.65
# The share of the mean colour of what was seen: with a tenth of it the rim alone would tell.
USUAL_SHARE = 0.03
# Where an avatar does not know what it was shown: presets draw the roughness of hair to 1 and leave skin at a half
# (`loss.fibre_gloss`), and this power of it tells them apart. Where they do not, colour does: by up to so much of its
# logarithm the face's own differs, and from so much on something else does. By eye, on two such avatars.
HAIR_IS_MATT, LIKE_SKIN, UNLIKE_SKIN = 8, 0.4, 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Covering:
    """What goes on over the skull: its material, whether there is any (`share`), whether it is hair; both in 0..1."""

    scalp: Scalp
    values: Float[Tensor, "V 5"]
    share: Float[Tensor, "V 1"]
    hairy: Float[Tensor, "V 1"]
    locks: Locks | None

    def at_vertices(self) -> Float[Tensor, "V 11"]:
        """What is interpolated over the mesh."""
        return torch.cat([self.values, self.share, self.hairy, self.scalp.growth, self.scalp.combed], 1)

    def over(self, filling: Float[Tensor, "P 5"], at: Float[Tensor, "P 11"]) -> Float[Tensor, "P 5"]:
        """The filling of points with this over it, hair in locks that end unevenly."""
        values, share, hairy, growth, combed = at.split([5, 1, 1, 1, 3], 1)
        pattern = torch.full_like(share, 0.5) if self.locks is None else self.locks.at(combed)
        if self.locks is not None:
            shaded = self.locks.shaded(values[:, :3], pattern)
            values = values.lerp(torch.cat([shaded, values[:, 3:]], 1), hairy)
        grown = ((growth + RAGGED * (pattern - 0.5)) / SOFT + 0.5).clamp(0, 1)
        return filling.lerp(values, share * grown)


def coverings_of(avatar: Avatar, scalp: Scalp | None) -> Float[Tensor, "V 2"]:
    """How much hair was seen at each vertex of the skull, and how much of what is worn: shares of what was seen."""
    if scalp is None or avatar.confidence is None:
        return torch.zeros_like(avatar.material_positions()[:, :2])
    coverings, carried = avatar.coverings, avatar.mesh.topology.carried
    if coverings is None:
        unlike = _unlike_skin(avatar)
        coverings = torch.cat([unlike, torch.zeros_like(unlike)], 1)
    # Between a vertex that was seen and one that was not there is what the first showed.
    shown = carried(avatar.confidence * coverings) / carried(avatar.confidence).clamp(min=1e-9)
    return (scalp.growth > 0) * shown


def _unlike_skin(avatar: Avatar) -> Float[Tensor, "V0 1"]:
    """How matt an avatar is, or how far from the face's colour (0..1): hair or a cap, as far as it can know."""
    own, regions, confidence = len(avatar.head.template), avatar.head.regions, avatar.confidence
    assert confidence is not None
    material = avatar.material(avatar.material_positions()[:own].contiguous())
    face = confidence * regions["face"][:, None]
    logarithm = material.albedo.log()
    usual = (face * logarithm).sum(0) / face.sum().clamp(min=1e-6)
    apart = (logarithm - usual).abs().mean(1, keepdim=True)
    of_other_colour = ramp(apart, LIKE_SKIN, UNLIKE_SKIN)
    return torch.maximum(material.roughness**HAIR_IS_MATT, of_other_colour)


def covering_of(
    avatar: Avatar,
    scalp: Scalp,
    *,
    shown: Float[Tensor, "V 2"],
    known: Float[Tensor, "V 2"],
    either: Float[Tensor, "V 1"],
    edges: Int[Tensor, "N 2"],
) -> Covering | None:
    """What goes on over the skull; None where it was seen to be bare.

    `shown` is how well hair and what is worn were seen at each vertex itself, so well that their colour is known;
    `known` is which part of what it or its mirrored vertex showed was either, and `either` how well they showed it.
    """
    samples = samples_of(avatar, shown.sum(1, keepdim=True))
    if samples is None:
        return None
    near = edges[(scalp.growth > -BELOW)[edges, 0].all(1)]
    covered = known.sum(1, keepdim=True).clamp(max=1)
    well_above = ramp(scalp.growth, PERHAPS_BARE, WELL_ABOVE)
    around = filled_over_surface(covered, either * well_above, near, DECIDING)
    share = ramp(around, NOT_COVERED, COVERED)
    # Colours, and which part is hair, in one: from where they are known, and else of the mean.
    seen = shown.sum(1, keepdim=True)
    hairy = known[:, :1] / covered.clamp(min=1e-6)
    colours, there = torch.zeros_like(seen).repeat(1, 5), seen[:, 0] > 0
    colours[there] = samples.mean_about(avatar.mesh.topology.carried(avatar.head.template)[there])
    usual = torch.cat([samples.values.mean(0), (seen * hairy).sum(0) / seen.sum()])
    prior = USUAL_SHARE * (1 - seen)
    wanted = (seen * torch.cat([colours, hairy], 1) + prior * usual) / (seen + prior)
    values, hairy = filled_over_surface(wanted, seen + prior, near, SMOOTHNESS).split([5, 1], 1)
    hair = samples_of(avatar, shown[:, :1])
    locks = None if hair is None else locks_like(avatar, hair, scalp)
    return Covering(scalp=scalp, values=values, share=share, hairy=hairy.clamp(0, 1), locks=locks)
