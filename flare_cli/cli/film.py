"""`flare relight` and `flare animate`: films of an avatar."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from flare_cli.cli import console
from flare_cli.cli.options import (
    STOPS,
    AsJson,
    Device,
    Fill,
    PictureSize,
    RasterizerName,
    RunArgument,
    examples,
    finite,
)
from flare_cli.cli.results import show

RELIGHT_EXAMPLES = examples(
    "flare relight runs/me --envmap studio --envmap sunset --turn-light -o relit.mp4 --sheet sheet.png",
    "flare relight runs/me --lamp key:azimuth=-60 --lamp rim:colour=#4080ff,strength=4 --camera orbit --range 90",
    "flare relight runs/me --envmap mine.exr --rotate 90 --background original --beside",
)
ANIMATE_EXAMPLES = examples(
    "flare animate runs/me --driver someone_else -o anim.mp4",
    "flare animate runs/me --driver talk --background transparent -o talk.mov",
    "flare animate runs/me --driver speech.mp4 --beside --width 1280 --size 720 --fps 30 -o speech.mp4",
)

Out = Annotated[
    Path, typer.Option("-o", "--out", help="a video (.mp4, .mov, .webm, .mkv), or a folder for PNG pictures")
]
Envmaps = Annotated[
    list[Path] | None,
    typer.Option(
        "--envmap", help="an equirectangular .hdr or .exr picture, or the name of a bundled one; several: a film each"
    ),
]
Lamps = Annotated[
    list[str] | None,
    typer.Option(
        "--lamp",
        metavar="NAME[:KEY=VALUE,...]",
        help="key, fill or rim, with azimuth, elevation, width (degrees), strength, colour (#rrggbb) changed or not; "
        "may be repeated, and adds to --envmap",
    ),
]
Exposure = Annotated[
    float | None,
    typer.Option(help="stops; by default the map's mean radiance becomes 1 and lamps stay as they are", **STOPS),
]
Rotate = Annotated[
    float,
    typer.Option(
        "--rotate",
        "--yaw",
        help="turn the light toward the subject's left, in degrees",
        min=-3600,
        max=3600,
        callback=finite,
    ),
]
TurnLight = Annotated[bool, typer.Option(help="turn the light once around during the film")]
Behind = Annotated[
    str | None,
    typer.Option(
        "--background",
        help="envmap, blur, transparent (.mov, .webm, PNG), original (the recording), or a colour: black, #203040; "
        "by default the environment, if there is one",
    ),
]
Width = Annotated[int | None, typer.Option(help="width of the pictures, if not as recorded", min=32, max=8192)]
Rate = Annotated[
    float | None, typer.Option("--fps", help="frames per second, interpolated", min=1, max=240, callback=finite)
]
FrameLimit = Annotated[int | None, typer.Option("--frames", help="only the first so many frames", min=1)]
Loop = Annotated[bool, typer.Option("--loop", help="play forward and back, without a jump at the ends (and silent)")]
Degrees = Annotated[
    float, typer.Option("--range", help="degrees of an orbit, 360 for once around", min=0, max=360, callback=finite)
]
Sheet = Annotated[Path | None, typer.Option(help="also a PNG of a few frames, one row for each light")]


class Move(str, Enum):
    """What the camera does."""

    FIXED = "fixed"
    ORBIT = "orbit"
    TRACK = "track"


class Quality(str, Enum):
    """How shadows are drawn: learned in a few poses, or traced in each frame."""

    NORMAL = "normal"
    HIGH = "high"


class Ending(str, Enum):
    """How the avatar ends below."""

    FADE = "fade"
    CLOSED = "closed"
    OPEN = "open"


Camera = Annotated[Move, typer.Option(help="as recorded, on a circle around the head, or moving along with the head")]
Shadows = Annotated[Quality, typer.Option("--quality", help="high traces shadows in every frame")]
Below = Annotated[
    Ending,
    typer.Option("--bust", help="where the neck ends: fade out, closed with a round edge, or open as it was fitted"),
]


def relight(
    run: RunArgument = None,
    envmap: Envmaps = None,
    lamp: Lamps = None,
    out: Out = Path("relit.mp4"),
    exposure: Exposure = None,
    rotate: Rotate = 0.0,
    turn_light: TurnLight = False,
    background: Behind = None,
    camera: Camera = Move.FIXED,
    degrees: Degrees = 60.0,
    size: PictureSize = None,
    width: Width = None,
    fps: Rate = None,
    frames: FrameLimit = None,
    loop: Loop = False,
    beside: Annotated[bool, typer.Option("--beside", help="the recording to the left")] = False,
    sheet: Sheet = None,
    quality: Shadows = Quality.NORMAL,
    fill: Fill = True,
    bust: Below = Ending.FADE,
    rasterizer: RasterizerName = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Show the avatar's performance under other lights (without --envmap and --lamp: studio)."""
    from flare_cli.apps.relight import RelightRequest
    from flare_cli.apps.relight import relight as run_relight
    from flare_cli.show.filming.film import Film
    from flare_cli.show.filming.lamps import parse_lamp
    from flare_cli.show.filming.lighting import Lighting

    lighting = Lighting(
        envmaps=tuple(envmap or ()), lamps=tuple(map(parse_lamp, lamp or ())), exposure=exposure,
        rotate_degrees=rotate, turn=turn_light,
    )  # fmt: skip
    film = Film(
        out=out, size=size, width=width, fps=fps, frames=frames, loop=loop, camera=camera.value,
        degrees=degrees, background=background, beside=beside, sheet=sheet, traced=quality is Quality.HIGH,
        fill=fill, bust=bust.value,
    )  # fmt: skip
    request = RelightRequest(film=film, lighting=lighting, run=run, rasterizer=rasterizer, device=device)
    with console.progress_bars() as progress:
        result = run_relight(request, progress)
    show(f"relit {result.files[0]}", asdict(result), as_json)


def animate(
    run: RunArgument = None,
    driver: Annotated[
        Path,
        typer.Option(help="subject folder, ARKit .csv or .json, .npz, video, or blink, talk, look-around, turntable"),
    ] = ...,  # type: ignore[assignment]
    envmap: Envmaps = None,
    lamp: Lamps = None,
    out: Out = Path("anim.mp4"),
    exposure: Exposure = None,
    rotate: Rotate = 0.0,
    turn_light: TurnLight = False,
    background: Behind = None,
    camera: Camera = Move.FIXED,
    degrees: Degrees = 60.0,
    size: PictureSize = None,
    width: Width = None,
    fps: Rate = None,
    frames: FrameLimit = None,
    loop: Loop = False,
    beside: Annotated[bool, typer.Option("--beside", help="the driver to the left")] = False,
    sound: Annotated[bool, typer.Option(help="take over the sound of a driving video")] = True,
    absolute: Annotated[
        bool, typer.Option(help="copy the driver's numbers, not its change from its own neutral")
    ] = False,
    sheet: Sheet = None,
    quality: Shadows = Quality.NORMAL,
    fill: Fill = True,
    bust: Below = Ending.FADE,
    rasterizer: RasterizerName = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Let another person, a capture, a video or a preset drive the avatar, under its own light or another."""
    from flare_cli.apps.animate import AnimateRequest
    from flare_cli.apps.animate import animate as run_animate
    from flare_cli.show.filming.film import Film
    from flare_cli.show.filming.lamps import parse_lamp
    from flare_cli.show.filming.lighting import Lighting

    lighting = Lighting(
        envmaps=tuple(envmap or ()), lamps=tuple(map(parse_lamp, lamp or ())), exposure=exposure,
        rotate_degrees=rotate, turn=turn_light,
    )  # fmt: skip
    film = Film(
        out=out, size=size, width=width, fps=fps, frames=frames, loop=loop, camera=camera.value,
        degrees=degrees, background=background, beside=beside, sheet=sheet, traced=quality is Quality.HIGH,
        fill=fill, bust=bust.value,
    )  # fmt: skip
    request = AnimateRequest(
        driver=driver, film=film, lighting=lighting, run=run, absolute=absolute, sound=sound, rasterizer=rasterizer,
        device=device,
    )  # fmt: skip
    with console.progress_bars() as progress:
        result = run_animate(request, progress)
    show(f"animated {result.files[0]}", asdict(result), as_json)
