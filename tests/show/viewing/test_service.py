import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.page import PageClient, rgb

from flare_cli.data.hdr import save_hdr
from flare_cli.data.video import VideoReader
from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.show.viewing.address import Listening
from flare_cli.show.viewing.desk import Desk
from flare_cli.show.viewing.server import PageServer
from flare_cli.show.viewing.service import MOST_FRAMES, ViewingService
from flare_cli.show.viewing.studio import RECORDING, Studio
from flare_cli.show.viewing.view import View

SIZE = 64


@pytest.fixture
def client(studio: Studio) -> Iterator[PageClient]:
    """A page before a studio whose desk another thread attends."""
    desk, ended = Desk(), threading.Event()

    def attend() -> None:
        while not ended.is_set():
            desk.attend(0.05)

    thread = threading.Thread(target=attend)
    thread.start()
    with PageServer(ViewingService("toy", lambda: studio, desk), Listening(port=0)) as server:
        yield PageClient(server.address.url)
    ended.set()
    thread.join()
    desk.close()


def test_a_page_learns_what_there_is(client: PageClient, studio: Studio):
    told = client.begin()
    assert told["title"] == "toy"
    assert told["units"] == list(ARKIT_NAMES)
    assert told["lights"] == studio.lights.names()
    assert told["light"] in told["lights"]
    assert told["performances"] == {RECORDING: pytest.approx(6 / 25)}
    assert told["beside"] == []
    assert told["fit"] is None
    assert told["place"]["eye"] == pytest.approx([0, 0, 0.9])


def test_a_picture_is_what_the_studio_draws(client: PageClient, studio: Studio):
    view = {"height": SIZE, "width": 80, "light": "studio", "background": "grey"}
    picture, told = client.look(**view)
    expected = studio.look(View(**view)).picture
    assert picture.shape == (SIZE, 80, 3)
    assert np.abs(picture.astype(int) - expected).mean() < 2
    assert told["height"] == SIZE
    assert told["seconds"] > 0
    saved = rgb(client.ask("save", view)[0])
    assert (saved == expected).all()


def test_a_film_has_a_picture_for_each_view(client: PageClient, studio: Studio, tmp_path: Path):
    views = [
        {"height": SIZE, "width": SIZE, "driver": RECORDING, "time": i / 25, "background": "black"} for i in range(6)
    ]
    data, headers = client.ask("film", {"fps": 25, "views": views})
    assert headers["Content-Type"] == "video/mp4"
    (tmp_path / "film.mp4").write_bytes(data)
    frames = [frame.rgb for frame in VideoReader(tmp_path / "film.mp4")]
    assert len(frames) == 6
    for view, frame in zip(views, frames, strict=True):
        assert np.abs(studio.look(View(**view)).picture.astype(int) - frame).mean() < 8


def test_a_map_that_is_sent_can_be_chosen(client: PageClient, tmp_path: Path):
    red = np.zeros((16, 32, 3), np.float32)
    red[..., 0] = 1
    save_hdr(tmp_path / "red.hdr", red)
    name = json.loads(client.ask("light?red.hdr", (tmp_path / "red.hdr").read_bytes())[0])["name"]
    assert name == "red.hdr"
    assert client.begin()["lights"][-1] == name
    picture, _ = client.look(height=SIZE, width=SIZE, light=name, background="black")
    lit = picture.sum(-1) > 100
    assert picture[lit][:, 0].mean() > 10 * picture[lit][:, 1:].mean()


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("look", b"{"), ("look", b"\xff"), ("look", b"[" * 10000), ("look", 3), ("look", {"height": "large"}),
        ("look", {"light": "/etc/passwd"}), ("save", {"driver": "../.."}), ("light?a", b"not a map"),
        ("film", {}), ("film", {"fps": 25, "views": []}), ("film", {"fps": 25, "views": [3]}),
        ("film", {"fps": 1e9, "views": [{}]}), ("film", {"fps": 25, "views": [{}] * (MOST_FRAMES + 1)}),
        ("film", {"fps": 25, "views": [{"height": 64}, {"height": 128}]}), ("film", [{}]),
    ],
    ids=str,
)  # fmt: skip
def test_nonsense_is_refused_in_a_sentence(client: PageClient, name: str, body):
    with pytest.raises(ValueError, match='"error"'):
        client.ask(name, body)


def test_nothing_is_paused_where_nothing_is_fitted(client: PageClient):
    with pytest.raises(ValueError, match="Not Found"):
        client.ask("pause", True)


def test_what_moves_may_be_smaller_and_has_the_same_shape(studio: Studio):
    look = studio.look(View(height=1600, width=2000, still=False, background="black"))
    assert look.picture.shape[0] < 600
    assert look.picture.shape[1] / look.picture.shape[0] == pytest.approx(1.25, rel=0.01)
    assert studio.look(replace(View(height=64, width=80), still=False)).picture.shape[:2] == (64, 80)
