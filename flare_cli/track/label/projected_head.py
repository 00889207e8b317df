"""What a drawn head says about the pixels of one picture. Worker processes use this module: it imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int32, UInt8

# Later names win where regions overlap.
REGION_NAMES = ("skin", "scalp", "neck", "face", "nose", "ears", "lips", "eyes", "inner_mouth", "teeth", "tongue")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectedHead:
    """A head in one picture: the triangle each pixel shows (-1 none), its region (0 none, else 1 + index), its grey
    shading; and the neck's rim.
    """

    triangle: Int32[np.ndarray, "H W"]
    regions: UInt8[np.ndarray, "H W"]
    shading: UInt8[np.ndarray, "H W"]
    rim: Float[np.ndarray, "K 2"]

    def shows(self, name: str) -> Bool[np.ndarray, "H W"]:
        """Pixels in which region `name` is seen."""
        return self.regions == 1 + REGION_NAMES.index(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectedFrame:
    """A frame of the track with its head drawn; points are landmarks in pixels of the crop."""

    number: int
    head: ProjectedHead
    points: Float[np.ndarray, "478 2"]
