"""Ray traced pictures of a mesh under an environment map, with exact buffers of what was seen.

Direct light only: Lambert plus GGX (Smith, Schlick), shadowed, sampled by light and by material together. Used to make
recordings whose truth is known; it shares nothing with the fit's renderer but the camera.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

from flare_cli.render.camera import Cameras
from flare_cli.render.launch import launch, vectors
from flare_cli.synthetic.kernels import raytrace as kernels

USUAL_F0 = 0.04  # reflectance straight on, to which a picture's specular intensity is relative


@dataclass(frozen=True, slots=True, kw_only=True)
class PaintedMesh:
    """A mesh in world space with values at its vertices. `f0` is reflectance straight on, 0 for matte.

    `specular` scales Schlick's reflectance (1 where not given). `sharp` is the share of a second, sharper GGX lobe (0
    where not given), which only the path tracer draws; `roughness` is that of the single lobe which stands for both
    (`mitsuba_plugins.py` says how).
    """

    vertices: Float[Tensor, "V 3"]
    faces: Int[Tensor, "F 3"]
    normals: Float[Tensor, "V 3"]
    albedo: Float[Tensor, "V 3"]
    roughness: Float[Tensor, "V"]
    labels: Int[Tensor, "V"]
    f0: float = USUAL_F0
    specular: Float[Tensor, "V"] | None = None
    sharp: Float[Tensor, "V"] | None = None

    def to(self, device: torch.device | str) -> PaintedMesh:
        """Return the same mesh on `device`, where it will be traced."""
        return replace(self, **_moved(self, device))


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedPicture:
    """One picture. `radiance` is linear over black, so dimmed where `coverage` is partial; the rest is of the surface.

    `label` is what the ray through a pixel's centre met (0 for nothing); `depth` is along the camera's axis, in metres.
    """

    radiance: Float[Tensor, "H W 3"]
    coverage: Float[Tensor, "H W"]
    albedo: Float[Tensor, "H W 3"]
    roughness: Float[Tensor, "H W"]
    normal: Float[Tensor, "H W 3"]
    depth: Float[Tensor, "H W"]
    label: Int[Tensor, "H W"]
    specular: Float[Tensor, "H W"]  # intensity of what is mirrored, relative to `USUAL_F0`

    def to(self, device: torch.device | str) -> TracedPicture:
        """Return the same picture on `device`."""
        return replace(self, **_moved(self, device))


def _moved(value: PaintedMesh | TracedPicture, device: torch.device | str) -> dict[str, Tensor]:
    tensors = {field.name: getattr(value, field.name) for field in fields(value)}
    return {name: tensor.to(device) for name, tensor in tensors.items() if isinstance(tensor, Tensor)}


def trace_picture(
    mesh: PaintedMesh, camera: Cameras, envmap: Float[Tensor, "H W 3"], *, samples: int, seed: int
) -> TracedPicture:
    """Trace `samples` jittered rays per pixel of one camera. The same seed gives the same picture."""
    device = mesh.vertices.device
    vertices, faces = mesh.vertices.float().contiguous(), mesh.faces.int().contiguous()
    # Warp builds the hierarchy on its own stream: wait for torch before, and for the kernel before it is freed.
    wp.synchronize_device(wp.device_from_torch(device))
    bvh = wp.Mesh(_array(vertices), wp.from_torch(faces.flatten()))
    height, width = camera.height, camera.width
    radiance, albedo, normal = torch.zeros(3, height, width, 3, device=device)
    coverage, roughness, specular, depth = torch.zeros(4, height, width, device=device)
    label = torch.zeros(height, width, dtype=torch.int32, device=device)
    outputs = [vectors(radiance), coverage, vectors(albedo), roughness, specular, vectors(normal), depth, label]
    surface, kept = _surface(mesh, bvh, faces)
    environment, kept_too = _environment(envmap.to(device))
    launch(kernels.trace, (height, width), device, [surface, environment, _pinhole(camera), samples, seed, *outputs])
    wp.synchronize_device(wp.device_from_torch(device))
    del kept, kept_too
    return TracedPicture(
        radiance=radiance,
        coverage=coverage,
        albedo=albedo,
        roughness=roughness,
        normal=normal,
        depth=depth,
        label=label.long(),
        specular=specular * (mesh.f0 / USUAL_F0),
    )


def _surface(mesh: PaintedMesh, bvh: wp.Mesh, faces: Int[Tensor, "F 3"]) -> tuple[Any, list[Tensor]]:
    normals, albedo = mesh.normals.float().contiguous(), mesh.albedo.float().contiguous()
    roughness, labels = mesh.roughness.float().contiguous(), mesh.labels.int().contiguous()
    surface = kernels.Surface()
    surface.mesh = bvh.id
    surface.faces = wp.from_torch(faces)
    surface.normals, surface.albedo = _array(normals), _array(albedo)
    surface.roughness, surface.labels = wp.from_torch(roughness), wp.from_torch(labels)
    surface.f0 = mesh.f0
    surface.even = mesh.specular is None
    specular = (mesh.roughness[:1] if mesh.specular is None else mesh.specular).float().contiguous()
    surface.specular = wp.from_torch(specular)
    return surface, [normals, albedo, roughness, labels, specular]


def _environment(envmap: Float[Tensor, "H W 3"]) -> tuple[Any, list[Tensor]]:
    """The map as a piecewise constant distribution over directions."""
    height, width = envmap.shape[:2]
    edges = torch.linspace(0, math.pi, height + 1, device=envmap.device, dtype=torch.float64)
    solid_angle = (edges[:-1].cos() - edges[1:].cos()) * (2 * math.pi / width)
    power = envmap.double().mean(-1).clamp(min=0) + 1e-8  # never zero, so that dark pixels stay samplable
    mass = power * solid_angle[:, None]
    density = (power / mass.sum()).float().contiguous()
    rows = (mass.sum(1).cumsum(0) / mass.sum()).float()
    columns = (mass.cumsum(1) / mass.sum(1, keepdim=True)).float()
    rows[-1], columns[:, -1] = 1.0, 1.0
    radiance = envmap.float().contiguous()
    environment = kernels.Environment()
    environment.radiance, environment.density = _array(radiance), wp.from_torch(density)
    environment.rows, environment.columns = wp.from_torch(rows), wp.from_torch(columns)
    environment.height, environment.width = height, width
    return environment, [radiance, density, rows, columns]


def _array(tensor: Float[Tensor, "*N 3"]) -> wp.array:
    return wp.from_torch(tensor, dtype=wp.vec3)


def _pinhole(camera: Cameras) -> Any:
    world_from_camera = camera.camera_from_world[0, :, :3].T
    pinhole = kernels.Pinhole()
    pinhole.centre = wp.vec3(*camera.centres()[0].tolist())
    pinhole.world_from_camera = wp.mat33(*world_from_camera.flatten().tolist())
    pinhole.fx, pinhole.fy, pinhole.cx, pinhole.cy = camera.intrinsics[0].tolist()
    return pinhole
