"""`flare convert`: a subject's track and pictures in another program's layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flare_cli.datasets.exporters.gaussian_avatars import export_gaussian_avatars
from flare_cli.datasets.exporters.imavatar import export_imavatar
from flare_cli.errors import SubjectError
from flare_cli.subject.folder import load_subject

EXPORTERS = {"imavatar": export_imavatar, "gaussian-avatars": export_gaussian_avatars}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertRequest:
    """What `flare convert` was asked."""

    subject: Path
    to: str
    out: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertResult:
    """What was written, and what the format could not hold."""

    folder: Path
    format: str
    frames: int
    notes: list[str]


def convert(request: ConvertRequest) -> ConvertResult:
    """Write the subject in another layout. Raises `SubjectError` for an unknown one or a head that it can't hold."""
    export = EXPORTERS.get(request.to)
    if export is None:
        raise SubjectError(f"{request.to!r} is not a layout", hint=f"use one of {', '.join(EXPORTERS)}")
    exported = export(load_subject(request.subject), request.out)
    return ConvertResult(folder=exported.folder, format=request.to, frames=exported.frames, notes=list(exported.notes))
