"""The true maps through an integral of our own reproduce the ray tracer's pictures: maps, camera and light agree.

Nothing of the tracer's shading is used: positions come from depth, light from every direction of the map in turn, and
the reflectance is written out once more, in float64. Only shadows are asked of the mesh.
"""

import math

import pytest
import torch
import warp as wp
from support.truths import LIGHTS

from flare_cli.avatar.maps import pixel_rays
from flare_cli.score.buffers import psnr_inside
from flare_cli.synthetic.performance import perform
from flare_cli.synthetic.raytrace import trace_picture
from flare_cli.synthetic.recording import make_person, studio_camera

SUBSAMPLES = 3  # directions along each edge of a texel of the map
F0 = 0.04


@wp.kernel
def see(
    mesh: wp.uint64, places: wp.array(dtype=wp.vec3), directions: wp.array(dtype=wp.vec3), seen: wp.array2d(dtype=float)
):
    """1 where nothing of the mesh is in the way from a place (row) in a direction (column)."""
    i, k = wp.tid()
    hit = wp.mesh_query_ray(mesh, places[i], directions[k], 10.0)
    seen[i, k] = wp.where(hit.result, 0.0, 1.0)


def directions_of(envmap: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit directions inside the texels of a map, and radiance times solid angle of each: docs/conventions.md."""
    rows, columns = envmap.shape[0] * SUBSAMPLES, envmap.shape[1] * SUBSAMPLES
    theta = (torch.arange(rows).double() + 0.5) / rows * math.pi
    phi = ((torch.arange(columns).double() + 0.5) / columns - 0.5) * 2 * math.pi
    theta, phi = torch.meshgrid(theta, phi, indexing="ij")
    looking = torch.stack([theta.sin() * phi.sin(), theta.cos(), -theta.sin() * phi.cos()], -1)
    edges = torch.cos(torch.arange(rows + 1).double() / rows * math.pi)
    solid_angle = ((edges[:-1] - edges[1:]) * 2 * math.pi / columns)[:, None, None]
    finer = envmap.double().repeat_interleave(SUBSAMPLES, 0).repeat_interleave(SUBSAMPLES, 1)
    return looking.flatten(0, 1), (finer * solid_angle).flatten(0, 1)


def reflected(normal, view, light, albedo, roughness):
    """Lambert plus GGX (Walter et al. 2007), times the cosine: [pixels, directions, 3]."""
    to_light = (normal @ light.T).clamp(min=0)
    to_view = (normal * view).sum(-1, keepdim=True).clamp(min=1e-3)
    half = torch.nn.functional.normalize(view[:, None] + light, dim=-1)
    on_half, bent = (half * normal[:, None]).sum(-1), (half * view[:, None]).sum(-1)
    a2 = roughness[:, None] ** 4
    facets = a2 / (math.pi * (on_half.square() * (a2 - 1) + 1).square())

    def unmasked(cosine):
        return 2 * cosine / (cosine + (a2 + (1 - a2) * cosine.square()).sqrt())

    fresnel = F0 + (1 - F0) * (1 - bent) ** 5
    gloss = fresnel * facets * unmasked(to_view) * unmasked(to_light.clamp(min=1e-6)) / (4 * to_view)
    return albedo[:, None] / math.pi * to_light[..., None] + (gloss * (to_light > 0))[..., None]


@pytest.mark.slow
@pytest.mark.parametrize("name", LIGHTS)
def test_true_maps_through_a_direct_integral_are_the_traced_picture(name: str):
    person, performance, camera = make_person(0), perform(15, seed=0), studio_camera(72)
    mesh, envmap = person.posed(performance, 13), torch.from_numpy(LIGHTS[name])
    traced = trace_picture(mesh, camera, envmap, samples=64, seed=0)
    seen = camera.camera_from_world[0]
    place = (pixel_rays(camera) * traced.depth[..., None] - seen[:, 3]) @ seen[:, :3]
    view = torch.nn.functional.normalize(camera.centres()[0] - place, dim=-1)
    # Within the head, where a pixel shows one smooth piece of it: means over a pixel are then those of its middle.
    smooth = (traced.coverage == 1) & ((traced.normal * view).sum(-1) > 0.5) & (traced.normal.norm(dim=-1) > 0.99)
    normal = torch.nn.functional.normalize(traced.normal[smooth], dim=-1)
    directions, power = directions_of(envmap)
    bvh = wp.Mesh(wp.from_torch(mesh.vertices, dtype=wp.vec3), wp.from_torch(mesh.faces.int().flatten()))
    starts = (place[smooth] + 1e-3 * normal).contiguous()
    visible = torch.zeros(len(starts), len(directions))
    arrays = [wp.from_torch(t.contiguous(), dtype=wp.vec3) for t in (starts, directions.float())]
    wp.launch(see, visible.shape, inputs=[bvh.id, *arrays, wp.from_torch(visible)], device="cpu")
    values = [t[smooth].double() for t in (view, traced.albedo, traced.roughness)]
    radiance = [
        torch.einsum("pkc,pk,kc->pc", reflected(n[None], v[None], directions, a[None], r[None]), s[None], power)
        for n, v, a, r, s in zip(normal.double(), *values, visible.double(), strict=True)
    ]
    drawn, true = torch.cat(radiance).float(), traced.radiance[smooth]
    everywhere = torch.ones(len(drawn), dtype=torch.bool)
    assert len(drawn) > 500
    assert float(drawn.mean() / true.mean()) == pytest.approx(1, abs=0.02)
    noise = psnr_inside(drawn.clamp(0, 1), true.clamp(0, 1), everywhere)
    assert noise > 33
    unshadowed = torch.cat(
        [
            torch.einsum("pkc,kc->pc", reflected(n[None], v[None], directions, a[None], r[None]), power)
            for n, v, a, r in zip(normal.double(), *values, strict=True)
        ]
    ).float()
    without_shadows = psnr_inside(unshadowed.clamp(0, 1), true.clamp(0, 1), everywhere)
    assert without_shadows < noise - 3  # so it is no matter of chance
