"""How a tracker errs: a slow drift and noise from frame to frame, on the exact track of a synthetic person."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from flare_cli.subject.track import Track

# Standard errors of one parameter, of the drift and of the noise alike. Chosen, not measured: about a pixel at the
# face's edge at 512 x 512, and in depth four times of what it is across, as it is for every single camera.
ROTATION = math.radians(0.3)  # of each joint about each axis
ACROSS, IN_DEPTH = 0.0005, 0.002  # metres, of the translation
EXPRESSION = 0.05  # of an expression's coefficient, whose own deviation is about 1
DRIFT_SECONDS = 1.0  # deviation of the window that smooths the drift


def with_tracker_error(track: Track, *, noise: float, drift: float, seed: int) -> Track:
    """The track as a tracker would give it; `noise` and `drift` are multiples of the standard errors.

    Root, neck, jaw and eyes, translation and expression err; shape and camera are exact.
    """
    random = np.random.default_rng(seed)

    def error(like: Float[Tensor, "N *n"]) -> Float[Tensor, "N *n"]:
        white = random.standard_normal((2, *like.shape))
        slow = gaussian_filter1d(white[0], DRIFT_SECONDS * track.fps, axis=0, mode="wrap")
        slow /= max(float(slow.std()), 1e-9)
        return torch.from_numpy(drift * slow + noise * white[1]).to(like)

    depth_axis = track.camera.camera_from_world[0, 2, :3]
    moved = error(track.translation)
    along = (moved @ depth_axis)[:, None] * depth_axis
    return replace(
        track,
        pose=track.pose + ROTATION * error(track.pose),
        expression=track.expression + EXPRESSION * error(track.expression),
        translation=track.translation + ACROSS * (moved - along) + IN_DEPTH * along,
    )
