"""Pixels of one frame against pictures of known blur, exposure and edges."""

import cv2
import numpy as np
import pytest

from flare_cli.track.face.landmarks import FACE_OVAL
from flare_cli.track.review.frame_pixels import INNER_LIPS, FramePixels, edge_blur, measure_frame

SIZE, RADIUS = 200, 60
SKIN, TEETH = (200, 140, 120), (230, 225, 215)


def srgb(linear: np.ndarray) -> np.ndarray:
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def ring(indices: tuple[int, ...], points: np.ndarray, centre: tuple[float, float], radius: float) -> None:
    angle = np.linspace(0, 2 * np.pi, len(indices), endpoint=False)
    points[list(indices)] = np.stack([np.cos(angle), np.sin(angle)], 1) * radius + centre


@pytest.fixture
def points() -> np.ndarray:
    """A round face with a round open mouth of a quarter of its radius."""
    points = np.full((478, 2), SIZE / 2)
    points[168], points[152] = (SIZE / 2, SIZE / 2 - 30), (SIZE / 2, SIZE / 2 + RADIUS)
    ring(FACE_OVAL, points, (SIZE / 2, SIZE / 2), RADIUS)
    ring(INNER_LIPS, points, (SIZE / 2, SIZE / 2 + 25), RADIUS / 4)
    return points


def measured(
    points: np.ndarray, rgb: np.ndarray, mask: np.ndarray | None = None, occluded: np.ndarray | None = None
) -> FramePixels:
    mask = np.full((SIZE, SIZE), 255, np.uint8) if mask is None else mask
    return measure_frame(rgb, mask, np.zeros_like(mask, bool) if occluded is None else occluded, points)


def plain(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((SIZE, SIZE, 3), colour, np.uint8)


@pytest.mark.parametrize("sigma", [0.6, 1.0, 2.0, 4.0])
def test_the_blur_of_a_step_is_found(sigma: float):
    finer = 8  # a step is sampled by areas, as by a camera
    step = np.zeros((64, 128 * finer), np.float32)
    step[:, 64 * finer + 3 :] = 200
    blurred = cv2.GaussianBlur(step, (0, 0), sigma * finer, borderType=cv2.BORDER_REPLICATE)
    seen = np.rint(20 + cv2.resize(blurred, (128, 64), interpolation=cv2.INTER_AREA)).astype(np.uint8)
    assert edge_blur(seen, np.ones(seen.shape, bool)) == pytest.approx(sigma, abs=0.15, rel=0.1)


def test_an_even_picture_has_no_edge_to_measure():
    assert np.isnan(edge_blur(np.full((8, 8), 90, np.uint8), np.ones((8, 8), bool)))


def test_two_stops_darker_is_a_quarter_of_the_luminance(points: np.ndarray):
    linear = np.random.default_rng(0).uniform(0.3, 0.9, (SIZE, SIZE, 1)).repeat(3, 2)
    full, quarter = (measured(points, np.rint(255 * srgb(linear * f)).astype(np.uint8)) for f in (1, 0.25))
    assert np.log2(full.luminance / quarter.luminance) == pytest.approx(2, abs=0.02)
    assert full.luminance == pytest.approx(0.6, abs=0.02)


def test_clipped_parts_of_the_face_are_counted_and_others_are_not(points: np.ndarray):
    rgb = plain(SKIN)
    rgb[: SIZE // 2, : SIZE // 2] = 255
    rgb[SIZE // 2 :, SIZE // 2 :] = 0
    found = measured(points, rgb)
    assert found.white == pytest.approx(0.25, abs=0.01)
    assert found.black == pytest.approx(0.25, abs=0.01)


def test_teeth_are_what_is_bright_and_grey_between_the_lips(points: np.ndarray):
    rgb = plain(SKIN)
    assert measured(points, rgb).teeth == 0
    cv2.circle(rgb, (SIZE // 2, SIZE // 2 + 25), RADIUS // 4, TEETH, -1)
    cv2.circle(rgb, (SIZE // 2, SIZE // 2 - 25), RADIUS // 4, TEETH, -1)  # as bright, but on the forehead
    assert measured(points, rgb).teeth == pytest.approx(1 / 16, rel=0.1)
    rgb[SIZE // 2 + 25 :] = (150, 60, 60)  # the tongue
    assert measured(points, rgb).teeth == pytest.approx(1 / 32, rel=0.15)


def test_the_edge_of_a_mask_is_as_wide_as_it_was_made(points: np.ndarray):
    y, x = np.indices((SIZE, SIZE)) + 0.5
    away = np.hypot(x - SIZE / 2, y - SIZE / 2)
    mask = np.rint(255 * np.clip((85 - away) / 10 + 0.5, 0, 1)).astype(np.uint8)
    # The ramp is 10 pixels wide, four fifths of them between 0.1 and 0.9; a pixel's steps make an outline 5 % longer.
    assert measured(points, plain(SKIN), mask).unsure_edge * 2 * RADIUS == pytest.approx(8, rel=0.1)
    assert measured(points, plain(SKIN), mask).cut == 0


def test_what_a_mask_leaves_out_of_the_face_is_told(points: np.ndarray):
    mask = np.full((SIZE, SIZE), 255, np.uint8)
    mask[:, : SIZE // 2] = 0
    assert measured(points, plain(SKIN), mask).cut == pytest.approx(0.5, abs=0.01)


def test_skin_has_no_tint_in_white_light_and_that_of_a_lamp_in_its_light(points: np.ndarray):
    linear = np.array([0.5, 0.25, 0.18])
    white, blue = (np.broadcast_to(255 * srgb(linear * light), (SIZE, SIZE, 3)).round() for light in (1, [0.25, 1, 2]))
    assert measured(points, white.astype(np.uint8)).tint == 0
    # Red over green is 2 stops lower, at -1; blue over green one stop higher, at 0.526.
    assert measured(points, blue.astype(np.uint8)).tint == pytest.approx(np.hypot(1.3, 0.626), abs=0.03)


def test_two_colours_of_light_are_measured_by_their_distance(points: np.ndarray):
    linear = np.broadcast_to([0.4, 0.2, 0.15], (SIZE, SIZE, 3)).copy()
    assert measured(points, np.rint(255 * srgb(linear)).astype(np.uint8)).mixed == pytest.approx(0, abs=0.01)
    linear[:, : SIZE // 2] *= [1, 1, 2]
    linear[:, SIZE // 2 :] *= 0.5  # one side is darker: no matter
    assert measured(points, np.rint(255 * srgb(linear)).astype(np.uint8)).mixed == pytest.approx(1, abs=0.03)


def test_what_is_before_the_face_is_told_and_not_measured(points: np.ndarray):
    rgb, mask, hand = plain(SKIN), np.full((SIZE, SIZE), 255, np.uint8), np.zeros((SIZE, SIZE), bool)
    hand[:, : SIZE // 2] = True
    rgb[hand], mask[hand] = 255, 0
    half = measured(points, rgb, mask, hand)
    assert half.covered == pytest.approx(0.5, abs=0.01)
    assert (half.cut, half.white) == (0, 0)
    assert half.luminance == pytest.approx(measured(points, plain(SKIN)).luminance)


def test_a_face_outside_the_picture_measures_nothing(points: np.ndarray):
    assert np.isnan(measured(points + 10 * SIZE, plain(SKIN)).luminance)
