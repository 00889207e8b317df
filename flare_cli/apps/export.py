"""`flare export`: the avatar, a performance of it, its textures or its light as files of other programs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from flare_cli.avatar.baking.bake import (
    bake_animation,
    bake_mesh,
    bake_rig,
    bake_sequence,
    bake_textures,
)
from flare_cli.avatar.baking.detail import Detail, of_detail
from flare_cli.avatar.baking.profiles import Profile, naming
from flare_cli.avatar.baking.seen_light import bake_seen_light
from flare_cli.avatar.bust import presented
from flare_cli.data.atomic import scratch_beside
from flare_cli.data.exr import exr_package, write_exr
from flare_cli.data.hdr import save_hdr
from flare_cli.data.meshes.gltf import Animation, GltfAvatar, TextureFormat, glb_bytes, write_glb
from flare_cli.data.meshes.gltf_transform import Compression, compress, gltf_transform, simplify
from flare_cli.data.meshes.obj import write_obj, write_obj_sequence
from flare_cli.data.meshes.ply import write_ply_sequence
from flare_cli.data.meshes.seen_light import MODULE, SeenLight, light_module
from flare_cli.data.meshes.textured_mesh import PbrTextures, TexturedMesh, write_textures
from flare_cli.data.meshes.usd import usd_package, write_usd, write_usdz
from flare_cli.data.meshes.viewer_page import ViewerPage, write_viewer
from flare_cli.data.meshes.webcam import FaceTracker, face_tracker
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
from flare_cli.subject.track import Track

# What is added to the run's name: a file, or for some a folder or the start of several files' names.
SUFFIXES = {
    "glb": ".glb",
    "html": ".html",
    "usd": ".usdc",
    "usdz": ".usdz",
    "obj": ".obj",
    "obj-sequence": "",
    "ply-sequence": "",
    "textures": "",
    "hdr": ".hdr",
    "exr": ".exr",
}
FORMATS = tuple(SUFFIXES)
SINGLE = tuple(kind for kind, suffix in SUFFIXES.items() if suffix)  # those whose main file is `name` and its suffix
SEQUENCES = ("obj-sequence", "ply-sequence")
ANIMATED = ("glb", "html", "usd", "usdz", *SEQUENCES)
FIRST_LIGHT = "studio"  # of those in a page
MAP_ROWS = 64  # of an exported light: four times as fine along each side as 256 directions


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What `flare export` was asked.

    `driver` is anything that `drivers.load_driver` takes: a GLB or USD gets it as a clip, a page beside the presets, a
    sequence is of it. `texture_format` is a GLB's: a page has WebP, all else PNG. `profile` is a GLB's or USD's,
    `detail` theirs and a page's. `lods` further GLBs have half as many vertices each, and textures half as large. They
    want glTF-Transform, and so does `compress`, but for "quantise": morphs in steps. With `shadows` a GLB knows what
    its vertices see of the light, and a script for three.js is put beside it. `webcam` is a folder with MediaPipe's
    face tracker, for a page. The files are called `name`, or as the run. `bust` is how the mesh ends below.
    """

    kind: str
    out: Path
    run: Path | None = None
    texture_size: int = 2048
    texture_format: TextureFormat = "jpeg"
    profile: Profile = "arkit"
    detail: Detail = "light"
    lods: int = 0
    compress: Compression | Literal["quantise"] | None = None
    shadows: bool = False
    webcam: Path | None = None
    driver: Path | None = None
    name: str | None = None
    fill: bool = True
    bust: Literal["closed", "open"] = "closed"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """What a format wrote, the main file first, and of which mesh."""

    files: list[Path]
    mesh: TexturedMesh | None = None
    morph_targets: int = 0


@gpu_memory("close other programs that use the GPU, or use --device cpu")
def export(request: ExportRequest, progress: ProgressCallback) -> ExportResult:
    """Write the avatar with baked textures, or its light. Raises `AvatarError` for other kinds."""
    _check(request)
    run = load_run(request.run or newest_run(), choose_device(request.device))
    shown = presented(run.avatar, fill=request.fill, bust=request.bust)
    run = replace(run, avatar=shown.avatar)
    file = request.out / f"{request.name or run.folder.resolve().name}{_suffix(request)}"
    if request.kind in ("hdr", "exr"):
        written = _light(run, file)
    else:
        progress(f"export {request.kind}", 0, 2)
        # A page knows what each vertex sees.
        occluded = request.kind != "html"
        textures = bake_textures(run.avatar, request.texture_size, shown.completion, occluded=occluded)
        progress(f"export {request.kind}", 1, 2)
        request.out.mkdir(parents=True, exist_ok=True)
        if request.kind == "textures":
            written = _Written(files=[*write_textures(file.parent, file.name, textures).values()])
        elif request.kind == "obj":
            mesh = bake_mesh(run.avatar)
            written = _Written(files=write_obj(file, mesh, textures), mesh=mesh)
        elif request.kind in SEQUENCES:
            written = _sequence(run, request, file, textures, progress)
        else:
            written = _rigged(run, request, file, textures, progress)
        progress(f"export {request.kind}", 2, 2)
    return ExportResult(
        run=run.folder,
        file=written.files[0],
        files=written.files,
        vertices=0 if written.mesh is None else len(written.mesh.positions),
        triangles=0 if written.mesh is None else len(written.mesh.faces),
        morph_targets=written.morph_targets,
    )


def _check(request: ExportRequest) -> None:
    """What is wrong with a request, or missing for it, before the work. Raises `FlareError`s."""
    if request.kind not in FORMATS:
        raise AvatarError(f"{request.kind!r} is not an export format", hint=f"use one of {', '.join(FORMATS)}")
    if request.driver is not None and request.kind not in ANIMATED:
        raise AvatarError(
            f"--format {request.kind} has no animation", hint=f"use one of {', '.join(ANIMATED)}, or leave --driver out"
        )
    if request.driver is None and request.kind in SEQUENCES:
        raise AvatarError(
            f"--format {request.kind} is of a performance",
            hint="name one: --driver talk, or what `flare animate` takes",
        )
    _check_glb(request)
    if request.webcam is not None:
        if request.kind != "html":
            raise AvatarError("--webcam is of pages", hint="use --format html")
        face_tracker(request.webcam)
    if request.kind in ("usd", "usdz"):
        usd_package()
    if request.kind == "exr":
        exr_package()


def _check_glb(request: ExportRequest) -> None:
    """As `_check`, what only GLB files have."""
    if request.kind != "glb":
        glb_only = {
            "--lods": request.lods,
            "--compress": request.compress,
            "--shadows": request.shadows,
            "--profile vrm": request.profile == "vrm",
        }
        for option in (option for option, given in glb_only.items() if given):
            raise AvatarError(f"{option} is of GLB files", hint=f"leave it out of --format {request.kind}")
    if request.profile == "vrm" and (request.lods or request.compress):
        raise AvatarError(
            "programs for VRM don't read what --lods and --compress write", hint="leave --lods and --compress out"
        )
    if request.lods or request.compress not in (None, "quantise"):
        gltf_transform()


def _suffix(request: ExportRequest) -> str:
    is_vrm = request.kind == "glb" and request.profile == "vrm"
    return ".vrm" if is_vrm else SUFFIXES[request.kind]


def _rigged(
    run: Run, request: ExportRequest, file: Path, textures: PbrTextures, progress: ProgressCallback
) -> _Written:
    """With skeleton and morph targets: a GLB, a page, or USD."""
    profile = "arkit" if request.kind == "html" else request.profile
    rigged, files = bake_rig(run.avatar, file.stem, textures, profile, request.detail), [file]
    if request.kind == "html":
        tracker = None if request.webcam is None else face_tracker(request.webcam)
        write_viewer(file, _page(run, rigged, request, tracker, progress))
    else:
        clips = () if request.driver is None else (_clip(run, rigged, request.driver, request.out / CACHE, progress),)
        rigged = replace(rigged, animations=clips)
        if request.kind == "glb":
            seen = _seen(run, rigged, request.detail, profile) if request.shadows else None
            files = _glbs(file, replace(rigged, seen=seen), request)
        else:
            files = (write_usd if request.kind == "usd" else write_usdz)(file, rigged)
    return _Written(files=files, mesh=rigged.mesh, morph_targets=len(rigged.morphs))


def _glbs(file: Path, rigged: GltfAvatar, request: ExportRequest) -> list[Path]:
    """The GLB, coarser ones after it, and the script that lights them; all of them or none."""
    rigged = replace(rigged, quantised_morphs=request.compress == "quantise")
    names = [file.name, *(f"{file.stem}_lod{n}{file.suffix}" for n in range(1, request.lods + 1))]
    with scratch_beside(file) as scratch:
        for n, name in enumerate(names):
            made = scratch / name
            write_glb(made, replace(rigged, textures=rigged.textures.smaller(2**n)), request.texture_format)
            if n:
                simplify(made, 0.5**n)
            if request.compress is not None and request.compress != "quantise":
                compress(made, request.compress)
        if request.shadows:
            names.append(MODULE)
            (scratch / MODULE).write_text(light_module(), encoding="utf-8")
        return [(scratch / name).replace(file.with_name(name)) for name in names]


def _sequence(
    run: Run, request: ExportRequest, folder: Path, textures: PbrTextures, progress: ProgressCallback
) -> _Written:
    """A mesh a frame, as the avatar is drawn."""
    assert request.driver is not None
    moved = _performance(run, request.driver, request.out / CACHE, progress)
    meshes = bake_sequence(run.avatar, expression=moved.expression, pose=moved.pose, translation=moved.translation)
    write = write_obj_sequence if request.kind == "obj-sequence" else write_ply_sequence
    files = write(folder, meshes, textures, lambda done: progress("frames", done, len(moved)))
    return _Written(files=files, mesh=bake_mesh(run.avatar))


def _page(
    run: Run, rigged: GltfAvatar, request: ExportRequest, tracker: FaceTracker | None, progress: ProgressCallback
) -> ViewerPage:
    """The avatar in the recording's camera, turned to look at the head, with every bundled map and preset."""
    drivers = [*map(Path, PRESETS), *([] if request.driver is None else [request.driver])]
    clips = tuple(_clip(run, rigged, driver, request.out / CACHE, progress) for driver in drivers)
    track = run.subject().track
    x, y, z = (track.camera.centres()[0] - track.translation.median(0).values).tolist()
    maps = bundled_envmaps()
    half_height = 0.5 * track.camera.height / float(track.camera.intrinsics[0, 1])
    # Specular intensity goes where occlusion would: one texture less to decode and to keep.
    textures = replace(rigged.textures, occlusion=rigged.textures.specular, specular=None)
    seen = _seen(run, rigged, request.detail, "arkit")
    shown = replace(rigged, textures=textures, animations=clips, seen=seen, quantised_morphs=True)
    return ViewerPage(
        title=rigged.name,
        glb=glb_bytes(shown, "webp"),
        lights={
            name: maps[name].read_bytes()
            for name in sorted(maps, key=lambda name: (name != FIRST_LIGHT, "/" in name, name))
        },
        camera_position=(x, y, z),
        fov_y=2 * math.degrees(math.atan(half_height)),
        tracker=tracker,
    )


def _seen(run: Run, rigged: GltfAvatar, detail: Detail, profile: Profile) -> SeenLight:
    """What the rig's vertices see of the light, by the names that its morphs have."""
    seen = bake_seen_light(of_detail(run.avatar, detail), len(rigged.mesh.positions))
    name = naming(profile).morph
    return replace(seen, shapes=tuple((name(unit), weight) for unit, weight in seen.shapes))


def _clip(run: Run, rigged: GltfAvatar, driver: Path, cache: Path, progress: ProgressCallback) -> Animation:
    """A driver's performance as a clip for the rig."""
    moved = _performance(run, driver, cache, progress)
    motion = as_arkit(run.avatar.head.to("cpu"), expression=moved.expression, pose=moved.pose)
    return bake_animation(driver.stem, rigged, motion, moved.translation, moved.fps)


def _performance(run: Run, driver: Path, cache: Path, progress: ProgressCallback) -> Track:
    """A driver's performance about the avatar's rest pose, where it stands."""
    own = run.subject().track
    at_rest = replace(own, pose=torch.zeros_like(own.pose), translation=torch.zeros_like(own.translation))
    driven = load_driver(driver, run.avatar.head.to("cpu"), cache=cache, progress=progress)
    return transfer(driven, at_rest, absolute=False)


def _light(run: Run, file: Path) -> _Written:
    """The light of the recording; of each of its videos, in a file each, where the avatar has several."""
    light, write = run.avatar.light, write_exr if file.suffix == ".exr" else save_hdr
    lights = {file: light}
    if len(light.videos) > 1:
        lights = {file.with_stem(f"{file.stem}_{video}"): light.of_video(video) for video in light.videos}
    with torch.no_grad():
        for path, one in lights.items():
            write(path, one.to_map(MAP_ROWS).cpu().numpy())
    return _Written(files=list(lights))
