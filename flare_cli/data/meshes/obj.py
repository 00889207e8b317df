"""Wavefront OBJ with its material file and textures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Shaped

from flare_cli.data.atomic import write_bytes_whole
from flare_cli.data.meshes.textured_mesh import PbrTextures, TexturedMesh, png
from flare_cli.errors import HeadError


def write_obj(path: Path, mesh: TexturedMesh, textures: PbrTextures) -> list[Path]:
    """Write `path`, its .mtl and its textures (named after it) and return them all, the OBJ first.

    Positions are shared across UV seams, so an editor sees one closed skin. Roughness is `map_Pr` of the PBR extension
    that Blender and others read.
    """
    beside = _write_material(path.parent, path.stem, textures)
    write_bytes_whole(path, _text(_geometry(path.stem, mesh, _faces(mesh))))
    return [path, *beside]


def write_obj_sequence(
    folder: Path, meshes: Iterable[TexturedMesh], textures: PbrTextures, progress: Callable[[int], None]
) -> list[Path]:
    """Write each mesh as `00001.obj` and so on, the first frame being 1; one material and its textures serve all.

    All meshes have the same faces and texture coordinates. `progress` hears of every file.
    """
    name, faces, files = folder.name, None, []
    beside = _write_material(folder, name, textures)
    for number, mesh in enumerate(meshes, 1):
        faces = faces or _faces(mesh)
        files.append(folder / f"{number:05d}.obj")
        write_bytes_whole(files[-1], _text(_geometry(name, mesh, faces)))
        progress(number)
    return [*files, *beside]


def _write_material(folder: Path, name: str, textures: PbrTextures) -> list[Path]:
    """The .mtl and the textures that it names."""
    pictures = {f"{name}_albedo.png": png(textures.albedo), f"{name}_roughness.png": png(textures.roughness)}
    material = [
        "newmtl head",
        "Kd 1 1 1",
        f"map_Kd {name}_albedo.png",
        "Pr 1",
        f"map_Pr {name}_roughness.png",
        "Pm 0",
        "illum 2",
    ]
    if textures.specular is not None:
        pictures[f"{name}_specular.png"] = png(textures.specular)
        material += ["Ks 1 1 1", f"map_Ks {name}_specular.png"]
    files = {**pictures, f"{name}.mtl": _text(material)}
    for file, data in files.items():
        write_bytes_whole(folder / file, data)
    return [folder / file for file in reversed(files)]


def _geometry(name: str, mesh: TexturedMesh, faces: str) -> Iterable[str]:
    yield "# metres, +y up, front +z"
    yield f"mtllib {name}.mtl"
    yield "o head"
    yield from _rows("v", mesh.positions, 6)
    yield from _rows("vt", mesh.uv, 6)
    yield from _rows("vn", mesh.normals, 4)
    yield "usemtl head"
    yield "s 1"
    yield faces


def _faces(mesh: TexturedMesh) -> str:
    corners = np.stack([mesh.faces, mesh.uv_faces, mesh.faces], -1).reshape(-1, 9) + 1
    return "\n".join("f {}/{}/{} {}/{}/{} {}/{}/{}".format(*face) for face in corners.tolist())


def _rows(keyword: str, values: Shaped[np.ndarray, "N C"], digits: int) -> Iterable[str]:
    template = keyword + f" {{:.{digits}f}}" * values.shape[1]
    return (template.format(*row) for row in values.tolist())


def _text(lines: Iterable[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()


def read_obj_uv(
    path: Path,
) -> tuple[Int[np.ndarray, "F 3"], Float[np.ndarray, "T 2"], Int[np.ndarray, "F 3"]]:
    """Triangles, texture coordinates (v up), and the triangles' texture corners of an OBJ.

    Raises `HeadError` where it is not one, or has faces without texture corners or with other than three.
    """
    coordinates: list[list[float]] = []
    corners: list[list[list[int]]] = []
    hint = "export the mesh as an OBJ of triangles with texture coordinates"
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            words = line.split()
            if words[:1] == ["vt"]:
                coordinates.append([float(word) for word in words[1:3]])
            elif words[:1] == ["f"]:
                corner = [[int(part) for part in word.split("/")[:2]] for word in words[1:]]
                if len(corner) != 3 or any(len(pair) != 2 for pair in corner):
                    raise HeadError(f"{path}:{number}: not a triangle with texture corners", hint=hint)
                corners.append(corner)
    except (OSError, ValueError) as error:
        raise HeadError(f"{path} is not a readable OBJ: {error}", hint=hint) from error
    if not corners or any(len(pair) != 2 for pair in coordinates):
        raise HeadError(f"{path} holds no textured triangles", hint=hint)
    if not all(0 < corner < 2**31 for face in corners for pair in face for corner in pair):
        raise HeadError(f"{path} counts its corners from below 1, or beyond all bounds", hint=hint)
    both = np.array(corners, np.int64) - 1
    return both[..., 0], np.array(coordinates, np.float64).reshape(-1, 2), both[..., 1]
