"""The cut that a head model ends in below: where it is, and how far from it each vertex lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import KDTree
from torch import Tensor

from flare_cli.avatar.avatar import Avatar
from flare_cli.head.flame.surface import border_loops
from flare_cli.head.hanging_hair import HANGING_HAIR

# Of a head's height: a border whose middle is higher is no cut, but the mouth or an eye of a head that is whole below.
LOWEST_PART = 0.25
# Points for each edge of the cut, that distances are measured to: of edges of a centimetre, a millimetre apart.
POINTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The border around the neck: N vertices in the direction of the triangles' edges along it.

    `face` and `corner` say where each edge begins: it runs to the next vertex of `loop`, and the next corner.
    """

    loop: Int[np.ndarray, " N"]
    face: Int[np.ndarray, " N"]
    corner: Int[np.ndarray, " N"]


def find_cut(avatar: Avatar) -> Cut | None:
    """The lowest border of an avatar's mesh; None where no border is at the lower end of its head."""
    faces, height = avatar.mesh.topology.faces.cpu().numpy(), _template(avatar)[:, 1]
    hanging = avatar.region_mask((HANGING_HAIR,))[:, 0].cpu().numpy() > 0
    loops = [loop for loop in border_loops(faces) if not hanging[loop].any()]
    if not loops:
        return None
    heights = [float(height[loop].mean()) for loop in loops]
    if min(heights) > height.min() + LOWEST_PART * np.ptp(height):
        return None
    loop = loops[int(np.argmin(heights))]
    starts = faces.astype(np.int64) * len(height) + np.roll(faces, -1, 1)
    ascending = np.argsort(starts, axis=None)
    wanted = loop * len(height) + np.roll(loop, -1)
    edge = ascending[np.searchsorted(starts.ravel(), wanted, sorter=ascending)]
    return Cut(loop=loop, face=edge // 3, corner=edge % 3)


def distance_from_cut(avatar: Avatar) -> Float[Tensor, "V 1"] | None:
    """Metres from each vertex to the cut, as the head model's template has them; None for a head without one."""
    cut, places = find_cut(avatar), _template(avatar)
    if cut is None:
        return None
    start, end = places[cut.loop], places[np.roll(cut.loop, -1)]
    along = np.linspace(0, 1, POINTS, endpoint=False)[:, None, None]
    distance, _ = KDTree((start + along * (end - start)).reshape(-1, 3)).query(places)
    return torch.from_numpy(np.asarray(distance)[:, None]).to(avatar.mesh.offsets)


def _template(avatar: Avatar) -> Float[np.ndarray, "V 3"]:
    """The head model's, at the vertices of the avatar's mesh."""
    return avatar.mesh.topology.carried(avatar.head.template).cpu().double().numpy()
