"""The face through a short film of one portrait that drifts, with a frame of nobody."""

import numpy as np
import pytest

from flare_cli.data.video import VideoReader, VideoWriter
from flare_cli.track.landmarks import EyeFinder, FaceFollower
from flare_cli.track.sightings import find_face
from flare_cli.track.work import WorkFolder

FRAMES, NOBODY = 9, 4


@pytest.fixture(scope="module")
def film(astronaut, tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    with VideoWriter(path, fps=25) as video:
        for k in range(FRAMES):
            picture = astronaut[:280, 100 - 2 * k : 340 - 2 * k]
            video.write(picture if k != NOBODY else np.full_like(picture, 120))
    return path


def test_eyes_found_beside_the_next_faces_are_those_found_one_after_another(film, tmp_path):
    seen = find_face(VideoReader(film), WorkFolder(tmp_path), lambda done, total: None)
    follow, eyes = FaceFollower(), EyeFinder()
    for k, frame in enumerate(VideoReader(film)):
        face = follow(frame.rgb)
        assert seen.times[k] == frame.time
        assert (face is None) == (k == NOBODY)
        expected = np.full((478, 3), np.nan) if face is None else eyes(frame.rgb, face)
        np.testing.assert_array_equal(seen.points[k], expected)
        assert seen.scores[k] == (0 if face is None else face.score)


def test_what_was_found_is_kept_and_not_looked_for_again(film, tmp_path):
    work, told = WorkFolder(tmp_path), []
    first = find_face(VideoReader(film), work, lambda done, total: told.append((done, total)))
    assert told == [(k + 1, FRAMES) for k in range(FRAMES)]
    again = find_face(VideoReader(film), work, lambda done, total: pytest.fail("looked again"))
    np.testing.assert_array_equal(again.points, first.points)
    assert (again.fps, again.height, again.width, again.warning) == (first.fps, 280, 240, "")
    assert again.seen.tolist() == [k for k in range(FRAMES) if k != NOBODY]
