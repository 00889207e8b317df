"""`flare preprocess`: one raw video to a subject folder."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from flare_cli.data.video import VideoReader
from flare_cli.parallel.progress import ProgressCallback, one_at_a_time, quiet
from flare_cli.parallel.threads import Beside
from flare_cli.render.gpu_memory import gpu_memory
from flare_cli.track.sightings import find_face


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessRequest:
    """What `flare preprocess` was asked. `fps` drops frames down to that rate; None keeps all.

    The head is drawn on `device`; everything else runs on the CPU's cores.
    """

    video: Path
    out: Path
    size: int = 512
    fps: float | None = None
    max_frames: int | None = None
    head: str = "open-head"
    overwrite: bool = False
    device: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessResult:
    """What came out. `excluded` pairs frame numbers with reasons; errors are parts of the inter-ocular distance."""

    folder: Path
    frames: int
    kept: int
    excluded: list[tuple[int, str]]
    median_error: float
    worst_error: float
    focal: float
    seconds: dict[str, float] = field(default_factory=dict)
    warning: str | None = None
    up_to_date: bool = False


@gpu_memory("nothing is lost: run the same command again with --device cpu")
def preprocess(request: PreprocessRequest, progress: ProgressCallback = quiet) -> PreprocessResult:
    """Make a subject folder of a video.

    Work in progress is kept in `<out>/.work`, so that a run that was cut off goes on where it was; the subject appears
    when all of it is there. A video that can't be used leaves nothing behind.
    """
    reader = VideoReader(request.video, fps=request.fps, max_frames=request.max_frames)
    told = one_at_a_time(progress)
    search = Beside(partial(find_face, reader), partial(told, "landmarks")) if not request.out.exists() else None
    with search or nullcontext():
        # Torch takes seconds to import. Where nothing can be there yet, the search for the face goes on meanwhile.
        from flare_cli.apps.preprocess_stages import make_subject

        return make_subject(request, reader, search, told)
