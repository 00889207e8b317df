"""`flare preprocess DIR`: another program's data set to a subject folder, proved before anything is written."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flare_cli.datasets.conventions import check_edition, place
from flare_cli.datasets.formats import read_dataset
from flare_cli.datasets.sequences import ImportedSequences
from flare_cli.datasets.subject_pictures import MaskSource, prove_videos, write_pictures
from flare_cli.datasets.verify import Proof
from flare_cli.errors import HeadError, SubjectError
from flare_cli.head.library import load_head
from flare_cli.head.model import HeadModel
from flare_cli.parallel.progress import ProgressCallback, quiet
from flare_cli.subject.folder import FrameQuality, save_subject

PARTS = ("image", "mask", "semantic", "flame_params.json", "flare.json")
DEFAULT_FPS = 25.0


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
    masks = MaskSource((sequences.height, sequences.width))
    proofs = prove_videos(sequences, subject.track, head, masks)
    is_new = not request.out.exists()
    if not is_new:
        for part in PARTS:
            old = request.out / part
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
    try:
        projected = write_pictures(subject, sources, sequences, head, masks, progress)
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
