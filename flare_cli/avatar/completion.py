"""What the recording never showed, filled in for people to see: from the other side of the head, else from around it.

A fit leaves there what its networks happen to say and what smoothness drags along. Each vertex shares itself out: its
own part is how well it was seen (`confidence`), of the rest the mirrored vertex takes the part that that was seen, and
what is left is filled smoothly over the surface, hair or a cap over that (`unseen/covering.py`). Teeth, tongue and the
inside of the mouth always get the material that such things have: the little light in there leaves their own open, and
what moves there is not tracked. A tint that the light of the recording left in the skin they have, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree
from torch import Tensor

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.cut import distance_from_cut
from flare_cli.avatar.material import Material
from flare_cli.avatar.mesh import Underside
from flare_cli.avatar.mouth import gap_shade, within_teeth
from flare_cli.avatar.unseen.covering import Covering, covering_of, coverings_of
from flare_cli.avatar.unseen.over_surface import filled_over_surface
from flare_cli.avatar.unseen.ramp import ramp
from flare_cli.avatar.unseen.scalp import find_scalp
from flare_cli.avatar.unseen.shape import mended
from flare_cli.head.hanging_hair import HANGING_HAIR
from flare_cli.render.geometry import mesh_edges

# Confidence up to which nothing of the vertex's own is kept, and from which on all of it is.
NOTHING_KEPT, ALL_KEPT = 0.3, 0.65
# The same of the squarest view (`confidence.Shown`) of hair and hats: at their outline is what is behind them, too. And
# of views that their colours are taken from: nearer to the outline those of three recordings were twice as light.
RIM, SQUARELY = (0.1, 0.4), (0.3, 0.6)
# How strongly neighbours pull where the surface is mirrored, against a vertex of full share.
SEAM_SMOOTHNESS = 2.0
# Up to so far above the cut (metres) colours run around the neck, as collars do, not up it: neighbours pull by a
# Gaussian, of this deviation, of how steeply one goes away from the cut between them: by this at least, or what nothing
# level with it shows would stay empty. Chosen by eye on a white collar under a suit.
COLLAR, STEEPNESS, LEAST_PULL = 0.08, 0.2, 1e-4
# How strongly neighbours of what was filled in are smoothed.
SOFT = 0.2
# The share of the mean colour of the face where skin was not seen.
USUAL_SHARE = 0.003
# Linear albedo, roughness and specular intensity of what is inside a mouth: enamel and mucosa as photographed.
HIDDEN = {
    "teeth": (0.58, 0.52, 0.43, 0.35, 0.5),
    "tongue": (0.36, 0.14, 0.12, 0.45, 0.5),
    "inner_mouth": (0.26, 0.09, 0.08, 0.45, 0.5),
}
# Red and blue over green, in stops: from very light to very dark skin with 2 % of blood, of the two layers of
# `synthetic/people/skin_colour.py`. What a face is beyond is light that the fit left in it. Teeth take over so much of
# it: with all of it they look ill under white light.
SKIN_RED, SKIN_BLUE, TEETH_TINT = (0.5, 1.0), (-0.75, -0.1), 0.5
LUMINANCE = (0.2126, 0.7152, 0.0722)  # of linear sRGB (Rec. 709)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """How each vertex of the avatar's mesh is made up, and what fills the gaps.

    `own` and `mirrored` are shares in 0..1, `mirror` is the vertex on the other side. `filling` is material (albedo,
    roughness, specular) for what neither has, and over it lies the `covering`, of those vertices that come first.
    `within` teeth it is dark where two meet (`within_teeth`).
    """

    own: Float[Tensor, "V 1"]
    mirrored: Float[Tensor, "V 1"]
    mirror: Int[Tensor, " V"]
    filling: Float[Tensor, "V 5"]
    within: Float[Tensor, "V 1"]
    covering: Covering | None = None

    def at_vertices(self, avatar: Avatar) -> Float[Tensor, "V K"]:
        """What is interpolated over the avatar's mesh: the mirrored vertex's place, shares, and what fills."""
        parts = [avatar.material_positions()[self.mirror], self.own, self.mirrored, self.filling, self.within]
        if self.covering is not None:
            covering = self.covering.at_vertices()
            below = covering.new_zeros(len(self.own) - len(covering), covering.shape[1])
            parts.append(torch.cat([covering, below]))
        return torch.cat(parts, 1)

    def carried(self, underside: Underside) -> Completion:
        """The same for a mesh that is closed below."""
        return replace(
            self,
            own=underside.carried(self.own),
            mirrored=underside.carried(self.mirrored),
            mirror=torch.cat([self.mirror, self.mirror[underside.source]]),
            filling=underside.carried(self.filling),
            within=underside.carried(self.within),
        )

    @staticmethod
    def of_all_seen(avatar: Avatar) -> Completion:
        """Of an avatar that nothing is filled in of."""
        nothing = avatar.mesh.offsets.new_zeros(len(avatar.mesh.offsets), 1)
        return Completion(
            own=1 - nothing,
            mirrored=nothing,
            mirror=torch.arange(len(nothing), device=nothing.device),
            filling=nothing.expand(-1, 5),
            within=1 - nothing,
        )

    def mixed(self, at: Float[Tensor, "P K"], own: Material, avatar: Avatar) -> Material:
        """The material of points: their own, the avatar's at the mirrored places, and the filling, by their shares."""
        place, share, other, filling, within, covering = at.split([3, 1, 1, 5, 1, at.shape[1] - 11], 1)
        if self.covering is not None:
            filling = self.covering.over(filling, covering)
        mirrored = avatar.material(place.contiguous()).in_columns()
        mixed = share * own.in_columns() + other * mirrored + (1 - share - other) * filling
        return Material.of_columns(torch.cat([mixed[:, :3] * gap_shade(within), mixed[:, 3:]], 1))


@dataclass(frozen=True, slots=True)
class _Shares:
    """What each vertex was seen of, itself or on the other side."""

    own: Float[Tensor, "V 1"]
    mirror: Int[Tensor, " V"]

    @property
    def mirrored(self) -> Float[Tensor, "V 1"]:
        """The mirrored vertex's part: of what is left."""
        return (1 - self.own) * self.own[self.mirror]

    @property
    def either(self) -> Float[Tensor, "V 1"]:
        """Both parts."""
        return self.own + self.mirrored

    def known(self, values: Float[Tensor, "V C"]) -> Float[Tensor, "V C"]:
        """The mean of both vertices' values, by these shares."""
        total = self.own * values + self.mirrored * values[self.mirror]
        return total / torch.where(self.either > 0, self.either, 1)


@torch.no_grad()
def completion_of(avatar: Avatar) -> Completion | None:
    """How to fill what was not seen; None for an avatar that doesn't know what was."""
    if avatar.confidence is None:
        return None
    topology = avatar.mesh.topology
    hidden = avatar.region_mask(tuple(HIDDEN))
    edges, scalp = mesh_edges(topology.faces), find_scalp(avatar)
    coverings, squarely = coverings_of(avatar, scalp), torch.ones_like(hidden)
    mirror = mirrored_vertices(topology.carried(avatar.head.template), avatar.region_mask((HANGING_HAIR,))[:, 0] > 0)
    seen = kept = _Shares((1 - hidden) * _confident(avatar), mirror)
    if avatar.squarest is not None:
        squarely = topology.carried(ramp(avatar.squarest, *SQUARELY))
        at_rim = coverings.sum(1, keepdim=True) * (1 - topology.carried(ramp(avatar.squarest, *RIM)))
        kept = _Shares(seen.own * (1 - at_rim), mirror)
    bare = (1 - kept.known(coverings).sum(1, keepdim=True)).clamp(0, 1)
    values = avatar.material(avatar.material_positions()).in_columns()
    # What nothing near shows is of the face's colour, and not of the collar's.
    face = avatar.region_mask(("face",)) * kept.own * bare
    usual = (face * values).sum(0) / face.sum() if face.sum() > 0 else None
    filling = _filled_skin(avatar, kept, bare, 1 - hidden, edges, values, usual)
    covering = None
    if scalp is not None:
        shown = squarely * seen.own * coverings
        covering = covering_of(avatar, scalp, shown=shown, known=seen.known(coverings), either=seen.either, edges=edges)
    return Completion(
        own=kept.own,
        mirrored=kept.mirrored,
        mirror=mirror,
        filling=filling.lerp(_inside_of_mouth(avatar, usual), hidden),
        within=within_teeth(avatar),
        covering=covering,
    )


def _filled_skin(
    avatar: Avatar,
    kept: _Shares,
    bare: Float[Tensor, "V 1"],
    outside: Float[Tensor, "V 1"],
    edges: Int[Tensor, "N 2"],
    values: Float[Tensor, "V 5"],
    usual: Float[Tensor, "5"] | None,
) -> Float[Tensor, "V 5"]:
    """Skin and clothes that go on where they were not seen; what covers the skull (1 - `bare`) has no part in it.

    `values` are the avatar's own, `usual` those of its face.
    """
    distance = distance_from_cut(avatar)
    above = torch.full_like(bare, COLLAR) if distance is None else distance.clamp(max=COLLAR)
    share = kept.either * bare.square() * outside
    prior = USUAL_SHARE * (outside - share) * (usual is not None) * (above >= COLLAR)
    (start, end), places = edges.unbind(1), avatar.mesh.topology.carried(avatar.head.template)
    steepness = (above[start] - above[end]) / (places[start] - places[end]).norm(dim=1, keepdim=True).clamp(min=1e-9)
    pull = torch.exp(-0.5 * (steepness / STEEPNESS).square()).clamp(min=LEAST_PULL)
    wanted = share * kept.known(values) + (0 if usual is None else prior * usual)
    wanted = wanted / (share + prior).clamp(min=1e-9)
    filling = filled_over_surface(wanted, share + prior, edges, pull=pull)
    # But where the one ends and the other begins triangles would show.
    soft = filled_over_surface(filling, torch.ones_like(bare), edges, SOFT, pull)
    return filling.lerp(soft, 1 - kept.either)


def _confident(avatar: Avatar) -> Float[Tensor, "V 1"]:
    """Which part of each vertex of the mesh was seen."""
    assert avatar.confidence is not None
    return avatar.mesh.topology.carried(ramp(avatar.confidence, NOTHING_KEPT, ALL_KEPT))


def _inside_of_mouth(avatar: Avatar, skin: Float[Tensor, "5"] | None) -> Float[Tensor, "V 5"]:
    """The usual material of teeth, tongue and the inside of the mouth where they are, with the tint of this `skin`."""
    hidden = torch.zeros_like(avatar.region_mask(()))
    colours = hidden.new_zeros(len(hidden), 5)
    stops = colours.new_zeros(3) if skin is None else _tint(skin[:3])
    for region, values in HIDDEN.items():
        inside, material = avatar.region_mask((region,)), hidden.new_tensor(values)
        albedo = material[:3] * 2 ** (stops * (TEETH_TINT if region == "teeth" else 1))
        luminance = hidden.new_tensor(LUMINANCE)
        material[:3] = albedo * (material[:3] @ luminance) / (albedo @ luminance)
        colours += (inside - hidden).clamp(min=0) * material
        hidden = torch.maximum(hidden, inside)
    return colours


def _tint(skin: Float[Tensor, "3"]) -> Float[Tensor, "3"]:
    """By how many stops the hue of a skin (linear) is beyond what skin has: of red and blue, over green."""
    red, green, blue = skin.clamp(min=1e-4).log2()
    beyond = [ratio - ratio.clamp(*usual) for ratio, usual in ((red - green, SKIN_RED), (blue - green, SKIN_BLUE))]
    return torch.stack([beyond[0], torch.zeros_like(green), beyond[1]])


@torch.no_grad()
def completed(avatar: Avatar, completion: Completion | None) -> Avatar:
    """A copy whose surface is the other side's, mirrored, where only that was seen; where neither was, `mended`."""
    if completion is None:
        return avatar
    offsets = avatar.mesh.offsets
    flipped = offsets[completion.mirror] * offsets.new_tensor([-1, 1, 1])
    # The seam is where the shares change: spread over some edges, it leaves no step.
    everywhere = torch.ones_like(completion.mirrored)
    share = filled_over_surface(
        completion.mirrored, everywhere, mesh_edges(avatar.mesh.topology.faces), smoothness=SEAM_SMOOTHNESS
    )
    moved = offsets.lerp(flipped, share.clamp(0, 1) * (1 - completion.own))
    # An outline tells where the surface is, if not its colour.
    moved = mended(avatar, moved, torch.maximum(completion.own + completion.mirrored, _confident(avatar)))
    return avatar.with_mesh(avatar.mesh.over(avatar.mesh.topology, moved))


@torch.no_grad()
def values_at_vertices(avatar: Avatar, completion: Completion) -> Float[Tensor, "V 5"]:
    """Albedo, roughness and specular intensity of each vertex, filled in."""
    at = completion.at_vertices(avatar)
    return completion.mixed(at, avatar.material(avatar.material_positions()), avatar).in_columns()


def mirrored_vertices(template: Float[Tensor, "V 3"], hanging: Bool[Tensor, " V"] | None = None) -> Int[Tensor, " V"]:
    """Of each vertex the one nearest to its place in the mirror (x to -x); of hair that hangs one of such hair."""
    places = template.cpu().double().numpy()
    hair = np.zeros(len(places), bool) if hanging is None else hanging.cpu().numpy()
    mirror = np.empty(len(places), np.int64)
    for part in (np.flatnonzero(~hair), np.flatnonzero(hair)):
        if len(part):
            mirror[part] = part[KDTree(places[part]).query(places[part] * [-1, 1, 1])[1]]
    return torch.from_numpy(mirror).to(template.device)
