"""The avatar in front of a page's camera: a view in, a picture out."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from jaxtyping import UInt8

from flare_cli.avatar.avatar import Avatar, Posed
from flare_cli.avatar.bust import Bust, presented
from flare_cli.avatar.deformer import Corrections
from flare_cli.avatar.picture import draw
from flare_cli.data.image import read_rgb
from flare_cli.errors import FlareError
from flare_cli.parallel.blocks import threads_for_blocks
from flare_cli.render.camera import Cameras, look_at
from flare_cli.render.raster.interface import Rasterizer
from flare_cli.show.channels import channel, confidence, wireframe
from flare_cli.show.filming.backgrounds import scaled
from flare_cli.show.filming.camera_moves import head_centres, reframed
from flare_cli.show.filming.performance import Performance
from flare_cli.show.track_pictures import to_bytes
from flare_cli.show.viewing.backdrop import Backdrop
from flare_cli.show.viewing.edited import EditedTextures
from flare_cli.show.viewing.lights import Lights
from flare_cli.show.viewing.moments import Moment, acted, gaze_weights, moment_of, neutral_moment, radians
from flare_cli.show.viewing.pace import SECONDS, Pace
from flare_cli.show.viewing.view import View

MOST_PIXELS = {"cpu": 1 << 20, "cuda": 1 << 22}  # about a second on two cores; all of a large screen
RECORDING = "recording"
"""The name of the driver that is the avatar's own recording."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A picture (sRGB), the frame of the performance that it shows, and the seconds that it took."""

    picture: UInt8[np.ndarray, "H W 3"]
    frame: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a page's camera begins: the recording's, turned to the middle of the head (metres, degrees)."""

    eye: tuple[float, float, float]
    target: tuple[float, float, float]
    fov: float


@final
class Studio:
    """Draws views of one avatar; `own` is its recording, `drivers` what it can play besides.

    `textures` are shown in place of its own materials. `bust` is how it ends below: open while it is being fitted.
    One thread draws. What a view leaves as it was is not worked out again: the mesh where only the camera moves, the
    deformer until `avatar_changed`.
    """

    def __init__(
        self,
        avatar: Avatar,
        rasterizer: Rasterizer,
        own: Performance,
        drivers: dict[str, Performance],
        textures: EditedTextures | None = None,
        *,
        bust: Bust = "open",
    ) -> None:
        self.lights, self.textures = Lights(), textures
        # The avatar itself while a fit goes on, which no copy would follow: what was seen is known at its end.
        shown = presented(avatar, fill=True, bust=bust)
        self._avatar, self._completion = shown.avatar, shown.completion
        self._rasterizer, self._own = rasterizer, own
        self._performances = {RECORDING: own, **drivers}
        self._neutral = neutral_moment(own.track)
        self._arkit = avatar.head.to("cpu").arkit
        self._backdrop, self._pace = Backdrop(), Pace(SECONDS[avatar.device.type])
        self._corrections: Corrections | None = None
        self._posed: tuple[object, Posed] | None = None

    def performances(self) -> dict[str, float]:
        """The length of what can be played, in seconds, by name."""
        return {name: seconds_of(one) for name, one in self._performances.items() if len(one) > 1}

    def most_pixels(self) -> int:
        """Of a picture that stands still: more take so long that whoever moves on has to wait for it."""
        return MOST_PIXELS[self._avatar.device.type]

    def beside(self) -> list[str]:
        """Of what can be played, the names of those that were filmed."""
        return [name for name, one in self._performances.items() if one.pictures is not None]

    def place(self) -> Place:
        """Where the camera begins."""
        camera, track = self._own.track.camera, self._own.track
        centre = head_centres(self._avatar, track.to(self._avatar.device)).median(0).values
        eye, target = camera.centres()[0].tolist(), centre.tolist()
        fov = 2 * math.degrees(math.atan(0.5 * camera.height / float(camera.intrinsics[0, 1])))
        return Place(eye=tuple(eye), target=tuple(target), fov=fov)

    def avatar_changed(self) -> None:
        """Forget what was worked out of the avatar: a fit went on."""
        self._corrections = self._posed = None

    @torch.no_grad()
    def look(self, view: View) -> Look:
        """Draw a view. Raises `FlareError` where it asks for what is not there."""
        start = time.perf_counter()
        height = view.height if view.still else self._pace.height(view.height)
        width = max(1, round(view.width * height / view.height))
        performance = self._performance(view.driver or RECORDING)
        frame = frame_at(performance, view.time) if view.driver else 0
        beside = view.beside and performance.pictures is not None
        recorded = performance.track[frame : frame + 1].cameras()
        with threads_for_blocks():
            picture = self._draw(view, recorded, height, width // (1 + beside), frame)
        if beside:
            assert performance.pictures is not None
            filmed = fitted(read_rgb(performance.pictures[frame]), height, width - picture.shape[1])
            picture = np.concatenate([filmed, picture], 1)
        seconds = time.perf_counter() - start
        if not view.still:
            self._pace.took(seconds, view.height)
        return Look(picture=picture, frame=frame, seconds=seconds)

    def _draw(self, view: View, recorded: Cameras, height: int, width: int, frame: int) -> UInt8[np.ndarray, "H W 3"]:
        avatar = self._avatar
        camera = camera_of(view, recorded, height, width).to(avatar.device)
        posed = self._pose(view, frame)
        lit = self.lights.lit(avatar, view.light, math.radians(view.rotate))
        gain = 2.0**view.exposure
        projections = camera.projections()
        drawn = draw(
            avatar,
            posed,
            projections,
            light=lit.light,
            rasterizer=self._rasterizer,
            background=self._backdrop.behind(view, camera, lit.environment),
            textures=None if self.textures is None else self.textures.current(),
            completion=self._completion,
            lit_mouth=self._completion is not None,
        )
        # Light is added up, so what is brighter by some factor can be drawn first and multiplied then.
        drawn = replace(drawn, image=torch.cat([drawn.colour * gain, drawn.coverage], -1))
        if view.mode == "wireframe":
            shown = wireframe(drawn, projections.clip(posed.vertices), avatar.mesh.topology.faces)
        elif view.mode == "confidence":
            shown = confidence(drawn, avatar, self._rasterizer)
        else:
            shown = channel(drawn, view.mode)
        return framed(to_bytes(shown)[0], height, width)

    def _pose(self, view: View, frame: int) -> Posed:
        avatar = self._avatar
        key = (view.driver, frame, view.weights, view.gaze, view.turn)
        if self._posed is not None and self._posed[0] == key:
            return self._posed[1]
        if self._corrections is None:
            self._corrections = avatar.corrections()
        moment = self._moment(view, frame)
        motion = avatar.motion(
            expression=moment.expression.to(avatar.device),
            pose=moment.pose.to(avatar.device),
            translation=moment.translation.to(avatar.device),
        )
        posed = avatar.move(motion, self._corrections)
        self._posed = key, posed
        return posed

    def _moment(self, view: View, frame: int) -> Moment:
        start = moment_of(self._performance(view.driver).track, frame) if view.driver else self._neutral
        yaw, pitch = radians(view.gaze)
        weights = torch.tensor(view.weights) + gaze_weights(self._arkit, yaw, pitch)
        return acted(start, self._arkit, weights.clamp(0, 1), radians(view.turn))

    def _performance(self, name: str) -> Performance:
        if name not in self._performances:
            raise FlareError(f"there is nothing to play called {name[:60]!r}", hint="choose one of the list")
        return self._performances[name]


def camera_of(view: View, recorded: Cameras, height: int, width: int) -> Cameras:
    """The camera of a view; the recording's is widened to the picture's shape, or all of it kept within its width."""
    if view.eye:
        eye, target = torch.tensor([view.eye]), torch.tensor([view.target])
        return look_at(eye, target, fov_y=math.radians(view.fov), height=height, width=width)
    return reframed(recorded, min(height, round(width * recorded.height / recorded.width)), width)


def frame_at(performance: Performance, seconds: float) -> int:
    """The frame of a performance that is shown after so many seconds, over and over again."""
    moment = performance.time[0] + seconds % seconds_of(performance)
    return int(torch.searchsorted(performance.time.contiguous(), moment, right=True)) - 1


def seconds_of(performance: Performance) -> float:
    """How long a performance is; its last frame is shown too."""
    return float(performance.time[-1] - performance.time[0]) + 1 / performance.track.fps


def fitted(picture: UInt8[np.ndarray, "h w 3"], height: int, width: int) -> UInt8[np.ndarray, "H W 3"]:
    """All of a picture, as large as it can be, in the middle of black."""
    scale = min(height / picture.shape[0], width / picture.shape[1])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return framed(scaled(picture, size), height, width)


def framed(picture: UInt8[np.ndarray, "h w 3"], height: int, width: int) -> UInt8[np.ndarray, "H W 3"]:
    """A picture in the middle of black."""
    down, across = height - picture.shape[0], width - picture.shape[1]
    if down == 0 and across == 0:
        return picture
    return np.pad(picture, ((down // 2, down - down // 2), (across // 2, across - across // 2), (0, 0)))
