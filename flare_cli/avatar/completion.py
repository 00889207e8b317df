"""What the recording never showed, filled in for export: from the other side of the head, else from around it.

A fit leaves there what its networks happen to say and what smoothness drags along. Each vertex shares itself out: its
own part is how well it was seen (`confidence`), of the rest the mirrored vertex takes the part that that was seen, and
what is left is filled smoothly over the surface. Teeth, tongue and the inside of the mouth always get the material that
such things have: the little light in there leaves their own open, and what moves there is not tracked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial import KDTree
from torch import Tensor

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.cut import distance_from_cut
from flare_cli.avatar.material import Material
from flare_cli.avatar.mesh import Underside
from flare_cli.render.geometry import mesh_edges

# Confidence up to which nothing of the vertex's own is kept, and from which on all of it is.
NOTHING_KEPT, ALL_KEPT = 0.3, 0.65
# How strongly neighbours pull, against a vertex of full share: for colours, and for where the surface is mirrored.
SMOOTHNESS, SEAM_SMOOTHNESS = 0.02, 2.0
# Up to so far above the cut (metres) colours run around the neck, as collars do, not up it: neighbours pull by a
# Gaussian, of this deviation, of how steeply one goes away from the cut between them: by this at least, or what nothing
# level with it shows would stay empty. Chosen by eye on a white collar under a suit.
COLLAR, STEEPNESS, LEAST_PULL = 0.08, 0.2, 1e-4
# How strongly neighbours of what was filled in are smoothed, so that the hairline at the nape is no saw.
SOFT = 0.2
# The share of the mean colour of the face where skin was not seen, and of the hair that was where hair was not.
USUAL_SHARE = 0.003
# A fit draws the roughness of hair to 1 and leaves skin at a half (`loss.fibre_gloss`): this power of it tells the hair
# of a scalp from its skin. Of a bald one it is the same all over. Not tuned.
HAIR_IS_MATTE = 8
# Linear albedo, roughness and specular intensity of what is inside a mouth: enamel and mucosa as photographed.
HIDDEN = {
    "teeth": (0.58, 0.52, 0.43, 0.35, 0.5),
    "tongue": (0.36, 0.14, 0.12, 0.45, 0.5),
    "inner_mouth": (0.26, 0.09, 0.08, 0.45, 0.5),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """How each vertex of the avatar's mesh is made up, and what fills the gaps.

    `own` and `mirrored` are shares in 0..1, `mirror` is the vertex on the other side. `filling` is material (albedo,
    roughness, specular) for what neither has.
    """

    own: Float[Tensor, "V 1"]
    mirrored: Float[Tensor, "V 1"]
    mirror: Int[Tensor, " V"]
    filling: Float[Tensor, "V 5"]

    def at_vertices(self, avatar: Avatar) -> Float[Tensor, "V 10"]:
        """What is interpolated over the avatar's mesh: the mirrored vertex's place, both shares, and the filling."""
        return torch.cat([avatar.material_positions()[self.mirror], self.own, self.mirrored, self.filling], 1)

    def carried(self, underside: Underside) -> Completion:
        """The same for a mesh that is closed below."""
        return Completion(
            own=underside.carried(self.own),
            mirrored=underside.carried(self.mirrored),
            mirror=torch.cat([self.mirror, self.mirror[underside.source]]),
            filling=underside.carried(self.filling),
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
        )

    @staticmethod
    def mixed(at: Float[Tensor, "P 10"], own: Material, avatar: Avatar) -> Material:
        """The material of points: their own, the avatar's at the mirrored places, and the filling, by their shares."""
        place, share, other, filling = at.split([3, 1, 1, 5], 1)
        mirrored = avatar.material(place.contiguous())
        both = (torch.cat([m.albedo, m.roughness, m.specular], 1) for m in (own, mirrored))
        values = share * next(both) + other * next(both) + (1 - share - other) * filling
        albedo, roughness, specular = values.split([3, 1, 1], 1)
        return Material(albedo=albedo, roughness=roughness, specular=specular)


@torch.no_grad()
def completion_of(avatar: Avatar) -> Completion | None:
    """How to fill what was not seen; None for an avatar that doesn't know what was."""
    if avatar.confidence is None:
        return None
    topology = avatar.mesh.topology
    hidden, colours = _inside_of_mouth(avatar)
    kept = ((avatar.confidence - NOTHING_KEPT) / (ALL_KEPT - NOTHING_KEPT)).clamp(0, 1)
    own = topology.carried(kept) * (1 - hidden)
    mirror = mirrored_vertices(topology.carried(avatar.head.template))
    mirrored = (1 - own) * own[mirror]
    material = avatar.material(avatar.material_positions())
    values = torch.cat([material.albedo, material.roughness, material.specular], 1)
    either = own + mirrored
    known = (own * values + mirrored * values[mirror]) / torch.where(either > 0, either, 1)
    # What nothing near shows is of the face's colour, and not of the collar's; on the scalp of the hair's, and not of
    # the rim's, where hair and what was behind it met.
    scalp = avatar.region_mask(("scalp",))
    usual, is_known = torch.zeros_like(values), torch.zeros_like(own)
    hairy = scalp * values[:, 3:4] ** HAIR_IS_MATTE
    for region, where in ((avatar.region_mask(("face",)), 1 - scalp), (hairy, scalp)):
        seen = region * own
        usual += where * ((seen * values).sum(0) / seen.sum().clamp(min=1e-6))
        is_known += where * (seen.sum() > 0)
    distance = distance_from_cut(avatar)
    above = torch.full_like(own, COLLAR) if distance is None else distance.clamp(max=COLLAR)
    prior = USUAL_SHARE * (1 - either) * (1 - hidden) * is_known * (above >= COLLAR)
    known = (either * known + prior * usual) / (either + prior).clamp(min=1e-9)
    # Hair's colour doesn't run into the neck, nor skin's into the hair.
    edges, on_scalp = mesh_edges(topology.faces), scalp[:, 0] > 0.5
    within = on_scalp[edges[:, 0]] == on_scalp[edges[:, 1]]
    (start, end), places = edges.unbind(1), topology.carried(avatar.head.template)
    steepness = (above[start] - above[end]) / (places[start] - places[end]).norm(dim=1, keepdim=True).clamp(min=1e-9)
    pull = torch.exp(-0.5 * (steepness / STEEPNESS).square()).clamp(min=LEAST_PULL)
    filling = filled_over_surface(known, (1 - hidden) * either + prior, edges[within], pull=pull[within])
    # But where the one ends and the other begins triangles would show.
    soft = filled_over_surface(filling, torch.ones_like(own), edges, SOFT, pull)
    filling = filling.lerp(soft, 1 - either)
    return Completion(own=own, mirrored=mirrored, mirror=mirror, filling=filling.lerp(colours, hidden))


def _inside_of_mouth(avatar: Avatar) -> tuple[Float[Tensor, "V 1"], Float[Tensor, "V 5"]]:
    """Where teeth, tongue and the inside of the mouth are (0..1), and their usual material."""
    hidden = torch.zeros_like(avatar.region_mask(()))
    colours = hidden.new_zeros(len(hidden), 5)
    for region, values in HIDDEN.items():
        inside = avatar.region_mask((region,))
        colours += (inside - hidden).clamp(min=0) * hidden.new_tensor(values)
        hidden = torch.maximum(hidden, inside)
    return hidden, colours


@torch.no_grad()
def completed(avatar: Avatar, completion: Completion | None) -> Avatar:
    """A copy whose surface is the other side's, mirrored, where only that was seen. Where neither was, it stays."""
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
    return avatar.with_mesh(avatar.mesh.over(avatar.mesh.topology, moved))


@torch.no_grad()
def values_at_vertices(avatar: Avatar, completion: Completion) -> Float[Tensor, "V 5"]:
    """Albedo, roughness and specular intensity of each vertex, filled in."""
    at = completion.at_vertices(avatar)
    material = completion.mixed(at, avatar.material(avatar.material_positions()), avatar)
    return torch.cat([material.albedo, material.roughness, material.specular], 1)


def mirrored_vertices(template: Float[Tensor, "V 3"]) -> Int[Tensor, " V"]:
    """Of each vertex the one nearest to its place in the mirror (x to -x)."""
    places = template.cpu().double().numpy()
    _, nearest = KDTree(places).query(places * [-1, 1, 1])
    return torch.from_numpy(np.asarray(nearest)).to(template.device)


def filled_over_surface(
    values: Float[Tensor, "V C"],
    share: Float[Tensor, "V 1"],
    edges: Int[Tensor, "N 2"],
    smoothness: float = SMOOTHNESS,
    pull: Float[Tensor, "N 1"] | None = None,
) -> Float[Tensor, "V C"]:
    """The values x that minimise sum share (x - values)^2 + `smoothness` x `pull` x (differences along edges)^2.

    Each edge pulls by 1 unless `pull` says otherwise.
    Where the share is 0 they are the mean of their neighbours; a part of the mesh without any share stays as it is.
    """
    n = len(values)
    one, other = edges.cpu().numpy().T
    pulls = np.ones(len(one)) if pull is None else pull[:, 0].cpu().double().numpy()
    links = sparse.coo_matrix((pulls, (one, other)), shape=(n, n))
    links = links + links.T
    graph = sparse.diags(np.asarray(links.sum(1)).ravel()) - links
    weight = share.cpu().double().numpy()
    weight = weight + 1e-9
    system = sparse.diags(weight[:, 0]) + smoothness * graph
    solved = splu(system.tocsc()).solve(weight * values.cpu().double().numpy())
    return torch.from_numpy(solved).to(values)
