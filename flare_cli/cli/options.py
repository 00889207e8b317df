"""Options that several commands have."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer


def finite(value: float | None) -> float | None:
    """The value of an option. Raises `typer.BadParameter` where it is not a finite number."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


STOPS: dict[str, Any] = {"min": -60, "max": 60, "callback": finite}  # float32 holds 127 either way
Device = Annotated[str, typer.Option(help="auto (a GPU if there is one), cpu, or cuda")]
AsJson = Annotated[bool, typer.Option("--json", help="print the result as JSON")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="TABLE.KEY=VALUE", help="change one setting; may be repeated")
]
Face = Annotated[int, typer.Option(help="which of several faces: 1 is the largest", min=1, max=100)]
ParserFile = Annotated[
    Path | None,
    typer.Option(help="your own face-parsing network, .tflite or .onnx with CelebAMask's 19 classes, for the labels"),
]
RunArgument = Annotated[
    Path | None, typer.Argument(metavar="[RUN]", help="run folder; by default the newest under ./runs")
]
PictureSize = Annotated[int | None, typer.Option(help="height of the pictures in pixels", min=32, max=4096)]
RasterizerName = Annotated[
    str | None, typer.Option("--rasterizer", help="auto, warp, nvdiffrast or pytorch3d; by default as it was fitted")
]

Fill = Annotated[
    bool, typer.Option(help="fill what the recording never showed from the head's other side and from around it")
]


def examples(*lines: str) -> str:
    """An epilog of a command: lines that are not to be joined."""
    return "\n".join(["\b", *lines])
