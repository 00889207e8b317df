"""Bad input ends in one clear message with a hint, exit code 2, and nothing half-written."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from flare_cli.cli.main import main
from flare_cli.data.image import write_png
from flare_cli.data.video import open_video
from flare_cli.synthetic.recording import make_synthetic_subject

LONG = "x" * 300


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["flare", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Run a command that must be refused; returns its message as one line of text."""
    monkeypatch.chdir(tmp_path)

    def check(*arguments: object) -> str:
        before = sorted(tmp_path.rglob("*"))
        assert run(monkeypatch, *arguments) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("error:") == 1
        assert captured.err.count("hint:") == 1
        assert "Traceback" not in captured.err
        assert sorted(tmp_path.rglob("*")) == before
        return " ".join(captured.err.split())

    return check


def video_of_nothing(path: Path, frames: int = 30) -> Path:
    generator = np.random.default_rng(0)
    with open_video(path, fps=25) as writer:
        for _ in range(frames):
            writer.write(generator.integers(0, 60, (96, 128, 3), dtype=np.uint8))
    return path


def test_missing_video(refused):
    assert "none.mp4 does not exist" in refused("preprocess", "none.mp4", "-o", "subject")


def test_text_file_named_mp4(refused, tmp_path: Path):
    (tmp_path / "notes.mp4").write_text("these are my notes\n" * 100)
    assert "notes.mp4 is not a video" in refused("preprocess", "notes.mp4", "-o", "subject")


def test_truncated_video(refused, tmp_path: Path):
    whole = video_of_nothing(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 20])
    assert "cut.mp4" in refused("preprocess", "cut.mp4", "-o", "subject")


def test_video_without_a_face(refused, tmp_path: Path):
    video_of_nothing(tmp_path / "empty.mp4")
    assert "face" in refused("preprocess", "empty.mp4", "-o", "subject")


def test_folder_that_is_no_subject(refused, tmp_path: Path):
    (tmp_path / "folder").mkdir()
    assert "flame_params.json is missing" in refused("fit", "folder", "-o", "run")


def test_subject_with_damaged_parameters(refused, tmp_path: Path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "flame_params.json").write_text(json.dumps({"frames": []}))
    assert "flare.json is missing" in refused("fit", "folder", "-o", "run")
    (folder / "flare.json").write_text("{}")
    assert "head: is missing" in refused("fit", "folder", "-o", "run")


def test_wrong_toml_key(refused, tmp_path: Path):
    (tmp_path / "my.toml").write_text("[data]\nsise = 256\n")
    message = refused("fit", "folder", "--config", "my.toml")
    assert "my.toml:2 [data] sise: unknown key" in message
    assert "did you mean 'size'?" in message


def test_wrong_override(refused):
    assert "[data] sise" in refused("fit", "folder", "--set", "data.sise=256")


def test_envmap_that_is_not_hdr(refused, tmp_path: Path):
    write_png(tmp_path / "sky.png", np.zeros((16, 32, 3), np.uint8))
    assert "sky.png" in refused("relight", "run", "--envmap", "sky.png")
    assert "no environment map nowhere" in refused("relight", "run", "--envmap", "nowhere")


@pytest.mark.parametrize(
    "arguments",
    [
        ("relight", "run", "--exposure", "nan"),
        ("relight", "run", "--exposure", "1e9"),
        ("relight", "run", "--yaw", "nan"),
        ("relight", "run", "--yaw=-inf"),
        ("eval", "run", "--predictions", "p", "--relight-exposure", "nan"),
        ("preprocess", "video.mp4", "-o", "subject", "--fps", "nan"),
        ("fit", "folder", "--vram", "nan"),
    ],
)
def test_options_that_are_no_numbers_or_beyond_reason(arguments, monkeypatch: pytest.MonkeyPatch, capsys):
    assert run(monkeypatch, *arguments) == 2
    assert "Invalid value" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("export", LONG),
        ("eval", LONG),
        ("relight", "run", "--envmap", LONG),
        ("fit", LONG),
        ("fit", "folder", "--config", LONG),
        ("preprocess", LONG, "-o", "subject"),
    ],
)
def test_a_name_that_is_too_long_is_one_sentence(arguments, refused):
    assert "name too long" in refused(*arguments)


def test_no_run_yet(refused):
    assert "no finished run" in refused("eval")
    assert "holds no avatar" in refused("eval", "somewhere")


def test_vram_without_a_gpu(refused, tmp_path: Path):
    make_synthetic_subject(tmp_path / "me", frames=5, size=32, samples=1)
    assert "--vram is for a GPU" in refused("fit", "me", "-o", "run", "--device", "cpu", "--vram", 8)


def test_device_that_is_not_there(refused, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "no CUDA device" in refused("fit", "folder", "--device", "cuda")
    assert "not a device" in refused("fit", "folder", "--device", "toaster")


def test_a_page_that_can_not_be_opened(refused, tmp_path):
    assert "holds no avatar" in refused("view", tmp_path)
    assert "--view" in refused("fit", tmp_path, "--port", "8000")
