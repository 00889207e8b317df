"""Last stage: the mask and the label image of every frame kept, and on the way the pictures that let a person judge."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from flare_cli.head.model import HeadModel
from flare_cli.parallel.processes import Processes
from flare_cli.parallel.threads import in_parallel
from flare_cli.subject.track import Track
from flare_cli.track.face.head_crop import Crop
from flare_cli.track.label.frame_worker import Labeller, Views
from flare_cli.track.label.segmentation import ColourModels, learn_colours
from flare_cli.track.stages.drawn_heads import drawn_frames
from flare_cli.track.stages.landmarks import Sightings
from flare_cli.track.stages.preview import contact_captions, write_preview
from flare_cli.track.stages.track import Tracked
from flare_cli.track.work_folder import WorkFolder

COLOUR_FRAMES = 8


def label_pictures(
    head: HeadModel,
    tracked: Tracked,
    sightings: Sightings,
    crop: Crop,
    work: WorkFolder,
    processes: Processes,
    progress: Callable[[int, int], None],
) -> None:
    """Write the masks and label images that are missing, and `preview/`, in one pass over all frames."""
    track, views = tracked.track, Views(work=work, inside=crop.inside(sightings.height, sightings.width))
    complete = all(work.is_labelled(number) for number in track.frames.tolist())
    colours = None if complete else _colours(head, track, sightings, crop, views)
    label = Labeller(views=views, colours=colours, captions=contact_captions(tracked))
    frames = processes.in_parallel(label, drawn_frames(head, track, sightings, crop))
    write_preview(work.folder / "preview", tracked, frames, progress)


def _colours(head: HeadModel, track: Track, sightings: Sightings, crop: Crop, views: Views) -> ColourModels:
    """Colour models of the whole recording."""
    numbers = track.frames.tolist()
    spread = np.linspace(0, len(numbers) - 1, min(len(numbers), COLOUR_FRAMES)).round().astype(int).tolist()
    examples = drawn_frames(head, track, sightings, crop, {numbers[k] for k in spread})
    return learn_colours(list(in_parallel(lambda frame: views(frame, views.picture(frame.number)), examples)))
