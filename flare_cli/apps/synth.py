"""`flare synth`: a path traced person with the truth beside the recording."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from flare_cli.data.hdr import load_envmap
from flare_cli.parallel.progress import ProgressCallback
from flare_cli.show.envmaps import find_envmap
from flare_cli.show.predictions import named_envmaps
from flare_cli.synthetic.lighting import exposed, front_lit
from flare_cli.synthetic.mitsuba import mitsuba_variant
from flare_cli.synthetic.path_traced import PathRecipe, make_path_traced_subject


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthRequest:
    """What `flare synth` was asked. Maps are files, or names of bundled ones."""

    out: Path
    seed: int = 0
    light: Path = Path("studio")
    relight: tuple[Path, ...] = ()
    frames: int = 48
    size: int = 256
    samples: int = 64
    bounces: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthResult:
    """The subject; frames from `held_out_from` on have truth under other lights and from other cameras."""

    folder: Path
    frames: int
    held_out_from: int
    mitsuba_variant: str
    seconds: float


def synth(request: SynthRequest, progress: ProgressCallback) -> SynthResult:
    """Film the person of a seed. The light is turned to the face and all maps are exposed for it."""
    started, variant = time.monotonic(), mitsuba_variant()
    light = torch.from_numpy(load_envmap(find_envmap(request.light)))
    relight = {
        name: exposed(torch.from_numpy(load_envmap(path))) for name, path in named_envmaps(request.relight).items()
    }
    recipe = PathRecipe(
        seed=request.seed,
        frames=request.frames,
        size=request.size,
        samples=request.samples,
        bounces=request.bounces,
    )
    subject = make_path_traced_subject(
        request.out,
        recipe,
        light=exposed(front_lit(light, seed=request.seed)),
        relight=relight,
        progress=lambda done, total: progress(f"trace by Mitsuba's {variant}", done, total),
    )
    return SynthResult(
        folder=subject.folder,
        frames=len(subject.track),
        held_out_from=subject.source["held_out_from"],
        mitsuba_variant=variant,
        seconds=time.monotonic() - started,
    )
