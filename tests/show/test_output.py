"""Pictures are written in order while others are drawn; what goes wrong beside the drawing is not lost."""

import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from imageio_ffmpeg import get_ffmpeg_exe

from flare_cli.data.image import read_numbers, read_rgb, write_png
from flare_cli.data.video import VideoReader
from flare_cli.errors import FlareError, VideoError
from flare_cli.show import output
from flare_cli.show.output import AHEAD, BesideRecording, Keeper, PictureOutput, check_alpha, open_output
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


def transparent_batch() -> torch.Tensor:
    """Orange at four coverages, premultiplied."""
    alpha = torch.tensor([0.0, 0.25, 0.5, 1.0]).repeat_interleave(SIZE)
    colour = torch.tensor([1.0, 0.5, 0.1])
    return torch.cat([alpha[:, None] * colour, alpha[:, None]], 1).expand(2, SIZE, -1, 4).contiguous()


def test_pictures_with_coverage_keep_their_colour_at_any_alpha(tmp_path: Path):
    with open_output(tmp_path / "cut_out", 25) as out:
        out.add(transparent_batch())
    picture = read_numbers(tmp_path / "cut_out" / "00002.png")
    alpha = picture[0, ::SIZE, 3]
    assert alpha.tolist() == [0, 64, 128, 255]
    np.testing.assert_array_equal(
        picture[0, SIZE::SIZE, 2::-1], np.tile(to_bytes(torch.tensor([1.0, 0.5, 0.1])), (3, 1))
    )


@pytest.mark.parametrize("suffix", [".mov", ".webm"])
def test_videos_keep_alpha(suffix: str, tmp_path: Path):
    path = tmp_path / f"cut_out{suffix}"
    with open_output(path, 25) as out:
        out.add(transparent_batch())
    decoder = ["-c:v", "libvpx-vp9"] if suffix == ".webm" else []  # ffmpeg's own decoder leaves VP9's alpha out
    command = [
        get_ffmpeg_exe(),
        "-loglevel",
        "error",
        *decoder,
        "-i",
        str(path),
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgba",
        "-",
    ]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    frames = np.frombuffer(raw, np.uint8).reshape(2, SIZE, 4 * SIZE, 4).astype(int)
    middle = frames[1, SIZE // 2, SIZE // 2 :: SIZE]
    np.testing.assert_allclose(middle[:, 3], [0, 64, 128, 255], atol=4)
    np.testing.assert_allclose(middle[-1, :3], to_bytes(torch.tensor([1.0, 0.5, 0.1])), atol=8)


def test_where_alpha_can_not_go_is_told():
    check_alpha(Path("folder"))
    check_alpha(Path("film.webm"))
    with pytest.raises(FlareError, match=r"film\.mp4: \.mp4 has no transparency"):
        check_alpha(Path("film.mp4"))


def test_a_recording_beside_is_as_high_and_in_step(tmp_path: Path):
    paths = tuple(tmp_path / f"{i}.png" for i in range(BATCH))
    for i, path in enumerate(paths):
        write_png(path, np.full((2 * SIZE, SIZE, 3), 10 * i, np.uint8))
    written: list[np.ndarray] = []
    beside = BesideRecording(written.append, paths)
    beside(to_bytes(batch(0)))
    (pictures,) = written
    assert pictures.shape == (BATCH, SIZE, SIZE // 2 + SIZE, 3)
    assert pictures[:, 0, 0, 0].tolist() == [0, 10, 20]
    np.testing.assert_array_equal(pictures[:, :, SIZE // 2 :], to_bytes(batch(0)))


def test_some_frames_are_kept_for_a_sheet():
    written: list[np.ndarray] = []
    keeper = Keeper(written.append, frozenset((0, 4)))
    for index in range(2):
        keeper(to_bytes(batch(index)))
    np.testing.assert_array_equal(np.stack(keeper.kept), np.concatenate(written)[[0, 4]])


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
        with open_output(tmp_path / "film.mp4", -1) as out:  # time that runs backward
            for _ in range(2000):
                out.add(batch(0))

    with pytest.raises(VideoError, match=r"film\.mp4 could not be written"):
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
