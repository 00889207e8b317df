"""What a mesh with fewer triangles does not show of an avatar's surface, as a texture of normals."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from flare_cli.avatar.baking.texture import fill_gutters, rasterize_uv
from flare_cli.avatar.mesh import Topology
from flare_cli.data.meshes.tangents import corner_tangents
from flare_cli.data.meshes.textured_mesh import TexturedMesh


def bake_normals(
    fine: Topology, normals: Float[Tensor, "V 3"], coarse: TexturedMesh, size: int
) -> UInt8[np.ndarray, "S S 3"]:
    """Normals of a fine mesh in the frames of a coarse one on the same atlas, as glTF has them: green is up.

    Both meshes are at rest. 128, 128, 255 is the coarse mesh's own normal.
    """
    device = normals.device
    texels, triangle, barycentric = rasterize_uv(fine.uv, fine.uv_faces, size)
    truth = _at(normals[fine.faces[triangle]], barycentric)
    there, below, weights = rasterize_uv(
        torch.from_numpy(coarse.uv).float().to(device), torch.from_numpy(coarse.uv_faces).to(device), size
    )
    frame = torch.zeros(size * size, 7, device=device)
    corners = np.concatenate([coarse.normals[coarse.faces], corner_tangents(coarse)], 2)
    frame[there] = _at(torch.from_numpy(corners).float().to(device)[below], weights)
    covered = torch.zeros(size * size, dtype=torch.bool, device=device)
    covered[there] = True
    texels, truth = texels[covered[texels]], truth[covered[texels]]
    normal, tangent, hand = frame[texels].split([3, 3, 1], 1)
    normal, tangent = (torch.nn.functional.normalize(x, dim=1) for x in (normal, tangent))
    bitangent = hand.sign() * torch.linalg.cross(normal, tangent)
    axes = torch.stack([tangent, bitangent, normal], 2)
    seen = torch.nn.functional.normalize(torch.linalg.solve_ex(axes, truth[..., None])[0][..., 0], dim=1)
    picture = torch.zeros(size * size, 3, device=device)
    picture[texels] = 0.5 * seen.nan_to_num() + 0.5
    known = torch.zeros(size * size, dtype=torch.bool, device=device)
    known[texels] = True
    filled = fill_gutters(picture.reshape(size, size, 3).cpu().numpy(), known.reshape(size, size).cpu().numpy())
    return (filled.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _at(corners: Float[Tensor, "P 3 C"], barycentric: Float[Tensor, "P 3"]) -> Float[Tensor, "P C"]:
    return (corners * barycentric[..., None]).sum(1)
