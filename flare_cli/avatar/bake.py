"""Avatar -> things other programs read: neutral mesh, morph targets, skin, textures on UVs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.texture import fill_gutters, rasterize_uv
from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.render.geometry import vertex_normals

CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class BakedTextures:
    """Materials on the UV square, row 0 at the top (v = 1): linear 0..1."""

    albedo: Float[np.ndarray, "H W 3"]
    roughness: Float[np.ndarray, "H W 1"]
    specular: Float[np.ndarray, "H W 1"]


@dataclass(frozen=True, slots=True)
class BakedMesh:
    """The avatar at rest with what animates it; metres."""

    vertices: Float[Tensor, "V 3"]
    normals: Float[Tensor, "V 3"]
    morphs: dict[str, Float[Tensor, "V 3"]]
    morph_normals: dict[str, Float[Tensor, "V 3"]]
    weights: Float[Tensor, "V J"]
    joints: Float[Tensor, "J 3"]


def bake_textures(avatar: Avatar, size: int) -> BakedTextures:
    """Evaluate the material field at every texel that the mesh covers; gutters take the nearest covered texel."""
    topology = avatar.mesh.topology
    texels, triangle, barycentric = rasterize_uv(topology.uv, topology.uv_faces, size)
    corners = avatar.material_positions()[topology.faces.long()[triangle]]
    positions = (corners * barycentric[..., None]).sum(1)
    baked = torch.zeros(size * size, 5, device=avatar.device)
    with torch.no_grad():
        for start in range(0, len(texels), CHUNK):
            part = slice(start, start + CHUNK)
            material = avatar.material(positions[part].contiguous())
            baked[texels[part]] = torch.cat([material.albedo, material.roughness, material.specular], 1)
    covered = torch.zeros(size * size, dtype=torch.bool, device=avatar.device)
    covered[texels] = True
    picture = fill_gutters(
        baked.reshape(size, size, 5).cpu().numpy(), covered.reshape(size, size).cpu().numpy()
    )
    return BakedTextures(picture[..., :3], picture[..., 3:4], picture[..., 4:5])


def bake_mesh(avatar: Avatar) -> BakedMesh:
    """The neutral mesh, one morph target per ARKit expression (jaw and eye rotations included), and the skin."""
    faces, head = avatar.mesh.topology.faces, avatar.head
    with torch.no_grad():
        corrections = avatar.corrections()
        rows = [head.arkit.expression.new_zeros(1, head.n_expression), head.arkit.expression]
        poses = [head.arkit.pose.new_zeros(1, len(head.parents), 3), head.arkit.pose]
        expression, pose = torch.cat(rows), torch.cat(poses)
        posed = avatar.posed(
            expression=expression,
            pose=pose,
            translation=expression.new_zeros(len(expression), 3),
            corrections=corrections,
        )
        neutral, normals = posed.vertices[0], vertex_normals(posed.vertices[:1], faces)[0]
        weights = avatar.skinning_weights_at_vertices(corrections)
    return BakedMesh(
        vertices=neutral,
        normals=normals,
        morphs={name: posed.vertices[i + 1] - neutral for i, name in enumerate(ARKIT_NAMES)},
        morph_normals={name: posed.normals[i + 1] - normals for i, name in enumerate(ARKIT_NAMES)},
        weights=weights,
        joints=avatar.joints(),
    )
