"""`flare preprocess`: one raw video to a subject folder, stage by stage (`track/`), each of which resumes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import numpy as np

from flare_cli.apps.memory import gpu_memory
from flare_cli.apps.progress import ProgressCallback, quiet
from flare_cli.apps.runs import choose_device
from flare_cli.data.video import VideoReader
from flare_cli.errors import FlareError, SubjectError, VideoError, WorkerError
from flare_cli.head import open_head
from flare_cli.head.library import load_head
from flare_cli.head.model import HeadModel
from flare_cli.subject.folder import Subject, load_subject, save_subject, write_json
from flare_cli.track.crop import head_crop
from flare_cli.track.cutting import cut_pictures
from flare_cli.track.labelling import label_pictures
from flare_cli.track.library_threads import one_thread_each
from flare_cli.track.processes import Processes
from flare_cli.track.sightings import Sightings, find_face
from flare_cli.track.tracking import Tracked, track_head
from flare_cli.track.work import WorkFolder

# Raise when a stage changes what it writes: folders of unfinished work are then started again.
VERSION = 2
MIN_USABLE_FRAMES = 10
PARTS = ("image", "mask", "semantic", "preview", "flame_params.json", "flare.json")


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
    head = load_head(request.head)
    reader = VideoReader(request.video, fps=request.fps, max_frames=request.max_frames)
    key = _key(request, head)
    finished = _finished(request, key)
    if finished is not None:
        return finished
    is_new = not request.out.exists()
    work = WorkFolder(request.out / ".work")
    work.claim(key)
    try:
        seconds, sightings, tracked = _Stages(request, reader, head, work, progress).run()
    except WorkerError:
        raise  # the video is not to blame
    except FlareError:
        shutil.rmtree(request.out if is_new else work.folder)
        raise
    source = {
        "video": request.video.name,
        "key": key,
        "head_sha256": head.sha256,
        "frames": len(sightings.scores),
        "warning": sightings.warning,
        "seconds": seconds,
    }
    subject = Subject(folder=request.out, track=tracked.track, quality=tracked.quality, source=source)
    return _finish(subject, work)


@final
class _Stages:
    """The stages in order. Each leaves its result in `work` and takes it from there when it is run again."""

    def __init__(
        self,
        request: PreprocessRequest,
        reader: VideoReader,
        head: HeadModel,
        work: WorkFolder,
        progress: ProgressCallback,
    ) -> None:
        self.request, self.reader, self.head, self.work, self.progress = request, reader, head, work, progress
        self.drawn = head.to(choose_device(request.device))
        self.seconds: dict[str, float] = {}

    def run(self) -> tuple[dict[str, float], Sightings, Tracked]:
        """All stages; the seconds that each took, and what was found."""
        with self._stage("landmarks") as progress:
            sightings = find_face(self.reader, self.work, progress)
        if len(sightings.seen) < MIN_USABLE_FRAMES:
            raise VideoError(
                f"{self.request.video} shows a face in {len(sightings.seen)} of {len(sightings.scores)} frames;"
                f" at least {MIN_USABLE_FRAMES} are needed",
                hint="record one person's face, well lit and at least a tenth of the picture high",
            )
        with Processes() as processes:
            return self.seconds, sightings, self._after_landmarks(sightings, processes)

    def _after_landmarks(self, sightings: Sightings, processes: Processes) -> Tracked:
        """All stages but the first. Worker processes have started by the time the track is there."""
        head, drawn, work = self.head, self.drawn, self.work
        crop = head_crop(sightings.points[sightings.seen], sightings.height, sightings.width, self.request.size)
        with self._stage("track") as progress:
            tracked = track_head(head, sightings, crop, work, progress)
        if len(tracked.track) < MIN_USABLE_FRAMES:
            raise VideoError(
                f"{self.request.video}: the head could be tracked in {len(tracked.track)} of {len(sightings.scores)}"
                f" frames; at least {MIN_USABLE_FRAMES} are needed",
                hint="use a longer or sharper recording in which the face is turned to the camera",
            )
        with self._stage("pictures") as progress:
            cut_pictures(self.reader, tracked.track, crop, work, progress)
        with self._stage("labels and preview") as progress:
            label_pictures(drawn, tracked, sightings, crop, work, processes, progress)
        return tracked

    @contextmanager
    def _stage(self, name: str) -> Generator[Callable[[int, int], None]]:
        started = time.monotonic()
        with one_thread_each():
            yield lambda done, total: self.progress(name, done, total)
        self.seconds[name] = round(time.monotonic() - started, 2)


def _finish(subject: Subject, work: WorkFolder) -> PreprocessResult:
    """Move the finished parts into place, `flame_params.json` last: with it the folder is a subject."""
    result = _result(subject)
    write_json(work.folder / "preview" / "report.json", _report(result))
    for part in PARTS:
        old = subject.folder / part
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
    for part in ("image", "mask", "semantic", "preview"):
        os.replace(work.folder / part, subject.folder / part)
    save_subject(subject)
    shutil.rmtree(work.folder / "matte")
    (work.folder / "track.npz").unlink()
    return result


def _key(request: PreprocessRequest, head: HeadModel) -> str:
    """Digest of everything that the result depends on."""
    digest = hashlib.sha256()
    with request.video.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    settings = [VERSION, request.size, request.fps, request.max_frames, head.name, head.sha256]
    if head.name != open_head.NAME:
        # An added head's digest is of its shape alone: added again, it may have other landmarks.
        marks = {part: getattr(head.landmarks, part).numpy() for part in ("face", "barycentric", "spread")}
        settings.append(open_head.content_digest(marks))
    digest.update(json.dumps(settings).encode())
    return digest.hexdigest()


def _finished(request: PreprocessRequest, key: str) -> PreprocessResult | None:
    """The result that is already there for the same input; `SubjectError` if something else is in the way."""
    out = request.out
    if not out.exists() or (request.overwrite and (out / "flame_params.json").is_file()):
        return None
    if not out.is_dir():
        raise SubjectError(f"{out} is a file", hint="name a folder for the subject")
    if (out / "flame_params.json").is_file():
        subject = load_subject(out)
        if subject.source.get("key") != key:
            raise SubjectError(
                f"{out} holds a subject made from another video or with other settings",
                hint="choose another folder, or replace it with --overwrite",
            )
        return replace(_result(subject), up_to_date=True)
    if not (out / ".work" / "key.json").is_file() and any(out.iterdir()):
        raise SubjectError(f"{out} is not empty and not a subject", hint="choose a new folder for the subject")
    return None


def _result(subject: Subject) -> PreprocessResult:
    kept = [q.error for q in subject.quality if q.excluded is None and q.error is not None]
    return PreprocessResult(
        folder=subject.folder,
        frames=len(subject.quality),
        kept=len(kept),
        excluded=[(q.number, q.excluded) for q in subject.quality if q.excluded is not None],
        median_error=float(np.median(kept)),
        worst_error=max(kept),
        focal=float(subject.track.camera.intrinsics[0, 0]),
        seconds=subject.source.get("seconds", {}),
        warning=subject.source.get("warning") or None,
    )


def _report(result: PreprocessResult) -> dict[str, Any]:
    return {
        "frames": result.frames,
        "kept": result.kept,
        "excluded": [{"frame": number, "reason": reason} for number, reason in result.excluded],
        "median_error": result.median_error,
        "worst_error": result.worst_error,
        "focal_pixels": result.focal,
        "seconds": result.seconds,
        "warning": result.warning,
    }
