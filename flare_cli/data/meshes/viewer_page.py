"""An avatar as one web page that shows it: avatar, light, three.js and controls. Nothing is loaded from elsewhere."""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from flare_cli.data.atomic import write_bytes_whole
from flare_cli.data.meshes.seen_light import light_module, packed
from flare_cli.data.meshes.webcam import FaceTracker


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewerPage:
    """A binary glTF file with what its vertices see of the light, Radiance files by name, and a camera.

    The camera looks at the origin from `camera_position` (metres); `fov_y` is its vertical field of view in degrees.
    With a `tracker` the face can be moved by a webcam.
    """

    title: str
    glb: bytes
    lights: dict[str, bytes]
    camera_position: tuple[float, float, float]
    fov_y: float
    tracker: FaceTracker | None = None


def write_viewer(path: Path, page: ViewerPage) -> None:
    """Write the page; the file is whole or not there."""
    assets = files("flare_cli") / "assets" / "viewer"
    settings = {
        "camera": {"position": page.camera_position, "fov": page.fov_y},
        "lights": {name: packed(data) for name, data in page.lights.items()},
    }
    filled = {
        "TITLE": html.escape(page.title),
        "AVATAR": packed(page.glb),
        "TRACKER": "{}" if page.tracker is None else _packed_all(page.tracker.parts()),
        # What a policy must allow for WebAssembly in a page without a server, and only then.
        "TRACKER_POLICY": "" if page.tracker is None else " blob: 'wasm-unsafe-eval'",
        "SETTINGS": json.dumps(settings).replace("</", "<\\/"),  # a name must not end the script
        "STYLE": (assets / "panel.css").read_text(encoding="utf-8"),
        "FLARE_LIGHT": re.sub(r"^(import .*|export )", "", light_module(), flags=re.MULTILINE),  # three.js is there
        "LIGHT": (assets / "light.js").read_text(encoding="utf-8"),
        "PANEL": (assets / "panel.js").read_text(encoding="utf-8"),
        "THREE": (assets / "three.min.js").read_text(encoding="utf-8"),
        "LICENCE": (assets / "LICENSE.three").read_text(encoding="utf-8"),
    }
    template = (assets / "viewer.html").read_text(encoding="utf-8")
    text = re.sub(r"\{\{([A-Z_]+)\}\}", lambda place: filled[place[1]], template)
    write_bytes_whole(path, text.encode())


def _packed_all(parts: dict[str, bytes]) -> str:
    return json.dumps({name: packed(data) for name, data in parts.items()})
