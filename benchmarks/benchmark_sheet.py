"""The contact sheet of docs/benchmark.md: each subject at four moments, under two other lights, from two other cameras.

python benchmarks/benchmark_sheet.py docs/images/benchmark.jpg --head-data FaceXModel [--size 192] [RECIPE ...]

Pictures are traced anew, without the noise and compression of the recording.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from flare_cli.apps.synth import planned_film
from flare_cli.render.colour import srgb_from_linear
from flare_cli.render.light.environment import environment_background, prefilter
from flare_cli.synthetic.mitsuba import MitsubaHead
from flare_cli.synthetic.path_traced import PathTracedFilm
from flare_cli.synthetic.recipe import load_recipe
from flare_cli.synthetic.recording import studio_camera

RECIPES = ("tiny", "dev-1", "dev-2", "dev-3", "report-1", "report-2", "report-3")
MOMENTS = (0.0, 0.35, 0.6, 0.95)  # of the recording; the last is also seen under other lights and from other cameras
YAWS = (30, -60)  # degrees


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--head-data", type=Path)
    parser.add_argument("--size", type=int, default=192)
    options = parser.parse_args()
    rows: list[UInt8[np.ndarray, "H W 3"]] = []
    for name in options.recipes:
        print(name, flush=True)
        recipe = load_recipe(name, (f"render.size={options.size}",))
        rows.append(np.concatenate(pictures(planned_film(recipe, options.head_data)), 1))
    cv2.imwrite(str(options.sheet), np.concatenate(rows)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


def pictures(film: PathTracedFilm) -> list[UInt8[np.ndarray, "H W 3"]]:
    """A row of the sheet."""
    render, performance = film.recipe.render, film.performance
    front = studio_camera(render.size)
    background = environment_background(prefilter(film.light), front)[0]
    shown: list[UInt8[np.ndarray, "H W 3"]] = []
    for moment in MOMENTS:
        head = MitsubaHead(film.person.posed(performance, int(moment * len(performance.arkit))))
        seen = head.trace(front, film.light, samples=render.samples, seed=0, bounces=render.bounces)
        shown.append(as_shown(seen.radiance + (1 - seen.coverage[..., None]) * background))
    for envmap in film.relight.values():
        lit = head.trace(front, envmap, samples=render.samples, seed=1, bounces=render.bounces)
        shown.append(as_shown(lit.radiance))
    for yaw in YAWS:
        camera = studio_camera(render.size, yaw=yaw)
        view = head.trace(camera, film.light, samples=render.samples, seed=2, bounces=render.bounces)
        shown.append(as_shown(view.radiance))
    return [*shown, as_shown(seen.albedo)]


def as_shown(linear: Float[Tensor, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """sRGB bytes of linear radiance."""
    return (255 * srgb_from_linear(linear.clamp(0, 1))).round().byte().numpy()


if __name__ == "__main__":
    main()
