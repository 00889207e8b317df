"""`flare export`: the avatar as GLB or OBJ with textures, or the light that it was fitted with as an HDR picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from flare_cli.avatar.bake import Profile, bake_animation, bake_mesh, bake_rig, bake_textures
from flare_cli.data.gltf import Animation, GltfAvatar, TextureFormat, write_glb
from flare_cli.data.hdr import save_hdr
from flare_cli.data.obj import write_obj
from flare_cli.drive.drivers import CACHE, load_driver
from flare_cli.drive.transfer import transfer
from flare_cli.errors import AvatarError
from flare_cli.fit.run_folder import Run, load_run, newest_run
from flare_cli.head.arkit_motion import as_arkit
from flare_cli.parallel.progress import ProgressCallback
from flare_cli.render.device import choose_device
from flare_cli.render.gpu_memory import gpu_memory

FORMATS = ("glb", "obj", "hdr")
MAP_ROWS = 64  # of an exported light: four times as fine along each side as 256 directions


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What `flare export` was asked. `driver` is anything that `drivers.load_driver` takes: a GLB gets it as a clip."""

    kind: str
    out: Path
    run: Path | None = None
    texture_size: int = 2048
    texture_format: TextureFormat = "jpeg"
    profile: Profile = "arkit"
    driver: Path | None = None
    device: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """The main file, everything that was written, and the counts of its mesh: a light has none."""

    run: Path
    file: Path
    files: list[Path]
    vertices: int
    triangles: int
    morph_targets: int


@gpu_memory("close other programs that use the GPU, or use --device cpu")
def export(request: ExportRequest, progress: ProgressCallback) -> ExportResult:
    """Write the avatar with baked textures, or its light, named after its run. Raises `AvatarError` for other kinds."""
    if request.kind not in FORMATS:
        raise AvatarError(f"{request.kind!r} is not an export format", hint=f"use one of {', '.join(FORMATS)}")
    run = load_run(request.run or newest_run(), choose_device(request.device))
    name = run.folder.resolve().name
    if request.kind == "hdr":
        return _export_light(run, request.out / f"{name}.hdr")
    if request.driver is not None and request.kind != "glb":
        raise AvatarError(f"--format {request.kind} has no animation", hint="use --format glb, or leave --driver out")
    progress(f"export {request.kind}", 0, 2)
    textures = bake_textures(run.avatar, request.texture_size)
    progress(f"export {request.kind}", 1, 2)
    request.out.mkdir(parents=True, exist_ok=True)
    if request.kind == "glb":
        rigged = bake_rig(run.avatar, name, textures, request.profile)
        if request.driver is not None:
            rigged = replace(rigged, animation=_clip(run, rigged, request, progress))
        file, mesh, morphs = request.out / f"{name}.glb", rigged.mesh, len(rigged.morphs)
        write_glb(file, rigged, request.texture_format)
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


def _clip(run: Run, rigged: GltfAvatar, request: ExportRequest, progress: ProgressCallback) -> Animation:
    """The driver's performance about the avatar's rest pose, where it stands."""
    assert request.driver is not None
    head, own = run.avatar.head.to("cpu"), run.subject().track
    at_rest = replace(own, pose=torch.zeros_like(own.pose), translation=torch.zeros_like(own.translation))
    moved = transfer(
        load_driver(request.driver, head, cache=request.out / CACHE, progress=progress), at_rest, absolute=False
    )
    return bake_animation(
        rigged, as_arkit(head, expression=moved.expression, pose=moved.pose), moved.translation, moved.fps
    )


def _export_light(run: Run, file: Path) -> ExportResult:
    file.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        save_hdr(file, run.avatar.light.to_map(MAP_ROWS).cpu().numpy())
    return ExportResult(run=run.folder, file=file, files=[file], vertices=0, triangles=0, morph_targets=0)
