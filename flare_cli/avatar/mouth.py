"""A mouth as it is shown: teeth with vertices on their fronts, and the light that comes in between the lips.

A tooth of a head model is one square from gum to edge: its upper vertices are hidden, its lower ones look down, and
neither sees the light that falls on what is between them. And how much comes in changes with lips and jaw as nothing
does that is linear in the motion (`visibility.py`): lips of a smile that the recording lacks went black. So what is
seen of a mouth is traced in each picture.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from flare_cli.avatar.avatar import Avatar, Posed
from flare_cli.render.geometry import mesh_edges
from flare_cli.render.raster.fragments import Fragments

# A vertex, over the sphere. On two fitted heads in eleven faces pixels of teeth get 0.30 of even light, where their own
# rays find 0.32 (rms 0.055); 256 rays a vertex find no more, and what was learned gave 0.11 to 0.19.
RAYS = 64
MOUTH = ("lips", "teeth", "tongue", "inner_mouth")
# Metres along the row of teeth from which on an edge is as long as a tooth is wide. What is finer has its own teeth.
TOOTH = 0.0035
# The part of a tooth's half where the gap to the next darkens it, and how much at most. By eye.
GAP, GAP_DARKNESS = 0.2, 0.4


@torch.no_grad()
def with_divided_teeth(avatar: Avatar) -> Avatar:
    """A copy whose teeth are divided; the avatar itself where all of it is, or its head has none."""
    head, teeth = avatar.head, own_teeth(avatar)
    if avatar.mesh.subdivisions or not teeth.any():
        return avatar
    split = teeth[mesh_edges(head.faces)].all(1)
    topology = avatar.mesh.topology.divided_where(len(head.template), split)
    return avatar.with_mesh(avatar.mesh.over(topology, topology.carried(avatar.mesh.offsets)))


@torch.no_grad()
def within_teeth(avatar: Avatar) -> Float[Tensor, "V 1"]:
    """Of teeth that are one square each, how far from the next ones: 0 between two, 1 in the middle; 1 elsewhere.

    Where no edge is divided there is no middle: 1 everywhere.
    """
    topology, places = avatar.mesh.topology, avatar.head.template
    within = torch.ones_like(places[:, :1])
    teeth = own_teeth(avatar)
    if not topology.subdivisions or not teeth.any():
        return topology.carried(within)
    division = topology.subdivisions[0]
    level = places.new_tensor([1, 0, 1])
    start, end = (places * level)[division.parents].unbind(1)
    behind = places[teeth].amin(0) * places.new_tensor([0, 0, 1])
    outward = torch.nn.functional.normalize(0.5 * (start + end) - behind, dim=1)
    along = (end - start) - ((end - start) * outward).sum(1, keepdim=True) * outward
    spans = (along.norm(dim=1) > TOOTH) & teeth[division.parents].all(1)
    within[division.parents[spans]] = 0
    within = division.carried(within)
    within[len(places) :][spans] = 1
    return replace(topology, subdivisions=topology.subdivisions[1:]).carried(within)


def gap_shade(within: Float[Tensor, "P 1"]) -> Float[Tensor, "P 1"]:
    """What is left of albedo there: between teeth it is dark."""
    share = (within / GAP).clamp(max=1)
    return 1 - GAP_DARKNESS * (1 - share.square() * (3 - 2 * share))


@torch.no_grad()
def with_lit_mouth(avatar: Avatar, posed: Posed, fragments: Fragments) -> Posed:
    """The same poses, but what is seen of a mouth knows what light reaches it; for an avatar with shadows."""
    if posed.visibility is None:
        return posed
    shown = torch.unique(fragments.triangle[fragments.triangle >= 0])
    vertices = torch.unique(avatar.mesh.topology.faces[shown])
    seen = vertices[avatar.region_mask(MOUTH)[vertices, 0] > 0.5]
    if not len(seen):
        return posed
    visibility = posed.visibility.clone()
    visibility[:, seen] = avatar.traced_visibility(posed, RAYS, seen)
    return replace(posed, visibility=visibility)


def own_teeth(avatar: Avatar) -> Bool[Tensor, " V"]:
    """The head model's own vertices on teeth; FLAME has none."""
    head = avatar.head
    return head.regions.get("teeth", torch.zeros_like(head.template[:, 0], dtype=torch.bool))
