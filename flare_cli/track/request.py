"""What preprocessing is asked and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from flare_cli.track.review.checks import Check


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessRequest:
    """What `flare preprocess` was asked. `fps` drops frames down to that rate; None keeps all.

    `face` 1 is the largest and most central face, 2 the next. `parser` is the file of a network that
    labels skin, hair and the rest in the place of ours. The head is drawn on `device`; everything
    else runs on the CPU's cores.
    """

    video: Path
    out: Path
    size: int = 512
    fps: float | None = None
    max_frames: int | None = None
    head: str = "open-head"
    face: int = 1
    parser: Path | None = None
    overwrite: bool = False
    device: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessResult:
    """What came out. `excluded` pairs frame numbers with reasons; errors are parts of the inter-ocular distance.

    `checks` say what the recording lacks, on `page` for people; a subject of an earlier version has neither. `notes`
    say what a crash had damaged and was made again.
    """

    folder: Path
    frames: int
    kept: int
    excluded: list[tuple[int, str]]
    median_error: float
    worst_error: float
    focal: float
    seconds: dict[str, float] = field(default_factory=dict)
    warning: str | None = None
    checks: list[Check] = field(default_factory=list)
    page: Path | None = None
    up_to_date: bool = False
    notes: list[str] = field(default_factory=list)
