"""The face through a short film of one portrait that drifts, with a frame of nobody."""

import cv2
import numpy as np
import pytest

from flare_cli.data.video import VideoReader, open_video
from flare_cli.errors import VideoError
from flare_cli.track.face.landmarks import EyeFinder, FaceFollower
from flare_cli.track.stages.landmarks import FaceLandmarks, find_face
from flare_cli.track.work_folder import WorkFolder

FRAMES, NOBODY = 9, 4


@pytest.fixture(scope="module")
def film(astronaut, tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    with open_video(path, fps=25) as video:
        for k in range(FRAMES):
            picture = astronaut[:280, 100 - 2 * k : 340 - 2 * k]
            video.write(picture if k != NOBODY else np.full_like(picture, 120))
    return path


@pytest.fixture(scope="module")
def seen(film):
    return find_face(VideoReader(film), lambda done, total: None)


def test_eyes_found_beside_the_next_faces_are_those_found_one_after_another(film, seen):
    follow, eyes = FaceFollower(), EyeFinder()
    for k, frame in enumerate(VideoReader(film)):
        face = follow(frame.rgb)
        assert seen.times[k] == frame.time
        assert (face is None) == (k == NOBODY)
        expected = np.full((478, 3), np.nan) if face is None else eyes(frame.rgb, face)
        np.testing.assert_array_equal(seen.points[k], expected)
        assert seen.scores[k] == (0 if face is None else face.score)
    assert len(seen.times) == FRAMES


def test_progress_tells_of_every_frame(film):
    told = []
    find_face(VideoReader(film), lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (FRAMES, FRAMES)


def test_what_is_kept_comes_back(seen, tmp_path):
    work_folder = WorkFolder(tmp_path)
    assert FaceLandmarks.load(work_folder) is None
    seen.save(work_folder)
    again = FaceLandmarks.load(work_folder)
    assert again is not None
    np.testing.assert_array_equal(again.points, seen.points)
    assert again.shots.tolist() == [0] * FRAMES
    assert (again.fps, again.height, again.width, again.warning) == (seen.fps, 280, 240, "")
    assert again.usable.tolist() == [k for k in range(FRAMES) if k != NOBODY]


def test_what_is_wrong_with_a_video_is_told_by_the_process_too(film, tmp_path):
    whole = film.read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole)
    reader = VideoReader(cut)
    cut.write_bytes(whole[: len(whole) // 8])
    with pytest.raises(VideoError, match="no picture"):
        find_face(reader, lambda done, total: None)


def written(path, pictures):
    with open_video(path, fps=25, crf=10) as video:
        for picture in pictures:
            video.write(np.ascontiguousarray(picture))
    return VideoReader(path)


def side_by_side(astronaut):
    """The portrait, and a smaller one to its right."""
    portrait = astronaut[:280, 80:360]
    small = np.full_like(portrait, 128)
    small[60:260, 40:240] = cv2.resize(portrait, (200, 200), interpolation=cv2.INTER_AREA)
    return np.concatenate([portrait, small], 1)


def test_of_two_faces_the_largest_is_taken_unless_the_other_is_asked_for(astronaut, tmp_path):
    reader = written(tmp_path / "two.mp4", [side_by_side(astronaut)] * 3)
    first, second = (find_face(reader, lambda done, total: None, rank=rank) for rank in (1, 2))
    np.testing.assert_allclose(first.points[:, 4, 0].mean(), 223 - 80, atol=6)
    np.testing.assert_allclose(second.points[:, 4, 0].mean(), 280 + 40 + (223 - 80) * 200 / 280, atol=6)
    assert "2 faces at once: the largest" in first.warning
    assert "2 faces at once: number 2" in second.warning
    with pytest.raises(VideoError, match="never shows 3 faces"):
        find_face(reader, lambda done, total: None, rank=3)


def test_a_film_of_three_shots_is_told_and_followed_through(astronaut, tmp_path):
    wide = [astronaut[:280, 80 + k : 360 + k] for k in range(3)]
    close = [cv2.resize(astronaut[20:220, 120 + k : 320 + k], (280, 280)) for k in range(3)]
    elsewhere = [255 - astronaut[:280, 80 + k : 360 + k] for k in range(3)]
    for negative, picture in zip(elsewhere, wide, strict=True):
        negative[40:230, 60:230] = picture[40:230, 60:230]
    film = find_face(written(tmp_path / "shots.mp4", [*wide, *close, *elsewhere]), lambda done, total: None)
    assert film.shots.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert film.scores.min() > 0.5
    assert "3 shots, cut at frame 4, 7" in film.warning


def test_an_error_of_the_listener_ends_the_search(film):
    def fail(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_face(VideoReader(film), fail)
