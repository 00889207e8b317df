"""Last stage: the mask and the label image of every frame kept, and the preview, drawn in the same pass."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from flare_cli.data.crop import Crop
from flare_cli.head.model import HeadModel
from flare_cli.parallel.processes import Processes
from flare_cli.parallel.threads import in_parallel
from flare_cli.subject.track import Track
from flare_cli.track.label.frame_worker import FrameReader, FrameSegmenter, Learned
from flare_cli.track.label.occluders import Example, learn_look, of_frame
from flare_cli.track.label.parser import Parser
from flare_cli.track.label.projected_head import ProjectedFrame
from flare_cli.track.label.segmentation import FrameView, learn_colours
from flare_cli.track.review.frame_pixels import FramePixels
from flare_cli.track.stages.drawn_heads import drawn_frames
from flare_cli.track.stages.landmarks import FaceLandmarks
from flare_cli.track.stages.preview import contact_captions, write_preview
from flare_cli.track.stages.track import Tracked
from flare_cli.track.work_folder import WorkFolder

# Frames from which colours are learned, spread over the recording: enough for several views of the head. Chosen by eye.
COLOUR_FRAMES = 8
# Frames from which is learned what the head usually looks like: a tenth of them are three.
LOOK_FRAMES = 32


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
    learned = None if complete else _learned(head, track, landmarks, crop, reader)
    segment = FrameSegmenter(reader=reader, learned=learned, captions=contact_captions(tracked), parser=parser)
    frames = processes.in_parallel(segment, drawn_frames(head, track, landmarks, crop))
    return write_preview(work_folder.folder / "preview", tracked, frames, progress)


def _learned(head: HeadModel, track: Track, landmarks: FaceLandmarks, crop: Crop, reader: FrameReader) -> Learned:
    """What segmentation needs to know of the whole recording."""
    numbers = track.frames.tolist()
    of_colours, of_look = (_spread(numbers, count) for count in (COLOUR_FRAMES, LOOK_FRAMES))

    def seen(frame: ProjectedFrame) -> tuple[Example | None, FrameView | None]:
        rgb = reader.picture(frame.number)
        view = reader(frame, rgb) if frame.number in of_colours else None
        if frame.number not in of_look:
            return None, view
        return of_frame(rgb, reader.coarse_matte(frame.number), frame, len(head.faces)), view

    drawn = drawn_frames(head, track, landmarks, crop, of_colours | of_look)
    examples, views = zip(*in_parallel(seen, drawn), strict=True)
    return Learned(
        colours=learn_colours([view for view in views if view is not None]),
        look=learn_look([example for example in examples if example is not None]),
    )


def _spread(numbers: list[int], count: int) -> set[int]:
    return {numbers[k] for k in np.linspace(0, len(numbers) - 1, min(len(numbers), count)).round().astype(int)}
