"""What the page may ask for: pictures, a film, a map to light by, and whether a fit goes on."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, final, get_args

from flare_cli.data.meshes.textured_mesh import jpeg, png
from flare_cli.data.video import open_video
from flare_cli.errors import FlareError
from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.render.gpu_memory import gpu_memory
from flare_cli.show.viewing.desk import Desk
from flare_cli.show.viewing.lights import FIRST_LIGHT, UPLOAD_BYTES
from flare_cli.show.viewing.server import Answer
from flare_cli.show.viewing.studio import Look, Studio
from flare_cli.show.viewing.view import OWN_LIGHT, Mode, View, read_view

REQUEST_BYTES = 1 << 14  # a view takes 1 kB
FILM_BYTES, MOST_FRAMES = 1 << 20, 600  # a film is a list of views
MOST_FPS = 60.0
STILL_QUALITY, MOVING_QUALITY = 95, 85  # of JPEGs


@final
class ViewingService:
    """Answers a page. Everything that touches the avatar is done at the desk.

    `studio` is asked for there; a fit has one after its first step. `state` tells how far the fit is, and `pause` holds
    it; both are None where nothing is fitted.
    """

    def __init__(
        self,
        title: str,
        studio: Callable[[], Studio],
        desk: Desk,
        *,
        state: Callable[[], dict[str, Any]] | None = None,
        pause: Callable[[bool], None] | None = None,
    ) -> None:
        self._title, self._studio, self._desk = title, studio, desk
        self._state, self._pause = state, pause
        self._filming = threading.Lock()
        self._answers: dict[str, tuple[int, Callable[[bytes, str], Answer]]] = {
            "begin": (REQUEST_BYTES, self._begin),
            "look": (REQUEST_BYTES, self._look),
            "save": (REQUEST_BYTES, self._save),
            "film": (FILM_BYTES, self._film),
            "light": (UPLOAD_BYTES, self._light),
            "textures": (REQUEST_BYTES, self._textures),
        }
        if pause is not None:
            self._answers["pause"] = (REQUEST_BYTES, self._hold)

    def largest(self, name: str) -> int:
        """How many bytes may come with a request; `KeyError` for a name that there is not."""
        return self._answers[name][0]

    def answer(self, name: str, data: bytes, label: str) -> Answer:
        """Do what was asked. Raises `FlareError`."""
        return self._answers[name][1](data, label)

    def _begin(self, data: bytes, label: str) -> Answer:
        def told() -> dict[str, Any]:
            studio = self._studio()
            return {
                "title": self._title,
                "units": ARKIT_NAMES,
                "modes": get_args(Mode),
                "place": asdict(studio.place()),
                "performances": studio.performances(),
                "beside": studio.beside(),
                "most_pixels": studio.most_pixels(),
                "textures": studio.textures is not None,
                "lights": studio.lights.names(),
                "light": FIRST_LIGHT if self._state is None else OWN_LIGHT,
                "fit": None if self._state is None else self._state(),
            }

        return _json(self._desk.ask(told))

    def _look(self, data: bytes, label: str) -> Answer:
        view = read_view(_parsed(data))
        look = self._drawn(view)
        told: dict[str, Any] = {"height": len(look.picture), "seconds": look.seconds, "frame": look.frame}
        if self._state is not None:
            told["fit"] = self._state()
        encoded = jpeg(look.picture, STILL_QUALITY if view.still else MOVING_QUALITY)
        return Answer(encoded, "image/jpeg", {"Flare-Look": json.dumps(told)})

    def _save(self, data: bytes, label: str) -> Answer:
        return Answer(png(self._drawn(read_view(_parsed(data))).picture), "image/png")

    def _film(self, data: bytes, label: str) -> Answer:
        """A film of the views that the page lists, one picture each."""
        asked = _parsed(data)
        views, fps = (asked.get("views"), asked.get("fps")) if isinstance(asked, dict) else (None, None)
        if not isinstance(views, list) or not 1 <= len(views) <= MOST_FRAMES:
            raise FlareError("a film without views, or with too many", hint=f"1 to {MOST_FRAMES}")
        if not isinstance(fps, int | float) or not 1 <= fps <= MOST_FPS:
            raise FlareError("a film of no such rate", hint=f"1 to {MOST_FPS:g} pictures a second")
        checked = [replace(read_view(view), still=True) for view in views]
        if len({(view.height, view.width) for view in checked}) > 1:
            raise FlareError("the views of a film have several sizes", hint="ask for one")
        if not self._filming.acquire(blocking=False):
            raise FlareError("a film is being made", hint="wait for it")
        try:
            with tempfile.TemporaryDirectory(prefix="flare-") as folder:
                path = Path(folder) / "film.mp4"
                with open_video(path, fps=fps) as film:
                    for view in checked:
                        film.write(self._drawn(view).picture)
                return Answer(path.read_bytes(), "video/mp4")
        finally:
            self._filming.release()

    def _light(self, data: bytes, label: str) -> Answer:
        lights = self._desk.ask(lambda: self._studio().lights)
        name = lights.add(label, data)  # not at the desk: large files take a while
        return _json({"name": name})

    def _textures(self, data: bytes, label: str) -> Answer:
        """Tells whether textures were saved since: by another stamp."""
        textures = self._desk.ask(lambda: self._studio().textures)
        return _json({"stamp": "" if textures is None else textures.stamp()})

    def _hold(self, data: bytes, label: str) -> Answer:
        held = _parsed(data)
        if not isinstance(held, bool):
            raise FlareError("pause: neither true nor false", hint="say one of them")
        assert self._pause is not None
        self._pause(held)
        return _json({})

    def _drawn(self, view: View) -> Look:
        def draw() -> Look:
            with gpu_memory("make the window smaller, or close other programs that use the GPU"):
                return self._studio().look(view)

        return self._desk.ask(draw)


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FlareError("what the page sent is not JSON", hint="load the page again") from error


def _json(value: dict[str, Any]) -> Answer:
    return Answer(json.dumps(value).encode())
