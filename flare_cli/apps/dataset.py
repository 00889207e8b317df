"""`flare preprocess DIR`: another program's data set to a subject folder, proved before anything is written."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from flare_cli.data.celebamask import Label
from flare_cli.data.image import read_rgb, write_png
from flare_cli.errors import HeadError, SubjectError
from flare_cli.head.library import load_head
from flare_cli.head.model import HeadModel
from flare_cli.parallel.progress import ProgressCallback, quiet
from flare_cli.subject.folder import FrameQuality, Subject, save_subject
from flare_cli.subject.importers.detect import read_dataset
from flare_cli.subject.importers.pictures import is_plain_png, source_label, source_mask
from flare_cli.subject.importers.placing import check_edition, place
from flare_cli.subject.importers.sequences import ImportedSequences, ImportedVideo, SourceFrame
from flare_cli.subject.track import Track
from flare_cli.subject.verify import Proof, checked_indices, prove
from flare_cli.track.label.head_projector import HeadProjector
from flare_cli.track.label.matte import PersonMatte, guide_of, refined
from flare_cli.track.label.projected_head import ProjectedHead

PARTS = ("image", "mask", "semantic", "flame_params.json", "flare.json")
DEFAULT_FPS = 25.0
REGION_LABELS = {
    "scalp": Label.HAIR,
    "neck": Label.NECK,
    "nose": Label.NOSE,
    "lips": Label.LIP_UPPER,
    "inner_mouth": Label.MOUTH,
    "teeth": Label.MOUTH,
    "tongue": Label.MOUTH,
}
SIDED_LABELS = {"ears": (Label.EAR_LEFT, Label.EAR_RIGHT), "eyes": (Label.EYE_LEFT, Label.EYE_RIGHT)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest:
    """What `flare preprocess DIR` was asked. Without `head`, the edition of FLAME that the format means.

    None of the formats tells the frame rate: `fps` does.
    """

    dataset: Path
    out: Path
    format: str | None = None
    head: str | None = None
    fps: float = DEFAULT_FPS
    evaluation: tuple[str, ...] = ()
    overwrite: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """What came out. `proofs` says per video how well the projected head meets masks and key points."""

    folder: Path
    format: str
    head: str
    size: tuple[int, int]
    frames: int
    held_out: int
    proofs: dict[str, Proof]
    notes: list[str]


def import_dataset(request: ImportRequest, progress: ProgressCallback = quiet) -> ImportResult:
    """Read, place, prove, write. Raises `FlareError`s naming what is wrong, and then leaves nothing behind."""
    sequences = read_dataset(request.dataset, format_name=request.format, evaluation=request.evaluation)
    _check_out(request)
    head = _head(sequences, request.head)
    subject = place(sequences, head, folder=request.out, fps=request.fps)
    sources = [source for video in sequences.videos for source in video.sources]
    masks = _Masks((sequences.height, sequences.width))
    proofs = _proofs(sequences, subject.track, head, masks)
    is_new = not request.out.exists()
    if not is_new:
        for part in PARTS:
            old = request.out / part
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
    try:
        projected = _write_pictures(subject, sources, sequences, head, masks, progress)
    except BaseException:
        if is_new:
            shutil.rmtree(request.out, ignore_errors=True)
        raise
    notes = [*sequences.notes]
    if masks.made:
        notes.append(f"{masks.made} frame(s) had no mask: made with the matting network")
    if projected:
        notes.append(f"{projected} frame(s) had no label image: made from the projected head")
    source: dict[str, Any] = {
        "kind": sequences.format,
        "path": str(request.dataset.resolve()),
        "frames": [f"{video.name}/{s.name}" for video in sequences.videos for s in video.sources],
        "notes": notes,
    }
    quality = tuple(
        FrameQuality(number=number, time=i / request.fps, error=None, confidence=1.0)
        for i, number in enumerate(subject.track.frames.tolist())
    )
    save_subject(replace(subject, quality=quality, source=source))
    return ImportResult(
        folder=request.out,
        format=sequences.format,
        head=head.name,
        size=(sequences.height, sequences.width),
        frames=len(subject.track),
        held_out=len(subject.held_out or ()),
        proofs=proofs,
        notes=notes,
    )


def _check_out(request: ImportRequest) -> None:
    out = request.out
    if out.is_file():
        raise SubjectError(f"{out} is a file", hint="name a folder for the subject")
    if out.resolve() == request.dataset.resolve() or request.dataset.resolve() in out.resolve().parents:
        raise SubjectError(f"{out} is in the data set", hint="choose a folder elsewhere for the subject")
    if out.is_dir() and any(out.iterdir()):
        if not (out / "flare.json").is_file():
            raise SubjectError(f"{out} is not empty and not a subject", hint="choose a new folder for the subject")
        if not request.overwrite:
            raise SubjectError(f"{out} holds a subject already", hint="choose another folder, or use --overwrite")


def _head(sequences: ImportedSequences, name: str | None) -> HeadModel:
    """The head that was asked for, or the one the format means unless told: editions are not tried in turn."""
    if name is not None:
        head = load_head(name)
        check_edition(sequences, head)
        return head
    try:
        return load_head(sequences.heads[0])
    except HeadError as error:
        others = f", or say which other edition it is: --head {' or '.join(sequences.heads[1:])}"
        raise HeadError(
            f"{sequences.folder} ({sequences.format}) needs the head model {sequences.heads[0]}: {error.message}",
            hint=f"add FLAME with `flare head add`{others if sequences.heads[1:] else ''}",
        ) from error


class _Masks:
    """The mask of any source frame: the data set's own or, without one, the matting network's."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size, self.made = size, 0
        self._matte: PersonMatte | None = None

    def __call__(self, source: SourceFrame) -> UInt8[np.ndarray, "H W"]:
        mask = source_mask(source, self.size)
        if mask is not None:
            return mask
        self._matte = self._matte or PersonMatte()
        rgb = read_rgb(source.image)
        return (refined(self._matte(rgb).astype(np.float32) / 255, guide_of(rgb)) * 255 + 0.5).astype(np.uint8)


def _proofs(sequences: ImportedSequences, track: Track, head: HeadModel, masks: _Masks) -> dict[str, Proof]:
    """Prove each video by a few of its frames; the error names the video."""
    proofs: dict[str, Proof] = {}
    start = 0
    for video in sequences.videos:
        chosen = checked_indices(len(video.sources))
        part = track[torch.tensor(chosen) + start]
        start += len(video.sources)
        seen: Float[np.ndarray, "K H W"] = np.stack([masks(video.sources[i]) for i in chosen]) / 255
        try:
            proofs[video.name] = prove(part, head, masks=seen, keypoints=_keypoints(video, chosen))
        except SubjectError as error:
            raise SubjectError(f"{sequences.folder}, {video.name}: {error.message}", hint=error.hint) from error
    return proofs


def _keypoints(video: ImportedVideo, chosen: list[int]) -> Float[np.ndarray, "K M 2"] | None:
    return None if video.keypoints is None else video.keypoints[chosen]


def _write_pictures(
    subject: Subject,
    sources: list[SourceFrame],
    sequences: ImportedSequences,
    head: HeadModel,
    masks: _Masks,
    progress: ProgressCallback,
) -> int:
    """Write pictures, masks and labels; returns how many label images had to be made."""
    size = (sequences.height, sequences.width)
    projector: HeadProjector | None = None
    projected = 0
    for name in ("image", "mask", "semantic"):
        (subject.folder / name).mkdir(parents=True, exist_ok=True)
    for i, (number, source) in enumerate(zip(subject.track.frames.tolist(), sources, strict=True)):
        if is_plain_png(source.image):
            shutil.copyfile(source.image, subject.image_path(number))
        else:
            write_png(subject.image_path(number), read_rgb(source.image))
        mask = masks(source)
        masks.made += source.mask is None and source_mask(source, size) is None
        write_png(subject.mask_path(number), mask)
        labels = source_label(source, size, sequences.labels)
        if labels is None:
            projector = projector or HeadProjector(head)
            labels = labels_of_head(projector(subject.track, i), mask)
            projected += 1
        write_png(subject.label_path(number), labels)
        progress("import", i + 1, len(sources))
    return projected


def labels_of_head(head: ProjectedHead, mask: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """CelebAMask-19 ids from where the head's regions are; the rest of a person is hair above the chin, else cloth."""
    labels = (head.regions > 0).astype(np.uint8)
    face = np.argwhere((head.regions > 0) & ~head.shows("neck"))
    chin, middle = (int(face[:, 0].max()), float(face[:, 1].mean())) if len(face) else (0, 0.0)
    rows, columns = np.ogrid[: labels.shape[0], : labels.shape[1]]
    for name, label in REGION_LABELS.items():
        labels[head.shows(name)] = label
    for name, (left, right) in SIDED_LABELS.items():
        labels[head.shows(name)] = np.where(columns > middle, left, right).repeat(len(labels), 0)[head.shows(name)]
    beside = np.where(rows <= chin, Label.HAIR, Label.CLOTH).repeat(labels.shape[1], 1)
    return np.where(mask < 128, 0, np.where(head.regions > 0, labels, beside)).astype(np.uint8)
