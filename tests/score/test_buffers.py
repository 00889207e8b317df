"""Each number against its closed form."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flare_cli.score.buffers import (
    angle_degrees,
    channel_factors,
    hue_degrees,
    intersection_over_union,
    mean_error,
    psnr_inside,
    psnr_of_all,
    relief_error,
)

ALL = torch.ones(2, 6, 8, dtype=torch.bool)
HALF = ALL.clone()
HALF[:, :, 4:] = False
NOTHING = torch.zeros_like(ALL)


@pytest.fixture
def colours() -> torch.Tensor:
    return 0.1 + 0.8 * torch.rand(2, 6, 8, 3, generator=torch.Generator().manual_seed(0))


@settings(max_examples=25, deadline=None)
@given(error=st.floats(0.001, 1))
def test_psnr_of_a_constant_error_is_its_logarithm(error: float):
    true = torch.zeros(2, 6, 8, 3)
    assert psnr_inside(true + error, true, HALF) == pytest.approx(-20 * math.log10(error), abs=1e-3)


def test_psnr_over_all_pixels_is_higher_by_the_part_that_counts(colours):
    apart = psnr_of_all(colours + 0.1, colours, HALF) - psnr_inside(colours + 0.1, colours, HALF)
    assert apart == pytest.approx(-10 * math.log10(0.5), abs=1e-4)


def test_pixels_outside_do_not_count(colours):
    wrong = torch.where(HALF[..., None], colours, 7.0)
    assert psnr_inside(wrong, colours, HALF) == 100
    assert channel_factors(wrong, colours, HALF).tolist() == pytest.approx([1, 1, 1])
    assert angle_degrees(wrong, colours, HALF) == pytest.approx(0, abs=1e-4)
    assert hue_degrees(wrong, colours, HALF) == pytest.approx(0, abs=1e-4)
    assert mean_error(wrong[..., 0], colours[..., 0], HALF) == 0
    assert relief_error(wrong[..., 0], colours[..., 0], HALF) == 0


def test_nothing_to_compare_is_no_number(colours):
    grey = colours[..., 0]
    for score in (psnr_inside, angle_degrees, hue_degrees):
        assert score(colours, colours, NOTHING) is None
    for score in (mean_error, relief_error):
        assert score(grey, grey, NOTHING) is None


@settings(max_examples=25, deadline=None)
@given(factors=st.lists(st.floats(0.1, 10), min_size=3, max_size=3))
def test_channel_factors_undo_what_was_multiplied(factors: list[float]):
    true = 0.1 + torch.rand(2, 6, 8, 3, generator=torch.Generator().manual_seed(1))
    found = channel_factors(true / torch.tensor(factors), true, HALF)
    assert found.tolist() == pytest.approx(factors, rel=1e-4)


def test_a_highlight_does_not_outweigh_the_rest_of_a_picture():
    true = 0.1 + 0.8 * torch.rand(2, 6, 8, 3, generator=torch.Generator().manual_seed(1))
    drawn = 2 * true
    drawn[0, 0, 0] = 500.0
    assert channel_factors(drawn, true, HALF).tolist() == pytest.approx([0.5] * 3)


def test_channel_factors_leave_the_least_squared_error(colours):
    drawn = colours.flip(0)
    best = channel_factors(drawn, colours, HALF)
    least = (drawn * best - colours)[HALF].square().sum(0)
    for change in (0.99, 1.01):
        assert ((drawn * best * change - colours)[HALF].square().sum(0) > least).all()


def test_a_black_channel_keeps_its_factor():
    assert channel_factors(torch.zeros(2, 6, 8, 3), torch.ones(2, 6, 8, 3), ALL).tolist() == [1, 1, 1]


@settings(max_examples=25, deadline=None)
@given(degrees=st.floats(0.001, 179.9), length=st.floats(0.1, 10))
def test_turned_directions_score_their_angle_whatever_their_length(degrees: float, length: float):
    angle = math.radians(degrees)
    true = torch.tensor([1.0, 0, 0]).expand(2, 6, 8, 3)
    drawn = length * torch.tensor([math.cos(angle), math.sin(angle), 0]).expand(2, 6, 8, 3)
    assert angle_degrees(drawn, true, ALL) == pytest.approx(degrees, rel=1e-3)


@settings(max_examples=25, deadline=None)
@given(degrees=st.floats(-179, 179), brightness=st.floats(0.1, 3))
def test_a_turn_about_the_grey_axis_is_the_hue_error(degrees: float, brightness: float):
    axis = torch.ones(3) / math.sqrt(3)
    true = torch.tensor([0.6, 0.4, 0.3])
    angle = math.radians(degrees)
    turned = (
        true * math.cos(angle)
        + torch.linalg.cross(axis, true) * math.sin(angle)
        + axis * (axis @ true) * (1 - math.cos(angle))
    )
    drawn, whole = (brightness * turned).expand(2, 6, 8, 3), true.expand(2, 6, 8, 3)
    assert hue_degrees(drawn, whole, ALL) == pytest.approx(abs(degrees), abs=0.01)


def test_grey_has_no_hue_to_miss():
    true = torch.full((2, 6, 8, 3), 0.5)
    assert hue_degrees(true * torch.tensor([1.0, 0.5, 0.2]), true, ALL) is None
    true[:, :3] = torch.tensor([0.6, 0.4, 0.3])  # alone counts
    drawn = true.clone()
    drawn[:, 3:] = torch.tensor([0.2, 0.4, 0.9])
    assert hue_degrees(drawn, true, ALL) == pytest.approx(0, abs=1e-4)


@settings(max_examples=25, deadline=None)
@given(offsets=st.tuples(st.floats(-1, 1), st.floats(-1, 1)))
def test_relief_forgives_how_far_each_picture_is_and_nothing_else(offsets: tuple[float, float]):
    true = torch.rand(2, 6, 8, generator=torch.Generator().manual_seed(2))
    offset = torch.tensor(offsets)[:, None, None]
    assert relief_error(true + offset, true, ALL) == pytest.approx(0, abs=1e-6)
    bumpy = true + offset
    bumpy[:, :, ::4] += 0.01  # a quarter of the pixels: the median stays where it is
    assert relief_error(bumpy, true, ALL) == pytest.approx(0.0025, abs=1e-6)


def test_mean_error_is_the_mean_absolute_difference():
    assert mean_error(torch.full((2, 6, 8), 0.2), torch.full((2, 6, 8), 0.5), ALL) == pytest.approx(0.3)


def test_overlap_of_boxes_and_of_nothing():
    shifted = HALF.roll(2, 2)
    assert intersection_over_union(shifted, HALF) == pytest.approx(2 / 6)
    assert intersection_over_union(NOTHING, NOTHING) == 1
