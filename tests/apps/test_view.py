"""`flare view` on a run, and `flare fit --view` on a fit that goes on."""

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from support.page import PageClient
from support.small_settings import FEW_RAYS

from flare_cli.apps.fit import FitRequest, fit
from flare_cli.apps.view import ViewRequest, open_studio
from flare_cli.apps.view import view as run_view
from flare_cli.avatar.bust import presented
from flare_cli.data.tensor_file import load_tensors
from flare_cli.drive.presets import PRESETS
from flare_cli.errors import FlareError
from flare_cli.fit.run_folder import load_run
from flare_cli.parallel.progress import quiet
from flare_cli.show.track_pictures import draw_track, to_bytes
from flare_cli.show.viewing.address import Address, Listening
from flare_cli.show.viewing.studio import RECORDING
from flare_cli.show.viewing.view import OWN_LIGHT, Mode, View
from flare_cli.synthetic.recording import make_synthetic_subject

SETTINGS = ("data.size=32", "stage.steps=40", "material.log2_entries=8", *FEW_RAYS)
FREE = Listening(port=0)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_synthetic_subject(tmp_path_factory.mktemp("subjects") / "a", frames=6, size=32, samples=1).folder


def request(subject: Path, run: Path, view: Listening | None = None) -> FitRequest:
    return FitRequest(subject=subject, run=run, config="demo", overrides=SETTINGS, device="cpu", view=view)


@pytest.fixture(scope="module")
def run(subject: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(request(subject, tmp_path_factory.mktemp("runs") / "me"), quiet).avatar.parent


def opened(start: Callable[[Callable[[Address], object]], object]) -> tuple[PageClient, threading.Thread]:
    """Run what opens a page, in a thread; a client of it."""
    addresses: list[Address] = []
    thread = threading.Thread(target=start, args=(addresses.append,), daemon=True)
    thread.start()
    until = time.monotonic() + 60
    while not addresses:
        assert time.monotonic() < until
        time.sleep(0.01)
    return PageClient(addresses[0].url), thread


def test_a_run_is_shown_with_all_that_it_can_play(run: Path, tmp_path: Path):
    np.savez(tmp_path / "nod.npz", pose=np.zeros((5, 5, 3)), fps=10.0)
    loaded = load_run(run, torch.device("cpu"))
    studio = open_studio(loaded, (tmp_path / "nod.npz",), quiet)
    assert set(studio.performances()) == {RECORDING, *PRESETS, "nod"}
    assert studio.performances()["nod"] == pytest.approx(0.5)
    assert studio.beside() == [RECORDING]
    track = loaded.subject().track
    shown = presented(loaded.avatar, fill=True, bust="closed")
    (drawn,) = draw_track(shown.avatar, track[:1], loaded.rasterizer(), completion=shown.completion)
    look = studio.look(View(height=32, width=32, driver=RECORDING, light=OWN_LIGHT))
    assert np.abs(look.picture.astype(int) - to_bytes(drawn.picture.colour)[0]).max() <= 1


def test_an_avatar_without_its_recording_is_shown_too(run: Path, tmp_path: Path, subject: Path):
    gone = tmp_path / "gone"
    shutil.copytree(run, gone)
    loaded = load_run(gone / "avatar.safetensors", torch.device("cpu"))
    moved = subject.with_name("moved")
    subject.rename(moved)
    try:
        studio = open_studio(loaded, (), quiet)
    finally:
        moved.rename(subject)
    assert set(studio.performances()) == set(PRESETS)
    assert studio.beside() == []
    place = studio.place()
    look = studio.look(View(height=64, width=64, eye=place.eye, target=place.target, fov=place.fov, background="black"))
    rows, columns = np.nonzero(look.picture.sum(-1))
    assert abs(columns.mean() - 32) < 3
    assert rows.size > 500


def test_a_page_without_an_avatar_or_a_driver_is_refused(run: Path, tmp_path: Path):
    with pytest.raises(FlareError, match="holds no avatar"):
        run_view(ViewRequest(run=tmp_path, at=FREE), quiet, print)
    with pytest.raises(FlareError, match="no driver"):
        run_view(ViewRequest(run=run, drivers=(tmp_path / "x.csv",), at=FREE), quiet, print)


@pytest.mark.gpu
def test_a_gpu_draws_the_same_views(run: Path):
    cpu, gpu = (open_studio(load_run(run, torch.device(name)), (), quiet) for name in ("cpu", "cuda"))
    for mode in get_args(Mode):
        view = View(height=96, width=128, light="sunset", rotate=40.0, driver="talk", time=1.0, mode=mode)
        one, other = (studio.look(view).picture.astype(int) for studio in (cpu, gpu))
        assert np.abs(one - other).mean() < 2, mode  # a GPU sums over more directions


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM], ids=["interrupted", "terminated"])
def test_the_command_says_where_and_ends_when_it_is_told(run: Path, ending: signal.Signals):
    command = [sys.executable, "-m", "flare_cli.cli.main", "view", str(run), "--port", "0", "--device", "cpu", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        client = PageClient(lines[1].split('"')[3])
        assert "ssh -L" in lines[2]
        assert client.look(height=32, width=32)[0].shape == (32, 32, 3)
        process.send_signal(ending)
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_a_fit_can_be_looked_at_and_held_and_ends_in_the_same_avatar(run: Path, subject: Path, tmp_path: Path):
    results = []
    client, thread = opened(
        lambda on_open: results.append(fit(request(subject, tmp_path / "watched", FREE), quiet, on_open))
    )
    client.ask("pause", True)
    first, told = client.look(height=48, width=48, light=OWN_LIGHT)
    held = told["fit"]
    assert held["paused"]
    assert 0 < held["step"] < held["total"] == 40
    time.sleep(0.5)
    assert client.begin()["fit"]["step"] == held["step"]
    again, _ = client.look(height=48, width=48, light=OWN_LIGHT)
    assert (again == first).all()
    client.ask("pause", False)
    thread.join(60)
    assert results
    with pytest.raises((ValueError, OSError)):
        client.look(height=48, width=48)
    one, other = (load_tensors(folder / "avatar.safetensors")[0] for folder in (run, tmp_path / "watched"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_fit_refuses_a_port_that_is_taken_before_it_writes(subject: Path, tmp_path: Path):
    with pytest.raises(FlareError, match="can't listen"):
        fit(request(subject, tmp_path / "run", Listening(host="192.0.2.1", port=0)), quiet)
    assert not (tmp_path / "run" / "config.toml").exists()
