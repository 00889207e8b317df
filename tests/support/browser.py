"""A page in a headless Chromium, spoken to by its DevTools protocol over a pipe: no package is needed for it."""

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--headless", "--remote-debugging-pipe", "--no-first-run", "--disable-background-networking", "--disable-sync"]
FLAGS += ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]  # WebGL without a GPU


class Browser:
    """One page. Requests to anything but the page itself are in `requests`."""

    def __init__(self, profile: Path, width: int, height: int, *flags: str) -> None:
        program = next(filter(None, map(shutil.which, BROWSERS)), None)
        if program is None:
            pytest.skip("there is no Chromium here")
        to_page, self._out = os.pipe()
        self._in, from_page = os.pipe()
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []

        def as_the_protocol_wants() -> None:  # it reads from 3 and writes to 4
            reading, writing = os.dup(to_page), os.dup(from_page)
            os.dup2(reading, 3)
            os.dup2(writing, 4)

        self._process = subprocess.Popen(
            [program, *FLAGS, *flags, *sandbox, f"--user-data-dir={profile}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=as_the_protocol_wants,
        )
        os.close(to_page)
        os.close(from_page)
        self._count, self._session, self._rest = 0, None, b""
        self.requests: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.ask("Network.enable")
        self.ask("Page.enable")
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command; its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("method") == "Network.requestWillBeSent":
                self.requests.append(answer["params"]["request"]["url"])
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, page: Path, fragment: str = "") -> None:
        """Open a file and wait until it has drawn."""
        self.visit(f"{page.as_uri()}#{fragment}")

    def visit(self, url: str) -> None:
        """Open an address and wait until it has drawn."""
        self.ask("Page.navigate", url="about:blank")  # else another fragment would not load it again
        self.ask("Page.navigate", url=url)
        self.ask("Runtime.enable")
        until = time.monotonic() + 60
        while self.run("document.body?.dataset.drawn") != "yes":
            assert time.monotonic() < until, self.run("document.getElementById('message')?.textContent")
            time.sleep(0.1)

    def run(self, script: str) -> Any:
        """The value of an expression; promises are awaited."""
        result = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def picture(self) -> np.ndarray:
        """What is seen, RGB, after the page had time to draw two frames."""
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        data = base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"])
        return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

    def drag(self, start: tuple[float, float], end: tuple[float, float], button: str = "left") -> None:
        """Move the mouse with a button down, in a few steps; pixels of the window."""
        mask = {"left": 1, "right": 2}[button]
        for kind, share in (("mousePressed", 0), *(("mouseMoved", i / 5) for i in range(1, 6)), ("mouseReleased", 1)):
            x, y = (a + (b - a) * share for a, b in zip(start, end, strict=True))
            held = {"button": button, "buttons": 0 if kind == "mouseReleased" else mask, "clickCount": 1}
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, **held)

    def click(self, identity: str) -> None:
        """Click in the middle of what has this id, with the mouse."""
        place = f"document.getElementById('{identity}').getBoundingClientRect()"
        self.run(f"document.getElementById('{identity}').scrollIntoView({{block: 'center'}})")
        x, y = self.run(f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({place})")
        self.drag((x, y), (x, y))

    def choose_file(self, identity: str, file: Path) -> None:
        """Put a file into the input that has this id, as its dialogue would."""
        node = self.ask("Runtime.evaluate", expression=f"document.getElementById('{identity}')")["result"]["objectId"]
        self.ask("DOM.setFileInputFiles", files=[str(file)], objectId=node)

    def download_to(self, folder: Path) -> None:
        """Keep what the page hands out as files."""
        self.ask("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = os.read(self._in, 1 << 20)
            assert data, "the browser ended"
            self._rest += data
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)
