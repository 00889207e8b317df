"""`flare preprocess`: one raw video to a subject folder, stage by stage, each of which resumes."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, Int

from flare_cli.apps.progress import ProgressCallback, quiet
from flare_cli.data.image import read_grey, read_rgb, write_png
from flare_cli.data.video import VideoReader, VideoWriter
from flare_cli.errors import FlareError, SubjectError, VideoError
from flare_cli.head.library import load_head
from flare_cli.head.model import HeadModel
from flare_cli.render.camera import Cameras
from flare_cli.subject.folder import FrameQuality, Subject, load_subject, read_json, save_subject, write_json
from flare_cli.subject.track import Track
from flare_cli.track.crop import Crop, head_crop
from flare_cli.track.labels import ColourModels, FrameView, fit_mask, label_image, learn_colours
from flare_cli.track.landmarks import LEFT_EYE_OUTER, RIGHT_EYE_OUTER, FaceFollower
from flare_cli.track.matte import PersonMatte, refined, steadied
from flare_cli.track.preview import contact_row, overlay_frame
from flare_cli.track.regions import HeadProjector
from flare_cli.track.solve import solve
from flare_cli.track.threads import one_torch_thread

# Raise when a stage changes what it writes: folders of unfinished work are then started again.
VERSION = 2
MIN_USABLE_FRAMES = 10
MAX_ERROR = 0.08
MIN_EYE_DISTANCE = 16.0
COLOUR_FRAMES = 8
CONTACT_FRAMES = 6
PARTS = ("image", "mask", "semantic", "preview", "flame_params.json", "flare.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessRequest:
    """What `flare preprocess` was asked. `fps` drops frames down to that rate; None keeps all."""

    video: Path
    out: Path
    size: int = 512
    fps: float | None = None
    max_frames: int | None = None
    head: str = "open-head"
    overwrite: bool = False


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sightings:
    """The face in every frame that was read. Points are NaN and the score 0 where there is none; `missing` says why."""

    points: Float[np.ndarray, "N 478 3"]
    scores: Float[np.ndarray, "N"]
    times: Float[np.ndarray, "N"]
    height: int
    width: int
    fps: float
    warning: str

    @property
    def seen(self) -> Int[np.ndarray, "K"]:
        """Indices of the frames with a face that is large enough."""
        eyes = np.linalg.norm(self.points[:, LEFT_EYE_OUTER, :2] - self.points[:, RIGHT_EYE_OUTER, :2], axis=-1)
        return np.flatnonzero((self.scores > 0) & (np.nan_to_num(eyes) >= MIN_EYE_DISTANCE))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tracked:
    """The track of the frames worth keeping, and what was thought of all frames."""

    track: Track
    quality: tuple[FrameQuality, ...]


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
    work = request.out / ".work"
    _claim(work, key)
    try:
        return _Stages(request, reader, head, work, key, progress).run()
    except FlareError:
        shutil.rmtree(request.out if is_new else work)
        raise


@final
class _Stages:
    """The stages in order. Each leaves its result in `work` and takes it from there when it is run again."""

    def __init__(
        self,
        request: PreprocessRequest,
        reader: VideoReader,
        head: HeadModel,
        work: Path,
        key: str,
        progress: ProgressCallback,
    ) -> None:
        self.request, self.reader, self.head = request, reader, head
        self.work, self.key, self.progress = work, key, progress
        self.seconds: dict[str, float] = {}

    def run(self) -> PreprocessResult:
        """All stages."""
        with self._timed("landmarks"):
            sightings = self._landmarks()
        if len(sightings.seen) < MIN_USABLE_FRAMES:
            raise VideoError(
                f"{self.request.video} shows a face in {len(sightings.seen)} of {len(sightings.scores)} frames;"
                f" at least {MIN_USABLE_FRAMES} are needed",
                hint="record one person's face, well lit and at least a tenth of the picture high",
            )
        crop = head_crop(sightings.points[sightings.seen], sightings.height, sightings.width, self.request.size)
        with self._timed("track"):
            tracked = self._track(sightings, crop)
        with self._timed("pictures"):
            self._pictures(tracked.track, crop)
        with self._timed("labels"):
            self._labels(tracked.track, sightings, crop)
        with self._timed("preview"):
            self._preview(tracked, sightings, crop)
        return self._finish(tracked, sightings)

    @contextmanager
    def _timed(self, stage: str) -> Generator[None]:
        started = time.monotonic()
        with one_torch_thread():
            yield
        self.seconds[stage] = round(time.monotonic() - started, 2)

    def _landmarks(self) -> _Sightings:
        path = self.work / "landmarks.npz"
        if path.is_file():
            with np.load(path) as kept:
                arrays = dict(kept)
            scalars = {name: arrays.pop(name).item() for name in ("height", "width", "fps", "warning")}
            return _Sightings(**arrays, **scalars)
        follow = FaceFollower()
        points: list[np.ndarray] = []
        scores: list[float] = []
        times: list[float] = []
        total = self.reader.expected_frames or 0
        for frame in self.reader:
            found = follow(frame.rgb)
            points.append(np.full((478, 3), np.nan, np.float32) if found is None else found.points)
            scores.append(0.0 if found is None else found.score)
            times.append(frame.time)
            self.progress("landmarks", len(points), max(total, len(points)))
        gaps = np.diff(times)
        sightings = _Sightings(
            points=np.stack(points),
            scores=np.array(scores),
            times=np.array(times),
            height=self.reader.info.height,
            width=self.reader.info.width,
            fps=float(1 / np.median(gaps)) if len(gaps) and np.median(gaps) > 0 else self.reader.info.fps,
            warning=self.reader.warning or "",
        )
        _save_arrays(path, {name: getattr(sightings, name) for name in _Sightings.__slots__})
        return sightings

    def _track(self, sightings: _Sightings, crop: Crop) -> _Tracked:
        path = self.work / "track.npz"
        seen = sightings.seen
        if path.is_file():
            with np.load(path) as kept:
                arrays = dict(kept)
        else:
            arrays = self._solved(sightings, crop)
            _save_arrays(path, arrays)
        errors = arrays["error"]
        good = np.flatnonzero(errors <= MAX_ERROR)
        if len(good) < MIN_USABLE_FRAMES:
            raise VideoError(
                f"{self.request.video}: the head could be tracked in {len(good)} of {len(sightings.scores)} frames;"
                f" at least {MIN_USABLE_FRAMES} are needed",
                hint="use a longer or sharper recording in which the face is turned to the camera",
            )
        tensors = {name: torch.from_numpy(arrays[name]) for name in arrays}
        track = Track(
            head=self.head.name,
            frames=torch.from_numpy(seen + 1),
            shape=tensors["shape"],
            expression=tensors["expression"],
            pose=tensors["pose"],
            translation=tensors["translation"],
            camera=_camera(tensors, self.request.size),
            fps=sightings.fps,
        )[torch.from_numpy(good)]
        return _Tracked(track=track, quality=_quality(sightings, errors))

    def _solved(self, sightings: _Sightings, crop: Crop) -> dict[str, np.ndarray]:
        points = crop.from_source(sightings.points[sightings.seen][..., :2].astype(np.float64))
        principal = crop.from_source(np.array([sightings.width / 2, sightings.height / 2]))
        solution = solve(
            self.head,
            torch.from_numpy(points).float(),
            torch.from_numpy(sightings.times[sightings.seen]),
            fps=sightings.fps,
            size=self.request.size,
            principal=(float(principal[0]), float(principal[1])),
            progress=lambda done, total: self.progress("track", done, total),
        )
        found, camera = solution.unknowns, solution.camera
        tensors = {
            "shape": found.shape,
            "expression": found.expression,
            "pose": found.pose(),
            "translation": found.translation,
            "intrinsics": camera.intrinsics,
            "camera_from_world": camera.camera_from_world,
            "error": solution.error,
        }
        return {name: tensor.cpu().numpy() for name, tensor in tensors.items()}

    def _pictures(self, track: Track, crop: Crop) -> None:
        wanted = set(track.frames.tolist())
        missing = {n for n in wanted if not (self._file("image", n).is_file() and self._file("matte", n).is_file())}
        if not missing:
            return
        matte = PersonMatte()
        for number, frame in enumerate(self.reader, 1):
            if number in missing:
                rgb = crop.cut(frame.rgb)
                write_png(self._file("image", number), rgb)
                write_png(self._file("matte", number), matte(rgb))
            self.progress("pictures", min(number, max(wanted)), max(wanted))
            if number == max(missing):
                break

    def _labels(self, track: Track, sightings: _Sightings, crop: Crop) -> None:
        numbers = track.frames.tolist()
        view = _Views(self.work, self.head, track, sightings, crop)
        colours: ColourModels | None = None
        for index, number in enumerate(numbers):
            if not (self._file("mask", number).is_file() and self._file("semantic", number).is_file()):
                if colours is None:
                    spread = np.linspace(0, len(numbers) - 1, min(len(numbers), COLOUR_FRAMES)).round().astype(int)
                    colours = learn_colours([view(k) for k in spread.tolist()])
                this = view(index)
                mask = np.rint(fit_mask(this) * 255).astype(np.uint8)
                write_png(self._file("semantic", number), label_image(this, colours))
                write_png(self._file("mask", number), mask)
            self.progress("labels", index + 1, len(numbers))

    def _preview(self, tracked: _Tracked, sightings: _Sightings, crop: Crop) -> None:
        track, folder = tracked.track, self.work / "preview"
        folder.mkdir(exist_ok=True)
        project = HeadProjector(self.head)
        numbers = track.frames.tolist()
        errors = {q.number: q.error or 0.0 for q in tracked.quality}
        chosen = {numbers[k] for k in np.linspace(0, len(numbers) - 1, CONTACT_FRAMES - 1).round().astype(int)}
        chosen.add(max(numbers, key=lambda n: errors[n]))
        rows: list[np.ndarray] = []
        with VideoWriter(folder / "overlay.mp4", fps=track.fps) as video:
            for index, number in enumerate(numbers):
                rgb, head = read_rgb(self._file("image", number)), project(track, index)
                video.write(overlay_frame(rgb, head, crop.from_source(sightings.points[number - 1, :, :2])))
                if number in chosen:
                    labels, mask = read_grey(self._file("semantic", number)), read_grey(self._file("mask", number))
                    caption = f"frame {number}: error {errors[number]:.1%}"
                    rows.append(contact_row(rgb, head, labels, mask, caption))
                self.progress("preview", index + 1, len(numbers))
        write_png(folder / "contact_sheet.png", np.concatenate(rows))
        _write_quality(folder / "quality.csv", tracked.quality)

    def _finish(self, tracked: _Tracked, sightings: _Sightings) -> PreprocessResult:
        """Move the finished parts into place, `flame_params.json` last: with it the folder is a subject."""
        out = self.request.out
        result = _result(out, tracked, self.seconds, sightings.warning or None)
        write_json(self.work / "preview" / "report.json", _report(result))
        for part in PARTS:
            old = out / part
            if old.is_dir():
                shutil.rmtree(old)
            else:
                old.unlink(missing_ok=True)
        for part in ("image", "mask", "semantic", "preview"):
            os.replace(self.work / part, out / part)
        source = {
            "video": self.request.video.name,
            "key": self.key,
            "head_sha256": self.head.sha256,
            "frames": len(sightings.scores),
            "warning": sightings.warning,
            "seconds": self.seconds,
        }
        save_subject(Subject(folder=out, track=tracked.track, quality=tracked.quality, source=source))
        shutil.rmtree(self.work / "matte")
        (self.work / "track.npz").unlink()
        return result

    def _file(self, kind: str, number: int) -> Path:
        return self.work / kind / f"{number}.png"


@final
class _Views:
    """Frames of the track as labelling sees them."""

    def __init__(self, work: Path, head: HeadModel, track: Track, sightings: _Sightings, crop: Crop) -> None:
        self._work, self._track, self._sightings, self._crop = work, track, sightings, crop
        self._numbers = track.frames.tolist()
        self._project = HeadProjector(head)
        self._inside = crop.inside(sightings.height, sightings.width)

    def __call__(self, index: int) -> FrameView:
        number = self._numbers[index]
        rgb = read_rgb(self._work / "image" / f"{number}.png")
        before, now, after = (self._coarse(number + step, number) for step in (-1, 0, 1))
        return FrameView(
            rgb=rgb,
            matte=refined(steadied(before, now, after), rgb) * self._inside,
            head=self._project(self._track, index),
            points=self._crop.from_source(self._sightings.points[number - 1, :, :2]),
        )

    def _coarse(self, number: int, instead: int) -> np.ndarray:
        path = self._work / "matte" / f"{number}.png"
        return read_grey(path if path.is_file() else path.with_name(f"{instead}.png"))


def _key(request: PreprocessRequest, head: HeadModel) -> str:
    """Digest of everything that the result depends on."""
    digest = hashlib.sha256()
    with request.video.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    settings = [VERSION, request.size, request.fps, request.max_frames, head.name, head.sha256]
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
        return _result_of(subject)
    if not (out / ".work" / "key.json").is_file() and any(out.iterdir()):
        raise SubjectError(f"{out} is not empty and not a subject", hint="choose a new folder for the subject")
    return None


def _claim(work: Path, key: str) -> None:
    """Make `work` the place for this input; what another input left in it is removed."""
    note = work / "key.json"
    if work.exists() and (not note.is_file() or read_json(note).get("key") != key):
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    write_json(note, {"key": key})


def _save_arrays(path: Path, arrays: dict[str, Any]) -> None:
    partial = path.with_name("part-" + path.name)
    np.savez(partial, **arrays)
    os.replace(partial, path)


def _camera(tensors: dict[str, torch.Tensor], size: int) -> Cameras:
    return Cameras(
        intrinsics=tensors["intrinsics"], camera_from_world=tensors["camera_from_world"], height=size, width=size
    )


def _quality(sightings: _Sightings, errors: Float[np.ndarray, "K"]) -> tuple[FrameQuality, ...]:
    error_of = dict(zip(sightings.seen.tolist(), errors.tolist(), strict=True))
    quality: list[FrameQuality] = []
    for index, (score, moment) in enumerate(zip(sightings.scores.tolist(), sightings.times.tolist(), strict=True)):
        error, reason = error_of.get(index), None
        if error is None:
            reason = "no face" if score == 0 else "face too small"
        elif error > MAX_ERROR:
            reason = f"tracked badly: error {error:.1%} of the eye distance"
        confidence = 0.0 if error is None else score * max(0.0, 1 - error / MAX_ERROR)
        quality.append(FrameQuality(number=index + 1, time=moment, error=error, confidence=confidence, excluded=reason))
    return tuple(quality)


def _write_quality(path: Path, quality: tuple[FrameQuality, ...]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["frame", "time_s", "error", "confidence", "excluded"])
        for q in quality:
            error = "" if q.error is None else f"{q.error:.5f}"
            table.writerow([q.number, f"{q.time:.4f}", error, f"{q.confidence:.3f}", q.excluded or ""])


def _result(folder: Path, tracked: _Tracked, seconds: dict[str, float], warning: str | None) -> PreprocessResult:
    kept = [q.error for q in tracked.quality if q.excluded is None and q.error is not None]
    return PreprocessResult(
        folder=folder,
        frames=len(tracked.quality),
        kept=len(kept),
        excluded=[(q.number, q.excluded) for q in tracked.quality if q.excluded is not None],
        median_error=float(np.median(kept)),
        worst_error=max(kept),
        focal=float(tracked.track.camera.intrinsics[0, 0]),
        seconds=seconds,
        warning=warning,
    )


def _result_of(subject: Subject) -> PreprocessResult:
    tracked = _Tracked(track=subject.track, quality=subject.quality)
    done = _result(subject.folder, tracked, subject.source.get("seconds", {}), subject.source.get("warning") or None)
    return replace(done, up_to_date=True)


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
