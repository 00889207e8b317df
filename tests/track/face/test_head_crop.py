"""The square to which every frame is cropped."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flare_cli.data.crop import Crop
from flare_cli.track.face.head_crop import CHIN, FOREHEAD, head_crop


def face(x: float, y: float, tall: float) -> np.ndarray:
    """Landmarks of a face that is `tall` pixels high, with its middle at (x, y)."""
    points = np.zeros((478, 3))
    points[:, :2] = np.random.default_rng(0).uniform(-0.35, 0.35, (478, 2)) * tall + (x, y)
    points[FOREHEAD, :2], points[CHIN, :2] = (x, y - tall / 2), (x, y + tall / 2)
    return points


def test_a_crop_shows_what_is_there_and_black_outside():
    picture = np.full((40, 60, 3), 200, np.uint8)
    cropped = Crop(x=-10, y=20, side=40, size=40).cropped(picture)
    assert (cropped[:20, 10:] == 200).all()
    assert (cropped[20:] == 0).all()
    assert (cropped[:, :10] == 0).all()


def test_inside_is_where_the_picture_is_not_black():
    picture = np.full((40, 60, 3), 200, np.uint8)
    crop = Crop(x=-10, y=20, side=40, size=20)
    np.testing.assert_array_equal(crop.inside(40, 60), crop.cropped(picture)[..., 0] == 200)


def test_points_and_pixels_agree():
    picture = np.zeros((100, 100, 3), np.uint8)
    picture[30:34, 60:64] = 255  # a blot with its middle at (62, 32)
    crop = Crop(x=20, y=10, side=80, size=40)
    rows, columns = np.nonzero(crop.cropped(picture)[..., 0] > 127)
    middle = crop.from_source(np.array([62.0, 32.0]))
    np.testing.assert_allclose([columns.mean() + 0.5, rows.mean() + 0.5], middle, atol=0.1)


@settings(max_examples=40, deadline=None)
@given(st.floats(200, 1700), st.floats(250, 850), st.floats(80, 300), st.floats(0, 60))
def test_the_head_is_inside_in_all_frames(x, y, tall, sway):
    points = np.stack([face(x + sway * np.sin(k), y + 0.3 * sway * np.cos(k), tall) for k in range(12)])
    crop = head_crop(points, 1080, 1920, 256)
    at = crop.from_source(points[..., :2])
    visible = (points[..., :2] > 0).all(-1) & (points[..., :2] < (1920, 1080)).all(-1)
    assert at[visible].min() >= 0
    assert at[visible].max() <= 256


def test_a_head_that_fills_the_picture_gives_the_whole_picture():
    crop = head_crop(np.stack([face(240, 240, 300)] * 3), 480, 480, 512)
    assert (crop.x, crop.y, crop.side) == (0, 0, 480)


def test_one_wild_detection_does_not_blow_it_up():
    steady = np.stack([face(900, 500, 200)] * 300)
    wild = steady.copy()
    wild[7] = face(300, 900, 700)
    assert head_crop(wild, 1080, 1920, 512).side < 1.1 * head_crop(steady, 1080, 1920, 512).side
