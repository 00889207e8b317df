"""What of a recording will be weak in the avatar, and how to record it better: measures held against two bars each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float

from flare_cli.track.review.recording import Recording

FINEST = 0.004  # of the face's height: a pixel, where a face is 250 high; blurs below that are not told apart
COVERED = 0.03  # of the face: a finger
KNOWN = 5  # moments: most of a second
Verdict: TypeAlias = Literal["good", "limited", "poor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing about the recording. `found` and `wanted` are texts for people; `advice` is empty where all is good."""

    name: str
    verdict: Verdict
    value: float
    found: str
    wanted: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """A measure, and the bars at which it is good and poor; where `good` is the lower one, less is better."""

    name: str
    measure: Callable[[Recording], float]
    good: float
    poor: float
    found: str
    wanted: str
    advice: str

    def verdict(self, value: float) -> Verdict:
        sign = 1 if self.good >= self.poor else -1
        if sign * value >= sign * self.good:
            return "good"
        return "limited" if sign * value >= sign * self.poor else "poor"


def check_recording(recording: Recording) -> list[Check]:
    """All checks in a fixed order. What no frame has pixels for is left out."""
    checks: list[Check] = []
    for rule in _RULES:
        value = rule.measure(recording)
        if not np.isfinite(value):
            continue
        verdict = rule.verdict(value)
        checks.append(
            Check(
                name=rule.name,
                verdict=verdict,
                value=value,
                found=rule.found.format(value),
                wanted=rule.wanted,
                advice="" if verdict == "good" else rule.advice,
            )
        )
    return checks


def weak_first(checks: Sequence[Check]) -> list[Check]:
    """Those that are not good, the poor ones first."""
    return sorted((check for check in checks if check.verdict != "good"), key=lambda check: check.verdict != "poor")


def flicker(luminance: Float[np.ndarray, "N"]) -> float:
    """The standard deviation of exposure from frame to frame in stops, as of noise: a steady change has none."""
    stops = _stops(luminance)
    return float(np.std(np.diff(stops, 2)) / np.sqrt(6)) if len(stops) > 2 else 0.0  # 1, -2, 1: six variances


def drift(luminance: Float[np.ndarray, "N"]) -> float:
    """How far apart the brightest and the darkest twentieth of the frames are, in stops."""
    low, high = np.percentile(_stops(luminance), (5, 95))
    return float(high - low)


def camera_reach(background: Float[np.ndarray, "N 3"]) -> float:
    """How far the background goes in picture widths, at the picture's sides; NaN if it is hardly ever known where."""
    known = background[np.isfinite(background[:, 0])]
    if len(known) < KNOWN:
        return float("nan")
    right, down, size = np.ptp(known, axis=0)
    return float(np.hypot(right, down) + size / 2)


def _stops(luminance: Float[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
    return np.log2(np.maximum(luminance, 2.0**-12))  # one step of 8 bits in sRGB is 2^-11.7


def _far(values: Float[np.ndarray, "N"]) -> float:
    """As far as the recording goes, but for one frame in fifty."""
    return float(np.nanpercentile(values, 98))


def _mean(name: str) -> Callable[[Recording], float]:
    return lambda recording: float(np.mean(_seen(recording, name)))


def _median(name: str) -> Callable[[Recording], float]:
    return lambda recording: float(np.median(_seen(recording, name)))


def _seen(recording: Recording, name: str) -> Float[np.ndarray, "K"]:
    """A measure of pixels where there are any; NaN alone if there are nowhere."""
    values = recording.pixels[name]
    return values[np.isfinite(values)] if np.isfinite(values).any() else np.array([np.nan])


def _smeared(recording: Recording) -> float:
    """The part of the frames that are blurred by so much more than most that only motion explains it."""
    blur = _seen(recording, "blur")
    return float((blur > 1.75 * max(np.median(blur), FINEST)).mean())


# Bars without a source are set so that the development recordings (a speech, an interview, a phone's clip; see
# docs/experiments.md, "what a recording lacks") are told what they lack and nothing else.
_RULES = (
    _Rule(
        name="frames",
        measure=len,
        good=150,  # five seconds: as short as a slow turn to both sides can be
        poor=50,
        found="{:.0f} frames",
        wanted="150 or more",
        advice="record ten seconds or more, or keep more frames (--fps, --max-frames)",
    ),
    _Rule(
        name="usable",
        measure=lambda recording: len(recording) / recording.read,
        good=0.95,
        poor=0.75,
        found="{:.0%} of the frames",
        wanted="95 % or more",
        advice="keep the whole face in the picture, with nothing before it",
    ),
    _Rule(
        name="tracking",
        measure=lambda recording: float(np.median(recording.error)),
        good=0.035,  # where skin is followed recordings have 0.015 and 0.017, traced people 0.025 to 0.034
        poor=0.06,
        found="{:.1%} of the eye distance",
        wanted="3.5 % or less",
        advice="look at preview/overlay.mp4: hair, hands or strong side light over the face mislead the landmarks",
    ),
    _Rule(
        name="uncovered",
        measure=lambda recording: float((_seen(recording, "covered") > COVERED).mean()),
        good=0.05,
        poor=0.25,
        found="something is before the face in {:.0%} of the frames",
        wanted="5 % or less",
        advice="keep hands, microphones and cups away from the face: what they hide is not learned from those frames",
    ),
    _Rule(
        name="left side",
        measure=lambda recording: max(0.0, _far(recording.yaw)),
        good=20,  # the side of the head is seen 70 degrees from its normal: a pixel covers three times its size there
        poor=0,
        found="seen from {:.0f}°",
        wanted="20° or more",
        advice="turn the head slowly to the right, until the camera sees the left ear, and back",
    ),
    _Rule(
        name="right side",
        measure=lambda recording: max(0.0, _far(-recording.yaw)),
        good=20,
        poor=0,
        found="seen from {:.0f}°",
        wanted="20° or more",
        advice="turn the head slowly to the left, until the camera sees the right ear, and back",
    ),
    _Rule(
        name="turning",
        measure=lambda recording: _far(recording.yaw) + _far(-recording.yaw),
        good=12,  # the tip of a nose 25 mm before the cheeks moves 5 mm across them
        poor=8,
        found="{:.0f}° in all",
        wanted="12° or more",
        advice="depth shows only where the head turns: turn it slowly to both sides",
    ),
    _Rule(
        name="nodding",
        measure=lambda recording: _far(recording.pitch) + _far(-recording.pitch),
        good=10,
        poor=0,
        found="{:.0f}° in all",
        wanted="10° or more",
        advice="look slowly up to the ceiling and down to the floor: else chin, throat and crown are guessed",
    ),
    _Rule(
        name="mouth",
        measure=lambda recording: _far(recording.mouth),
        good=0.12,  # 11 mm between the lips of a head whose eyes' outer corners are 90 mm apart: as speech opens it
        poor=0.05,
        found="opens by {:.0%} of the eye distance",
        wanted="12 % or more",
        advice="speak, and open the mouth wide once",
    ),
    _Rule(
        name="teeth",
        measure=lambda recording: _far(_seen(recording, "teeth")),
        good=0.003,  # a tenth of what an open smile shows of the face
        poor=0,
        found="up to {:.1%} of the face",
        wanted="0.3 % or more",
        advice="smile once so that the teeth are seen: else they are the head model's",
    ),
    _Rule(
        name="blinks",
        # Of closed eyes the landmarks' lids are a quarter to a half as far apart as of open ones.
        measure=lambda recording: float(np.min(recording.eyes) / np.median(recording.eyes)),
        good=0.5,
        poor=1,
        found="eyes close to {:.0%}",
        wanted="50 % or less",
        advice="close the eyes for a second: else the lids' skin is guessed",
    ),
    _Rule(
        name="face size",
        measure=lambda recording: float(np.median(recording.face_height)),
        good=200,  # subjects of 512 pixels show a face of 250: from 200 they are enlarged by less than a third
        poor=100,  # an eye is 16 pixels wide
        found="{:.0f} pixels high",
        wanted="200 or more",
        advice="go nearer to the camera, or record at a higher resolution",
    ),
    _Rule(
        name="sharpness",
        measure=_median("blur"),
        good=0.01,  # 2 mm, as thick as the rim of a lid
        poor=0.02,
        found="edges blurred by {:.1%} of the face",
        wanted="1 % or less",
        advice="wipe the lens and let the camera focus on the face; take the camera's own file, not a messenger's copy",
    ),
    _Rule(
        name="motion blur",
        measure=_smeared,
        good=0.1,
        poor=0.3,
        found="{:.0%} of the frames",
        wanted="10 % or less",
        advice="move slowly, in more light: the camera then exposes for a shorter time",
    ),
    _Rule(
        name="brightness",
        measure=_median("luminance"),
        good=0.04,  # skin is two to four stops darker than white: below that the camera's noise is what is seen
        poor=0.015,
        found="{:.0%} of white",
        wanted="4 % or more",
        advice="record in more light",
    ),
    _Rule(
        name="overexposed",
        measure=_mean("white"),
        good=0.01,
        poor=0.05,
        found="{:.1%} of the face is clipped",
        wanted="1 % or less",
        advice="lower the exposure (tap on the face and drag down), or move out of direct light",
    ),
    _Rule(
        name="underexposed",
        measure=_mean("black"),
        good=0.05,
        poor=0.2,
        found="{:.1%} of the face is black",
        wanted="5 % or less",
        advice="light the dark side too: a wall or a sheet of paper reflects enough",
    ),
    _Rule(
        name="light's colour",
        measure=_median("tint"),
        good=0.3,  # the development recordings have 0 and 0.2
        poor=0.8,
        found="{:.2f} stops from any skin in white light",
        wanted="0.3 or less",
        advice="switch off coloured lamps and screens, and set the white balance to the light",
    ),
    _Rule(
        name="mixed light",
        measure=_median("mixed"),
        good=0.5,  # the development recordings have 0.02 to 0.3; daylight and a lamp from two sides make 1 or more
        poor=1.2,
        found="one side of the face is bluer by {:.2f} stops",
        wanted="0.5 or less",
        advice="light the face by a window or by lamps of one kind: two colours of light look like two colours of skin",
    ),
    _Rule(
        name="still camera",
        measure=lambda recording: camera_reach(recording.background),
        good=0.02,  # a turn by a degree of a lens that sees 60
        poor=0.1,
        found="the background moves by {:.1%} of the picture",
        wanted="2 % or less",
        advice="put the camera on a stand: else its motion is taken for the head's, and the light seems to move",
    ),
    _Rule(
        name="flicker",
        measure=lambda recording: flicker(_seen(recording, "luminance")),
        good=0.05,  # 3.5 % of the radiance, a residual of 29 dB that no avatar can explain
        poor=0.15,
        found="{:.2f} stops",
        wanted="0.05 or less",
        advice="lock the exposure; lamps on the mains need a shutter of 1/50 or 1/60 s",
    ),
    _Rule(
        name="steady exposure",
        measure=lambda recording: drift(_seen(recording, "luminance")),
        good=0.5,  # turning in soft light changes a face by up to 0.3
        poor=1.0,
        found="changes by {:.2f} stops",
        wanted="0.5 or less",
        advice="lock exposure and white balance, and stay where the light is the same",
    ),
    _Rule(
        name="outline",
        measure=_mean("unsure_edge"),
        good=0.05,  # the development recordings have 0.01 to 0.02
        poor=0.1,
        found="unsure over {:.1%} of the face's height",
        wanted="5 % or less",
        advice="stand before a plain wall of another colour than hair and clothes",
    ),
    _Rule(
        name="matte",
        measure=_mean("cut"),
        good=0.02,
        poor=0.05,
        found="leaves out {:.1%} of the face",
        wanted="2 % or less",
        advice="stand before a plain wall that is darker or brighter than the face",
    ),
)
