"""Whatever ends a command early: killed at any moment, a full disk, no permission, a second run, SIGTERM, no home.

Each is one sentence with exit code 2 and no half a file, or goes on to the same bits as a run that nothing disturbed.
`make faults` runs these (FLARE_KILLS: how often each command is killed).
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data
from support.small_settings import FEW_RAYS

from flare_cli.data.tensor_file import load_tensors, save_tensors
from flare_cli.data.video import open_video
from flare_cli.synthetic.recording import make_synthetic_subject

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="signals and mounts of Linux")]

KILLS = int(os.environ.get("FLARE_KILLS", "3"))
ROOT = Path(__file__).parents[2]
FLARE = (sys.executable, "-m", "flare_cli.cli.main")
FIT = ("--config", "demo", "--device", "cpu", *(part for setting in (
    "data.size=32", "stage.steps=60", "material.log2_entries=8", "run.checkpoint_seconds=0", "light.directions=16",
    *FEW_RAYS, "light.visibility_every=20",
) for part in ("--set", setting)))  # fmt: skip
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


@dataclass(frozen=True)
class Undisturbed:
    """What commands make when nothing disturbs them, in a folder with their inputs."""

    folder: Path

    @property
    def subject(self) -> Path:
        return self.folder / "me"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def video(self) -> Path:
        return self.folder / "portrait.mp4"


@dataclass(frozen=True)
class Command:
    """A command that writes to `out`, and the content of what it made there."""

    words: Callable[[Undisturbed, Path], tuple[object, ...]]
    result: Callable[[Path], object]
    made: Callable[[Undisturbed], Path]


def avatar_in(run: Path) -> dict[str, bytes]:
    tensors, _ = load_tensors(run / "avatar.safetensors")
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def subject_in(folder: Path) -> dict[str, bytes]:
    files = [folder / "flame_params.json", *sorted(folder.glob("[ims]*/*.png"))]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def files_in(folder: Path) -> dict[str, bytes]:
    return {file.suffix: file.read_bytes() for file in sorted(folder.iterdir())}


COMMANDS = {
    "fit": Command(lambda u, out: ("fit", u.subject, "-o", out, *FIT), avatar_in, lambda u: u.run),
    "preprocess": Command(
        lambda u, out: ("preprocess", u.video, "-o", out, "--size", 96), subject_in, lambda u: u.folder / "tracked"
    ),
    "export": Command(
        lambda u, out: ("export", u.run, "-o", out, "--texture-size", 256, "--device", "cpu"),
        files_in,
        lambda u: u.folder / "exported",
    ),
}
KILLED = COMMANDS | {
    "batch": Command(
        lambda u, out: ("batch", u.subject, "-o", out, *FIT, "--jobs", 1, "--texture-size", 256),
        lambda out: (avatar_in(out / "me" / "run"), files_in(out / "me" / "export")),
        lambda u: u.folder / "batched",
    )
}
DRAWING = ("--frames", 4, "--size", 128, "--device", "cpu")


def start(*words: object, **more) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": ENVIRONMENT}
    return subprocess.Popen([*FLARE, *map(str, words)], **{**pipes, **more})


def flare(*words: object, **more) -> tuple[int, str]:
    """Run a command; its exit code and what it said."""
    process = start(*words, **more)
    out, err = process.communicate(timeout=300)
    return process.returncode, " ".join((out + err).split())


def is_refused(code: int, said: str) -> None:
    assert "Traceback" not in said
    assert code == 2, said
    assert said.count("error:") == 1
    assert said.count("hint:") == 1


def half_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.part*") if path.is_file()]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    made = Undisturbed(folder)
    make_synthetic_subject(made.subject, frames=6, size=48, samples=1)
    portrait = data.astronaut()
    with open_video(made.video, fps=25, crf=10) as video:
        for k in range(14):
            video.write(np.ascontiguousarray(portrait[:280, 100 - k : 340 - k]))
    for command in KILLED.values():
        code, said = flare(*command.words(made, command.made(made)))
        assert code == 0, said
    return made


@pytest.mark.parametrize("kill", range(KILLS))
@pytest.mark.parametrize("name", KILLED)
def test_killed_at_any_moment_it_goes_on_to_the_same_bits(name: str, kill: int, undisturbed: Undisturbed, tmp_path):
    command, out = KILLED[name], tmp_path / "out"
    words = command.words(undisturbed, out)
    started = time.monotonic()
    process = start(*words)
    while not out.exists() and process.poll() is None:  # before that it has done nothing
        time.sleep(0.01)
    time.sleep(random.Random(f"{name} {kill}").uniform(0, 0.5 * (time.monotonic() - started)))
    process.kill()
    process.communicate()
    if process.returncode == -signal.SIGKILL:
        code, said = flare(*words)
        assert code == 0 or "already holds a finished avatar" in said, said
    assert command.result(out) == command.result(command.made(undisturbed))
    assert not half_files(out)


@pytest.mark.parametrize("when", ["at once", "later"])
def test_sigterm_ends_as_ctrl_c_does(when: str, undisturbed: Undisturbed, tmp_path: Path):
    words = COMMANDS["fit"].words(undisturbed, tmp_path / "run")
    awaited = tmp_path / "run" / (".holder" if when == "at once" else "checkpoint.safetensors")
    process = start(*words)
    while not awaited.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.terminate()
    said = " ".join("".join(process.communicate(timeout=60)).split())
    assert process.returncode not in (0, -signal.SIGTERM)
    assert "goes on where it was" in said
    assert "Traceback" not in said
    assert flare(*words)[0] == 0
    assert avatar_in(tmp_path / "run") == avatar_in(undisturbed.run)


def test_a_second_fit_into_the_same_folder_is_told_who_is_there(undisturbed: Undisturbed, tmp_path: Path):
    words = COMMANDS["fit"].words(undisturbed, tmp_path / "run")
    first = start(*words)
    while not (tmp_path / "run" / ".holder").exists():
        assert first.poll() is None
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGSTOP)  # it stays in the folder until the second one was there
    code, said = flare(*words)
    os.kill(first.pid, signal.SIGCONT)
    first.communicate(timeout=300)
    is_refused(code, said)
    assert f"process {first.pid} on " in said
    assert first.returncode == 0
    assert avatar_in(tmp_path / "run") == avatar_in(undisturbed.run)


def commands_that_write(u: Undisturbed, out: Path) -> dict[str, tuple[object, ...]]:
    return {
        **{name: command.words(u, out) for name, command in COMMANDS.items()},
        "relight to PNGs": ("relight", u.run, "-o", out, *DRAWING),
        "relight to mp4": ("relight", u.run, "-o", f"{out}.mp4", *DRAWING),
        "animate": ("animate", u.run, "--driver", "blink", "-o", out, *DRAWING),
        "eval": ("eval", u.run, "--predictions", out, "--device", "cpu"),
    }


WRITING = ["fit", "preprocess", "export", "relight to PNGs", "relight to mp4", "animate", "eval"]


def mounted(folder: Path, options: str, words: tuple[object, ...], before: str = "true") -> tuple[int, str, list[str]]:
    """Run a command while `folder` is a file system of its own; also lists the half files that it left there."""
    script = (
        f'mount -t tmpfs -o {options} tmpfs "$0" && {{ {before}; }} && "$@"; code=$?;'
        ' echo "LEFT:"; find "$0" -type f -name "*.part*"; exit $code'
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, str(folder), *FLARE, *map(str, words)],
        capture_output=True, text=True, env=ENVIRONMENT, timeout=300, check=False,
    )  # fmt: skip
    said, _, left = done.stdout.partition("LEFT:")
    return done.returncode, " ".join((said + done.stderr).split()), left.split()


def needs_mounts() -> None:
    if (
        shutil.which("unshare") is None
        or subprocess.run(
            ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("mounting is not allowed here")


@pytest.mark.parametrize("size", ["8k", "40k"])
@pytest.mark.parametrize("name", WRITING)
def test_a_full_disk(name: str, size: str, undisturbed: Undisturbed, tmp_path: Path):
    needs_mounts()
    words = commands_that_write(undisturbed, tmp_path / "disk" / "out")[name]
    (tmp_path / "disk").mkdir()
    code, said, left = mounted(tmp_path / "disk", f"size={size}", words)
    if code != 0:  # a video of little may fit
        is_refused(code, said)
    assert code == 0 or "space" in said
    assert not left


@pytest.mark.parametrize("name", WRITING)
def test_a_disk_that_is_read_only(name: str, undisturbed: Undisturbed, tmp_path: Path):
    needs_mounts()
    words = commands_that_write(undisturbed, tmp_path / "disk" / "out")[name]
    (tmp_path / "disk").mkdir()
    code, said, left = mounted(tmp_path / "disk", "ro", words)
    is_refused(code, said)
    assert not left


@pytest.mark.parametrize("name", WRITING)
def test_files_that_may_not_grow(name: str, undisturbed: Undisturbed, tmp_path: Path):
    """A limit of the shell's on file sizes, which needs no permission to set: 4 KiB."""
    words = commands_that_write(undisturbed, tmp_path / "out")[name]
    shell = ("sh", "-c", 'ulimit -f 8; exec "$@"', "sh")
    done = subprocess.run(
        [*shell, *FLARE, *map(str, words)], capture_output=True, text=True, env=ENVIRONMENT, timeout=300, check=False
    )
    said = " ".join((done.stdout + done.stderr).split())
    if done.returncode != 0:
        is_refused(done.returncode, said)
    assert not half_files(tmp_path)


@pytest.mark.parametrize("name", WRITING)
def test_an_output_of_the_other_kind(name: str, undisturbed: Undisturbed, tmp_path: Path):
    out = tmp_path / "out"
    words = commands_that_write(undisturbed, out)[name]
    out.write_text("mine")
    (tmp_path / "out.mp4").mkdir()
    is_refused(*flare(*words))
    assert out.read_text() == "mine"
    assert not half_files(tmp_path)


def test_without_a_home(undisturbed: Undisturbed, tmp_path: Path):
    homeless = {name: value for name, value in ENVIRONMENT.items() if name != "HOME" and not name.startswith("XDG_")}
    words = COMMANDS["export"].words(undisturbed, tmp_path / "out")
    code, said = flare(*words, env=homeless | {"HOME": str(tmp_path / "none" / "such")})
    assert code == 0, said
    assert files_in(tmp_path / "out") == files_in(undisturbed.folder / "exported")


@pytest.mark.parametrize("name", ["mesh.offsets", "light.coarse", "shape"])
def test_nan_in_an_avatar(name: str, undisturbed: Undisturbed, tmp_path: Path):
    run = shutil.copytree(undisturbed.run, tmp_path / "run")
    tensors, header = load_tensors(run / "avatar.safetensors")
    save_tensors(run / "avatar.safetensors", tensors | {name: torch.full_like(tensors[name], torch.nan)}, header)
    code, said = flare("relight", run, "-o", tmp_path / "out", *DRAWING)
    is_refused(code, said)
    assert f"{name} holds numbers that are not finite" in said
    assert not (tmp_path / "out").exists()
