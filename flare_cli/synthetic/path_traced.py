"""Path traced recordings with more truth: held-out frames under other lights and from other cameras (`flare synth`)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.data.hdr import save_hdr
from flare_cli.data.json_file import read_json, write_json
from flare_cli.errors import SubjectError
from flare_cli.render.camera import Cameras
from flare_cli.subject.folder import Subject
from flare_cli.synthetic.mitsuba import trace_path
from flare_cli.synthetic.performance import perform
from flare_cli.synthetic.raytrace import PaintedMesh, TracedPicture
from flare_cli.synthetic.recording import (
    Recording,
    buffers_of,
    film,
    finished_subject,
    make_person,
    studio_camera,
    write_buffers,
)

RECIPE_VERSION = 1
VIEWS = ((30, 0), (-30, 0), (0, 20), (0, -20))  # yaw, pitch in degrees


@dataclass(frozen=True, slots=True, kw_only=True)
class PathRecipe:
    """How much of whom: the person's seed, frames, edge in pixels, paths per pixel, reflections between surfaces."""

    seed: int
    frames: int
    size: int
    samples: int
    bounces: int


def make_path_traced_subject(
    folder: Path,
    recipe: PathRecipe,
    *,
    light: Float[Tensor, "H W 3"],
    relight: Mapping[str, Float[Tensor, "..."]],
    progress: Callable[[int, int], None] | None = None,
) -> Subject:
    """Film a synthetic person into `folder` and return the subject, whose track is exact.

    Held-out frames are also traced under each map of `relight` and from the cameras of `VIEWS`. What a recording that
    was cut off has finished is kept, frame by frame. `progress` is called with (pictures done, pictures).
    Raises `SubjectError` where `folder` holds something else, `BackendError` where Mitsuba does not run.
    """
    performance, camera = perform(recipe.frames, seed=recipe.seed), studio_camera(recipe.size)
    source = {
        "kind": "synthetic",
        "renderer": "mitsuba",
        "version": RECIPE_VERSION,
        **asdict(recipe),
        "light": _fingerprint(light),
        "relight": {name: _fingerprint(envmap) for name, envmap in relight.items()},
        "views": [list(view) for view in VIEWS],
        "held_out_from": performance.held_out + 1,
    }
    if (finished := finished_subject(folder, source)) is not None:
        return finished
    _claim(folder, source)
    recording = Recording(
        person=make_person(recipe.seed), performance=performance, camera=camera, envmap=light, source=source
    )
    more = _MoreTruth(
        relit={folder / "truth" / "relit" / name: envmap for name, envmap in relight.items()},
        views={
            folder / "truth" / "views" / f"{yaw}_{pitch}": studio_camera(recipe.size, yaw=yaw, pitch=pitch)
            for yaw, pitch in VIEWS
        },
    )
    more.describe()

    def trace(mesh: PaintedMesh, frame: int) -> TracedPicture:
        first = (recipe.seed * recipe.frames + frame) * (1 + len(more))  # no two pictures share their random numbers

        def picture(number: int, camera: Cameras, envmap: Float[Tensor, "H W 3"]) -> TracedPicture:
            seed = (first + number) % 2**32
            return trace_path(mesh, camera, envmap, samples=recipe.samples, seed=seed, bounces=recipe.bounces)

        if frame >= performance.held_out:
            more.write(frame + 1, picture, camera, light)
        return picture(0, camera, light)

    def report(done: int, frames: int) -> None:
        if progress is not None:
            progress(*(n + len(more) * max(n - performance.held_out, 0) for n in (done, frames)))

    return film(folder, recording, trace, at_once=1, progress=report)  # Mitsuba uses all cores by itself


@dataclass(frozen=True, slots=True, kw_only=True)
class _MoreTruth:
    """What held-out frames are traced under and from besides, by the folder it goes to."""

    relit: Mapping[Path, Float[Tensor, "..."]]
    views: Mapping[Path, Cameras]

    def __len__(self) -> int:
        return len(self.relit) + len(self.views)

    def describe(self) -> None:
        """Write the light and the camera beside the pictures to come."""
        for place, envmap in self.relit.items():
            save_hdr(place / "light.hdr", envmap.float().numpy())
        for place, camera in self.views.items():
            write_json(
                place / "camera.json",
                {
                    "camera_from_world": camera.camera_from_world[0].double().tolist(),
                    "intrinsics": camera.intrinsics[0].double().tolist(),
                    "size": [camera.height, camera.width],
                },
            )

    def write(
        self,
        number: int,
        picture: Callable[[int, Cameras, Float[Tensor, "..."]], TracedPicture],
        camera: Cameras,
        light: Float[Tensor, "H W 3"],
    ) -> None:
        """Trace and write frame `number` by `picture(which, camera, envmap)`, `which` from 1."""
        for which, (place, envmap) in enumerate(self.relit.items(), 1):
            radiance = picture(which, camera, envmap).radiance.half().numpy()
            write_buffers(place / f"{number}.npz", {"radiance": radiance})
        for which, (place, view) in enumerate(self.views.items(), 1 + len(self.relit)):
            seen = picture(which, view, light)
            labelled = {**buffers_of(seen), "label": seen.label.to(torch.uint8).numpy()}
            write_buffers(place / f"{number}.npz", labelled)


def _fingerprint(envmap: Float[Tensor, "H W 3"]) -> str:
    return hashlib.sha256(envmap.float().contiguous().numpy().tobytes()).hexdigest()


def _claim(folder: Path, source: dict[str, Any]) -> None:
    """Refuse a folder that holds anything but this recording: hours of tracing are not overwritten."""
    recipe = folder / "truth" / "recipe.json"
    if (recipe.is_file() and read_json(recipe) != source) or (
        (folder / "flame_params.json").is_file() and not recipe.is_file()
    ):
        raise SubjectError(f"{folder} holds another subject", hint="choose a new folder, or delete that one")
