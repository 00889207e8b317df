"""An avatar as one web page that shows it: avatar, light, three.js and controls. Nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from jaxtyping import Float

from flare_cli.data.atomic import write_bytes_whole
from flare_cli.data.meshes.webcam import FaceTracker


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenLight:
    """What V vertices see of the light: at rest, and the changes to S shapes of the face (a morph and its weight).

    Of a direction d a vertex sees the part c + b.d + d.M d, held to 0..1; M is symmetric and its trace is 0. The nine
    numbers are c, b, and M's xx, yy, xy, xz, yz. Shapes of one morph are neighbours, by weight.
    """

    shapes: tuple[tuple[str, float], ...]
    at_rest: Float[np.ndarray, "V 9"]
    changes: Float[np.ndarray, "S V 9"]

    def settings(self) -> dict[str, object]:
        """As the page reads it: rest and changes as signed bytes, each with a scale of its own."""
        values = np.concatenate([self.at_rest[None], self.changes])
        scales = np.maximum(np.abs(values).max((1, 2), keepdims=True), 1e-6) / 127
        return {
            "shapes": self.shapes,
            "scales": scales.flatten().tolist(),
            "vertices": len(self.at_rest),
            "data": _packed((values / scales).round().astype(np.int8).tobytes()),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewerPage:
    """A binary glTF file whose vertices are numbered, what these see, Radiance files by name, and a camera.

    The camera looks at the origin from `camera_position` (metres); `fov_y` is its vertical field of view in degrees.
    With a `tracker` the face can be moved by a webcam.
    """

    title: str
    glb: bytes
    seen: SeenLight
    lights: dict[str, bytes]
    camera_position: tuple[float, float, float]
    fov_y: float
    tracker: FaceTracker | None = None


def write_viewer(path: Path, page: ViewerPage) -> None:
    """Write the page; the file is whole or not there."""
    assets = files("flare_cli") / "assets" / "viewer"
    settings = {
        "camera": {"position": page.camera_position, "fov": page.fov_y},
        "seen": page.seen.settings(),
        "lights": {name: _packed(data) for name, data in page.lights.items()},
    }
    filled = {
        "TITLE": html.escape(page.title),
        "AVATAR": _packed(page.glb),
        "TRACKER": "{}" if page.tracker is None else _packed_all(page.tracker.parts()),
        # What a policy must allow for WebAssembly in a page without a server, and only then.
        "TRACKER_POLICY": "" if page.tracker is None else " blob: 'wasm-unsafe-eval'",
        "SETTINGS": json.dumps(settings).replace("</", "<\\/"),  # a name must not end the script
        "STYLE": (assets / "panel.css").read_text(encoding="utf-8"),
        "LIGHT": (assets / "light.js").read_text(encoding="utf-8"),
        "PANEL": (assets / "panel.js").read_text(encoding="utf-8"),
        "THREE": (assets / "three.min.js").read_text(encoding="utf-8"),
        "LICENCE": (assets / "LICENSE.three").read_text(encoding="utf-8"),
    }
    template = (assets / "viewer.html").read_text(encoding="utf-8")
    text = re.sub(r"\{\{([A-Z_]+)\}\}", lambda place: filled[place[1]], template)
    write_bytes_whole(path, text.encode())


def _packed_all(parts: dict[str, bytes]) -> str:
    return json.dumps({name: _packed(data) for name, data in parts.items()})


def _packed(data: bytes) -> str:
    """Compressed, as text."""
    return base64.b64encode(gzip.compress(data, mtime=0)).decode("ascii")
