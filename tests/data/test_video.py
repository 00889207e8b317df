"""Video in and out, on patterns whose every frame is known."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from flare_cli.data.video import Sound, VideoReader, open_video, video_info
from flare_cli.errors import FileError, VideoError

SIZE, FRAMES, FPS = (48, 64), 20, 10.0


def pattern(index: int, height: int = SIZE[0], width: int = SIZE[1]) -> np.ndarray:
    """A dark picture with a bright upper left corner and a bar that moves right by two pixels a frame."""
    picture = np.full((height, width, 3), 40, np.uint8)
    picture[: height // 3, : width // 3] = (200, 60, 60)
    picture[height // 2 :, 2 * index : 2 * index + 6] = (230, 230, 230)
    return picture


def write_frames(path: Path, pictures: list[np.ndarray]) -> Path:
    with open_video(path, fps=FPS, crf=8) as video:
        for picture in pictures:
            video.write(picture)
    return path


def write_pattern(path: Path, *, frames: int = FRAMES, size: tuple[int, int] = SIZE) -> Path:
    return write_frames(path, [pattern(index, *size) for index in range(frames)])


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run([get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)], check=True)


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    return write_pattern(tmp_path_factory.mktemp("video") / "pattern.mp4")


def bar_position(rgb: np.ndarray) -> float:
    """Middle of the bright bar, in pixels."""
    row = rgb[-4:].astype(float).mean((0, 2)) - 40
    return float((row * np.arange(len(row))).sum() / row.sum())


def test_frames_come_back_in_order_with_their_colours_and_times(video):
    frames = list(VideoReader(video))
    assert [frame.index for frame in frames] == list(range(FRAMES))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(FRAMES) / FPS, atol=1e-3)
    for frame in frames:
        assert np.abs(frame.rgb.astype(int) - pattern(frame.index)).mean() < 3


def test_info_says_size_rate_and_length(video):
    info = video_info(video)
    assert (info.height, info.width, info.fps) == (*SIZE, FPS)
    assert info.expected_frames == FRAMES


def test_reading_twice_gives_the_same(video):
    reader = VideoReader(video, max_frames=3)
    first, second = ([frame.rgb for frame in reader] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_odd_sizes_gain_one_repeated_edge(tmp_path):
    path = write_pattern(tmp_path / "odd.mp4", frames=3, size=(33, 47))
    (first, *_) = VideoReader(path)
    assert first.rgb.shape == (34, 48, 3)
    assert np.abs(first.rgb[:33, :47].astype(int) - pattern(0, 33, 47)).mean() < 4


@pytest.mark.parametrize("container", ["mov", "mkv", "avi"])
def test_other_containers_are_read(tmp_path, video, container):
    other = tmp_path / f"pattern.{container}"
    ffmpeg("-i", video, "-c:v", "mpeg4" if container == "avi" else "copy", "-q:v", "2", other)
    assert [round(bar_position(frame.rgb)) for frame in VideoReader(other)] == pytest.approx(
        [2 * index + 2.5 for index in range(FRAMES)], abs=1.5
    )


@pytest.mark.parametrize(("degrees", "quarter_turns"), [(90, 1), (180, 2), (-90, 3)])
def test_the_rotation_tag_turns_the_picture(tmp_path, video, degrees, quarter_turns):
    turned = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", str(degrees), "-i", video, "-c", "copy", turned)
    (first,) = VideoReader(turned, max_frames=1)
    expected = np.rot90(pattern(0), quarter_turns)  # the tag counts counter-clockwise, as numpy does
    assert first.rgb.shape == expected.shape
    assert np.abs(first.rgb.astype(int) - expected).mean() < 3


def test_wide_pixels_become_square(tmp_path, video):
    wide = tmp_path / "wide.mp4"
    ffmpeg("-i", video, "-vf", "setsar=2/1", wide)
    assert (video_info(wide).height, video_info(wide).width) == (48, 128)


def test_a_variable_frame_rate_keeps_each_frames_own_time(tmp_path, video):
    uneven = tmp_path / "uneven.mkv"
    ffmpeg("-i", video, "-vf", "setpts='if(lt(N,5),N,4+(N-4)*3)/(10*TB)'", "-fps_mode", "vfr", uneven)
    expected = [n / 10 if n < 5 else (4 + (n - 4) * 3) / 10 for n in range(FRAMES)]
    assert [frame.time for frame in VideoReader(uneven)] == pytest.approx(expected, abs=2e-3)


def test_a_lower_rate_drops_frames_evenly(video):
    times = [frame.time for frame in VideoReader(video, fps=5)]
    assert times == pytest.approx(np.arange(0, 2, 0.2), abs=1e-3)


def test_an_uneven_lower_rate_keeps_its_pace(video):
    times = [frame.time for frame in VideoReader(video, fps=4)]
    np.testing.assert_allclose(times, np.arange(8) / 4, atol=0.051)


def test_a_higher_rate_repeats_nothing(video):
    assert len(list(VideoReader(video, fps=60))) == FRAMES


def test_max_frames_stops_early(video):
    assert [frame.index for frame in VideoReader(video, max_frames=4)] == [0, 1, 2, 3]


def test_a_missing_file_is_one_clear_error(tmp_path):
    with pytest.raises(VideoError, match=r"nothing\.mp4 does not exist") as caught:
        VideoReader(tmp_path / "nothing.mp4")
    assert caught.value.hint


def test_a_text_file_is_one_clear_error(tmp_path):
    path = tmp_path / "text.mp4"
    path.write_text("this is not a video\n" * 50)
    with pytest.raises(VideoError, match="not a video") as caught:
        VideoReader(path)
    assert "\n" not in caught.value.message


def test_sound_without_pictures_is_one_clear_error(tmp_path):
    path = tmp_path / "sound.mp4"
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", path)
    with pytest.raises(VideoError, match="not a video"):
        VideoReader(path)


def test_a_truncated_video_without_its_index_is_one_clear_error(tmp_path, video):
    plain = tmp_path / "plain.mp4"
    ffmpeg("-i", video, "-c", "copy", plain)  # without faststart the index is at the end
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(plain.read_bytes()[: plain.stat().st_size // 2])
    with pytest.raises(VideoError, match=r"cut\.mp4"):
        list(VideoReader(cut))


def test_a_truncated_video_gives_the_frames_that_are_there_and_a_warning(tmp_path):
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    noise = np.random.default_rng(0).integers(0, 255, (FRAMES, *SIZE, 3), np.uint8)  # does not compress: long frames
    with open_video(whole, fps=FPS) as video:
        for picture in noise:
            video.write(picture)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    reader = VideoReader(cut)
    frames = list(reader)
    assert 0 < len(frames) < FRAMES
    assert reader.warning is not None
    assert "cut.mp4" in reader.warning


def test_a_whole_video_has_no_warning(video):
    reader = VideoReader(video)
    assert len(list(reader)) == FRAMES
    assert reader.warning is None


def test_leaving_a_pass_early_is_clean(video):
    reader = VideoReader(video)
    for frame in reader:
        if frame.index == 2:
            break
    assert len(list(reader)) == FRAMES


def test_a_failed_write_leaves_nothing(tmp_path):
    path = tmp_path / "out.mp4"

    def fail_while_writing() -> None:
        with open_video(path, fps=10) as video:
            video.write(pattern(0))
            raise KeyError("the caller failed")

    with pytest.raises(KeyError):
        fail_while_writing()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="frames of"):
        write_frames(path, [pattern(0, *size) for size in (SIZE, (20, 20))])
    assert path.read_bytes() == b"old"


def test_an_unknown_container_is_one_clear_error(tmp_path):
    with pytest.raises(VideoError, match="could not be written"):
        write_frames(tmp_path / "out.xyz", [pattern(index) for index in range(FRAMES)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a:b.mp4", "-i.mp4", "http:x.mp4", "100%d.mp4"])
def test_a_name_is_neither_a_protocol_nor_an_option(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written = write_pattern(Path(name), frames=3)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert len(list(VideoReader(written))) == 3


def test_a_playlist_called_a_video_opens_no_connection(tmp_path):
    playlist = tmp_path / "film.mp4"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(VideoError):
        video_info(playlist)


def test_a_folder_that_can_not_be_written_to_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="file"):
        write_pattern(tmp_path / "file" / "video.mp4")


def sound_of(path: Path) -> np.ndarray:
    """The sound as numbers, 8,000 a second."""
    command = [get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-f", "s16le", "-ac", "1", "-ar", "8000", "-"]
    return np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.int16)


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mov"])
def test_sound_is_taken_from_its_start_for_as_long_as_there_are_pictures(suffix: str, video: Path, tmp_path: Path):
    talkie, out = tmp_path / "talkie.mp4", tmp_path / f"out{suffix}"
    tone = "sine=frequency=440:duration=3,volume='if(lt(t,1),0,1)':eval=frame"  # silent for a second
    ffmpeg("-f", "lavfi", "-i", tone, "-c:a", "aac", talkie)
    with open_video(out, fps=FPS, sound=Sound(path=talkie, start=0.5)) as writer:
        for index in range(FRAMES):
            writer.write(pattern(index))
    heard = np.abs(sound_of(out).astype(int)) > 1000
    assert np.argmax(heard) / 8000 == pytest.approx(0.5, abs=0.05)
    assert len(heard) / 8000 == pytest.approx(FRAMES / FPS, abs=0.1)
    assert len(list(VideoReader(out))) == FRAMES


def test_a_video_without_sound_gives_a_silent_one(video: Path, tmp_path: Path):
    out = tmp_path / "silent.mp4"
    with open_video(out, fps=FPS, sound=Sound(path=video)) as writer:
        writer.write(pattern(0))
    assert len(list(VideoReader(out))) == 1
