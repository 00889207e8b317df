"""What each vertex of an avatar sees of the light, at rest and in shapes that change it: for GLB files and the page."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.avatar.avatar import MOUTH_OPEN, Avatar, Motion
from flare_cli.avatar.baking.bake import RAYS, posed_by_arkit
from flare_cli.data.meshes.seen_light import SeenLight
from flare_cli.head.arkit import ARKIT_NAMES, JAW_OPEN
from flare_cli.head.joints import JOINT_NAMES
from flare_cli.render.light.sphere import ONE

CHANGE_RAYS = 128  # of changes, which have no noise where nothing moves: half of what rest has costs half the time
# Shapes that hardly change what is seen: root mean square over directions and vertices below 0.03.
_PLAIN = ("mouthFrown", "mouthDimple", "mouthStretch", "browInnerUp", "browOuterUp", "noseSneer")
# Of `jawOpen`: where other shapes are traced for what is inside the mouth. Lips that are shut hide what a smile shows.
HALF_OPEN = 0.5
SHAPES = tuple(
    (name, weight)
    for name in ARKIT_NAMES
    if not name.startswith(_PLAIN)
    for weight in (MOUTH_OPEN if name == JAW_OPEN else (1.0,))
)


@torch.no_grad()
def bake_seen_light(avatar: Avatar, vertices: int, shapes: tuple[tuple[str, float], ...] = SHAPES) -> SeenLight:
    """Traced, for the first `vertices` of the avatar. One that is drawn without shadows sees all."""
    if avatar.visibility is None:
        everything = torch.zeros(vertices, 9)
        everything[:, 0] = ONE
        return SeenLight(shapes=(), at_rest=quadratic(everything).numpy(), changes=np.zeros((0, vertices, 9)))
    weights = torch.zeros(len(shapes), len(ARKIT_NAMES), device=avatar.device)
    for row, (name, weight) in zip(weights, shapes, strict=True):
        row[ARKIT_NAMES.index(name)] = weight
    rest, opened = torch.zeros_like(weights[:1]), torch.zeros_like(weights[:1])
    opened[:, ARKIT_NAMES.index(JAW_OPEN)] = HALF_OPEN
    hidden = torch.nonzero(avatar.region_mask(("teeth", "tongue", "inner_mouth"))[:vertices, 0] > 0.5)[:, 0]

    def traced(face: Tensor, which: slice | Tensor) -> Tensor:
        return avatar.traced_visibility(posed_by_arkit(avatar, face), CHANGE_RAYS, which)[0]

    everywhere = slice(vertices)
    before, before_opened = traced(rest, everywhere), traced(opened, hidden)
    changes = torch.zeros(len(shapes), *before.shape).to(before)
    for change, row, (name, _) in zip(changes, weights, shapes, strict=True):
        change.copy_(traced(row[None], everywhere) - before)
        if name != JAW_OPEN:
            change[hidden] = traced(row + opened, hidden) - before_opened
    at_rest = avatar.traced_visibility(posed_by_arkit(avatar, rest), RAYS, everywhere)
    for ball in avatar.eyeballs(_still(avatar), vertices):  # a gaze brings forth what is behind the lids here
        at_rest[0, ball.vertices] = ball.between_lids(at_rest[:, ball.vertices])
        changes[:, ball.vertices] = 0
    return SeenLight(
        shapes=shapes,
        at_rest=quadratic(at_rest[0]).cpu().numpy(),
        changes=quadratic(changes).cpu().numpy(),
    )


def _still(avatar: Avatar) -> Motion:
    still = avatar.shape.new_zeros(1, avatar.head.n_expression)
    return avatar.motion(
        expression=still, pose=still.new_zeros(1, len(JOINT_NAMES), 3), translation=still.new_zeros(1, 3)
    )


def quadratic(harmonics: Float[Tensor, "*batch 9"]) -> Float[Tensor, "*batch 9"]:
    """Nine harmonics as c, b and M (xx, yy, xy, xz, yz; its trace is 0) of the same function c + b.d + d.M d."""
    one, two, four = 1 / ONE, math.sqrt(0.75 / math.pi), math.sqrt(3.75 / math.pi)
    h = harmonics.unbind(-1)
    along_z, across = four / math.sqrt(12) * h[6], 0.5 * four * h[8]
    crossed = [0.5 * four * h[i] for i in (4, 7, 5)]
    return torch.stack(
        [one * h[0], two * h[3], two * h[1], two * h[2], across - along_z, -across - along_z, *crossed], -1
    )
