"""Third stage: the head crop of every frame kept, and its coarse matte."""

from __future__ import annotations

from collections.abc import Callable

from flare_cli.data.image import write_png
from flare_cli.data.video import VideoFrame, VideoReader
from flare_cli.subject.track import Track
from flare_cli.track.crop import Crop
from flare_cli.track.matte import PersonMatte
from flare_cli.track.threads import in_parallel, one_per_thread, read_ahead
from flare_cli.track.work import WorkFolder


def cut_pictures(
    reader: VideoReader, track: Track, crop: Crop, work: WorkFolder, progress: Callable[[int, int], None]
) -> None:
    """Write the pictures and mattes that are missing; reads the video once more."""
    wanted = set(track.frames.tolist())
    missing = {n for n in wanted if not all(work.picture(kind, n).is_file() for kind in ("image", "matte"))}
    if not missing:
        return
    matte_of = one_per_thread(PersonMatte)

    def cut(item: tuple[int, VideoFrame]) -> int:
        number, frame = item
        if number in missing:
            rgb = crop.cut(frame.rgb)
            write_png(work.picture("image", number), rgb)
            write_png(work.picture("matte", number), matte_of()(rgb))
        return number

    frames = read_ahead(reader)
    for number in in_parallel(cut, zip(range(1, max(missing) + 1), frames)):  # noqa: B905 - frames may follow
        progress(min(number, max(wanted)), max(wanted))
