"""Pictures are written in order while others are drawn; what goes wrong beside the drawing is not lost."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from flare_cli.data.image import read_rgb
from flare_cli.data.video import VideoReader
from flare_cli.errors import VideoError
from flare_cli.show import output
from flare_cli.show.output import AHEAD, PictureOutput, open_output
from flare_cli.show.track_pictures import to_bytes

BATCHES, BATCH, SIZE = 7, 3, 16


def batch(index: int) -> torch.Tensor:
    """Grey pictures, each brighter than the one before."""
    levels = (torch.arange(BATCH) + index * BATCH + 1.0) / (BATCHES * BATCH + 1)
    return levels[:, None, None, None].expand(BATCH, SIZE, SIZE, 3) ** 2.2


def test_a_folder_holds_the_pictures_as_they_came(tmp_path: Path):
    with open_output(tmp_path / "pictures", 25) as out:
        for index in range(BATCHES):
            out.add(batch(index))
    assert out.count == BATCHES * BATCH
    expected = np.concatenate([to_bytes(batch(index)) for index in range(BATCHES)])
    files = sorted((tmp_path / "pictures").iterdir())
    assert [file.name for file in files] == [f"{n:05d}.png" for n in range(1, len(expected) + 1)]
    for file, picture in zip(files, expected, strict=True):
        np.testing.assert_array_equal(read_rgb(file), picture)


def test_a_video_holds_the_pictures_as_they_came(tmp_path: Path):
    with open_output(tmp_path / "film.mp4", 25) as out:
        for index in range(BATCHES):
            out.add(batch(index))
    seen = [frame.rgb.mean() for frame in VideoReader(tmp_path / "film.mp4")]
    expected = np.concatenate([to_bytes(batch(index)) for index in range(BATCHES)]).mean((1, 2, 3))
    np.testing.assert_allclose(seen, expected, atol=4)


def test_drawing_goes_on_while_pictures_are_written_but_not_far():
    gate, written = threading.Event(), []

    def write(pictures: np.ndarray) -> None:
        gate.wait(10)
        written.append(pictures)

    out = PictureOutput(write)
    for index in range(AHEAD):
        out.add(batch(index))
    assert written == []
    started = time.monotonic()
    threading.Timer(0.2, gate.set).start()
    out.add(batch(AHEAD))
    assert time.monotonic() - started > 0.15
    out.finish()
    out.close()
    np.testing.assert_array_equal(np.stack(written), np.stack([to_bytes(batch(i)) for i in range(AHEAD + 1)]))


def test_a_full_disk_stops_the_drawing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def full(path: Path, picture: np.ndarray) -> None:
        raise OSError(28, "No space left on device")

    def draw_all() -> None:
        with open_output(tmp_path / "pictures", 25) as out:
            for _ in range(100):
                out.add(batch(0))

    monkeypatch.setattr(output, "write_png", full)
    with pytest.raises(OSError, match="No space left"):
        draw_all()


def test_an_encoder_that_fails_stops_the_drawing_and_leaves_no_file(tmp_path: Path):
    def draw_all() -> None:
        with open_output(tmp_path / "film.webm", 25) as out:  # H.264 can't go into a webm
            for _ in range(2000):
                out.add(batch(0))

    with pytest.raises(VideoError, match=r"film\.webm could not be written"):
        draw_all()
    assert list(tmp_path.iterdir()) == []


def test_stopping_leaves_no_film(tmp_path: Path):
    def stopped() -> None:
        with open_output(tmp_path / "film.mp4", 25) as out:
            out.add(batch(0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.gpu
def test_pictures_of_a_gpu_arrive_as_they_were_when_added():
    written: list[np.ndarray] = []
    out = PictureOutput(lambda pictures: written.append(pictures.copy()))
    slow, canvas = torch.randn(4000, 4000, device="cuda"), torch.zeros(4, 256, 256, 3, device="cuda")
    for index in range(20):
        torch.mm(slow, slow)
        canvas.fill_(((index + 1) / 20) ** 2)
        out.add(canvas)
    out.finish()
    out.close()
    expected = [to_bytes(torch.full((4, 256, 256, 3), ((index + 1) / 20) ** 2)) for index in range(20)]
    np.testing.assert_allclose(np.stack(written).astype(int), np.stack(expected).astype(int), atol=1)
