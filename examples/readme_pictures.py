"""Make the pictures of README.md in docs/images from a synthetic person: no download, nobody's consent.

python examples/readme_pictures.py [FOLDER] [--three node_modules/three] [--blender PYTHON] [--skip-browser]

FOLDER keeps the recording and the avatar for the next time. The pictures of the page and the GLB are drawn by a
browser: they want Chromium, and three.js (`npm install three` in any folder). Blender's wants a Python with the package
bpy; without --blender it stays as it was.
"""

import argparse
import base64
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from flare_cli.apps.animate import AnimateRequest, animate
from flare_cli.apps.evaluate import EvalRequest, evaluate
from flare_cli.apps.export import ExportRequest, export
from flare_cli.apps.fit import FitRequest, fit
from flare_cli.apps.relight import RelightRequest, relight
from flare_cli.data.image import read_rgb
from flare_cli.fit.run_folder import AVATAR_FILE
from flare_cli.parallel.progress import quiet
from flare_cli.show.filming.film import Film
from flare_cli.show.filming.lighting import Lighting
from flare_cli.show.predictions import PredictionsRequest
from flare_cli.show.track_pictures import sheet
from flare_cli.synthetic.recording import make_synthetic_subject

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.browser import Browser

IMAGES = Path(__file__).parents[1] / "docs" / "images"
PAGE = Path(__file__).with_suffix(".html")
SIZE, SAMPLES, FRAMES = 384, 32, 48
DRIVER_SIZE, DRIVER_FRAMES, DRIVER_SEED = 288, 24, 7  # somebody else, as in `flare demo`
STEPS = 700  # the preset `cpu` takes 1,200 at 256 x 256, which is about as long
SHOWN = 45  # a frame that the fit has not seen
LIGHT = Path("studio")
FPS = 12
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class NoBrowserPictureError(Exception):
    """Why there is no picture of the GLB, and what would help."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("out/readme"))
    parser.add_argument("--three", type=Path, default=Path("node_modules/three"), help="the npm package's folder")
    parser.add_argument("--blender", type=Path, help="a Python that has bpy")
    parser.add_argument("--skip-browser", action="store_true", help="leave the pictures of page and GLB alone")
    options = parser.parse_args()
    subject, run = options.folder / "subject", options.folder / "run"
    IMAGES.mkdir(parents=True, exist_ok=True)

    make_avatar(subject, run)
    fitted_pictures(subject, run, options.folder / "predictions")
    relit_picture(run, options.folder / "relit")
    animated_picture(run, options.folder / "driver", options.folder / "animated")
    try:
        if not options.skip_browser:
            browser_picture(run, options.folder / "export", options.three)
            page_picture(run, options.folder / "export")
    except NoBrowserPictureError as error:
        print(f"the pictures by a browser are not all new: {error} (or say --skip-browser)", file=sys.stderr)
        return 1
    if options.blender is not None:
        blender_picture(run, options.folder / "export", options.blender)
    return 0


def make_avatar(subject: Path, run: Path) -> None:
    """Record and fit, unless that is done."""
    print("record", flush=True)
    make_synthetic_subject(subject, frames=FRAMES, size=SIZE, samples=SAMPLES)
    if not (run / AVATAR_FILE).is_file():
        print("fit", flush=True)
        overrides = (f"data.size={SIZE}", f"stage.0.steps={STEPS}")
        fit(FitRequest(subject=subject, run=run, config="cpu", overrides=overrides), quiet)


def fitted_pictures(subject: Path, run: Path, folder: Path) -> None:
    """One held-out frame as it was recorded, as it is drawn, and what it is drawn from."""
    evaluate(EvalRequest(run=run, predictions=PredictionsRequest(folder=folder)), quiet)
    still("recorded", subject / "image" / f"{SHOWN}.png")
    still("drawn", folder / "colour" / f"{SHOWN}.png")
    still("albedo", folder / "albedo" / f"{SHOWN}.png")
    still("normals", folder / "normal" / f"{SHOWN}.png")


def relit_picture(run: Path, folder: Path) -> None:
    """The avatar under another light that turns once around it. The light isn't shown: it would flash on the page."""
    film, studio = Film(out=folder, background="black"), Lighting(envmaps=(LIGHT,), turn=True)
    relight(RelightRequest(run=run, film=film, lighting=studio), quiet)
    moving("relit", [read_rgb(path) for path in sorted(folder.glob("*.png"))])


def animated_picture(run: Path, driver: Path, folder: Path) -> None:
    """Somebody else's recording, and beside it the avatar with that performance."""
    filmed = make_synthetic_subject(driver, frames=DRIVER_FRAMES, size=DRIVER_SIZE, samples=SAMPLES, seed=DRIVER_SEED)
    animate(AnimateRequest(run=run, driver=driver, film=Film(out=folder, size=DRIVER_SIZE)), quiet)
    pairs = zip(filmed.track.frames.tolist(), sorted(folder.glob("*.png")), strict=True)
    moving("animated", [sheet([[read_rgb(filmed.image_path(n)), read_rgb(path)]], gap=0) for n, path in pairs])


def still(name: str, path: Path) -> None:
    with Image.open(path) as picture:
        write(name, [picture.convert("RGB")], quality=90)


def moving(name: str, pictures: list[np.ndarray]) -> None:
    write(name, [Image.fromarray(picture) for picture in pictures], quality=75)


def write(name: str, pictures: list[Image.Image], *, quality: int) -> None:
    path = IMAGES / f"{name}.webp"
    first, *others = pictures
    first.save(
        path, save_all=bool(others), append_images=others, duration=1000 // FPS, loop=0, quality=quality, method=6
    )
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB", flush=True)


def browser_picture(run: Path, folder: Path, three: Path) -> None:
    """The exported GLB as three.js shows it: its own camera, lights and shading."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise NoBrowserPictureError("there is no Chromium: install the package chromium")
    if not (three / "build" / "three.module.js").is_file():
        raise NoBrowserPictureError(f"{three} holds no three.js: `npm install three`, then --three node_modules/three")
    glb = export(ExportRequest(run=run, kind="glb", out=folder), quiet).file
    with tempfile.TemporaryDirectory() as scratch:
        page = Path(scratch) / "page.html"
        text = PAGE.read_text(encoding="utf-8").replace("THREE_FOLDER", three.resolve().as_uri())
        text = text.replace("PICTURE_SIZE", str(SIZE))
        page.write_text(text.replace("GLB_BYTES", base64.b64encode(glb.read_bytes()).decode()), encoding="utf-8")
        shown = page_after_loading(browser, page, Path(scratch) / "profile")
    said = re.search(r'<pre id="picture">(?:data:image/png;base64,)?([^<]*)</pre>', shown)
    if said is None or "data:image" not in said[0]:
        raise NoBrowserPictureError(f"the page drew nothing: {said[1] if said and said[1] else 'it gave no reason'}")
    png = folder / "browser.png"
    png.write_bytes(base64.b64decode(said[1]))
    still("glb", png)


def page_picture(run: Path, folder: Path) -> None:
    """The page of `--format html`, opened from disk, with a smile."""
    page = export(ExportRequest(run=run, kind="html", out=folder), quiet).file.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        browser = Browser(Path(scratch), 900, 600)
        try:
            browser.open(page, "mouthSmileLeft=0.6&mouthSmileRight=0.6&browInnerUp=0.5&yaw=15&light=sunset")
            write("page", [Image.fromarray(browser.picture())], quality=90)
        finally:
            browser.close()


def blender_picture(run: Path, folder: Path, python: Path) -> None:
    """The exported GLB as Blender's path tracer draws it."""
    glb, png = export(ExportRequest(run=run, kind="glb", out=folder), quiet).file, folder / "blender.png"
    light = IMAGES.parents[1] / "assets" / "env_maps" / f"{LIGHT}.hdr"
    shapes = ["mouthSmileLeft=0.7", "mouthSmileRight=0.7", "browInnerUp=0.6"]
    script = Path(__file__).with_name("blender_picture.py")
    subprocess.run([python, script, glb, png, light, *shapes], check=True, stdout=subprocess.DEVNULL)
    with Image.open(png) as picture:
        grey = Image.new("RGBA", picture.size, (48, 52, 58, 255))
        write("blender", [Image.alpha_composite(grey, picture.convert("RGBA")).convert("RGB")], quality=90)


def page_after_loading(browser: str, page: Path, profile: Path) -> str:
    """The page's HTML after its scripts have run."""
    command = [browser, "--headless", "--dump-dom", f"--user-data-dir={profile}", "--allow-file-access-from-files"]
    command += ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]  # WebGL without a GPU
    command += ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += ["--virtual-time-budget=10000000"]  # milliseconds that pass at once while nothing is to be done
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command += ["--no-sandbox"]  # Chromium's sandbox refuses to run as root, as in containers
    try:
        done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=300, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise NoBrowserPictureError(f"{browser} failed: {error}") from error
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
