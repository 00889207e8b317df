"""The tracked head of frame after frame, drawn ahead of the workers that need it."""

from __future__ import annotations

from collections.abc import Collection, Generator

from flare_cli.data.crop import Crop
from flare_cli.head.model import HeadModel
from flare_cli.parallel.threads import in_parallel
from flare_cli.subject.track import Track
from flare_cli.track.label.head_projector import HeadProjector
from flare_cli.track.label.projected_head import ProjectedFrame
from flare_cli.track.stages.landmarks import FaceLandmarks

GPU_BATCH = 8


def drawn_frames(
    head: HeadModel, track: Track, landmarks: FaceLandmarks, crop: Crop, wanted: Collection[int] | None = None
) -> Generator[ProjectedFrame]:
    """The frames of `track`, or those with the numbers `wanted`, in order; drawn on the head's device.

    A GPU draws several at once, always the same ones: rounding may differ with how many there are. A CPU draws one on
    each core.
    """
    numbers, project = track.frames.tolist(), HeadProjector(head)
    project(track, 0)  # what is compiled or remembered at the first call is there before threads ask for it
    on_cpu = head.template.device.type == "cpu"
    size = 1 if on_cpu else GPU_BATCH
    batches = [range(k, min(k + size, len(numbers))) for k in range(0, len(numbers), size)]
    batches = [batch for batch in batches if wanted is None or any(numbers[k] in wanted for k in batch)]
    drawn = in_parallel(
        lambda batch: project.several(track[batch.start : batch.stop]), batches, threads=None if on_cpu else 1
    )
    for batch, heads in zip(batches, drawn, strict=True):
        for number, projected in zip(numbers[batch.start : batch.stop], heads, strict=True):
            if wanted is None or number in wanted:
                points = crop.from_source(landmarks.points[number - 1, :, :2])
                yield ProjectedFrame(number=number, head=projected, points=points)
