"""Stanford PLY: a mesh with normals and texture coordinates in one binary file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from flare_cli.data.atomic import write_bytes_whole
from flare_cli.data.meshes.textured_mesh import PbrTextures, SeamSplit, TexturedMesh, split_at_seams, write_textures

VERTEX = ("x", "y", "z", "nx", "ny", "nz", "s", "t")  # float32 each, as MeshLab, Blender and trimesh call them


def write_ply_sequence(
    folder: Path, meshes: Iterable[TexturedMesh], textures: PbrTextures, progress: Callable[[int], None]
) -> list[Path]:
    """Write each mesh as `00001.ply` and so on, the first frame being 1, and the textures beside them.

    All meshes have the same faces and texture coordinates. `progress` hears of every file.
    """
    beside = write_textures(folder, folder.name, textures)
    split, files = None, list[Path]()
    for number, mesh in enumerate(meshes, 1):
        split = split or split_at_seams(mesh.faces, mesh.uv_faces)
        files.append(folder / f"{number:05d}.ply")
        write_bytes_whole(files[-1], _ply(mesh, split, beside["albedo"].name))
        progress(number)
    return [*files, *beside.values()]


def _ply(mesh: TexturedMesh, split: SeamSplit, texture: str) -> bytes:
    """The file. Vertices are split at UV seams: PLY has one texture coordinate a vertex."""
    vertices = np.concatenate(
        [mesh.positions[split.position], mesh.normals[split.position], mesh.uv[split.uv]], 1, dtype="<f4"
    )
    faces = np.empty(len(split.faces), np.dtype([("corners", "u1"), ("vertices", "<i4", 3)]))
    faces["corners"], faces["vertices"] = 3, split.faces
    header = [
        "ply",
        "format binary_little_endian 1.0",
        "comment metres, +y up, front +z",
        f"comment TextureFile {texture}",
        f"element vertex {len(vertices)}",
        *(f"property float {name}" for name in VERTEX),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        "end_header\n",
    ]
    return "\n".join(header).encode() + vertices.tobytes() + faces.tobytes()
