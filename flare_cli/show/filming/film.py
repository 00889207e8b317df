"""Filming a performance of an avatar: lights, camera, background, and where the pictures go."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.bust import Bust, Presented, presented
from flare_cli.data.image import write_png
from flare_cli.data.video import Sound
from flare_cli.errors import FlareError
from flare_cli.fit.run_folder import Run
from flare_cli.parallel.progress import ProgressCallback
from flare_cli.render.camera import Cameras
from flare_cli.render.colour import linear_from_srgb
from flare_cli.render.light.environment import prefilter
from flare_cli.render.light.samples import SummedLight
from flare_cli.render.light.shading import Light
from flare_cli.show.filming.backgrounds import (
    BLUR,
    BLUR_ROUGHNESS,
    ENVMAP,
    ORIGINAL,
    TRANSPARENT,
    EnvironmentBehind,
    PictureBehind,
    RecordingBehind,
    empty_plate,
    parse_background,
)
from flare_cli.show.filming.camera_moves import CameraMove, head_centres, moved_cameras, reframed
from flare_cli.show.filming.lighting import Environment
from flare_cli.show.filming.performance import Performance
from flare_cli.show.output import BesideRecording, Keeper, Write, check_alpha, open_output
from flare_cli.show.track_pictures import Background, draw_track, sheet
from flare_cli.subject.track import Track

RAYS = 256  # a vertex and frame, over the sphere: as the fit's default
SHEET_FRAMES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """How to film, and where to: a video file or a folder for PNGs; with several lights a file or folder for each.

    `size` and `width` are pixels, by default the fit's height and the recording's shape. `degrees` are those of an
    orbit. `background` is one of `backgrounds.KINDS` or a colour; None is the environment where there is one, and else
    black. `beside` puts what was recorded to the left. `sheet` is a PNG for a few frames of every light. With `traced`
    shadows are traced in every frame, where the avatar's light is explicit. `fill` gives what was never seen the
    colours and the surface of the other side, or of what is around it (`avatar/completion.py`); `bust` is how the
    avatar ends below (`avatar/bust.py`).
    """

    out: Path
    size: int | None = None
    width: int | None = None
    frames: int | None = None
    fps: float | None = None
    loop: bool = False
    camera: CameraMove = "fixed"
    degrees: float = 60.0
    background: str | None = None
    beside: bool = False
    sheet: Path | None = None
    traced: bool = False
    fill: bool = True
    bust: Bust = "fade"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filmed:
    """What was written, how many frames each has, and the factor (in stops) that was applied to each map."""

    files: list[Path]
    frames: int
    exposure: dict[str, float]


def shoot(
    run: Run,
    film: Film,
    performance: Performance,
    lights: list[Environment],
    progress: ProgressCallback,
    *,
    sound: Sound | None = None,
    plays_itself: bool = False,
) -> Filmed:
    """Draw the performance under each of the lights; without any, under the recording's own.

    `sound` goes with the performance as it was recorded; a film that is shown backward too is silent. Where the avatar
    `plays_itself`, the original background is each frame of the performance's own recording. Raises `FlareError`.
    """
    _check(film, lights, performance)
    shown = presented(run.avatar, fill=film.fill, bust=film.bust)
    if film.fps is not None or sound is not None:
        performance = performance.resampled(film.fps or performance.track.fps)
    performance = performance[: film.frames]
    if sound is not None:
        sound = None if film.loop else replace(sound, start=float(performance.time[0]))
    performance = performance.there_and_back() if film.loop else performance
    cameras = _cameras(run, film, performance.track)
    scene = _Scene(run=run, film=film, performance=performance, cameras=cameras, sound=sound, shown=shown)
    original = _original(scene, plays_itself)
    files: list[Path] = []
    rows: list[list[UInt8[np.ndarray, "H W C"]]] = []
    for environment in lights or [None]:
        lit = _lit(run.avatar, film, environment, original)
        files.append(_named(film.out, lit.name) if len(lights) > 1 else film.out)
        rows.append(_draw(scene, lit, files[-1], progress))
    if film.sheet is not None:
        write_png(film.sheet, sheet([[_over_white(picture) for picture in row] for row in rows]))
        files.append(film.sheet)
    return Filmed(files=files, frames=len(performance), exposure={light.name: light.exposure for light in lights})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """What all films of one command share."""

    run: Run
    film: Film
    performance: Performance
    cameras: Cameras
    sound: Sound | None
    shown: Presented


@dataclass(frozen=True, slots=True)
class _Lit:
    """One light and what is behind the avatar in it; without a light the recording's own."""

    name: str
    light: Light | SummedLight | None
    background: Background | None
    turns: bool


def _check(film: Film, lights: list[Environment], performance: Performance) -> None:
    """Refuse what can't be filmed, before anything is drawn."""
    background = None if film.background is None else parse_background(film.background)
    if background == TRANSPARENT:
        check_alpha(film.out)
    if background in (ENVMAP, BLUR) and not lights:
        raise FlareError(
            f"there is no environment for --background {film.background}",
            hint="light by one: --envmap studio; the recording's light has no picture",
        )
    if background == ORIGINAL and (film.camera != "fixed" or film.width is not None):
        raise FlareError(
            "the original background was filmed by the recording's camera alone",
            hint="leave --camera and --width out, or choose another background",
        )
    if film.sheet is not None and film.sheet.suffix.lower() != ".png":
        raise FlareError(f"{film.sheet}: a sheet is a PNG", hint="end in .png: --sheet sheet.png")
    if film.beside and performance.pictures is None:
        raise FlareError(
            "there is nothing to show beside: this driver has no pictures",
            hint="leave --beside out, or drive by a subject folder or a video",
        )


def _cameras(run: Run, film: Film, track: Track) -> Cameras:
    recorded = track.cameras()
    height = film.size or run.config.data.size
    if film.width is None:
        recorded = recorded.resized(height, round(recorded.width * height / recorded.height))
    else:
        recorded = reframed(recorded, height, film.width)
    centres = head_centres(run.avatar, track.to(run.avatar.device)).cpu()
    return moved_cameras(film.camera, recorded, centres, degrees=film.degrees, fps=track.fps)


def _original(scene: _Scene, plays_itself: bool) -> Background | None:
    """What was recorded, where that is the background: the frames themselves, or a plate without the head."""
    run, cameras, pictures = scene.run, scene.cameras, scene.performance.pictures
    if scene.film.background != ORIGINAL:
        return None
    if plays_itself and pictures is not None:
        return RecordingBehind(pictures)
    plate = torch.from_numpy(empty_plate(run.subject(), (cameras.width, cameras.height)))
    return PictureBehind(linear_from_srgb(plate.to(run.avatar.device) / 255)[None])


def _lit(avatar: Avatar, film: Film, environment: Environment | None, original: Background | None) -> _Lit:
    kind = None if film.background is None else parse_background(film.background)
    background = original
    if isinstance(kind, tuple):
        background = PictureBehind(torch.tensor(kind, device=avatar.device).view(1, 1, 1, 3))
    if environment is None:
        return _Lit("", None, background, turns=False)
    picture, yaw = environment.picture.to(avatar.device), environment.yaw
    if kind in (None, ENVMAP, BLUR):
        roughness = BLUR_ROUGHNESS if kind == BLUR else 0.0
        background = EnvironmentBehind(prefilter(picture).rotate(yaw), roughness)
    return _Lit(environment.name, avatar.light.of_environment(picture).rotate(yaw), background, environment.turns)


def _draw(scene: _Scene, lit: _Lit, out: Path, progress: ProgressCallback) -> list[UInt8[np.ndarray, "H W C"]]:
    """Draw one film; the frames for the sheet."""
    film, performance = scene.film, scene.performance
    wanted = np.unique(np.linspace(0, len(performance) - 1, SHEET_FRAMES).round().astype(int))
    keepers: list[Keeper] = []

    def through(write: Write) -> Write:
        if film.sheet is not None:
            keepers.append(Keeper(write, frozenset(wanted.tolist())))
            write = keepers[0]
        if film.beside:
            assert performance.pictures is not None
            write = BesideRecording(write, performance.pictures)
        return write

    once_around = torch.arange(len(performance)) / len(performance) * 2 * math.pi
    drawing = draw_track(
        scene.shown.avatar,
        performance.track,
        scene.run.rasterizer(),
        light=lit.light,
        cameras=scene.cameras,
        background=lit.background,
        turned=once_around if lit.turns else None,
        rays=RAYS if film.traced else 0,
        completion=scene.shown.completion,
        opacity=scene.shown.opacity,
    )
    with open_output(out, performance.track.fps, sound=scene.sound, through=through) as output:
        for drawn in drawing:
            output.add(drawn.picture.image if film.background == TRANSPARENT else drawn.picture.colour)
            progress(f"draw {lit.name}".rstrip(), output.count, len(performance))
    return keepers[0].kept if keepers else []


def _named(out: Path, name: str) -> Path:
    """A file beside `out`, or a folder in it, for one of several lights."""
    return out.with_stem(f"{out.stem}-{name}") if out.suffix else out / name


def _over_white(picture: UInt8[np.ndarray, "H W C"]) -> UInt8[np.ndarray, "H W 3"]:
    if picture.shape[2] == 3:
        return picture
    alpha = picture[..., 3:].astype(np.float32) / 255
    return (picture[..., :3] * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8)
