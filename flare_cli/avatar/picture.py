"""Avatar + camera -> picture: deform, rasterize, shade. Written once; the fit and every command call it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.avatar.avatar import Avatar, Posed
from flare_cli.avatar.baking.texture import MaterialTextures
from flare_cli.avatar.completion import Completion
from flare_cli.avatar.material import Material
from flare_cli.avatar.mouth import with_lit_mouth
from flare_cli.render.camera import Projections
from flare_cli.render.light.samples import SummedLight
from flare_cli.render.light.shading import Light, Shaded, facing_normal_and_view, shade
from flare_cli.render.raster.antialias import antialias
from flare_cli.render.raster.fragments import Fragments, Pixels, foreground, scatter
from flare_cli.render.raster.interface import Rasterizer


@dataclass(frozen=True, slots=True)
class VisibleSurface:
    """What the foreground pixels see, before light: unit normals face the viewer.

    `visibility` is what arrives there of the light, in nine harmonics; None: all.
    """

    pixels: Pixels
    fragments: Fragments
    normal: Float[Tensor, "P 3"]
    view: Float[Tensor, "P 3"]
    canonical: Float[Tensor, "P 3"]
    f0: Float[Tensor, "P 1"]
    visibility: Float[Tensor, "P 9"] | None


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn batch: in `image` linear radiance over the background and antialiased coverage; what it was made of."""

    image: Float[Tensor, "B H W 4"]
    surface: VisibleSurface
    material: Material
    shaded: Shaded

    @property
    def colour(self) -> Float[Tensor, "B H W 3"]:
        """Linear radiance over the background."""
        return self.image[..., :3]

    @property
    def coverage(self) -> Float[Tensor, "B H W 1"]:
        """The part of each pixel that the avatar covers."""
        return self.image[..., 3:]

    def buffer(self, values: Float[Tensor, "P C"], background: float = 0.0) -> Float[Tensor, "B H W C"]:
        """Values of foreground pixels as pictures."""
        batch, height, width = self.image.shape[:3]
        return scatter(values, self.surface.pixels, (batch, height, width), background)


def draw(
    avatar: Avatar,
    posed: Posed,
    projections: Projections,
    *,
    light: Light | SummedLight,
    rasterizer: Rasterizer,
    background: Float[Tensor, "B H W 3"] | None = None,
    capacity: int | None = None,
    textures: MaterialTextures | None = None,
    completion: Completion | None = None,
    opacity: Float[Tensor, "V 1"] | None = None,
    lit_mouth: bool = False,
) -> Picture:
    """Draw the posed avatar. Without a background it is black. Shading runs on foreground pixels only.

    With a `capacity` room is made for that many of them, and nothing waits for the GPU to count (`Pixels`). `textures`
    take the place of the avatar's materials, a `completion` fills them where the recording never showed any. Where the
    `opacity` at the nearest surface is less than 1 (more counts as 1), the background shows through, and nothing that
    lies between. With `lit_mouth` what is seen of a mouth has its shadows traced anew (`mouth.py`).
    """
    faces = avatar.mesh.topology.faces
    clip = projections.clip(posed.vertices)
    fragments = rasterizer.rasterize(clip, faces, projections.height, projections.width)
    if lit_mouth:
        posed = with_lit_mouth(avatar, posed, fragments)
    surface = visible_surface(avatar, posed, projections, rasterizer, fragments, foreground(fragments, capacity))
    material = avatar.material(surface.canonical)
    if completion is not None:
        at = rasterizer.interpolate(completion.at_vertices(avatar)[None], faces, fragments, surface.pixels)
        material = completion.mixed(at, material, avatar)
    if textures is not None:
        topology = avatar.mesh.topology
        uv = rasterizer.interpolate(topology.uv[None], topology.uv_faces, fragments, surface.pixels)
        material = textures.over(material, uv)
    shaded = shade(
        albedo=material.albedo,
        roughness=material.roughness,
        specular=material.specular,
        normal=surface.normal,
        view=surface.view,
        light=light,
        f0=surface.f0,
        visibility=surface.visibility,
    )
    shape = (len(projections), projections.height, projections.width)
    covering = torch.cat([shaded.colour, torch.ones_like(shaded.colour[:, :1])], 1)
    if opacity is not None:
        ramp = rasterizer.interpolate(opacity[None], faces, fragments, surface.pixels).clamp(0, 1)
        covering = covering * (ramp.square() * (3 - 2 * ramp))  # no crease where it begins and ends
    image = scatter(covering, surface.pixels, shape, 0.0)
    if background is not None:
        image = torch.cat([image[..., :3] + (1 - image[..., 3:]) * background, image[..., 3:]], -1)
    image = antialias(image, clip, faces, fragments)
    return Picture(image, surface, material, shaded)


def visible_surface(
    avatar: Avatar, posed: Posed, projections: Projections, rasterizer: Rasterizer, fragments: Fragments, pixels: Pixels
) -> VisibleSurface:
    """Interpolate over the mesh what shading needs at the foreground pixels."""
    faces = avatar.mesh.topology.faces
    # What stays the same goes on its own: one set for all pictures, and no gradient to sum up.
    fixed = torch.cat([avatar.material_positions(), avatar.f0_at_vertices()], 1)[None]
    moving = torch.cat([posed.vertices, posed.normals], 2)
    canonical, f0 = rasterizer.interpolate(fixed, faces, fragments, pixels).split([3, 1], 1)
    normal, view = facing_normal_and_view(
        rasterizer.interpolate(moving, faces, fragments, pixels), projections.centres, pixels.batch
    )
    visibility = None
    if posed.visibility is not None:
        with torch.no_grad():  # what is shadowed does not pull on the mesh
            visibility = rasterizer.interpolate(posed.visibility, faces, fragments, pixels)
    return VisibleSurface(pixels, fragments, normal, view, canonical, f0, visibility)
