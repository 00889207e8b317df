"""The pages of `flare preprocess` and `flare eval` in a real browser: whole, alone, with the JSON's numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
from support.browser import Browser
from support.small_settings import FEW_RAYS

from flare_cli.apps.evaluate import EvalRequest, EvalResult, evaluate
from flare_cli.apps.fit import FitRequest, fit
from flare_cli.data.image import write_png
from flare_cli.parallel.progress import quiet
from flare_cli.synthetic.recording import make_synthetic_subject
from flare_cli.track.request import PreprocessResult
from flare_cli.track.review.checks import check_recording
from flare_cli.track.review.frame_pixels import FramePixels
from flare_cli.track.review.recording import Recording
from flare_cli.track.stages.page import write_page

pytestmark = pytest.mark.slow
VIDEO = "me & <b>you</b>.mp4"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory):
    opened = Browser(tmp_path_factory.mktemp("browser"), 1180, 900)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> EvalResult:
    subject = make_synthetic_subject(tmp_path_factory.mktemp("subject") / "me", frames=10, size=64, samples=4)
    settings = ("data.size=64", "stage.steps=30", "material.log2_entries=12", *FEW_RAYS)
    run = tmp_path_factory.mktemp("runs") / "me & you"
    fit(FitRequest(subject=subject.folder, run=run, config="demo", overrides=settings), quiet)
    return evaluate(EvalRequest(run=run), quiet)


@pytest.fixture(scope="module")
def recording() -> Recording:
    n = 20
    clip = dict.fromkeys(FramePixels.__slots__, np.full(n, 0.01)) | {"luminance": np.linspace(0.1, 0.2, n)}
    turns = {"yaw": np.linspace(-30, 5, n), "pitch": np.linspace(-8, 8, n)}
    face = {"mouth": np.full(n, 0.2), "eyes": np.full(n, 0.3), "face_height": np.full(n, 300.0)}
    still = np.zeros((n, 3))
    return Recording(read=n + 3, error=np.full(n, 0.01), pixels=clip, background=still, **turns, **face)


def cells(browser: Browser, title: str) -> dict[str, list[str]]:
    """The rows of a section's table by their first cells."""
    section = f"[...document.querySelectorAll('section')].find((s) => s.querySelector('h2').textContent === '{title}')"
    rows = browser.run(
        f"[...({section}).querySelector('table').querySelectorAll('tbody tr')]"
        ".map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    return {first: rest for first, *rest in rows}


def asks_nobody(browser: Browser, page: Path) -> None:
    """Nothing is loaded, nothing sticks out, no picture is broken, and no text became markup."""
    outside = [request for request in browser.requests if not request.startswith(("data:", "about:"))]
    assert set(outside) == {page.as_uri()}
    browser.requests.clear()
    assert browser.run("document.scripts.length") == 0
    assert browser.run("document.documentElement.scrollWidth") <= 1180
    assert browser.run("[...document.images].every((image) => image.naturalWidth > 0)")
    assert not browser.run("[...document.querySelectorAll('h1 b, td b')].length")


def test_the_page_of_an_evaluation_has_the_numbers_of_its_json(browser: Browser, evaluated: EvalResult):
    browser.requests.clear()
    browser.open(evaluated.page)
    report = json.loads(evaluated.report.read_text())
    scores = cells(browser, "Scores")
    for kind, column in (("mean", 0), ("median", 1)):
        for name, value in report[kind].items():
            assert scores[name][column] == ("n/a" if value is None else f"{value:.4g}")
    assert browser.run("document.querySelector('.fact b').textContent") == f"{report['mean']['psnr_foreground']:.4g}"
    assert list(cells(browser, "All frames")) == ["9", "10"]
    assert browser.run("document.querySelector('h1').textContent") == "Avatar: me & you"
    assert "2 frames that the fit has not seen" in browser.run("document.body.textContent")
    assert browser.run("document.querySelectorAll('svg path').length") >= 6
    assert report["truth"]["albedo_raw"] == evaluated.truth.albedo_raw
    assert f"{report['truth']['albedo_raw']:.4g}" in browser.run("document.body.textContent")
    asks_nobody(browser, evaluated.page)


def test_the_page_of_a_recording_tells_every_check(browser: Browser, recording: Recording, tmp_path: Path):
    write_png(tmp_path / "sheet.png", np.zeros((60, 120, 3), np.uint8))
    result = PreprocessResult(
        folder=tmp_path,
        frames=23,
        kept=20,
        excluded=[(4, "no face"), (5, "no face"), (9, "no face")],
        median_error=0.01,
        worst_error=0.02,
        focal=700.0,
        checks=check_recording(recording),
    )
    page = tmp_path / "report.html"
    write_page(page, VIDEO, result, (np.arange(20) / 25).tolist(), recording, tmp_path / "sheet.png")
    browser.requests.clear()
    browser.open(page)
    assert browser.run("document.querySelector('h1').textContent") == f"Recording: {VIDEO}"
    told = cells(browser, "All checks")
    assert {c.name: [c.verdict, c.found, c.wanted] for c in result.checks} == told
    weak = browser.run("[...document.querySelectorAll('ul.hints p')].map((p) => p.textContent)")
    assert sorted(weak) == sorted(check.advice for check in result.checks if check.advice)
    assert list(cells(browser, "Frames that are left out")) == ["4 to 5", "9"]
    asks_nobody(browser, page)
