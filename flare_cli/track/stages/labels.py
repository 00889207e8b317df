"""Last stage: the mask and the label image of every frame kept, and the preview, drawn in the same pass."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from flare_cli.data.crop import Crop
from flare_cli.head.model import HeadModel
from flare_cli.parallel.processes import Processes
from flare_cli.parallel.threads import in_parallel
from flare_cli.subject.track import Track
from flare_cli.track.label.frame_worker import FrameReader, FrameSegmenter
from flare_cli.track.label.parser import Parser
from flare_cli.track.label.segmentation import ColourModels, learn_colours
from flare_cli.track.review.frame_pixels import FramePixels
from flare_cli.track.stages.drawn_heads import drawn_frames
from flare_cli.track.stages.landmarks import FaceLandmarks
from flare_cli.track.stages.preview import contact_captions, write_preview
from flare_cli.track.stages.track import Tracked
from flare_cli.track.work_folder import WorkFolder

# Frames from which colours are learned, spread over the recording: enough for several views of the head. Chosen by eye.
COLOUR_FRAMES = 8


def segment_frames(
    head: HeadModel,
    tracked: Tracked,
    landmarks: FaceLandmarks,
    crop: Crop,
    work_folder: WorkFolder,
    processes: Processes,
    progress: Callable[[int, int], None],
    *,
    parser: Parser | None = None,
) -> list[FramePixels]:
    """Write the masks and label images that are missing, and the preview's pictures, in one pass over all frames.

    What the frames' pixels measure comes of it.
    """
    track = tracked.track
    cuts = frozenset((np.flatnonzero(np.diff(landmarks.shots)) + 2).tolist())
    reader = FrameReader(work_folder=work_folder, inside=crop.inside(landmarks.height, landmarks.width), cuts=cuts)
    complete = all(work_folder.is_segmented(number) for number in track.frames.tolist())
    colours = None if complete else _colours(head, track, landmarks, crop, reader)
    segment = FrameSegmenter(reader=reader, colours=colours, captions=contact_captions(tracked), parser=parser)
    frames = processes.in_parallel(segment, drawn_frames(head, track, landmarks, crop))
    return write_preview(work_folder.folder / "preview", tracked, frames, progress)


def _colours(head: HeadModel, track: Track, landmarks: FaceLandmarks, crop: Crop, reader: FrameReader) -> ColourModels:
    """Colour models of the whole recording."""
    numbers = track.frames.tolist()
    spread = np.linspace(0, len(numbers) - 1, min(len(numbers), COLOUR_FRAMES)).round().astype(int).tolist()
    examples = drawn_frames(head, track, landmarks, crop, {numbers[k] for k in spread})
    return learn_colours(list(in_parallel(lambda frame: reader(frame, reader.picture(frame.number)), examples)))
