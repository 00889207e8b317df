"""What the vertices of a mesh see of the light, in a glTF file, and the script that lights them by it in three.js."""

from __future__ import annotations

import base64
import gzip
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from jaxtyping import Float

MODULE = "flare_light.js"
"""What the script is called, here and where it is put beside a GLB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenLight:
    """What V vertices see of the light: at rest, and the changes to S shapes of the face (a morph and its weight).

    Of a direction d a vertex sees the part c + b.d + d.M d, held to 0..1; M is symmetric and its trace is 0. The nine
    numbers are c, b, and M's xx, yy, xy, xz, yz. Shapes of one morph are neighbours, by weight.
    """

    shapes: tuple[tuple[str, float], ...]
    at_rest: Float[np.ndarray, "V 9"]
    changes: Float[np.ndarray, "S V 9"]

    def extras(self) -> dict[str, object]:
        """As the script reads it: rest and changes as signed bytes, each with a scale of its own."""
        values = np.concatenate([self.at_rest[None], self.changes])
        scales = np.maximum(np.abs(values).max((1, 2), keepdims=True), 1e-6) / 127
        return {
            "shapes": self.shapes,
            "scales": scales.flatten().tolist(),
            "vertices": len(self.at_rest),
            "data": packed((values / scales).round().astype(np.int8).tobytes()),
        }


def light_module() -> str:
    """The script, a module that imports three.js."""
    return (files("flare_cli") / "assets" / "viewer" / MODULE).read_text(encoding="utf-8")


def packed(data: bytes) -> str:
    """Compressed, as text."""
    return base64.b64encode(gzip.compress(data, mtime=0)).decode("ascii")
