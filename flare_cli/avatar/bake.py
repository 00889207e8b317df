"""Avatar -> what other programs read: neutral mesh, morph targets, skin, and textures on its UVs."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.avatar.avatar import Avatar, Posed
from flare_cli.avatar.texture import fill_gutters, rasterize_uv
from flare_cli.data.gltf import GltfAvatar, Skin
from flare_cli.data.textured_mesh import PbrTextures, TexturedMesh
from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.head.joints import JOINT_NAMES
from flare_cli.render.colour import srgb_from_linear

CHUNK = 1 << 16  # texels whose materials are evaluated at once: some 40 MB of features and hidden values


def bake_textures(avatar: Avatar, size: int) -> PbrTextures:
    """Evaluate the material field at every texel that the mesh covers; gutters take the nearest covered texel."""
    topology = avatar.mesh.topology
    texels, triangle, barycentric = rasterize_uv(topology.uv, topology.uv_faces, size)
    corners = avatar.material_positions()[topology.faces[triangle]]
    positions = (corners * barycentric[..., None]).sum(1)
    baked = torch.zeros(size * size, 5, device=avatar.device)
    with torch.no_grad():
        for start in range(0, len(texels), CHUNK):
            chunk = slice(start, start + CHUNK)
            material = avatar.material(positions[chunk])
            baked[texels[chunk]] = torch.cat(
                [srgb_from_linear(material.albedo), material.roughness, material.specular], 1
            )
    covered = torch.zeros(size * size, dtype=torch.bool, device=avatar.device)
    covered[texels] = True
    filled = fill_gutters(baked.reshape(size, size, 5).cpu().numpy(), covered.reshape(size, size).cpu().numpy())
    picture = (filled.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    return PbrTextures(albedo=picture[..., :3], roughness=picture[..., 3], specular=picture[..., 4])


def bake_mesh(avatar: Avatar) -> TexturedMesh:
    """The avatar at rest: no expression, zero pose."""
    posed = _posed_by_arkit(avatar, torch.zeros(1, len(ARKIT_NAMES), device=avatar.device))
    return _textured_mesh(avatar, posed)


def bake_rig(avatar: Avatar, name: str, textures: PbrTextures) -> GltfAvatar:
    """The avatar at rest with its skeleton and one morph target per ARKit expression.

    A morph holds all that its expression does, the jaw's and the eyes' rotations included: programs that know only
    blend shapes get the whole face from them. Turn the joints instead where a program has them, not both.
    """
    weights = torch.eye(len(ARKIT_NAMES), device=avatar.device)
    posed = _posed_by_arkit(avatar, torch.cat([torch.zeros_like(weights[:1]), weights]))
    vertices, normals = posed.vertices.cpu().numpy(), posed.normals.cpu().numpy()
    with torch.no_grad():
        skinning = avatar.skinning_weights_at_vertices(avatar.corrections())
    return GltfAvatar(
        name=name,
        mesh=_textured_mesh(avatar, posed),
        textures=textures,
        skin=Skin(
            names=JOINT_NAMES,
            parents=avatar.head.parents,
            positions=avatar.joints().cpu().numpy(),
            weights=skinning.cpu().numpy(),
        ),
        morphs={name: vertices[i] - vertices[0] for i, name in enumerate(ARKIT_NAMES, 1)},
        morph_normals={name: normals[i] - normals[0] for i, name in enumerate(ARKIT_NAMES, 1)},
    )


def _posed_by_arkit(avatar: Avatar, weights: Float[Tensor, "B 52"]) -> Posed:
    arkit = avatar.head.arkit
    with torch.no_grad():
        return avatar.posed(
            expression=weights @ arkit.expression,
            pose=torch.einsum("bk,kjc->bjc", weights, arkit.pose),
            translation=weights.new_zeros(len(weights), 3),
        )


def _textured_mesh(avatar: Avatar, posed: Posed) -> TexturedMesh:
    topology = avatar.mesh.topology
    return TexturedMesh(
        positions=posed.vertices[0].cpu().numpy(),
        normals=posed.normals[0].cpu().numpy(),
        faces=topology.faces.cpu().numpy(),
        uv=topology.uv.cpu().numpy(),
        uv_faces=topology.uv_faces.cpu().numpy(),
    )
