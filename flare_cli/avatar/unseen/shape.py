"""The surface where nobody saw it: ears of the head model's shape, hair as thick as where it was seen.

A fit's smoothness drags offsets along as vectors: what lifts the hair on top pushes the back of the head up along
itself. And what pulls at the outline of an ear, seen from the front alone, folds it.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from scipy.spatial import KDTree
from torch import Tensor

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.unseen.over_surface import filled_over_surface
from flare_cli.avatar.unseen.ramp import ramp
from flare_cli.avatar.unseen.scalp import find_scalp
from flare_cli.head.hanging_hair import HANGING_HAIR
from flare_cli.render.geometry import mesh_edges, vertex_normals

# Squarest view (`confidence.Shown`) from which on a vertex of an ear counts as seen; and the part of an ear that was,
# up to which nothing of the shape that was fitted is kept, and from which on all of it is. From the front 0.4 is seen.
SQUARE, NOTHING_OF_EAR, ALL_OF_EAR = 0.4, 0.6, 0.9
# How strongly offsets hold to what they were where they were seen, and on an ear that was half seen; and how stiff what
# goes on from there is, against stretching (not on ears) and against bending. By eye and by held-out pictures: with a
# sixth of HALF_SEEN, ears that stick out are pulled in; with fifteen times as much, folds stay (docs/experiments.md).
HELD, HALF_SEEN, TENSION, BENDING = 100.0, 0.03, 0.05, 1.0
# Metres behind what was seen up to which the outline holds the surface, and from which on it does not: held by what was
# seen alone, hair of held-out pictures was 2 to 4 dB worse.
OUTLINE, BEYOND = 0.03, 0.05
# Metres above the hairline from which on hair is lifted off the skull, and below which offsets go on as vectors.
THIN, THICK = -0.04, 0.05


def mended(avatar: Avatar, offsets: Float[Tensor, "V 3"], seen: Float[Tensor, "V 1"]) -> Float[Tensor, "V 3"]:
    """Offsets (metres) that go on smoothly where they were not `seen` (0..1): over the skull, and on ears.

    Worked out at the head model's own vertices; those between them follow. Others stay, to the bit.
    """
    scalp, own = find_scalp(avatar), len(avatar.head.template)
    squarely = avatar.confidence if avatar.squarest is None else avatar.squarest
    if scalp is None or squarely is None:
        return offsets
    given, seen, growth = offsets[:own], seen[:own], scalp.growth[:own]
    on_skull = ramp(growth, THIN, THICK) * (1 - avatar.region_mask((HANGING_HAIR,))[:own])
    kept = 1 - on_skull * (1 - _near_seen(avatar.head.template, seen))
    share = HELD * kept
    ears, x = avatar.head.regions["ears"], avatar.head.template[:, 0]
    for ear in (ears & (x > 0), ears & (x < 0)):
        part = (squarely[ear] > SQUARE).float().mean()
        kept[ear] = ramp(part, NOTHING_OF_EAR, ALL_OF_EAR)
        share[ear] = HELD * kept[ear] + HALF_SEEN * seen[ear]
    normals = vertex_normals((avatar.neutral_vertices() - avatar.mesh.offsets)[None, :own], avatar.head.faces)[0]
    thickness = (given * normals).sum(1, keepdim=True)
    edges = mesh_edges(avatar.head.faces)
    smooth, lift = filled_over_surface(
        torch.cat([given, thickness], 1), share, edges, TENSION, (~ears[edges].any(1, keepdim=True)).float(), BENDING
    ).split([3, 1], 1)
    there = (on_skull * seen)[:, 0] > 0.5
    if there.any():  # what goes on does not go beyond
        lift = lift.clamp(float(thickness[there].min()), float(thickness[there].max()))
    on_skull = on_skull * ~ears[:, None]
    change = (1 - kept) * (smooth.lerp(lift * normals, on_skull) - given)
    return offsets + avatar.mesh.topology.carried(change)


def _near_seen(places: Float[Tensor, "V 3"], seen: Float[Tensor, "V 1"]) -> Float[Tensor, "V 1"]:
    """1 up to `OUTLINE` from a vertex that was seen, 0 from `BEYOND` on: what is just behind an outline makes it."""
    known = places[seen[:, 0] > 0.5].cpu().numpy()
    if not len(known):
        return seen
    distance = torch.from_numpy(KDTree(known).query(places.cpu().numpy())[0]).to(places)[:, None]
    return torch.maximum(seen, ramp(distance, BEYOND, OUTLINE))
