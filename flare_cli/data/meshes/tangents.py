"""The frames in which a normal texture is written: where u grows on the surface."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from flare_cli.data.meshes.textured_mesh import TexturedMesh, split_at_seams


def corner_tangents(mesh: TexturedMesh) -> Float[np.ndarray, "F 3 4"]:
    """For each corner of each face the unit tangent, perpendicular to the normal, and 1 or -1.

    The bitangent, where v grows upward, is the last number times cross(normal, tangent). Corners that share position
    and texture coordinate share the mean over their triangles.
    """
    split = split_at_seams(mesh.faces, mesh.uv_faces)
    corners, uv = mesh.positions[mesh.faces], mesh.uv[mesh.uv_faces]
    (e1, e2), (d1, d2) = ((x[:, 1] - x[:, 0], x[:, 2] - x[:, 0]) for x in (corners, uv))
    hand = np.where(d1[:, 0] * d2[:, 1] - d2[:, 0] * d1[:, 1] < 0, -1.0, 1.0)
    along_u = hand[:, None] * (d2[:, 1:] * e1 - d1[:, 1:] * e2)
    along_u = along_u / np.maximum(np.linalg.norm(along_u, axis=1, keepdims=True), 1e-20)
    summed = np.zeros((len(split.position), 4))
    np.add.at(summed, split.faces, np.concatenate([along_u, hand[:, None]], 1)[:, None])
    normal = mesh.normals[split.position]
    normal = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-20)
    tangent = summed[:, :3] - normal * (summed[:, :3] * normal).sum(1, keepdims=True)
    length = np.linalg.norm(tangent, axis=1, keepdims=True)
    # Where the atlas is degenerate, any direction along the surface will do.
    aside = np.cross(normal, np.eye(3)[np.abs(normal).argmin(1)])
    aside = aside / np.maximum(np.linalg.norm(aside, axis=1, keepdims=True), 1e-20)
    tangent = np.where(length > 1e-6, tangent / np.maximum(length, 1e-6), aside)
    return np.concatenate([tangent, np.where(summed[:, 3:] < 0, -1.0, 1.0)], 1)[split.faces]
