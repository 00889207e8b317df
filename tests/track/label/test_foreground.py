"""The person's own colours at a soft outline."""

import cv2
import numpy as np
import pytest

from flare_cli.track.label.foreground import foreground_colours
from flare_cli.track.label.matte import guide_of

SIZE = 256


def soft_disc() -> np.ndarray:
    """Coverage of a disc of radius 80, seen through a lens that blurs by two pixels."""
    y, x = np.mgrid[:SIZE, :SIZE] - 127.5
    return cv2.GaussianBlur((np.hypot(x, y) < 80).astype(np.float32), (0, 0), 2)


def mixed(person: np.ndarray, wall: np.ndarray, coverage: np.ndarray) -> np.ndarray:
    """What a camera records of them."""
    return np.rint(person * coverage[..., None] + wall * (1 - coverage[..., None])).astype(np.uint8)


@pytest.mark.parametrize("wall", [(255, 255, 255), (0, 0, 0), (20, 200, 40)])
def test_an_even_person_keeps_its_colour_up_to_the_edge(wall: tuple[int, int, int]):
    coverage, skin = soft_disc(), np.array([180, 120, 90])
    picture = mixed(np.broadcast_to(skin, (SIZE, SIZE, 3)), np.array(wall), coverage)
    matte = np.clip(coverage * 1.2, 0, 1)  # as networks' mattes do, it reaches a little too far
    colours = foreground_colours(picture, guide_of(picture), matte)
    seen = matte > 0.1
    rim = seen & (matte < 0.99)
    before, after = (np.abs(colour[rim].astype(float) - skin).mean() for colour in (picture, colours))
    assert after < before / 5


def test_what_is_surely_person_or_surely_not_is_left_alone():
    coverage = soft_disc()
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    colours = foreground_colours(picture, guide_of(picture), coverage)
    inside = cv2.erode(coverage, np.ones((5, 5))) == 1
    np.testing.assert_array_equal(colours[inside], picture[inside])
    np.testing.assert_array_equal(colours[coverage == 0], picture[coverage == 0])


def test_colours_of_each_side_stay_on_their_side():
    coverage = soft_disc()
    person = np.zeros((SIZE, SIZE, 3))
    person[:, : SIZE // 2], person[:, SIZE // 2 :] = (200, 40, 40), (40, 40, 200)
    picture = mixed(person, np.array([255, 255, 255]), coverage)
    colours = foreground_colours(picture, guide_of(picture), coverage).astype(float)
    rim = (coverage > 0.1) & (coverage < 0.9)
    columns = np.arange(SIZE)[None] + np.zeros((SIZE, 1))
    for side in (columns < 100, columns > 155):
        before, after = (np.abs(colour - person)[rim & side].mean() for colour in (picture, colours))
        assert after < before / 5


def test_a_picture_without_a_person_stays_as_it_is():
    picture = np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)
    np.testing.assert_array_equal(
        foreground_colours(picture, guide_of(picture), np.zeros((40, 60), np.float32)), picture
    )
