"""Beside the second stage: the head crop of every frame with a face, and its coarse matte."""

from __future__ import annotations

from collections.abc import Callable, Collection

from flare_cli.data.crop import Crop
from flare_cli.data.video import VideoFrame, VideoReader
from flare_cli.parallel.cores import cores
from flare_cli.parallel.threads import in_parallel, one_per_thread, read_ahead
from flare_cli.track.label.matte import PersonMatte
from flare_cli.track.work_folder import PASSING, WorkFolder


def crop_pictures(
    reader: VideoReader,
    wanted: Collection[int],
    crop: Crop,
    work_folder: WorkFolder,
    progress: Callable[[int, int], None],
) -> None:
    """Write the pictures and mattes of the `wanted` frames that are missing; reads the video once more."""
    missing = {n for n in wanted if not all(work_folder.has(kind, n) for kind in PASSING)}
    if not missing:
        return
    matte_of = one_per_thread(PersonMatte)
    # The tracking beside needs the other half of the cores.
    threads = max(1, cores() // 2)

    def write(item: tuple[int, VideoFrame]) -> int:
        number, frame = item
        if number in missing:
            rgb = crop.cropped(frame.rgb)
            work_folder.save_passing("crop", number, rgb)
            work_folder.save_passing("matte", number, matte_of()(rgb))
        return number

    frames = read_ahead(reader)
    numbered = zip(range(1, max(missing) + 1), frames)  # noqa: B905 - frames may follow
    for number in in_parallel(write, numbered, threads=threads):
        progress(min(number, max(wanted)), max(wanted))
