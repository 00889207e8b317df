"""Path traced recordings: a phone's video of a person whose albedo, shape and looks under other lights are known.

    <subject>/video.mp4                        what the phone made of it
    <subject>/image, mask, semantic, *.json    a subject with a tracker's errors, where the head is our own model's
    <subject>/truth/                           docs/formats.md, "Synthetic subject"

Resumable by the frame: what the sensor read of a frame (`film/`, held out: its buffers) is written last of it. The
video replaces `film/`, and `image/` is read from the video.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, Float16, UInt8
from torch import Tensor

from flare_cli.data.hdr import save_hdr
from flare_cli.data.image import read_rgb, write_png
from flare_cli.data.json_file import read_json, write_json
from flare_cli.data.video import VideoReader
from flare_cli.errors import SubjectError
from flare_cli.render.camera import Cameras
from flare_cli.render.colour import srgb_from_linear
from flare_cli.render.light.environment import environment_background, prefilter
from flare_cli.subject.folder import Subject, save_subject
from flare_cli.synthetic.acting import act
from flare_cli.synthetic.mitsuba import MitsubaHead
from flare_cli.synthetic.people.interface import FilmedPerson
from flare_cli.synthetic.performance import Performance
from flare_cli.synthetic.phone import sensor_noise, write_phone_video
from flare_cli.synthetic.raytrace import TracedPicture
from flare_cli.synthetic.recipe import SynthRecipe
from flare_cli.synthetic.recording import as_bytes, exact_subject, studio_camera, truth_path, write_buffers
from flare_cli.synthetic.tracker_error import with_tracker_error

RECIPE_VERSION = 2
VIDEO = "video.mp4"
VIEWS = ((30, 0), (-30, 0), (60, 0), (-60, 0), (0, 20), (0, -20))  # yaw, pitch in degrees


@dataclass(frozen=True, slots=True, kw_only=True)
class PathTracedFilm:
    """A recording to be made: who, doing what, under which maps (in the camera's units, by name)."""

    recipe: SynthRecipe
    person: FilmedPerson
    light: Float[Tensor, "H W 3"]
    relight: Mapping[str, Float[Tensor, "..."]]

    @property
    def performance(self) -> Performance:
        """What the person does."""
        asked = self.recipe.performance
        return act(asked.training, asked.held_out, fps=asked.fps, seed=asked.seed)

    def source(self) -> dict[str, Any]:
        """What tells this recording from all others."""
        performance = self.performance
        return {
            "kind": "synthetic",
            "renderer": "mitsuba",
            "version": RECIPE_VERSION,
            **asdict(self.recipe),
            "maps": {name: _fingerprint(envmap) for name, envmap in {"": self.light, **self.relight}.items()},
            "head": _fingerprint(self.person.control(performance, 0)),
            "views": [list(view) for view in VIEWS],
            "held_out_from": performance.held_out + 1,
        }


def film_path_traced(
    folder: Path, film: PathTracedFilm, progress: Callable[[int, int], None] | None = None
) -> Subject | None:
    """Film a person into `folder`; the subject, where the head is our own model's.

    What a recording that was cut off has finished is kept, frame by frame. `progress` is called with (pictures done,
    pictures). Raises `SubjectError` where `folder` holds something else, `BackendError` where Mitsuba does not run.
    """
    # As JSON has it, so that it can be compared with what was written.
    source = _plain(film.source())
    _claim(folder, source)
    recording = _Recording(folder, film, film.performance)
    if not (folder / VIDEO).is_file():
        recording.describe(source)
        recording.trace(progress)
        recording.develop()
    shutil.rmtree(folder / "film", ignore_errors=True)
    return recording.given(source)


@final
class _Recording:
    """The steps of one recording, each of which leaves what it made in the folder."""

    def __init__(self, folder: Path, film: PathTracedFilm, performance: Performance) -> None:
        self.folder, self.film, self.performance = folder, film, performance
        self.camera = studio_camera(film.recipe.render.size)
        self.background = environment_background(prefilter(film.light), self.camera)[0]
        self.truth = folder / "truth"
        self.frames = len(performance.arkit)
        self.parameters = film.person.parameters(performance)
        self.seen_from = {
            self.truth / "views" / f"{yaw}_{pitch}": studio_camera(film.recipe.render.size, yaw=yaw, pitch=pitch)
            for yaw, pitch in VIEWS
        }
        self.lit_by = {self.truth / "relit" / name: envmap for name, envmap in film.relight.items()}

    def describe(self, source: dict[str, Any]) -> None:
        """Write everything about the pictures to come."""
        write_json(self.truth / "recipe.json", source)
        save_hdr(self.truth / "light.hdr", self.film.light.float().numpy())
        for place, envmap in self.lit_by.items():
            save_hdr(place / "light.hdr", envmap.float().numpy())
        for place, camera in {self.truth: self.camera, **self.seen_from}.items():
            write_json(place / "camera.json", _described(camera))
        person = self.film.person
        mesh = {"faces": person.faces.int().numpy(), "labels": person.labels.to(torch.uint8).numpy()}
        write_buffers(self.truth / "mesh.npz", mesh)

    def trace(self, progress: Callable[[int, int], None] | None) -> None:
        """All frames that are not there yet, one after the other: Mitsuba uses all cores by itself."""
        costs = [1 + len(self._extra(i)) for i in range(self.frames)]
        for i in range(self.frames):
            if not self._last_file(i).is_file():
                self._trace_frame(i)
            if progress is not None:
                progress(sum(costs[: i + 1]), sum(costs))

    def _extra(self, frame: int) -> list[Path]:
        """Where a frame's pictures under other lights and from other cameras go."""
        if frame < self.performance.held_out:
            return []
        return [*self.lit_by, *(self.seen_from if frame in self._viewed() else ())]

    def _viewed(self) -> list[int]:
        """The held-out frames that are seen from other cameras too, spread evenly."""
        first, count = self.performance.held_out, min(self.film.recipe.render.views, self.frames)
        places = (np.arange(count) + 0.5) / max(count, 1)
        return (first + places * (self.frames - first)).astype(int).tolist()

    def _last_file(self, frame: int) -> Path:
        held_out = frame >= self.performance.held_out
        return truth_path(self.folder, frame + 1) if held_out else self._path("film", frame)

    def _path(self, kind: str, frame: int) -> Path:
        return self.folder / kind / f"{frame + 1}.png"

    def _trace_frame(self, frame: int) -> None:
        render, person = self.film.recipe.render, self.film.person
        head = MitsubaHead(person.posed(self.performance, frame))
        first = frame * (1 + len(self.lit_by) + len(self.seen_from))  # no two pictures share their random numbers

        def picture(number: int, camera: Cameras, envmap: Float[Tensor, "H W 3"]) -> TracedPicture:
            return head.trace(camera, envmap, samples=render.samples, seed=first + number, bounces=render.bounces)

        seen = picture(0, self.camera, self.film.light)
        shown = seen.radiance + (1 - seen.coverage[..., None]) * self.background
        if self.parameters is not None:
            write_png(self._path("mask", frame), as_bytes(seen.coverage))
            write_png(self._path("semantic", frame), seen.label.to(torch.uint8).numpy())
        write_png(self._path("film", frame), self._sensor_picture(shown, frame))
        for number, place in enumerate(self._extra(frame), 1):
            path = place / f"{frame + 1}.npz"
            if place in self.lit_by:
                radiance = picture(number, self.camera, self.lit_by[place]).radiance
                write_buffers(path, {"radiance": rounded(radiance)})
            else:
                view = picture(number, self.seen_from[place], self.film.light)
                write_buffers(path, _shown(view))
        if frame >= self.performance.held_out:
            vertices = person.control(self.performance, frame).float().numpy()
            write_buffers(truth_path(self.folder, frame + 1), {**_shown(seen), **_surface(seen), "vertices": vertices})

    def _sensor_picture(self, radiance: Float[Tensor, "H W 3"], frame: int) -> UInt8[np.ndarray, "H W 3"]:
        camera = self.film.recipe.camera
        random = np.random.default_rng([self.film.recipe.performance.seed, frame])
        noisy = sensor_noise(radiance.double().numpy(), camera.noise, random)
        return as_bytes(srgb_from_linear(torch.from_numpy(noisy).float()))

    def develop(self) -> None:
        """The phone's video of what the sensor read."""
        recipe = self.film.recipe
        pictures = (read_rgb(self._path("film", i)) for i in range(self.frames))
        write_phone_video(self.folder / VIDEO, pictures, fps=recipe.performance.fps, crf=recipe.camera.crf)

    def given(self, source: dict[str, Any]) -> Subject | None:
        """Write the subject: the video's pictures, and parameters as a tracker might have found them.

        The exact ones go to `truth/`.
        """
        known = self.parameters
        if known is None:
            return None
        if not all(self._path("image", i).is_file() for i in range(self.frames)):
            for i, frame in enumerate(VideoReader(self.folder / VIDEO)):
                write_png(self._path("image", i), frame.rgb)
        recipe = self.film.recipe
        subject = exact_subject(
            self.truth,
            known,
            self.camera,
            fps=recipe.performance.fps,
            source=source,
            held_out=tuple(range(self.performance.held_out + 1, self.frames + 1)),
        )
        save_subject(subject)
        tracker = recipe.tracker
        given = with_tracker_error(
            subject.track, noise=tracker.noise, drift=tracker.drift, seed=recipe.performance.seed
        )
        subject = replace(subject, folder=self.folder, track=given)
        save_subject(subject)
        return subject


def rounded(values: Float[Tensor, "H W *channels"]) -> Float16[np.ndarray, "H W *channels"]:
    """Half floats of 6 bits after the first: right to one part in 128, less than a step of 8-bit sRGB.

    A PSNR of 62 dB against all bits (measured); the other four are the noise of paths, which does not pack.
    """
    bits = values.half().numpy().view(np.uint16).astype(np.uint32)
    return ((bits + 8) & 0xFFF0).astype(np.uint16).view(np.float16)


def stepped(values: Float[Tensor, "H W *channels"]) -> Float16[np.ndarray, "H W *channels"]:
    """The nearest multiples of 1/256, a channel after the other in memory: unit normals turn by 0.2 degrees at most."""
    return np.asfortranarray((values * 256).round().div(256).half().numpy())


def _shown(picture: TracedPicture) -> dict[str, np.ndarray]:
    """What is seen of a person."""
    return {
        "radiance": rounded(picture.radiance),
        "coverage": picture.coverage.half().numpy(),
        "label": picture.label.to(torch.uint8).numpy(),
    }


def _surface(picture: TracedPicture) -> dict[str, np.ndarray]:
    """What it is made of."""
    steps = {name: stepped(getattr(picture, name)) for name in ("roughness", "specular", "normal")}
    return {**steps, "albedo": rounded(picture.albedo), "depth": picture.depth.half().numpy()}


def _described(camera: Cameras) -> dict[str, Any]:
    return {
        "camera_from_world": camera.camera_from_world[0].double().tolist(),
        "intrinsics": camera.intrinsics[0].double().tolist(),
        "size": [camera.height, camera.width],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _fingerprint(values: Float[Tensor, "..."]) -> str:
    return hashlib.sha256(values.float().contiguous().numpy().tobytes()).hexdigest()


def _claim(folder: Path, source: dict[str, Any]) -> None:
    """Refuse a folder that holds anything but this recording: hours of tracing are not overwritten."""
    recipe = folder / "truth" / "recipe.json"
    if (recipe.is_file() and read_json(recipe) != source) or (
        (folder / "flame_params.json").is_file() and not recipe.is_file()
    ):
        raise SubjectError(f"{folder} holds another subject", hint="choose a new folder, or delete that one")
