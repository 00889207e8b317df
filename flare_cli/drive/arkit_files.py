"""Reading ARKit captures: Live Link Face CSV and MediaPipe blend shape JSON, as weights in our order.

What is accepted is listed in docs/formats.md, "Drivers".
"""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from flare_cli.config.tables import shown
from flare_cli.data.checked import LARGEST, numbers
from flare_cli.data.json_file import read_json_value
from flare_cli.errors import FlareError
from flare_cli.head.arkit import ARKIT_NAMES

LIVE_LINK_FPS = 60.0
DEFAULT_FPS = 30.0
MAX_FPS = 1e4
MAX_FRAMES = 10**6  # of a driver: at 60 per second, more than four hours
HINT = "see docs/formats.md, Drivers, for what is read"
ANGLES = {"head": ("HeadPitch", "HeadYaw", "HeadRoll")}
_PLACE = {name.lower(): i for i, name in enumerate(ARKIT_NAMES)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """ARKit weights (0..1) and the head's turn: pitch, yaw, roll in radians about our x, y, z."""

    weights: Float[np.ndarray, "N 52"]
    head: Float[np.ndarray, "N 3"]
    fps: float
    notes: tuple[str, ...] = ()


def read_live_link(path: Path) -> Capture:
    """A Live Link Face CSV. Rows are put on an even 60 Hz grid by their timecodes; rows without weights are left out.

    Head angles beyond pi can't be radians and are read as degrees.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FlareError(f"{path} can't be read as CSV: {error}", hint=HINT) from error
    header = [name.strip() for name in rows[0]] if rows else []
    places = {_PLACE[name.lower()]: column for column, name in enumerate(header) if name.lower() in _PLACE}
    missing = [ARKIT_NAMES[i] for i in range(len(ARKIT_NAMES)) if i not in places]
    if len(missing) > 1 or (missing and missing != ["tongueOut"]):
        raise FlareError(f"{path}: {len(missing)} of the 52 ARKit columns are missing, first {missing[0]}", hint=HINT)
    body = [(i, row) for i, row in enumerate(rows[1:], 2) if len(row) == len(header)]
    if not body:
        raise FlareError(f"{path} holds no frames", hint=HINT)
    weights = np.zeros((len(body), len(ARKIT_NAMES)))
    for k, column in places.items():
        weights[:, k] = [_number(path, line, header[column], row[column]) for line, row in body]
    head = np.zeros((len(body), 3))
    for axis, name in enumerate(ANGLES["head"]):
        if name in header:
            column = header.index(name)
            head[:, axis] = [_number(path, line, name, row[column]) for line, row in body]
    notes: tuple[str, ...] = ()
    if np.abs(head).max(initial=0) > math.pi:
        head, notes = np.radians(head), ("head angles are read as degrees",)
    if len(body) < len(rows) - 1:
        notes += (f"{len(rows) - 1 - len(body)} row(s) without weights are left out",)
    times = _timecodes(path, header, body)
    if times is None:
        return Capture(weights=weights, head=head, fps=LIVE_LINK_FPS, notes=notes)
    if (times[-1] - times[0]) * LIVE_LINK_FPS > MAX_FRAMES:
        hours = (times[-1] - times[0]) / 3600
        raise FlareError(f"{path}: its timecodes span {hours:.3g} hours", hint="remove the rows of other takes")
    even = np.arange(times[0], times[-1] + 1e-6, 1 / LIVE_LINK_FPS)
    weights, head = (_interpolated(values, times, even) for values in (weights, np.unwrap(head, axis=0)))
    return Capture(weights=weights, head=head, fps=LIVE_LINK_FPS, notes=notes)


def _interpolated(
    values: Float[np.ndarray, "N C"], times: Float[np.ndarray, "N"], wanted: Float[np.ndarray, "M"]
) -> Float[np.ndarray, "M C"]:
    return np.stack([np.interp(wanted, times, column) for column in values.T], 1)


def read_mediapipe(path: Path) -> Capture:
    """MediaPipe's face blend shapes as JSON, one entry per frame; frames without a face hold the one before.

    The file is a list of frames or {"fps": number, "frames": [...]}. A frame is a list of 52 numbers in ARKit's order,
    a mapping of names to numbers, or MediaPipe's list of categories ({"categoryName" or "category_name", "score"}),
    perhaps under "blendshapes" or "faceBlendshapes". A 4 x 4 "matrix" in a frame turns the head.
    """
    value = read_json_value(path, error=FlareError, hint=HINT)
    frames = value.get("frames") if isinstance(value, dict) else value
    fps = value.get("fps", DEFAULT_FPS) if isinstance(value, dict) else DEFAULT_FPS
    if not isinstance(frames, list) or not 1 <= len(frames) <= MAX_FRAMES:
        raise FlareError(f"{path} holds no frames, or more than {MAX_FRAMES}", hint=HINT)
    if not isinstance(fps, int | float) or not 0 < fps < MAX_FPS:
        raise FlareError(f"{path}: fps is {shown(fps)}", hint="a number of frames per second")
    weights, head = np.zeros((len(frames), len(ARKIT_NAMES))), np.zeros((len(frames), 3))
    for i, frame in enumerate(frames):
        of_frame = _weights(frame, f"{path}, frame {i}")
        if of_frame is not None:
            weights[i] = of_frame
        elif i:
            weights[i] = weights[i - 1]
        if isinstance(frame, dict) and frame.get("matrix") is not None:
            head[i] = _turn(frame["matrix"], f"{path}, frame {i}")
    return Capture(weights=weights, head=head, fps=float(fps))


def _weights(frame: Any, where: str) -> Float[np.ndarray, "52"] | None:
    """One frame's weights; None where no face was seen. `_neutral`, which MediaPipe lists first, is not a unit."""
    if isinstance(frame, dict):
        frame = next((frame[k] for k in ("blendshapes", "faceBlendshapes", "face_blendshapes") if k in frame), frame)
    if isinstance(frame, list) and frame and isinstance(frame[0], list):  # one list per face: the first is meant
        frame = frame[0]
    if frame is None or frame in ([], {}):
        return None
    if isinstance(frame, list) and any(isinstance(c, dict) for c in frame):
        if not all(isinstance(c, dict) for c in frame):
            raise FlareError(f"{where} has something else among its categories", hint=HINT)
        frame = {
            str(c.get("categoryName", c.get("category_name", c.get("displayName")))): c.get("score") for c in frame
        }
    if isinstance(frame, dict):
        named = {str(name).lower(): value for name, value in frame.items()}
        known = set(named) & set(_PLACE)
        if len(known) < len(ARKIT_NAMES) // 2:
            raise FlareError(f"{where} names {len(known)} of the 52 ARKit units", hint=HINT)
        frame = [named.get(name.lower(), 0.0) for name in ARKIT_NAMES]
    try:
        array = np.asarray(frame, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise FlareError(f"{where} is not made of numbers: {error}", hint=HINT) from error
    if array.shape != (len(ARKIT_NAMES),) or not np.isfinite(array).all():
        raise FlareError(f"{where} has the shape {array.shape} or is not finite, expected 52 numbers", hint=HINT)
    return array


def _turn(matrix: Any, where: str) -> Float[np.ndarray, "3"]:
    from scipy.spatial.transform import Rotation

    try:
        square = np.asarray(matrix, np.float64).reshape(4, 4)
        rotation = numbers(square, (4, 4), where, "matrix", hint=HINT)[:3, :3]
        pitch, yaw, roll = Rotation.from_matrix(rotation).as_euler("xyz")
    except (TypeError, ValueError) as error:
        raise FlareError(f"{where}: matrix is not a 4 x 4 transformation: {error}", hint=HINT) from error
    return np.array([pitch, yaw, roll])


def _number(path: Path, line: int, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise FlareError(f"{path}:{line}: {name} is {shown(text)}, not a number", hint=HINT) from None
    if not abs(value) <= LARGEST:
        raise FlareError(f"{path}:{line}: {name} is {text[:40]}", hint=HINT)
    return value


def _timecodes(path: Path, header: list[str], body: list[tuple[int, list[str]]]) -> Float[np.ndarray, "N"] | None:
    """Seconds of every row, from HH:MM:SS:FF.fraction; None without a Timecode column. A new day goes on."""
    if "Timecode" not in header:
        return None
    column, seconds = header.index("Timecode"), []
    for line, row in body:
        match = re.fullmatch(r"\s*(\d{1,2}):(\d{1,2}):(\d{1,2})[:;](\d{1,3}(?:\.\d{1,9})?)\s*", row[column])
        if match is None:
            raise FlareError(f"{path}:{line}: the timecode {shown(row[column])} is not HH:MM:SS:FF", hint=HINT)
        hours, minutes, whole, frame = (float(part) for part in match.groups())
        seconds.append(3600 * hours + 60 * minutes + whole + frame / LIVE_LINK_FPS)
    times = np.array(seconds)
    times += 86400 * np.cumsum(np.concatenate([[0], np.diff(times) < -43200]))
    if (np.diff(times) <= 0).any():
        line = body[int(np.argmax(np.diff(times) <= 0)) + 1][0]
        raise FlareError(f"{path}:{line}: the timecode does not go forward", hint="remove the repeated row")
    return times
