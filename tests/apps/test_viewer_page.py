"""In a real browser as `flare relight` draws it: the page that shows an avatar, and a GLB in a page of one's own."""

import json
import math
import re
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from support.browser import Browser

from flare_cli.apps.export import ExportRequest, export
from flare_cli.avatar.bust import presented
from flare_cli.data.hdr import load_envmap, save_hdr
from flare_cli.fit.run_folder import load_run
from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.parallel.progress import quiet
from flare_cli.render.camera import look_at
from flare_cli.show.envmaps import automatic_exposure, bundled_envmaps
from flare_cli.show.track_pictures import draw_track, to_bytes

SIZE = 320
NEUTRAL_DB, LIGHT_DB = 30.0, 28.0


@pytest.fixture(scope="module")
def page(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(
        ExportRequest(run=small_run, kind="html", out=tmp_path_factory.mktemp("page"), texture_size=256), quiet
    ).file


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory):
    opened = Browser(tmp_path_factory.mktemp("browser"), SIZE, SIZE)
    yield opened
    opened.close()


def settings_of(page: Path) -> dict:
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script id="settings"[^>]*>(.*?)</script>', text, re.DOTALL)[1])


def drawn_by_flare(run: Path, page: Path, light: str, degrees: float = 0.0, **weights: float) -> np.ndarray:
    """What the page's camera sees of the avatar at rest with some ARKit weights, before black."""
    loaded = load_run(run, torch.device("cpu"))
    track, arkit, camera = loaded.subject().track[:1], loaded.avatar.head.arkit, settings_of(page)["camera"]
    given = torch.tensor([[weights.get(name, 0.0) for name in ARKIT_NAMES]])
    rest = replace(
        track,
        expression=given @ arkit.expression,
        pose=torch.einsum("nk,kjc->njc", given, arkit.pose),
        translation=torch.zeros(1, 3),
    )
    eye = torch.tensor([camera["position"]])
    cameras = look_at(eye, torch.zeros(1, 3), fov_y=math.radians(camera["fov"]), height=SIZE, width=SIZE)
    envmap = torch.from_numpy(load_envmap(bundled_envmaps()[light]))
    samples = loaded.avatar.light.of_environment(envmap * 2.0 ** automatic_exposure(envmap))
    lit = samples.rotate(math.radians(degrees))
    shown = presented(loaded.avatar, fill=True, bust="closed")
    (drawn,) = draw_track(
        shown.avatar, rest, loaded.rasterizer(), light=lit, cameras=cameras, rays=256, completion=shown.completion
    )
    return to_bytes(drawn.picture.colour)[0]


def decibels(one: np.ndarray, other: np.ndarray) -> float:
    """PSNR where either shows something."""
    inside = (one > 0).any(-1) | (other > 0).any(-1)
    return -10 * math.log10(float(np.square((one[inside].astype(float) - other[inside]) / 255).mean()))


def test_the_page_is_one_file_with_all_in_it(page: Path):
    text = page.read_text(encoding="utf-8")
    assert [file.name for file in page.parent.iterdir()] == ["me & you.html"]
    assert page.stat().st_size < 20e6
    assert "<title>me &amp; you</title>" in text
    assert "{{" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert "default-src 'none'" in text
    assert not re.search(r"<(script|link|img|iframe)[^>]*(src|href)=", text)
    assert "Permission is hereby granted" in text
    settings = settings_of(page)
    assert set(settings["lights"]) == set(bundled_envmaps())
    assert next(iter(settings["lights"])) == "studio"


@pytest.mark.slow
def test_the_page_shows_what_relight_draws_and_asks_nobody_for_anything(
    browser: Browser, small_run: Path, page: Path, tmp_path
):
    browser.open(page, "panel=0&background=%23000000")
    neutral = browser.picture()
    assert decibels(neutral, drawn_by_flare(small_run, page, "studio")) > NEUTRAL_DB
    for query, light, degrees, weights in (
        ("light=sunset&rotate=60", "sunset", 60.0, {}),
        ("light=overcast&jawOpen=0.6", "overcast", 0.0, {"jawOpen": 0.6}),
    ):
        browser.open(page, f"panel=0&background=%23000000&{query}")
        expected = drawn_by_flare(small_run, page, light, degrees, **weights)
        seen = browser.picture()
        assert decibels(seen, expected) > LIGHT_DB
        assert decibels(seen, expected) > decibels(neutral, expected) + 3
    assert all(request.startswith(("file:", "blob:", "data:")) for request in browser.requests)


# As docs/import/threejs.md has it, but for where three.js comes from.
OWN_PAGE = """<!doctype html><style>body { margin: 0 }</style>
<script src="three.min.js"></script>
<script type="importmap">{"imports": {"three": "./three.js"}}</script>
<script type="module">
import { relightable } from "./flare_light.js";
const renderer = new THREE.WebGLRenderer({ antialias: true }), scene = new THREE.Scene();
renderer.setSize(innerWidth, innerHeight);
document.body.append(renderer.domElement);
const camera = new THREE.PerspectiveCamera({{FOV}}, 1, 0.02, 20);
camera.position.set(...{{POSITION}});
camera.lookAt(0, 0, 0);
const { scene: head } = await new THREE.GLTFLoader().loadAsync("me.glb"), avatar = await relightable(head), faces = [];
head.traverse((node) => { if (node.isMesh) faces.push(node); });
scene.add(head);
window.show = async (light, options, weights) => {
  avatar.light(await new THREE.HDRLoader().loadAsync(light), options);
  for (const { morphTargetDictionary: index, morphTargetInfluences: now } of faces) {
    for (const name in index) now[index[name]] = weights[name] ?? 0;
  }
};
window.placed = (scale, degrees) => {  // the avatar elsewhere, and the camera and the light with it
  head.scale.setScalar(scale);
  head.rotation.y = (degrees * Math.PI) / 180;
  camera.position.set(...{{POSITION}}).multiplyScalar(scale).applyEuler(head.rotation);
  camera.lookAt(0, 0, 0);
};
renderer.setAnimationLoop(() => { avatar.update(); renderer.render(scene, camera); });
document.body.dataset.drawn = "yes";
</script>"""


@pytest.fixture(scope="module")
def own_page(small_run: Path, page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a page that somebody wrote around a GLB."""
    folder = tmp_path_factory.mktemp("own")
    export(ExportRequest(run=small_run, kind="glb", out=folder, texture_size=256, shadows=True, name="me"), quiet)
    for name in ("studio", "sunset", "overcast"):
        shutil.copy(bundled_envmaps()[name], folder / f"{name}.hdr")
    bundle = files("flare_cli") / "assets" / "viewer" / "three.min.js"
    (folder / "three.min.js").write_text(bundle.read_text(encoding="utf-8"), encoding="utf-8")
    names = "DataTexture, DataUtils, FloatType, HalfFloatType, RGBAFormat"
    (folder / "three.js").write_text(f"export const {{ {names} }} = globalThis.THREE;")
    camera = settings_of(page)["camera"]
    filled = OWN_PAGE.replace("{{FOV}}", str(camera["fov"])).replace("{{POSITION}}", str(camera["position"]))
    (folder / "index.html").write_text(filled)

    class Handler(SimpleHTTPRequestHandler):
        extensions_map: ClassVar = {**SimpleHTTPRequestHandler.extensions_map, ".js": "text/javascript"}

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/index.html"
    server.shutdown()


@pytest.mark.slow
def test_a_glb_in_a_page_of_ones_own_is_lit_as_relight_lights(
    browser: Browser, small_run: Path, page: Path, own_page: str
):
    browser.visit(own_page)
    for light, degrees, weights in (
        ("studio", 0.0, {}),
        ("sunset", 60.0, {}),
        ("overcast", 0.0, {"jawOpen": 0.6}),
        ("studio", 0.0, {"jawOpen": 1.0}),
    ):
        browser.run(f"show('{light}.hdr', {{rotate: {degrees}}}, {json.dumps(weights)})")
        expected = drawn_by_flare(small_run, page, light, degrees, **weights)
        assert decibels(browser.picture(), expected) > LIGHT_DB, (light, weights)
    brighter = browser.picture().astype(int)
    browser.run("show('studio.hdr', {exposure: -1}, {jawOpen: 1})")
    assert browser.picture().mean() < 0.8 * brighter.mean()


@pytest.mark.slow
def test_an_avatar_that_is_placed_elsewhere_has_its_shadows_with_it(browser: Browser, own_page: str):
    browser.visit(own_page)
    browser.run("show('studio.hdr', {rotate: 40}, {jawOpen: 0.5})")
    upright = browser.picture()
    browser.run("placed(2, 75)")
    browser.run("show('studio.hdr', {rotate: 40 + 75}, {jawOpen: 0.5})")
    assert decibels(browser.picture(), upright) > 40


@pytest.mark.slow
def test_controls_move_the_part_that_they_name(browser: Browser, page: Path, tmp_path: Path):
    browser.open(page, "panel=0&background=%23000000")
    rest = browser.picture().astype(int)

    def changed_by(name: str, value: float) -> np.ndarray:
        script = f"const it = document.querySelector('[name=\"{name}\"]'); it.value = {value};"
        browser.run(f"(() => {{ {script} it.dispatchEvent(new Event('input')); }})()")
        difference = np.abs(browser.picture() - rest).sum(-1)
        browser.run("[...document.querySelectorAll('button')].find((b) => b.textContent === 'rest').click()")
        assert np.abs(browser.picture() - rest).mean() < 0.1
        return difference

    names = browser.run("[...document.querySelectorAll('#expressions input')].map((input) => input.name)")
    assert sorted(names) == sorted(ARKIT_NAMES)
    row, column = np.indices(rest.shape[:2])
    jaw, smile, brow = (changed_by(name, 1) for name in ("jawOpen", "mouthSmileLeft", "browInnerUp"))
    assert (jaw * row).sum() / jaw.sum() > (brow * row).sum() / brow.sum() + 0.1 * SIZE
    assert (smile * column).sum() / smile.sum() > SIZE / 2  # the subject's left is right in the picture
    assert changed_by("yaw", 30).mean() > 5


@pytest.mark.slow
def test_performances_play_and_maps_can_be_dropped(browser: Browser, page: Path, tmp_path: Path):
    browser.open(page, "panel=0&background=%23000000&play=talk")
    first = browser.picture().astype(int)
    browser.run("new Promise((done) => setTimeout(done, 700))")
    assert np.abs(browser.picture() - first).max() > 20
    browser.run("[...document.querySelectorAll('button')].find((b) => b.textContent === 'talk').click()")
    rest = browser.picture().astype(int)
    red = np.zeros((16, 32, 3), np.float32)
    red[..., 0] = 1
    save_hdr(tmp_path / "red.hdr", red)
    data = list((tmp_path / "red.hdr").read_bytes())
    browser.run(f"lightBy(new File([new Uint8Array({data})], 'red.hdr'))")
    under_red = browser.picture().astype(int)
    lit = rest.sum(-1) > 100
    assert under_red[lit][:, 0].mean() > 60
    assert under_red[lit][:, 1:].mean() < 5
    assert browser.run("document.getElementById('light').value") == "red.hdr"
    browser.run("lightBy(new File(['nothing'], 'bad.hdr'))")
    assert "bad.hdr can't be used" in browser.run("document.getElementById('message').textContent")
    assert browser.run("document.getElementById('light').value") == "red.hdr"


@pytest.mark.slow
def test_a_webcam_is_watched_without_a_network(small_run: Path, tmp_path: Path):
    """Wants `npm install @mediapipe/tasks-vision` in the checkout, and face_landmarker.task in node_modules."""
    modules = Path(__file__).parents[2] / "node_modules"
    if not (modules / "face_landmarker.task").is_file():
        pytest.skip("no face_landmarker.task in node_modules")
    request = ExportRequest(run=small_run, kind="html", out=tmp_path, texture_size=256, webcam=modules)
    page = export(request, quiet).file
    assert page.stat().st_size < 20e6
    camera = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")  # a test pattern: nobody's face
    opened = Browser(tmp_path / "browser", SIZE, SIZE, *camera)
    try:
        opened.open(page, "light=overcast")
        opened.run("document.getElementById('webcam').click()")
        until = time.monotonic() + 120
        while opened.run("document.body.dataset.followed") is None:
            assert time.monotonic() < until, opened.run("document.getElementById('message').textContent")
            time.sleep(0.5)
        assert opened.run("document.body.dataset.followed") == "0"
        assert opened.run("Math.max(...Object.values(weights))") == 0
        opened.run("document.getElementById('webcam').click()")
        assert opened.run("watching") is None
        assert all(request.startswith(("file:", "blob:", "data:")) for request in opened.requests)
    finally:
        opened.close()
