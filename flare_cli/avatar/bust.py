"""How an avatar ends below, where its head model is cut: closed like a bust, faded out, or open as it was fitted.

A bust has a round edge that goes on where the skin points, and an underside. Nothing here is fitted or kept in a file:
it is made of whatever border a head has.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.baking.texture import largest_gap
from flare_cli.avatar.completion import Completion, completed, completion_of, values_at_vertices
from flare_cli.avatar.cut import Cut, distance_from_cut, find_cut
from flare_cli.avatar.mesh import Topology, Underside
from flare_cli.avatar.mouth import with_divided_teeth

Bust: TypeAlias = Literal["closed", "fade", "open"]
# Metres, chosen by eye on two people: radius of the round edge, and how far above the cut an avatar begins to fade.
ROUNDING, FADE = 0.010, 0.025
# Rings of triangles: of the round edge, and of the underside from there to its middle.
ARC, FLAT = 4, 3
# Radius of the underside in the atlas, as a part of its edge: there is little to see on it.
LARGEST_DISC = 0.1
# Rounds of smoothing along the cut of where the skin points: a fit leaves its last triangles bent.
SMOOTHING = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """An avatar as people see it, what fills it, and its opacity as `draw` takes it (None: all of it is there)."""

    avatar: Avatar
    completion: Completion | None
    opacity: Float[Tensor, "V 1"] | None = None


@torch.no_grad()
def presented(avatar: Avatar, *, fill: bool, bust: Bust) -> Presented:
    """A copy of the avatar for films, pages and exports: with `fill`, what was never seen is filled in."""
    if fill and avatar.confidence is not None:
        avatar = with_divided_teeth(avatar)
    completion = completion_of(avatar) if fill else None
    avatar = completed(avatar, completion)
    distance = distance_from_cut(avatar) if bust == "fade" else None
    if bust != "open":
        avatar, completion = closed(avatar, completion)
    if distance is None:
        return Presented(avatar=avatar, completion=completion)
    # Closed all the same: through what has faded one doesn't look into the head.
    underside = avatar.mesh.topology.underside
    assert underside is not None
    return Presented(avatar=avatar, completion=completion, opacity=underside.carried(distance / FADE))


@torch.no_grad()
def closed(avatar: Avatar, completion: Completion | None) -> tuple[Avatar, Completion | None]:
    """A copy that is closed below, and its completion; as they are where the head has no cut.

    New vertices come last, ring by ring, then the middle. Each moves with the vertex of the cut that it hangs on. The
    edge has the colours of the cut, and the underside passes to their mean, on an empty place of the atlas.
    """
    cut = find_cut(avatar)
    if cut is None:
        return avatar, completion
    places = avatar.neutral_vertices().cpu().double().numpy()
    added = _added_places(places, avatar.mesh.topology, cut)
    source = np.append(np.tile(cut.loop, ARC + FLAT - 1), cut.loop[:1])
    underside = Underside(torch.from_numpy(source).to(avatar.device))
    offsets = underside.carried(avatar.mesh.offsets)
    offsets[len(places) :] += torch.from_numpy(added - places[source]).to(offsets)
    whole = _stitched(avatar, cut, underside)
    return avatar.with_mesh(avatar.mesh.over(whole, offsets)), _coloured(avatar, completion, cut, underside)


def _added_places(places: Float[np.ndarray, "V 3"], topology: Topology, cut: Cut) -> Float[np.ndarray, "W 3"]:
    """Where the new vertices are at rest: rings, outermost first, and the middle."""
    border = places[cut.loop]
    onward = _onward(places, topology, cut)
    begun = border + ROUNDING * onward
    middle = begun.mean(0)
    # The edge is an arc from where the skin points to where the middle is.
    inward = _unit(middle - begun)
    cosine = (inward * onward).sum(1, keepdims=True).clip(-1, 1)
    aside = _unit(inward - cosine * onward)
    angle = np.arccos(cosine) * (np.arange(1, ARC + 1) / ARC)[:, None, None]
    arc = border + ROUNDING * (np.sin(angle) * onward + (1 - np.cos(angle)) * aside)
    flat = arc[-1] + (np.arange(1, FLAT) / FLAT)[:, None, None] * (middle - arc[-1])
    return np.concatenate([*arc, *flat, middle[None]])


def _onward(places: Float[np.ndarray, "V 3"], topology: Topology, cut: Cut) -> Float[np.ndarray, "N 3"]:
    """Where the surface would go on at each vertex of the cut: unit vectors, smoothed along it."""
    start, end = places[cut.loop], places[np.roll(cut.loop, -1)]
    faces = topology.faces.cpu().numpy()
    opposite = places[faces[cut.face, (cut.corner + 2) % 3]]
    along, away = _unit(end - start), 0.5 * (start + end) - opposite
    onward = _unit(away - (away * along).sum(1, keepdims=True) * along)
    onward = onward + np.roll(onward, 1, 0)  # of the two edges at a vertex
    for _ in range(SMOOTHING):
        onward = np.roll(onward, 1, 0) + 2 * onward + np.roll(onward, -1, 0)
    return _unit(onward)


def _stitched(avatar: Avatar, cut: Cut, underside: Underside) -> Topology:
    """The mesh with the rings' triangles: those of the edge on the cut's place in the atlas, the others on a disc."""
    topology, n = avatar.mesh.topology, len(cut.loop)
    faces, uv_faces = topology.faces.cpu().numpy(), topology.uv_faces.cpu().numpy()
    first, disc = len(topology.uv), _disc(avatar, n)
    here, there = np.arange(n), np.roll(np.arange(n), -1)
    new = len(avatar.mesh.offsets) + np.arange(len(underside.source))
    rings = np.concatenate([cut.loop, new, new[-1:].repeat(n - 1)]).reshape(-1, n)
    at_cut = uv_faces[cut.face, cut.corner], uv_faces[cut.face, (cut.corner + 1) % 3]
    added: list[np.ndarray] = []
    uv_added: list[np.ndarray] = []
    for k, (outer, inner) in enumerate(pairwise(rings)):
        uv = (*at_cut, *at_cut)
        if k >= ARC:
            uv_outer, uv_inner = first + (k - ARC) * n + np.arange(2 * n).reshape(2, n)
            uv = uv_outer[here], uv_outer[there], uv_inner[here], uv_inner[there]
        added.append(np.stack([outer[there], outer[here], inner[here]], 1))
        uv_added.append(np.stack([uv[1], uv[0], uv[2]], 1))
        if k < ARC + FLAT - 1:  # the last ring is the middle
            added.append(np.stack([outer[there], inner[here], inner[there]], 1))
            uv_added.append(np.stack([uv[1], uv[2], uv[3]], 1))
    return Topology(
        torch.from_numpy(np.concatenate([faces, *added])).to(topology.faces),
        torch.cat([topology.uv, disc]),
        torch.from_numpy(np.concatenate([uv_faces, *uv_added])).to(topology.uv_faces),
        topology.subdivisions,
        underside,
    )


def _disc(avatar: Avatar, n: int) -> Float[Tensor, "T 2"]:
    """Texture coordinates of the underside: rings of `n` in the largest empty place of the head's atlas."""
    centre, gap = largest_gap(avatar.head.uv, avatar.head.uv_faces)
    radius = min(gap, LARGEST_DISC)
    around = torch.arange(n, dtype=torch.double) * (2 * torch.pi / n)
    reach = radius * torch.linspace(1, 0, FLAT + 1, dtype=torch.double)
    rings = reach[:, None, None] * torch.stack([around.cos(), around.sin()], 1)
    return (centre + rings.flatten(0, 1)).to(avatar.head.uv)


def _coloured(avatar: Avatar, completion: Completion | None, cut: Cut, underside: Underside) -> Completion:
    """A completion for the closed mesh: nothing of the underside is looked up."""
    if completion is None:
        completion = Completion.of_all_seen(avatar)
    whole = completion.carried(underside)
    loop = torch.from_numpy(cut.loop).to(avatar.device)
    values = values_at_vertices(avatar, completion)[loop]
    share = (2 * torch.arange(1, FLAT, device=avatar.device) / FLAT).clamp(max=1)[:, None, None]
    mean = values.mean(0, keepdim=True)
    colours = torch.cat([values.lerp(mean, share).flatten(0, 1), mean])
    whole.own[-len(colours) :] = whole.mirrored[-len(colours) :] = 0
    whole.filling[-len(colours) :] = colours
    return whole


def _unit(vectors: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
