"""A phone's camera: sensor noise, and the compression of its video."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from flare_cli.data.video import open_video

# Of a pixel's variance at middle grey, the part that does not depend on the light (read noise); the rest is the light's
# own (shot noise) and grows with it. Seen on phones at base sensitivity (Foi et al. 2008, "Practical
# Poissonian-Gaussian noise modeling", fig. 10).
READ_SHARE = 0.1
MIDDLE_GREY = 0.18  # linear


def sensor_noise(
    radiance: Float[np.ndarray, "H W 3"], deviation: float, random: np.random.Generator
) -> Float[np.ndarray, "H W 3"]:
    """Linear radiance as a sensor reads it: `deviation` is that of a pixel at `MIDDLE_GREY`, in linear units."""
    light = np.maximum(radiance, 0) / MIDDLE_GREY
    sigma = deviation * np.sqrt(READ_SHARE + (1 - READ_SHARE) * light)
    return radiance + sigma * random.standard_normal(radiance.shape)


def write_phone_video(path: Path, pictures: Iterable[UInt8[np.ndarray, "H W 3"]], *, fps: float, crf: int) -> None:
    """Write the pictures as an H.264 video, whole or not at all. Edges must be even."""
    with open_video(path, fps=fps, crf=crf) as video:
        for picture in pictures:
            video.write(picture)
