"""`flare preprocess`: one raw video to a subject folder."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

from flare_cli.data.video import VideoReader
from flare_cli.parallel.progress import ProgressCallback, one_at_a_time, quiet
from flare_cli.parallel.threads import Beside
from flare_cli.render.gpu_memory import gpu_memory
from flare_cli.track.request import PreprocessRequest, PreprocessResult
from flare_cli.track.stages.landmarks import find_face


@gpu_memory("nothing is lost: run the same command again with --device cpu")
def preprocess(request: PreprocessRequest, progress: ProgressCallback = quiet) -> PreprocessResult:
    """Make a subject folder of a video.

    Work in progress is kept in `<out>/.work`, so that a run that was cut off goes on where it was; the subject appears
    when all of it is there. A video that can't be used leaves nothing behind.
    """
    reader = VideoReader(request.video, fps=request.fps, max_frames=request.max_frames)
    told = one_at_a_time(progress)
    search = (
        Beside(partial(find_face, reader, rank=request.face), partial(told, "landmarks"))
        if not request.out.exists()
        else None
    )
    with search or nullcontext():
        # Torch takes seconds to import. Where nothing can be there yet, the search for the face goes on meanwhile.
        from flare_cli.track.pipeline import make_subject

        return make_subject(request, told, reader=reader, search=search)
