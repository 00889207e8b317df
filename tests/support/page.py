"""What a page asks of `flare view`, asked without a browser."""

import json
import urllib.error
import urllib.request
from typing import Any

import cv2
import numpy as np


class PageClient:
    """Speaks to the page's server as the page does."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, name: str, body: Any = None) -> tuple[bytes, dict[str, str]]:
        """Send JSON (or bytes); the answer's bytes and headers. An error that was told is a `ValueError`."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + name, data), timeout=60) as answer:
                return answer.read(), dict(answer.headers)
        except urllib.error.HTTPError as error:
            raise ValueError(error.read().decode()) from error

    def begin(self) -> dict[str, Any]:
        """What there is."""
        return json.loads(self.ask("begin")[0])

    def look(self, **view: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """The picture of a view (RGB), and what was told with it."""
        data, headers = self.ask("look", view)
        return rgb(data), json.loads(headers["Flare-Look"])


def rgb(data: bytes) -> np.ndarray:
    """A picture file's pixels."""
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
