"""What `flare synth` films: who, doing what, under which light, by which camera; the benchmark's subjects by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flare_cli.config.loading import load_settings
from flare_cli.config.schema import setting
from flare_cli.synthetic.people.recipe import PersonRecipe

RECIPES = "configs/benchmark"


@dataclass(frozen=True, slots=True, kw_only=True)
class LightRecipe:
    """[light] The recording's map and those that it is relit by: files, or names of bundled ones."""

    map: str = setting("studio", "environment map of the recording")
    relight: tuple[str, ...] = setting((), "maps under which held-out frames are traced too")


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraRecipe:
    """[camera] A phone's camera. Exposure and white balance are part of the maps, noise and compression of pictures."""

    exposure: float = setting(0.0, "brighter than a skin that just does not burn out", unit="stops", low=-4, high=4)
    white_balance: tuple[float, ...] = setting((1.0, 1.0, 1.0), "gains of red, green and blue")
    noise: float = setting(0.004, "deviation of a pixel in the middle of the range (1 is white)", low=0, high=0.2)
    crf: int = setting(20, "constant rate factor of the H.264 video; 0 loses nothing", low=0, high=51)


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceRecipe:
    """[performance] What the person does."""

    seed: int = setting(0, "which words, looks and turns", low=0)
    training: int = setting(72, "frames to fit", low=1, high=100000)
    held_out: int = setting(12, "frames after them, with other expressions and turns", low=1, high=100000)
    fps: float = setting(12.0, "frames a second", low=1, high=120)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerRecipe:
    """[tracker] How far the given parameters of an open head are from the truth (`tracker_error.py`)."""

    noise: float = setting(1.0, "frame by frame, as a multiple of the standard error", low=0, high=20)
    drift: float = setting(1.0, "slow, as a multiple of the standard error", low=0, high=20)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderRecipe:
    """[render] How much is traced."""

    size: int = setting(256, "edge of the square pictures", unit="pixels", low=16, high=4096)
    samples: int = setting(64, "paths a pixel", low=1, high=65536)
    bounces: int = setting(2, "reflections between surfaces; 0 is direct light", low=0, high=64)
    views: int = setting(3, "held-out frames that are seen from other cameras too", low=0, high=100000)


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthRecipe:
    """A whole recording. Tables and keys are those of the TOML files in `configs/benchmark`."""

    person: PersonRecipe = setting(PersonRecipe(), "who")
    light: LightRecipe = setting(LightRecipe(), "under which light")
    camera: CameraRecipe = setting(CameraRecipe(), "by which camera")
    performance: PerformanceRecipe = setting(PerformanceRecipe(), "doing what")
    tracker: TrackerRecipe = setting(TrackerRecipe(), "how well tracked")
    render: RenderRecipe = setting(RenderRecipe(), "how well traced")


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> SynthRecipe:
    """Read a recipe of the benchmark, or a TOML file, with `table.key=value` overrides. Raises `ConfigError`."""
    return load_settings(SynthRecipe, name_or_path, overrides, folder=RECIPES, kind="recipe")
