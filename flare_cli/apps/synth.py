"""`flare synth`: a path traced person with the truth beside the recording."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.data.hdr import load_envmap
from flare_cli.parallel.progress import ProgressCallback, one_at_a_time
from flare_cli.show.envmaps import find_envmap, named_envmaps
from flare_cli.subject.folder import load_subject, save_subject
from flare_cli.synthetic.lighting import exposed, front_lit
from flare_cli.synthetic.mitsuba import mitsuba_variant
from flare_cli.synthetic.path_traced import VIDEO, PathTracedFilm, film_path_traced
from flare_cli.synthetic.people.person import make_filmed_person
from flare_cli.synthetic.recipe import CameraRecipe, SynthRecipe, load_recipe
from flare_cli.track.pipeline import make_subject
from flare_cli.track.request import PreprocessRequest

TRACKED = "tracked"  # the subject that `flare preprocess` makes of the video, inside the recording's folder


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthRequest:
    """What `flare synth` was asked: a recipe by name or path, changes to it (`table.key=value`), and what to do.

    `head_data` is ICT-FaceKit's folder. `tracked`: also make the subject that a user would, from the video's pixels.
    """

    out: Path
    recipe: str = "tiny"
    overrides: tuple[str, ...] = ()
    head_data: Path | None = None
    tracked: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthResult:
    """The recording. `given` has a tracker's parameters, `tracked` is made from the pixels; frames from `held_out_from`
    on have truth."""

    folder: Path
    given: Path | None
    tracked: Path | None
    frames: int
    held_out_from: int
    mitsuba_variant: str
    seconds: float


def synth(request: SynthRequest, progress: ProgressCallback) -> SynthResult:
    """Film the person of a recipe. The light is turned to the face and all maps are exposed for the camera."""
    started = time.monotonic()
    recipe = load_recipe(request.recipe, request.overrides)
    variant = mitsuba_variant()  # not found after seconds
    film = planned_film(recipe, request.head_data)
    given = film_path_traced(
        request.out, film, lambda done, total: progress(f"trace by Mitsuba's {variant}", done, total)
    )
    tracked = _tracked(request.out, film, progress) if request.tracked else None
    return SynthResult(
        folder=request.out,
        given=None if given is None else given.folder,
        tracked=tracked,
        frames=recipe.performance.training + recipe.performance.held_out,
        held_out_from=recipe.performance.training + 1,
        mitsuba_variant=variant,
        seconds=time.monotonic() - started,
    )


def planned_film(recipe: SynthRecipe, head_data: Path | None) -> PathTracedFilm:
    """The person of a recipe and the lights, in the camera's units. Nothing is traced yet."""
    light = _radiance(find_envmap(Path(recipe.light.map)))
    relight = named_envmaps(tuple(Path(name) for name in recipe.light.relight))
    return PathTracedFilm(
        recipe=recipe,
        person=make_filmed_person(recipe.person, head_data),
        light=_in_camera(front_lit(light, seed=recipe.performance.seed), recipe.camera),
        relight={name: _in_camera(_radiance(path), recipe.camera) for name, path in relight.items()},
    )


def _tracked(folder: Path, film: PathTracedFilm, progress: ProgressCallback) -> Path:
    """Preprocess the video as a user would; the subject then says where the truth is and which frames are held out."""
    out = folder / TRACKED
    size = film.recipe.render.size
    make_subject(PreprocessRequest(video=folder / VIDEO, out=out, size=size), one_at_a_time(progress))
    subject = load_subject(out)
    first = film.recipe.performance.training + 1
    save_subject(
        replace(
            subject,
            source={**subject.source, "truth": "../truth"},
            held_out=tuple(n for n in subject.track.frames.tolist() if n >= first),
        )
    )
    return out


def _radiance(path: Path) -> Float[Tensor, "H W 3"]:
    return torch.from_numpy(load_envmap(path))


def _in_camera(envmap: Float[Tensor, "H W 3"], camera: CameraRecipe) -> Float[Tensor, "H W 3"]:
    """A map in the camera's units: exposed for skin, then by the camera's own settings."""
    return exposed(envmap) * torch.tensor(camera.white_balance) * 2.0**camera.exposure
