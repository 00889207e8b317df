"""`flare head`: heads that the user brings, FLAME above all: add, list, remove."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flare_cli.errors import HeadError
from flare_cli.head import open_head
from flare_cli.head.flame.extras import read_extras
from flare_cli.head.flame.model_file import EDITIONS, Edition, FlameReport, head_of_flame, read_flame
from flare_cli.head.gnm.model_file import EDITION as GNM
from flare_cli.head.gnm.model_file import LICENCE as GNM_LICENCE
from flare_cli.head.gnm.model_file import GnmReport, head_of_gnm, read_gnm
from flare_cli.head.model import HeadModel
from flare_cli.head.stored import head_path, remove_head, save_head, stored_head, stored_names
from flare_cli.parallel.progress import ProgressCallback, quiet


@dataclass(frozen=True, slots=True, kw_only=True)
class AddRequest:
    """What `flare head add` was asked. The optional files are those that ship beside FLAME."""

    file: Path
    name: str | None = None
    edition: str | None = None
    landmarks: Path | None = None
    mediapipe: Path | None = None
    masks: Path | None = None
    uv: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AddResult:
    """What was stored. Distances in millimetres; `arkit_residual` is the mean part of ARKit's units that is lost."""

    name: str
    edition: str
    stored: Path
    licence: str
    sha256: str
    file_sha256: str
    vertices: int
    landmarks: str
    registration_mm: float
    arkit_residual: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedHead:
    """One line of `flare head list`."""

    name: str
    edition: str
    licence: str
    path: str


def add(request: AddRequest, progress: ProgressCallback = quiet) -> AddResult:
    """Read a FLAME file, or GNM's .npz, prepare it and store it in the user's data directory."""
    if request.file.suffix.lower() == ".npz":
        return _add_gnm(request, progress)
    progress("head", 0, 3)
    file = read_flame(request.file, _edition(request.edition))
    name = request.name or f"flame-{file.edition}"
    _check_name(name, request.overwrite)
    extras = read_extras(
        landmarks=request.landmarks,
        mediapipe=request.mediapipe,
        masks=request.masks,
        uv=request.uv,
        n_faces=len(file.faces),
        n_vertices=len(file.template),
    )
    progress("head", 1, 3)
    head, report = head_of_flame(file, name, extras)
    progress("head", 2, 3)
    made = _stored(
        request,
        head,
        report,
        edition=file.edition,
        licence=file.licence,
        file_sha256=file.file_sha256,
        landmarks=_landmarks(report),
        uv="given" if report.uv_given else "made by xatlas",
    )
    progress("head", 3, 3)
    return made


def _add_gnm(request: AddRequest, progress: ProgressCallback) -> AddResult:
    """The same for GNM, whose file has all that it needs."""
    of_flame = ("edition", "landmarks", "mediapipe", "masks", "uv")
    given = [f"--{option}" for option in of_flame if getattr(request, option) is not None]
    if given:
        raise HeadError(f"{', '.join(given)} belong to FLAME, {request.file} is GNM's", hint="leave them out")
    progress("head", 0, 3)
    name = request.name or "gnm"
    _check_name(name, request.overwrite)
    file = read_gnm(request.file)
    progress("head", 1, 3)
    head, report = head_of_gnm(file, name)
    progress("head", 2, 3)
    made = _stored(
        request,
        head,
        report,
        edition=GNM,
        licence=GNM_LICENCE,
        file_sha256=file.file_sha256,
        landmarks="carried over from the open head",
        uv="made by xatlas",
    )
    progress("head", 3, 3)
    return made


def _stored(
    request: AddRequest,
    head: HeadModel,
    report: FlameReport | GnmReport,
    *,
    edition: str,
    licence: str,
    file_sha256: str,
    landmarks: str,
    uv: str,
) -> AddResult:
    """Keep a head that was read, with where it came from and how well it was prepared."""
    about = {
        "edition": edition,
        "licence": licence,
        "file": request.file.name,
        "file_sha256": file_sha256,
        "landmarks": landmarks,
        "uv": uv,
        "registration_m": report.registration,
        "arkit_residual": report.arkit_residual,
    }
    return AddResult(
        name=head.name,
        edition=edition,
        stored=save_head(head, about),
        licence=licence,
        sha256=head.sha256,
        file_sha256=file_sha256,
        vertices=len(head.template),
        landmarks=landmarks,
        registration_mm=report.registration * 1e3,
        arkit_residual=sum(report.arkit_residual.values()) / len(report.arkit_residual),
    )


def _check_name(name: str, overwrite: bool) -> None:
    """Refuse a name that is taken, or can't be one."""
    if name == open_head.NAME:
        raise HeadError(f"{name!r} is the bundled head's name", hint="choose another with --name")
    if head_path(name).exists() and not overwrite:
        raise HeadError(f"a head called {name!r} is already there", hint="replace it with --overwrite")


def listed() -> list[ListedHead]:
    """The bundled head and those that were added."""
    bundled = ListedHead(name=open_head.NAME, edition="bundled", licence="CC0-1.0", path="")
    added = [stored_head(name) for name in stored_names()]
    return [
        bundled,
        *(
            ListedHead(name=h.name, edition=h.about["edition"], licence=h.about["licence"], path=str(h.path))
            for h in added
        ),
    ]


def remove(name: str) -> Path:
    """Delete a head that was added."""
    if name == open_head.NAME:
        raise HeadError("the bundled head can't be removed", hint="`flare head list` shows those that can")
    return remove_head(name)


def _edition(text: str | None) -> Edition | None:
    for edition in EDITIONS:
        if text == edition:
            return edition
    if text is not None:
        raise HeadError(f"{text!r} is no edition of FLAME", hint=f"use one of {', '.join(EDITIONS)}")
    return None


def _landmarks(report: FlameReport) -> str:
    given = ["68 points given"] if report.landmarks68_given else []
    if report.landmarks_given:
        given.append(f"{report.landmarks_given} of MediaPipe's points given")
    return "; ".join([*given, f"{'others ' if given else ''}carried over from the open head"])
