"""The stages of `flare preprocess` (`track/`), each of which resumes, and how a finished subject comes into place."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np

from flare_cli.config.tables import read_tables, shown
from flare_cli.data.crop import Crop
from flare_cli.data.folder_lock import HOLDER, LOCK, alone_in
from flare_cli.data.json_file import write_json
from flare_cli.data.video import VideoReader
from flare_cli.errors import FileError, FlareError, SubjectError, VideoError, WorkerError
from flare_cli.head import open_head
from flare_cli.head.library import load_head
from flare_cli.head.model import HeadModel
from flare_cli.parallel.library_threads import one_thread_each
from flare_cli.parallel.processes import Processes
from flare_cli.parallel.progress import ProgressCallback
from flare_cli.parallel.threads import Beside
from flare_cli.render.device import choose_device
from flare_cli.subject.folder import AGAIN, Subject, load_subject, save_subject
from flare_cli.track.face.head_crop import head_crop
from flare_cli.track.label.parser import Parser, checked_parser
from flare_cli.track.request import PreprocessRequest, PreprocessResult
from flare_cli.track.review.checks import Check, check_recording
from flare_cli.track.review.recording import Recording
from flare_cli.track.stages.labels import segment_frames
from flare_cli.track.stages.landmarks import FaceLandmarks, find_face
from flare_cli.track.stages.page import write_page
from flare_cli.track.stages.pictures import crop_pictures
from flare_cli.track.stages.review import measure, write_quality
from flare_cli.track.stages.track import Tracked, track_head
from flare_cli.track.work_folder import KEY, PASSING, WorkFolder

# Raise when a stage changes what it writes: folders of unfinished work are then started again.
VERSION = 9
MIN_USABLE_FRAMES = 10
WORK = ".work"  # in the subject's folder
PAGE = Path("preview") / "report.html"
PARTS = ("image", "mask", "semantic", "preview", "flame_params.json", "flare.json")


def make_subject(
    request: PreprocessRequest,
    progress: ProgressCallback,
    *,
    reader: VideoReader | None = None,
    search: Beside[FaceLandmarks] | None = None,
) -> PreprocessResult:
    """The subject of `request`, or the one that is already there.

    `search` is the first stage, if it has begun, on what `reader` reads. Stages run side by side: `progress` is to be
    one of `one_at_a_time`.
    """
    reader = reader or VideoReader(request.video, fps=request.fps, max_frames=request.max_frames)
    head = load_head(request.head)
    parser = None if request.parser is None else checked_parser(request.parser)
    key = _key(request, head, parser)
    finished = _finished(request, key)
    if finished is not None:
        return finished
    is_new = not request.out.exists()
    with alone_in(request.out):
        work_folder = WorkFolder(request.out / WORK)
        work_folder.claim(key)
        stages = _Stages(request, reader, head, parser, work_folder, progress)
        try:
            made = stages.run(search)
        except (WorkerError, FileError):
            raise  # the video is not to blame
        except FlareError:
            shutil.rmtree(request.out if is_new else work_folder.folder)
            raise
        subject = _subject(request, head, key, made)
        return replace(_finish(subject, made.recording, work_folder), notes=work_folder.notes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """What the stages found, and the seconds that each took."""

    seconds: dict[str, float]
    landmarks: FaceLandmarks
    crop: Crop
    tracked: Tracked
    recording: Recording


def _subject(request: PreprocessRequest, head: HeadModel, key: str, made: _Made) -> Subject:
    source = {
        "video": request.video.name,
        "key": key,
        "head_sha256": head.sha256,
        "frames": len(made.landmarks.scores),
        "crop": asdict(made.crop),
        "warning": made.landmarks.warning,
        "seconds": made.seconds,
        "checks": [asdict(check) for check in check_recording(made.recording)],
    }
    return Subject(folder=request.out, track=made.tracked.track, quality=made.tracked.quality, source=source)


@final
class _Stages:
    """The stages in order. Each leaves its result in `work_folder` and takes it from there when it is run again."""

    def __init__(
        self,
        request: PreprocessRequest,
        reader: VideoReader,
        head: HeadModel,
        parser: Parser | None,
        work_folder: WorkFolder,
        progress: ProgressCallback,
    ) -> None:
        self.request, self.reader, self.head, self.parser = request, reader, head, parser
        self.work_folder, self.progress = work_folder, progress
        self.drawn = head.to(choose_device(request.device))
        self.seconds: dict[str, float] = {}

    def run(self, search: Beside[FaceLandmarks] | None) -> _Made:
        """All stages."""
        landmarks = self._landmarks(search)
        if len(landmarks.usable) < MIN_USABLE_FRAMES:
            raise VideoError(
                f"{self.request.video} shows a face in {len(landmarks.usable)} of {len(landmarks.scores)} frames;"
                f" at least {MIN_USABLE_FRAMES} are needed",
                hint="record one person's face, well lit and at least a tenth of the picture high",
            )
        crop = head_crop(landmarks.points[landmarks.usable], landmarks.height, landmarks.width, self.request.size)
        # Worker processes have started by the time the track is there.
        with one_thread_each(), Processes() as processes:
            tracked = self._tracked(landmarks, crop)
            with self._stage("labels and preview") as progress:
                pixels = segment_frames(
                    self.drawn, tracked, landmarks, crop, self.work_folder, processes, progress, parser=self.parser
                )
        recording = measure(tracked, landmarks, crop, pixels)
        return _Made(seconds=self.seconds, landmarks=landmarks, crop=crop, tracked=tracked, recording=recording)

    def _landmarks(self, search: Beside[FaceLandmarks] | None) -> FaceLandmarks:
        landmarks = FaceLandmarks.load(self.work_folder)
        if landmarks is not None:
            return landmarks
        if search is not None:
            landmarks, seconds = search.result()
            self.seconds["landmarks"] = round(seconds, 2)
        else:
            with self._stage("landmarks") as progress:
                landmarks = find_face(self.reader, progress, rank=self.request.face)
        landmarks.save(self.work_folder)
        return landmarks

    def _tracked(self, landmarks: FaceLandmarks, crop: Crop) -> Tracked:
        """The track; and the pictures, which need most cores for a while, beside it."""
        numbers = (landmarks.usable + 1).tolist()
        write_crops = partial(crop_pictures, self.reader, numbers, crop, self.work_folder)
        with Beside(write_crops, partial(self.progress, "pictures")) as cropping:
            with self._stage("track", cropping.check) as progress:
                tracked = track_head(self.head, landmarks, crop, self.work_folder, cropping.result, progress)
            if len(tracked.track) < MIN_USABLE_FRAMES:
                raise VideoError(
                    f"{self.request.video}: the head could be tracked in {len(tracked.track)} of"
                    f" {len(landmarks.scores)} frames; at least {MIN_USABLE_FRAMES} are needed",
                    hint="use a longer or sharper recording in which the face is turned to the camera",
                )
            _, seconds = cropping.result()
        self.seconds["pictures"] = round(seconds, 2)
        return tracked

    @contextmanager
    def _stage(self, name: str, check: Callable[[], None] = lambda: None) -> Generator[Callable[[int, int], None]]:
        """A stage's progress, each time after `check`; and its time."""
        started = time.monotonic()

        def report(done: int, total: int) -> None:
            check()
            self.progress(name, done, total)

        yield report
        self.seconds[name] = round(time.monotonic() - started, 2)


def _finish(subject: Subject, recording: Recording, work_folder: WorkFolder) -> PreprocessResult:
    """Move the finished parts into place, `flame_params.json` last: with it the folder is a subject."""
    result = replace(_result(subject), page=subject.folder / PAGE)
    preview, numbers = work_folder.folder / "preview", subject.track.frames.tolist()
    times = {q.number: q.time for q in subject.quality}
    write_quality(preview / "quality.csv", subject.quality, numbers, recording)
    write_json(preview / "report.json", _report(result))
    write_page(
        work_folder.folder / PAGE,
        subject.source["video"],
        result,
        [times[number] for number in numbers],
        recording,
        preview / "contact_sheet.png",
    )
    for part in PARTS:
        old = subject.folder / part
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
    for part in ("image", "mask", "semantic", "preview"):
        os.replace(work_folder.folder / part, subject.folder / part)
    save_subject(subject)
    for part in PASSING:
        shutil.rmtree(work_folder.folder / part)
    (work_folder.folder / "track.npz").unlink()
    return result


def _key(request: PreprocessRequest, head: HeadModel, parser: Parser | None) -> str:
    """Digest of everything that the result depends on."""
    digest = hashlib.sha256()
    with request.video.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    settings = [VERSION, request.size, request.fps, request.max_frames, request.face, head.name, head.sha256]
    if parser is not None:
        settings.append(parser.digest())
    if head.name != open_head.NAME:
        # An added head's digest is of its shape alone: added again, it may have other landmarks.
        landmarks = {part: getattr(head.landmarks, part).numpy() for part in ("face", "barycentric", "spread")}
        settings.append(open_head.content_digest(landmarks))
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
    ours = {WORK, LOCK, HOLDER, KEY, f"{KEY}.part"}  # until the key is there, nothing else is
    others = [path for path in (*out.iterdir(), *(out / WORK).glob("*")) if path.name not in ours]
    if others and not (out / WORK / KEY).is_file():
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
        checks=_checks(subject),
        page=page if (page := subject.folder / PAGE).is_file() else None,
    )


def _checks(subject: Subject) -> list[Check]:
    """Those that were saved with a subject; a subject of an earlier version has none. Raises `SubjectError`."""
    saved, where = subject.source.get("checks", []), f"{subject.folder}: checks"
    if not isinstance(saved, list):
        raise SubjectError(f"{where} are {shown(saved)}, not a list", hint=AGAIN)
    return [read_tables(Check, check, f"{where}, {i}", error=SubjectError, hint=AGAIN) for i, check in enumerate(saved)]


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
        "checks": [asdict(check) for check in result.checks],
    }
