"""Where hair hangs beside the neck, found in the labels of the training frames: the shape that a fit begins with.

Around the axis through the head hair is a radius at each angle and height: the largest at which a point that hangs on
the head lies on hair in nearly all frames that see it (carving). Frames tell little of depth, so an ellipse about the
head bounds it, whose half-width at each height is what was found at the sides; it is also what goes on behind, which
nobody sees. Where nothing shows hair outside the head's own surface the radius is within that, and borders end there:
one never looks behind the surface.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor

from flare_cli.data.celebamask import OCCLUDED, Label
from flare_cli.fit.frames import Frames
from flare_cli.head.joints import Joint
from flare_cli.head.model import HangingHair, HeadModel
from flare_cli.head.skinning import blend_transforms, joint_transforms, pose_vertices, shaped_joints
from flare_cli.render.raster.interface import Rasterizer

FRAMES = 32  # that are looked at, spread over the recording
# Angles about the axis (0 is behind), up to so far from there, and metres between rows and between radii.
COLUMNS, WIDEST = 60, math.radians(155)
ROW, RADIUS, LARGEST = 0.009, 0.003, 0.2
# Rows from so far above the ears to so far below the lobes (metres).
ABOVE, BELOW = 0.06, 0.2
# The part of the frames that see a point in which it has to be hair, and how many have to.
NEARLY_ALL, LEAST_FRAMES = 0.7, 3
# Metres: how far outside the head hair begins, and how far within it the surface ends.
OUTSIDE, WITHIN = 0.004, 0.012
# The ellipse reaches so far behind the skull, and so far before the ears (metres).
THICK, BEFORE = 0.012, 0.06
# Hair hangs if it does so far below the lobes (metres), on one side at least.
HANGS = 0.02
# The deviation of what smooths radii and the border, in vertices, and which part of a smoothed border is within.
SMOOTH, BORDER = 1.5, 0.25
# How steeply it leaves the head above the ears, so that what the fit puts on the scalp covers where it begins. Towards
# the lobes it may be the steeper: below them it has to reach the neck.
SLOPE = 0.4
# What passes before hair, or lies on it.
SAYS_NOTHING = (OCCLUDED, Label.EARRING, Label.NECKLACE)


@dataclass(frozen=True, slots=True)
class _Grid:
    """Angles and heights of the surface about an axis at z = `axis`, and the head's own surface there.

    `own` is its radius and `weights` its skinning weights, what jaw and eyes do given to the neck. Below the head they
    are as at its end.
    """

    angle: Float[Tensor, " C"]
    height: Float[Tensor, " R"]
    axis: float
    own: Float[Tensor, "R C"]
    weights: Float[Tensor, "R C J"]

    def at(self, radius: Float[Tensor, "*K R C"]) -> Float[Tensor, "*K R C 3"]:
        """Places at these radii."""
        x, z = radius * self.angle.sin(), self.axis - radius * self.angle.cos()
        return torch.stack([x, self.height[:, None].expand_as(x), z], -1)


@torch.no_grad()
def find_hanging_hair(frames: Frames, head: HeadModel, rasterizer: Rasterizer) -> HangingHair | None:
    """The hair that hangs in `frames`; None where none does, or the head model has no ears to tell."""
    person = head.template + head.shape_dirs @ frames.track.shape.to(head.template)
    ears = person[head.regions["ears"]] if "ears" in head.regions else person[:0]
    if not len(ears) or not (frames.pictures.label == Label.HAIR).any():
        return None
    grid = _grid(head, person, ears, rasterizer)
    radii = torch.arange(RADIUS, LARGEST, RADIUS).to(person)[:, None, None]
    seen, hair = _votes(frames, head, grid, radii[:, 0, 0], rasterizer)
    is_hair = (hair >= LEAST_FRAMES) & (hair >= NEARLY_ALL * seen)
    width = _width(grid, is_hair, radii)
    behind = grid.angle.cos() > 0
    depth = torch.where(behind, grid.axis - float(person[:, 2].min()) + THICK, BEFORE)
    ellipse = ((grid.angle.sin() / width.clamp(min=1e-6)).square() + (grid.angle.cos() / depth).square()).rsqrt()
    may_be = is_hair | ((seen < LEAST_FRAMES) & behind)
    radius = ((radii + RADIUS / 2) * (may_be & (radii <= ellipse))).amax(0)
    found = _surface(grid, radius, float(ears[:, 1].min()))
    return None if found is None else _triangles(grid, *found)


def _grid(head: HeadModel, person: Float[Tensor, "V 3"], ears: Float[Tensor, "N 3"], rasterizer: Rasterizer) -> _Grid:
    """The angles and heights, and the head's outermost surface there: seen along the radii, as on a label of a tin."""
    top, bottom, axis = float(ears[:, 1].max()) + ABOVE, float(ears[:, 1].min()) - BELOW, float(ears[:, 2].mean())
    n_rows = math.ceil((top - bottom) / ROW)
    step = 2 * WIDEST / COLUMNS
    angle = (torch.arange(COLUMNS) + 0.5).to(person) * step - WIDEST
    height = top - (torch.arange(n_rows) + 0.5).to(person) * ROW
    x, y, z = person.unbind(1)
    radius, around = (x.square() + (z - axis).square()).sqrt(), torch.atan2(x, axis - z)
    clip = torch.stack([around / WIDEST, (top - y) / (n_rows * ROW) * 2 - 1, -radius, torch.ones_like(x)], 1)
    corners = around[head.faces]
    whole = head.faces[(corners.amax(1) - corners.amin(1)) < math.pi]  # not across the front, where angles begin anew
    seen = rasterizer.rasterize(clip[None], whole, n_rows, COLUMNS)
    triangle = seen.triangle[0].cpu().numpy()
    # The nearest row above that has a surface stands for those below the head.
    nearest = np.where(triangle >= 0, np.arange(n_rows)[:, None], 0)
    rows = torch.from_numpy(np.maximum.accumulate(nearest, 0)).to(person.device)
    columns = torch.arange(COLUMNS, device=person.device)
    corners = whole[seen.triangle[0, rows, columns].long()]
    shares = seen.barycentric[0, rows, columns][..., None]
    weights = (head.weights[corners] * shares).sum(2)
    moved = [j for j in range(weights.shape[2]) if j not in (Joint.ROOT, Joint.NECK)]
    weights[..., Joint.NECK] += weights[..., moved].sum(2)
    weights[..., moved] = 0
    own = (radius[corners] * shares[..., 0]).sum(2)
    return _Grid(angle, height, axis, own, weights)


def _votes(
    frames: Frames, head: HeadModel, grid: _Grid, radii: Float[Tensor, " K"], rasterizer: Rasterizer
) -> tuple[Float[Tensor, "K R C"], Float[Tensor, "K R C"]]:
    """How many frames see each place, which is in the picture and not behind the head, and in how many it is hair."""
    chosen = torch.linspace(0, len(frames) - 1, min(FRAMES, len(frames))).round().long()
    track, labels = (
        frames.track[chosen].to(head.template.device),
        frames.pictures.label[chosen].to(head.template.device),
    )
    vertices = pose_vertices(
        head, shape=track.shape, expression=track.expression, pose=track.pose, translation=track.translation
    )
    cameras = track.cameras()
    depth = rasterizer.rasterize(cameras.clip(vertices), head.faces, cameras.height, cameras.width).depth
    transforms = joint_transforms(shaped_joints(head, track.shape, track.expression), track.pose, head.parents)
    shape = (len(radii), *grid.own.shape)
    places, weights = grid.at(radii[:, None, None].expand(shape)).flatten(1, 2), grid.weights.flatten(0, 1)
    seen, hair = (torch.zeros(shape, device=places.device) for _ in range(2))
    for i in range(len(chosen)):
        moved = transforms[i : i + 1, :, :3].expand(len(places), -1, -1, -1)
        world = blend_transforms(places, moved, weights) + track.translation[i]
        clip = cameras[i : i + 1].clip(world.view(1, -1, 3))[0].view(*shape, 4)
        column, row = ((clip[..., k] / clip[..., 3] + 1) / 2 * n for k, n in enumerate((cameras.width, cameras.height)))
        within = (column >= 0) & (column < cameras.width) & (row >= 0) & (row < cameras.height)
        pixel = row.long().clamp(0, cameras.height - 1), column.long().clamp(0, cameras.width - 1)
        label, before = labels[i][pixel], depth[i][pixel]
        shown = within & ((before == 0) | (clip[..., 3] < before))
        shown &= ~torch.isin(label, label.new_tensor(SAYS_NOTHING))
        seen += shown
        hair += shown & (label == Label.HAIR)
    return seen, hair


def _width(grid: _Grid, is_hair: Bool[Tensor, "K R C"], radii: Float[Tensor, "K 1 1"]) -> Float[Tensor, "R C"]:
    """How far hair reaches to the side that each place is on; 0 where there is none outside the head."""
    found = (radii * is_hair).amax(0)
    sides: list[Tensor] = []
    for side in (grid.angle < 0, grid.angle >= 0):
        column = torch.where(side, (grid.angle.abs() - math.pi / 2).abs(), torch.inf).argmin()
        reached = torch.where(found[:, column] > grid.own[:, column] + OUTSIDE, found[:, column], 0.0)
        sides.append(torch.where(side, reached[:, None], 0.0))
    return sides[0] + sides[1]


def _surface(
    grid: _Grid, radius: Float[Tensor, "R C"], lobes: float
) -> tuple[Float[np.ndarray, "R C"], Bool[np.ndarray, "R C"]] | None:
    """Radii of a smooth surface, and where it is hair: as in `radius` outside the head, and elsewhere within it.

    None where no piece of it hangs down from the scalp far enough below the ears' `lobes`.
    """
    found, own, height = (values.cpu().double().numpy() for values in (radius, grid.own, grid.height))
    shown = found > own + OUTSIDE
    pieces, _ = cast(tuple[np.ndarray, int], ndimage.label(ndimage.binary_closing(np.pad(shown, 2))[2:-2, 2:-2]))
    above, below = pieces[height > lobes + HANGS], pieces[height < lobes - HANGS]
    there = (pieces > 0) & np.isin(pieces, above) & np.isin(pieces, below)
    there[[0, -1]] = there[:, [0, -1]] = False
    if not (shown & there).any():
        return None
    row, column = np.asarray(
        ndimage.distance_transform_edt(~(shown & there), return_distances=False, return_indices=True)
    )
    head, hair = (ndimage.gaussian_filter(values, SMOOTH, mode="nearest") for values in (own, found[row, column]))
    across = 2 * WIDEST / COLUMNS * float(found[shown & there].mean())
    from_border = np.asarray(ndimage.distance_transform_edt(there, sampling=(ROW, across)))
    above_lobes = np.clip((height - lobes) / (height[0] - ABOVE - lobes), 1e-3, 1)[:, None]
    risen = (SLOPE * from_border + ROW * (1 - above_lobes)) / above_lobes
    part = ndimage.gaussian_filter(there.astype(float), SMOOTH).clip(BORDER, 1 - BORDER)
    outside = (part - BORDER) / (1 - 2 * BORDER)
    surface = (1 - outside) * (head - WITHIN) + outside * np.minimum(hair, head + risen)
    return surface, (outside > 0) & (surface > own)


def _triangles(grid: _Grid, surface: Float[np.ndarray, "R C"], is_hair: Bool[np.ndarray, "R C"]) -> HangingHair:
    """Two triangles for each four neighbours of which one is hair; what no triangle needs is left out."""
    rows, columns = surface.shape
    number = np.arange(rows * columns).reshape(rows, columns)
    one, other, lower, opposite = number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]
    faces = np.concatenate([np.stack(c, -1).reshape(-1, 3) for c in ((one, other, lower), (other, opposite, lower))])
    used, faces = np.unique(faces[is_hair.ravel()[faces].any(1)], return_inverse=True)
    down, along = np.divmod(used, columns)
    uv = np.stack([along / (columns - 1), 1 - down / (rows - 1)], 1)
    device, kept = grid.own.device, torch.from_numpy(used).to(grid.own.device)
    return HangingHair(
        places=grid.at(torch.from_numpy(surface).to(grid.own)).flatten(0, 1)[kept],
        faces=torch.from_numpy(faces.reshape(-1, 3)).to(device),
        weights=grid.weights.flatten(0, 1)[kept],
        uv=torch.from_numpy(uv).to(grid.own),
    )
