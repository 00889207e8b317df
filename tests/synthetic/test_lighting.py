"""Maps turned and exposed for a portrait, against closed forms."""

import math

import pytest
import torch

from flare_cli.synthetic.lighting import BRIGHTEST_CARD, KEY_YAW, card_radiance, exposed, front_lit


def lamp(column: int, *, height: int = 64) -> torch.Tensor:
    envmap = torch.full((height, 2 * height, 3), 0.01)
    envmap[height // 2 - 2 : height // 2 + 2, column] = 500.0
    return envmap


def yaw_of(envmap: torch.Tensor) -> float:
    """Where the brightest column stands: 0 is +z, towards the viewer, positive towards +x."""
    phi = ((int(envmap.sum((0, 2)).argmax()) + 0.5) / envmap.shape[1] - 0.5) * 2 * math.pi
    return math.atan2(math.sin(phi), -math.cos(phi))


@pytest.mark.parametrize("height", [16, 64, 100])
def test_a_white_card_under_a_white_sky_is_white_and_under_half_a_sky_half_white(height):
    up, side = torch.eye(3)[1], torch.eye(3)[0]
    sky = torch.ones(height, 2 * height, 3)
    torch.testing.assert_close(card_radiance(sky, torch.stack([up, side])), torch.ones(2, 3), atol=5e-3, rtol=0)
    sky[height // 2 :] = 0
    expected = torch.tensor([1.0, 0.5, 0.0])[:, None].expand(3, 3)
    torch.testing.assert_close(card_radiance(sky, torch.stack([up, side, -up])), expected, atol=5e-3, rtol=0)


def test_the_right_half_of_a_map_lights_cards_that_face_positive_x():
    envmap = torch.zeros(32, 64, 3)
    envmap[:, 32:] = 1.0
    left, right = card_radiance(envmap, torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]]))[:, 0]
    assert float(left) == pytest.approx(1, abs=1e-3)
    assert float(right) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("column", [0, 17, 64, 100, 127])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_wherever_the_lamp_is_it_is_turned_to_the_front_and_a_little_aside(column, seed):
    yaw = yaw_of(front_lit(lamp(column), seed=seed))
    step = math.radians(5)  # yaws are tried in these steps
    assert KEY_YAW[0] - step < abs(yaw) < KEY_YAW[1] + step


def test_the_seed_picks_the_side():
    yaws = [yaw_of(front_lit(lamp(0), seed=seed)) for seed in range(12)]
    assert min(yaws) < 0 < max(yaws)
    assert len({round(yaw, 3) for yaw in yaws}) > 6


def test_turning_moves_columns_and_exposing_scales_them():
    envmap = torch.rand(16, 32, 3, generator=torch.Generator().manual_seed(0))
    turned = front_lit(envmap, seed=3)
    assert any(torch.equal(turned, envmap.roll(k, dims=1)) for k in range(32))
    scaled = exposed(envmap)
    torch.testing.assert_close(scaled / envmap, (scaled / envmap)[:1, :1, :1].expand_as(envmap))


def test_the_brightest_card_is_as_bright_as_meant_whatever_the_maps_level():
    for level in (1e-3, 1.0, 1e3):
        envmap = exposed(level * torch.tensor([1.0, 0.5, 0.25]).expand(32, 64, 3))
        assert float(envmap[0, 0, 0]) == pytest.approx(BRIGHTEST_CARD, rel=5e-3)
