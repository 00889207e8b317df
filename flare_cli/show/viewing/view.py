"""What a page asks to see: one picture, described whole, so that the program keeps nothing between two of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from flare_cli.config.schema import setting
from flare_cli.config.tables import read_tables
from flare_cli.errors import FlareError
from flare_cli.head.arkit import ARKIT_NAMES

Mode: TypeAlias = Literal[
    "picture", "albedo", "normal", "roughness", "specular", "light", "visibility", "confidence", "wireframe"
]
Behind: TypeAlias = Literal["blur", "envmap", "black", "grey", "white"]
OWN_LIGHT = "as recorded"
LARGEST = 4096  # pixels along an edge


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A picture to draw.

    `eye` and `target` are points of the world in metres; without them the camera is the recording's. `weights` are
    ARKit's 52 (0..1) on top of what `driver` does at `time` (seconds, repeated); without a driver on top of this
    person's neutral. `gaze` (yaw to the subject's left, pitch down) and `turn` (pitch, yaw, roll, as `HeadYaw` of a
    capture) are degrees. `light` is a name of `Lights`, turned by `rotate` degrees, `exposure` stops brighter. One that
    is not `still` may be drawn smaller than height and width.
    """

    height: int = setting(512, "height of the picture", unit="pixels", low=16, high=LARGEST)
    width: int = setting(512, "width of the picture", unit="pixels", low=16, high=LARGEST)
    still: bool = True
    eye: tuple[float, ...] = ()
    target: tuple[float, ...] = (0.0, 0.0, 0.0)
    fov: float = setting(25.0, "vertical field of view", unit="degrees", low=1, high=120)
    weights: tuple[float, ...] = (0.0,) * len(ARKIT_NAMES)
    gaze: tuple[float, ...] = (0.0, 0.0)
    turn: tuple[float, ...] = (0.0, 0.0, 0.0)
    driver: str = ""
    time: float = setting(0.0, "place in the performance", unit="seconds", low=0, high=1e6)
    mode: Mode = "picture"
    light: str = OWN_LIGHT
    rotate: float = setting(0.0, "turn of the light", unit="degrees", low=-3600, high=3600)
    exposure: float = setting(0.0, "brightness of the light", unit="stops", low=-20, high=20)
    background: Behind = "blur"
    beside: bool = False


LENGTHS = {"eye": (0, 3), "target": (3,), "weights": (len(ARKIT_NAMES),), "gaze": (2,), "turn": (3,)}
MOST = {"eye": 10.0, "target": 10.0, "gaze": 90.0, "turn": 360.0, "weights": 1.0}  # of each number, either way


def read_view(values: Any) -> View:
    """A view out of what a page sent. Raises `FlareError` for anything that is not one."""
    view = read_tables(View, values, "view", error=FlareError)
    for name, lengths in LENGTHS.items():
        numbers: tuple[float, ...] = getattr(view, name)
        if len(numbers) not in lengths or any(abs(number) > MOST[name] for number in numbers):
            raise FlareError(
                f"view {name}: {numbers!r}", hint=f"{' or '.join(map(str, lengths))} numbers up to {MOST[name]:g}"
            )
    if view.eye and sum((a - b) ** 2 for a, b in zip(view.eye, view.target, strict=True)) < 1e-4:
        raise FlareError("view eye: nearer than a centimetre to what it looks at", hint="move the camera away")
    return view
