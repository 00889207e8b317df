"""`flare export`: the avatar as GLB or OBJ with textures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flare_cli.avatar.bake import bake_mesh, bake_rig, bake_textures
from flare_cli.data.gltf import write_glb
from flare_cli.data.obj import write_obj
from flare_cli.errors import AvatarError
from flare_cli.fit.run_folder import load_run, newest_run
from flare_cli.parallel.progress import ProgressCallback
from flare_cli.render.device import choose_device
from flare_cli.render.gpu_memory import gpu_memory

FORMATS = ("glb", "obj")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What `flare export` was asked."""

    kind: str
    out: Path
    run: Path | None = None
    texture_size: int = 1024
    device: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """The main file, everything that was written, and its counts."""

    run: Path
    file: Path
    files: list[Path]
    vertices: int
    triangles: int
    morph_targets: int


@gpu_memory("close other programs that use the GPU, or use --device cpu")
def export(request: ExportRequest, progress: ProgressCallback) -> ExportResult:
    """Bake textures and write the avatar, named after its run. Raises `AvatarError` for other formats."""
    if request.kind not in FORMATS:
        raise AvatarError(f"{request.kind!r} is not an export format", hint=f"use one of {', '.join(FORMATS)}")
    run = load_run(request.run or newest_run(), choose_device(request.device))
    name = run.folder.resolve().name
    progress(f"export {request.kind}", 0, 2)
    textures = bake_textures(run.avatar, request.texture_size)
    progress(f"export {request.kind}", 1, 2)
    request.out.mkdir(parents=True, exist_ok=True)
    if request.kind == "glb":
        rigged = bake_rig(run.avatar, name, textures)
        file, mesh, morphs = request.out / f"{name}.glb", rigged.mesh, len(rigged.morphs)
        write_glb(file, rigged)
        files = [file]
    else:
        mesh, morphs = bake_mesh(run.avatar), 0
        files = write_obj(request.out / f"{name}.obj", mesh, textures)
        file = files[0]
    progress(f"export {request.kind}", 2, 2)
    return ExportResult(
        run=run.folder,
        file=file,
        files=files,
        vertices=len(mesh.positions),
        triangles=len(mesh.faces),
        morph_targets=morphs,
    )
