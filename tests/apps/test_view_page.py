"""The page of `flare view` in a real browser: every control is used, and shows what the studio draws of it."""

import base64
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from support.browser import Browser
from support.page import rgb

from flare_cli.apps.export import ExportRequest, export
from flare_cli.apps.view import open_studio
from flare_cli.data.hdr import save_hdr
from flare_cli.data.image import write_png
from flare_cli.data.video import VideoReader
from flare_cli.drive.presets import PRESETS
from flare_cli.fit.run_folder import load_run
from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.parallel.progress import quiet
from flare_cli.show.viewing.edited import EditedTextures
from flare_cli.show.viewing.studio import RECORDING, Studio
from flare_cli.show.viewing.view import read_view

pytestmark = pytest.mark.slow
WIDTH, HEIGHT = 720, 360  # of the window; the panel takes 300
MIDDLE = (210.0, 180.0)  # of the picture


class Page:
    """The page, its controls by name, and the studio that it should show."""

    def __init__(self, browser: Browser, url: str, studio: Studio) -> None:
        self.browser, self.url, self.studio = browser, url, studio
        browser.visit(url)
        self.settled()

    def settled(self) -> np.ndarray:
        """What is seen when all has come to rest."""
        until = time.monotonic() + 60
        while not self.browser.run("!playing && shownVersion === version && shownStill && running === 0"):
            assert time.monotonic() < until, self.message()
            time.sleep(0.05)
        return self.seen()

    def seen(self) -> np.ndarray:
        """What is seen now."""
        data = self.browser.run("document.getElementById('picture').toDataURL('image/png')")
        return rgb(base64.b64decode(data.partition(",")[2])).astype(int)

    def expected(self) -> np.ndarray:
        """What the studio draws of the view that the page asks for; whatever it can't express is an error."""
        return self.studio.look(read_view(self.browser.run("({...asked(), still: true})"))).picture.astype(int)

    def set(self, name: str, value: float) -> np.ndarray:
        """Move a slider; what is seen then."""
        script = f"const it = document.querySelector('[name=\"{name}\"]'); it.value = {value};"
        self.browser.run(f"(() => {{ {script} it.dispatchEvent(new Event('input')); }})()")
        return self.settled()

    def choose(self, identity: str, value: str, *, settled: bool = True) -> None:
        """Choose from a list."""
        script = f"const it = document.getElementById('{identity}'); it.value = {json.dumps(value)};"
        self.browser.run(f"(() => {{ {script} it.dispatchEvent(new Event('change')); }})()")
        if settled:
            self.settled()

    def click(self, identity: str) -> np.ndarray:
        """Click; what is seen then."""
        self.browser.click(identity)
        return self.settled()

    def options(self, identity: str) -> list[str]:
        return self.browser.run(f"[...document.getElementById('{identity}').options].map((one) => one.value)")

    def message(self) -> str:
        return self.browser.run("document.getElementById('message').textContent")


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Mean difference in levels; JPEG of quality 95 costs about one."""
    assert one.shape == other.shape
    return float(np.abs(one - other).mean())


def moved(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How much each pixel changed, without what JPEG does."""
    change = np.abs(one - other).sum(-1)
    return np.where(change > 24, change, 0)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("browser"), WIDTH, HEIGHT)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def studio(small_run: Path) -> Studio:
    return open_studio(load_run(small_run, torch.device("cpu")), (), quiet)


@pytest.fixture(scope="module")
def server(small_run: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """`flare view` as a user starts it, and its address."""
    command = [sys.executable, "-m", "flare_cli.cli.main", "view", str(small_run), "--port", "0", "--json"]
    with subprocess.Popen([*command, "--device", "cpu"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        yield process, json.loads("".join(lines))["url"]
        process.send_signal(signal.SIGINT)


@pytest.fixture
def page(browser: Browser, server: tuple[subprocess.Popen, str], studio: Studio) -> Page:
    return Page(browser, server[1], studio)


def test_the_page_opens_with_a_lit_face_and_says_its_rate(page: Page):
    first = page.settled()
    assert apart(first, page.expected()) < 1.5
    assert first.std() > 20
    assert page.message() == ""
    assert page.browser.run("document.title") == "me & you"
    assert "420 × 360, drawn in " in page.browser.run("document.getElementById('rate').textContent")
    own = page.url.rsplit("/", 2)[0]
    assert all(
        request.startswith((own, "blob:", "about:")) for request in page.browser.requests if "file:" not in request
    )


def test_every_control_is_known_to_this_test(page: Page):
    named = page.browser.run("[...document.querySelectorAll('input[type=range]')].map((one) => one.name)")
    assert sorted(named) == sorted([*ARKIT_NAMES, *SLIDERS, "time"])
    others = page.browser.run(
        "[...document.querySelectorAll('button, select, input:not([type=range])')].map((one) => one.id)"
    )
    assert set(others) == {
        "mode", "beside", "recorded", "front", "save", "film", "driver", "play", "rest", "light", "background",
        "upload", "pause",
    }  # fmt: skip
    assert page.browser.run("document.getElementById('fit').hidden")  # with `pause`: of a fit alone


def test_all_52_units_move_their_part_of_the_face(page: Page):
    first = page.settled()
    rows: dict[str, list[float]] = {}
    across: dict[str, float] = {}
    row, column = np.indices(first.shape[:2])
    face = row < 0.8 * HEIGHT  # down to the chin: an avatar of 60 steps moves its shoulders too
    for name in ARKIT_NAMES:
        if name == "tongueOut":
            continue
        change = face * moved(page.set(name, 1), first)
        assert change.max() > 24, name
        group = name[:3] if name[:3] in ("eye", "jaw") else name[:5]
        rows.setdefault(group, []).append(float((change * row).sum() / change.sum()))
        across[name] = float((change * column).sum() / change.sum())
        page.set(name, 0)
    for name in across:
        # Jaw and mouth move all of it; an avatar of 60 steps has blank eyeballs, whose turns don't show.
        if name.endswith("Left") and name not in ("jawLeft", "mouthLeft") and not name.startswith("eyeLook"):
            # The subject's left is right in the picture.
            assert across[name] > across[name.removesuffix("Left") + "Right"], name
    means = {group: np.mean(values) for group, values in rows.items()}
    assert means["browD"] < means["eye"] < means["noseS"] < means["mouth"] < means["jaw"]
    open_mouth = page.set("jawOpen", 1)
    assert moved(page.set("tongueOut", 1), open_mouth).max() > 24
    assert apart(page.seen(), page.expected()) < 1.5
    assert apart(page.click("rest"), first) < 0.5


SLIDERS = {
    "yaw": 30, "pitch": 20, "roll": 20, "gaze across": 30, "gaze down": 30, "rotate": 120, "exposure": -1.5,
}  # fmt: skip


def test_head_gaze_and_light_follow_their_sliders(page: Page):
    first = page.settled()
    for name, value in SLIDERS.items():
        seen = page.set(name, value)
        assert moved(seen, first).max() > 24, name
        assert apart(seen, page.expected()) < 1.5, name
        page.set(name, 0)
    assert apart(page.seen(), first) < 0.5


def test_modes_lights_and_backgrounds_are_what_the_studio_draws(page: Page):
    for identity, least in (("mode", 8), ("light", 5), ("background", 5)):
        seen = []
        options = page.options(identity)
        assert len(options) >= least
        chosen = options if identity != "light" else options[:5]
        for option in chosen:
            page.choose(identity, option)
            seen.append(page.settled())
            assert apart(seen[-1], page.expected()) < 1.5, option
        assert all(apart(a, b) > 0.3 for i, a in enumerate(seen) for b in seen[:i])
        page.choose(identity, {"mode": "picture", "light": "studio", "background": "blur"}[identity])


def test_the_mouse_turns_comes_nearer_and_moves(page: Page):
    first = page.settled()
    page.browser.drag(MIDDLE, (260.0, 180.0))
    assert page.browser.run("orbit.azimuth") == pytest.approx(-50 / 150, abs=0.1)
    turned = page.settled()
    assert moved(turned, first).max() > 24
    assert apart(turned, page.expected()) < 1.5
    page.browser.drag(MIDDLE, (210.0, 150.0))
    assert page.browser.run("orbit.elevation") < -0.05
    page.click("front")
    assert apart(page.settled(), first) < 0.5

    def covered(seen: np.ndarray) -> tuple[float, float]:
        page.choose("mode", "visibility")
        inside = page.seen().sum(-1) > 24
        page.choose("mode", "picture")
        return float(inside.mean()), float(np.nonzero(inside)[1].mean())

    area, place = covered(first)
    page.browser.ask("Input.dispatchMouseEvent", type="mouseWheel", x=210, y=180, deltaX=0, deltaY=400)
    assert covered(page.settled())[0] < 0.7 * area
    page.click("front")
    page.browser.drag(MIDDLE, (250.0, 180.0), "right")
    assert covered(page.settled())[1] == pytest.approx(place + 40, abs=12)  # what is at the target's depth goes along
    assert apart(page.click("front"), first) < 0.5


def test_performances_play_pause_and_are_scrubbed(page: Page):
    first = page.settled()
    assert page.options("driver") == ["", RECORDING, *PRESETS]
    for driver in (RECORDING, *PRESETS):
        page.choose("driver", driver, settled=False)
        assert page.browser.run("document.getElementById('play').getAttribute('aria-pressed')") == "true"
        time.sleep(1.2)
        frames = [page.browser.run("document.body.dataset.frame")]
        assert "pictures a second" in page.browser.run("document.getElementById('rate').textContent")
        time.sleep(0.4)
        frames.append(page.browser.run("document.body.dataset.frame"))
        assert frames[0] != frames[1], driver
        paused = page.click("play")
        assert apart(paused, page.expected()) < 1.5
    scrubbed = page.set("time", 1.5)
    assert moved(scrubbed, first).max() > 24
    assert apart(scrubbed, page.expected()) < 1.5
    page.set("jawOpen", 1)
    assert moved(page.seen(), scrubbed).max() > 24  # on top of the performance
    assert apart(page.click("rest"), first) < 0.5


def test_the_recording_stands_beside_in_its_own_camera(page: Page, small_run: Path):
    page.choose("driver", RECORDING, settled=False)
    page.click("play")
    page.set("time", 0)
    page.click("recorded")
    beside = page.click("beside")
    assert apart(beside, page.expected()) < 1.5
    subject = load_run(small_run, torch.device("cpu")).subject()
    recorded = rgb(subject.image_path(int(subject.track.frames[0])).read_bytes())
    half = beside.shape[1] // 2
    left = cv2.resize(recorded, (half, half), interpolation=cv2.INTER_CUBIC)
    down = (beside.shape[0] - half) // 2
    assert apart(beside[down : down + half, :half], left) < 4
    page.click("beside")
    page.click("recorded")
    page.click("rest")


def test_maps_of_ones_own_are_chosen_and_dropped(page: Page, tmp_path: Path):
    for name, channel in (("red", 0), ("blue", 2)):
        picture = np.zeros((16, 32, 3), np.float32)
        picture[..., channel] = 1
        save_hdr(tmp_path / f"{name}.hdr", picture)
    page.choose("background", "black")
    page.browser.choose_file("upload", tmp_path / "red.hdr")
    time.sleep(1)
    red = page.settled()
    assert page.browser.run("document.getElementById('light').value") == "red.hdr"
    assert red[..., 0].mean() > 10 * red[..., 2].mean()
    data = list((tmp_path / "blue.hdr").read_bytes())
    file = f"new File([new Uint8Array({data})], 'blue.hdr')"
    drop = f"const held = new DataTransfer(); held.items.add({file});"
    drop += (
        "document.getElementById('stage').dispatchEvent(new DragEvent('drop', {dataTransfer: held, cancelable: true}))"
    )
    page.browser.run(f"(() => {{ {drop} }})()")
    time.sleep(1)
    blue = page.settled()
    assert blue[..., 2].mean() > 10 * blue[..., 0].mean()
    page.browser.run("lightBy(new File(['nothing'], 'bad.hdr'))")
    assert "bad.hdr can't be used: bad.hdr is not an HDR picture" in page.message()
    assert page.browser.run("document.getElementById('light').value") == "blue.hdr"
    page.choose("light", "studio")


def test_pictures_and_films_are_saved(page: Page, tmp_path: Path):
    page.browser.download_to(tmp_path)
    page.click("save")
    saved = rgb(arrived(tmp_path / "me & you.png").read_bytes())
    assert apart(saved.astype(int), page.expected()) == 0
    page.choose("driver", RECORDING, settled=False)
    page.click("play")
    page.browser.click("film")
    frames = [frame.rgb for frame in VideoReader(arrived(tmp_path / "me & you.mp4"))]
    seconds = page.browser.run(f"lengths['{RECORDING}']")
    assert len(frames) == max(1, round(seconds * 25))
    assert frames[0].shape == (512, 598, 3)  # as the window; widths are even
    assert np.abs(frames[0].astype(int) - frames[-1]).mean() > 0.2
    page.click("rest")


def arrived(file: Path) -> Path:
    """A file that the browser is about to write."""
    until = time.monotonic() + 120
    while not file.exists():
        assert time.monotonic() < until, list(file.parent.iterdir())
        time.sleep(0.1)
    return file


def test_the_page_says_that_the_program_has_ended(browser: Browser, server: tuple[subprocess.Popen, str], page: Page):
    server[0].send_signal(signal.SIGINT)
    assert server[0].wait(30) == 0
    browser.run("document.getElementById('rest').click()")
    until = time.monotonic() + 10
    while "ended" not in page.message():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_fit_is_watched_held_and_goes_on(browser: Browser, small_run: Path, tmp_path: Path):
    subject = load_run(small_run, torch.device("cpu")).origin.subject
    command = [sys.executable, "-m", "flare_cli.cli.main", "fit", subject, "-o", str(tmp_path / "run"), "--view"]
    command += [
        "--port",
        "0",
        "--config",
        "demo",
        "--device",
        "cpu",
        "--set",
        "data.size=64",
        "--set",
        "stage.steps=9000",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        url = next(line.split()[-1] for line in process.stderr if "look at http" in line)
        draining = threading.Thread(target=process.stderr.read, daemon=True)
        draining.start()
        browser.visit(url)
        assert not browser.run("document.getElementById('fit').hidden")
        step, first = browser.run("fit.step"), None
        until = time.monotonic() + 60
        while browser.run("fit.step") < step + 20:  # by the pictures that the page asks for by itself
            first = first or browser.run("document.getElementById('picture').toDataURL('image/png')")
            assert time.monotonic() < until
            time.sleep(0.2)
        assert browser.run("document.getElementById('picture').toDataURL('image/png')") != first
        browser.click("pause")
        until = time.monotonic() + 20
        while not browser.run("fit.paused && shownVersion === version && shownStill && running === 0"):
            assert time.monotonic() < until
            time.sleep(0.1)
        assert browser.run("document.getElementById('pause').getAttribute('aria-pressed')") == "true"
        assert "of 9000, loss" in browser.run("document.getElementById('progress').textContent")
        held = browser.run("fit.step")
        browser.drag(MIDDLE, (260.0, 180.0))
        time.sleep(1.5)
        assert browser.run("fit.step") == held
        browser.click("pause")
        until = time.monotonic() + 30
        while browser.run("fit.step") <= held:
            assert time.monotonic() < until
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        process.wait(60)
    assert (tmp_path / "run" / "config.toml").exists()


def test_textures_are_shown_again_when_they_are_saved(browser: Browser, small_run: Path, tmp_path: Path):
    export(ExportRequest(run=small_run, kind="obj", out=tmp_path, texture_size=256), quiet)
    (albedo,) = tmp_path.glob("*_albedo.png")
    command = [sys.executable, "-m", "flare_cli.cli.main", "view", str(small_run), "--port", "0", "--json"]
    command += ["--device", "cpu", "--textures", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = json.loads("".join(process.stdout.readline() for _ in range(4)))["url"]
        textures = EditedTextures(tmp_path, torch.device("cpu"))
        page = Page(browser, url, open_studio(load_run(small_run, torch.device("cpu")), (), quiet, textures))
        page.choose("background", "black")
        assert apart(page.seen(), page.expected()) < 1.5
        write_png(albedo, np.full((64, 64, 3), (20, 220, 20), np.uint8))
        time.sleep(2.5)
        seen = page.settled()
        assert apart(seen, page.expected()) < 1.5
        assert seen[..., 1].mean() > 3 * seen[..., 0].mean()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
