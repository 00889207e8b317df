"""`flare export`: the avatar as GLB, OBJ or a page that shows it, or the light that it was fitted with as HDR."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from flare_cli.avatar.bake import Profile, bake_animation, bake_mesh, bake_rig, bake_textures
from flare_cli.data.gltf import Animation, GltfAvatar, TextureFormat, glb_bytes, write_glb
from flare_cli.data.hdr import save_hdr
from flare_cli.data.obj import write_obj
from flare_cli.data.viewer_page import ViewerPage, write_viewer
from flare_cli.drive.drivers import CACHE, load_driver
from flare_cli.drive.presets import PRESETS
from flare_cli.drive.transfer import transfer
from flare_cli.errors import AvatarError
from flare_cli.fit.run_folder import Run, load_run, newest_run
from flare_cli.head.arkit_motion import as_arkit
from flare_cli.parallel.progress import ProgressCallback
from flare_cli.render.device import choose_device
from flare_cli.render.gpu_memory import gpu_memory
from flare_cli.show.envmaps import bundled_envmaps

FORMATS = ("glb", "html", "obj", "hdr")
FIRST_LIGHT = "studio"  # of those in a page
MAP_ROWS = 64  # of an exported light: four times as fine along each side as 256 directions


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What `flare export` was asked.

    `driver` is anything that `drivers.load_driver` takes: a GLB gets it as a clip, a page beside the presets.
    `texture_format` and `profile` are a GLB's; a page has WebP and ARKit's names. The files are called `name`, or as
    the run.
    """

    kind: str
    out: Path
    run: Path | None = None
    texture_size: int = 2048
    texture_format: TextureFormat = "jpeg"
    profile: Profile = "arkit"
    driver: Path | None = None
    name: str | None = None
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
    """Write the avatar with baked textures, or its light. Raises `AvatarError` for other kinds."""
    if request.kind not in FORMATS:
        raise AvatarError(f"{request.kind!r} is not an export format", hint=f"use one of {', '.join(FORMATS)}")
    if request.driver is not None and request.kind not in ("glb", "html"):
        raise AvatarError(f"--format {request.kind} has no animation", hint="use glb or html, or leave --driver out")
    run = load_run(request.run or newest_run(), choose_device(request.device))
    name = request.name or run.folder.resolve().name
    if request.kind == "hdr":
        return _export_light(run, request.out / f"{name}.hdr")
    progress(f"export {request.kind}", 0, 2)
    textures = bake_textures(run.avatar, request.texture_size)
    progress(f"export {request.kind}", 1, 2)
    request.out.mkdir(parents=True, exist_ok=True)
    file = request.out / f"{name}.{request.kind}"
    if request.kind == "obj":
        mesh, morphs = bake_mesh(run.avatar), 0
        files = write_obj(file, mesh, textures)
    else:
        rigged = bake_rig(run.avatar, name, textures, request.profile if request.kind == "glb" else "arkit")
        mesh, morphs, files = rigged.mesh, len(rigged.morphs), [file]
        if request.kind == "glb":
            clips = (
                () if request.driver is None else (_clip(run, rigged, request.driver, request.out / CACHE, progress),)
            )
            write_glb(file, replace(rigged, animations=clips), request.texture_format)
        else:
            write_viewer(file, _page(run, rigged, request, progress))
    progress(f"export {request.kind}", 2, 2)
    return ExportResult(
        run=run.folder,
        file=file,
        files=files,
        vertices=len(mesh.positions),
        triangles=len(mesh.faces),
        morph_targets=morphs,
    )


def _page(run: Run, rigged: GltfAvatar, request: ExportRequest, progress: ProgressCallback) -> ViewerPage:
    """The avatar in the recording's camera, turned to look at the head, with every bundled map and preset."""
    drivers = [*map(Path, PRESETS), *([] if request.driver is None else [request.driver])]
    clips = tuple(_clip(run, rigged, driver, request.out / CACHE, progress) for driver in drivers)
    track = run.subject().track
    x, y, z = (track.camera.centres()[0] - track.translation.median(0).values).tolist()
    maps = bundled_envmaps()
    half_height = 0.5 * track.camera.height / float(track.camera.intrinsics[0, 1])
    return ViewerPage(
        title=rigged.name,
        glb=glb_bytes(replace(rigged, animations=clips), "webp"),
        lights={
            name: maps[name].read_bytes()
            for name in sorted(maps, key=lambda name: (name != FIRST_LIGHT, "/" in name, name))
        },
        camera_position=(x, y, z),
        fov_y=2 * math.degrees(math.atan(half_height)),
    )


def _clip(run: Run, rigged: GltfAvatar, driver: Path, cache: Path, progress: ProgressCallback) -> Animation:
    """A driver's performance about the avatar's rest pose, where it stands."""
    head, own = run.avatar.head.to("cpu"), run.subject().track
    at_rest = replace(own, pose=torch.zeros_like(own.pose), translation=torch.zeros_like(own.translation))
    moved = transfer(load_driver(driver, head, cache=cache, progress=progress), at_rest, absolute=False)
    motion = as_arkit(head, expression=moved.expression, pose=moved.pose)
    return bake_animation(driver.stem, rigged, motion, moved.translation, moved.fps)


def _export_light(run: Run, file: Path) -> ExportResult:
    file.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        save_hdr(file, run.avatar.light.to_map(MAP_ROWS).cpu().numpy())
    return ExportResult(run=run.folder, file=file, files=[file], vertices=0, triangles=0, morph_targets=0)
