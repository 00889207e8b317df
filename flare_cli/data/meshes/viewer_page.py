"""An avatar as one web page that shows it: avatar, light, three.js and controls. Nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import html
import json
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from flare_cli.data.atomic import write_bytes_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewerPage:
    """A binary glTF file, environment maps as Radiance files by name, and the camera that the page opens with.

    The camera looks at the origin from `camera_position` (metres); `fov_y` is its vertical field of view in degrees.
    """

    title: str
    glb: bytes
    lights: dict[str, bytes]
    camera_position: tuple[float, float, float]
    fov_y: float


def write_viewer(path: Path, page: ViewerPage) -> None:
    """Write the page; the file is whole or not there."""
    assets = files("flare_cli") / "assets" / "viewer"
    settings = {
        "camera": {"position": page.camera_position, "fov": page.fov_y},
        "lights": {name: _base64(data) for name, data in page.lights.items()},
    }
    filled = {
        "TITLE": html.escape(page.title),
        "AVATAR": _base64(page.glb),
        "SETTINGS": json.dumps(settings).replace("</", "<\\/"),  # a name must not end the script
        "STYLE": (assets / "panel.css").read_text(encoding="utf-8"),
        "PANEL": (assets / "panel.js").read_text(encoding="utf-8"),
        "THREE": (assets / "three.min.js").read_text(encoding="utf-8"),
        "LICENCE": (assets / "LICENSE.three").read_text(encoding="utf-8"),
    }
    template = (assets / "viewer.html").read_text(encoding="utf-8")
    text = re.sub(r"\{\{([A-Z]+)\}\}", lambda place: filled[place[1]], template)
    write_bytes_whole(path, text.encode())


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
