"""Fourth stage: the mask and the label image of every frame kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import numpy as np
from jaxtyping import UInt8

from flare_cli.data.image import read_grey, read_rgb, write_png
from flare_cli.head.model import HeadModel
from flare_cli.subject.track import Track
from flare_cli.track.crop import Crop
from flare_cli.track.labels import FrameView, fit_mask, label_image, learn_colours
from flare_cli.track.matte import refined, steadied
from flare_cli.track.regions import HeadProjector
from flare_cli.track.sightings import Sightings
from flare_cli.track.threads import in_parallel
from flare_cli.track.work import WorkFolder

COLOUR_FRAMES = 8


def label_pictures(
    head: HeadModel,
    track: Track,
    sightings: Sightings,
    crop: Crop,
    work: WorkFolder,
    progress: Callable[[int, int], None],
) -> None:
    """Write the masks and label images that are missing, with colour models learned from the whole recording."""
    numbers = track.frames.tolist()
    there = [all(work.picture(kind, n).is_file() for kind in ("mask", "semantic")) for n in numbers]
    if all(there):
        progress(len(numbers), len(numbers))
        return
    view = _Views(work, head, track, sightings, crop)
    spread = np.linspace(0, len(numbers) - 1, min(len(numbers), COLOUR_FRAMES)).round().astype(int)
    colours = learn_colours([view(k) for k in spread.tolist()])

    def label(index: int) -> None:
        if not there[index]:
            this = view(index)
            mask = np.rint(fit_mask(this) * 255).astype(np.uint8)
            write_png(work.picture("semantic", numbers[index]), label_image(this, colours))
            write_png(work.picture("mask", numbers[index]), mask)

    for done, _ in enumerate(in_parallel(label, range(len(numbers))), 1):
        progress(done, len(numbers))


@final
class _Views:
    """Frames of the track as labelling sees them."""

    def __init__(self, work: WorkFolder, head: HeadModel, track: Track, sightings: Sightings, crop: Crop) -> None:
        self._work, self._track, self._sightings, self._crop = work, track, sightings, crop
        self._numbers = track.frames.tolist()
        self._project = HeadProjector(head)
        self._inside = crop.inside(sightings.height, sightings.width)

    def __call__(self, index: int) -> FrameView:
        number = self._numbers[index]
        rgb = read_rgb(self._work.picture("image", number))
        before, now, after = (self._coarse(number + step, number) for step in (-1, 0, 1))
        return FrameView(
            rgb=rgb,
            matte=refined(steadied(before, now, after), rgb) * self._inside,
            head=self._project(self._track, index),
            points=self._crop.from_source(self._sightings.points[number - 1, :, :2]),
        )

    def _coarse(self, number: int, instead: int) -> UInt8[np.ndarray, "256 256"]:
        path = self._work.picture("matte", number)
        return read_grey(path if path.is_file() else self._work.picture("matte", instead))
