"""Fourth stage: the mask and the label image of every frame kept."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from flare_cli.head.model import HeadModel
from flare_cli.subject.track import Track
from flare_cli.track.crop import Crop
from flare_cli.track.drawing import drawn_frames
from flare_cli.track.labeller import Labeller, Views
from flare_cli.track.labels import learn_colours
from flare_cli.track.processes import Processes
from flare_cli.track.sightings import Sightings
from flare_cli.track.work import WorkFolder

COLOUR_FRAMES = 8


def label_pictures(
    head: HeadModel,
    track: Track,
    sightings: Sightings,
    crop: Crop,
    work: WorkFolder,
    processes: Processes,
    progress: Callable[[int, int], None],
) -> None:
    """Write the masks and label images that are missing, with colour models learned from the whole recording."""
    numbers = track.frames.tolist()
    missing = {n for n in numbers if not all(work.picture(kind, n).is_file() for kind in ("mask", "semantic"))}
    there = len(numbers) - len(missing)
    progress(there, len(numbers))
    if not missing:
        return
    views = Views(work=work, inside=crop.inside(sightings.height, sightings.width))
    spread = np.linspace(0, len(numbers) - 1, min(len(numbers), COLOUR_FRAMES)).round().astype(int).tolist()
    examples = drawn_frames(head, track, sightings, crop, {numbers[k] for k in spread})
    label = Labeller(views=views, colours=learn_colours([views(frame) for frame in examples]))
    frames = drawn_frames(head, track, sightings, crop, missing)
    for done, _ in enumerate(processes.in_parallel(label, frames), there + 1):
        progress(done, len(numbers))
