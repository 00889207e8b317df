"""Pictures per second of `flare view`, without a browser: asked for over HTTP, drawn, compressed and sent.

python benchmarks/viewer_rate.py RUN [--rows 512 720 1080] [--pictures 200] [--device auto]

Each row is for a window of 4:3 with so many rows. `moving` may be drawn smaller, to keep up; `whole` is what is shown
when all is still. `camera` turns the camera, `face` plays a preset; both under a map, before its blurred picture.
`ahead` is how many pictures are asked for at once: the page asks for two where a picture takes less than 30 ms.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import torch

from flare_cli.apps.view import open_studio
from flare_cli.fit.run_folder import load_run
from flare_cli.parallel.progress import quiet
from flare_cli.render.device import choose_device
from flare_cli.show.viewing.desk import Desk
from flare_cli.show.viewing.server import Listening, PageServer
from flare_cli.show.viewing.service import ViewingService
from flare_cli.show.viewing.studio import Place

WARM = 10  # pictures that are not timed


def views(what: str, place: Place, rows: int, still: bool) -> Iterator[dict]:
    """The views of a page on which somebody turns the camera, or a performance plays."""
    x, _, z = (eye - target for eye, target in zip(place.eye, place.target, strict=True))
    distance, start = math.hypot(x, z), math.atan2(x, z)
    for i in range(10**9):
        angle = start + (0.5 * math.sin(i / 20) if what == "camera" else 0.0)
        eye = [distance * math.sin(angle) + place.target[0], place.eye[1], distance * math.cos(angle) + place.target[2]]
        yield {
            "height": rows, "width": rows * 4 // 3, "still": still, "eye": eye, "target": place.target,
            "fov": place.fov, "light": "studio", "driver": "talk" if what == "face" else "", "time": i / 30,
        }  # fmt: skip


class Client:
    """Asks for one view after the other, as a page does; several threads share the views."""

    def __init__(self, url: str, asked: Iterator[dict], pictures: int) -> None:
        self.url, self.asked, self.left = urlsplit(url), asked, WARM + pictures
        self.lock = threading.Lock()
        self.times: list[float] = []
        self.bytes = self.rows = 0

    def ask(self) -> None:
        connection = http.client.HTTPConnection(self.url.hostname, self.url.port)
        while True:
            with self.lock:
                if self.left == 0:
                    return
                self.left -= 1
                view = json.dumps(next(self.asked))
            connection.request("POST", f"{self.url.path}look", view)
            answer = connection.getresponse()
            data, told = answer.read(), json.loads(answer.headers["Flare-Look"])
            with self.lock:
                self.times.append(time.perf_counter())
                self.bytes, self.rows = len(data), told["height"]


def rate(url: str, desk: Desk, asked: Iterator[dict], pictures: int, ahead: int) -> Client:
    client = Client(url, asked, pictures)
    threads = [threading.Thread(target=client.ask) for _ in range(ahead)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        desk.attend(0.01)
    return client


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[512, 720, 1080])
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = choose_device(options.device)
    studio, desk = open_studio(load_run(options.run, device), (), quiet), Desk()
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{os.cpu_count()} CPU cores"
    print(f"{where}\n{'window':>12} {'':>13} {'ahead':>5} {'pictures/s':>10} {'drawn rows':>10} {'kB':>5}")
    with PageServer(ViewingService("rate", lambda: studio, desk), Listening(port=0)) as server:
        for rows in options.rows:
            for still in (False, True):
                for what in ("camera", "face"):
                    for ahead in (1, 2):
                        asked = views(what, studio.place(), rows, still)
                        done = rate(server.address.url, desk, asked, options.pictures, ahead)
                        seconds = done.times[-1] - done.times[WARM - 1]
                        kind = f"{'whole' if still else 'moving'} {what}"
                        print(
                            f"{rows * 4 // 3:>7}x{rows:<4} {kind:>13} {ahead:>5} {options.pictures / seconds:>10.1f}"
                            f" {done.rows:>10} {done.bytes / 1000:>5.0f}"
                        )


if __name__ == "__main__":
    main()
