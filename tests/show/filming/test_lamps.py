"""A lamp lights a card that faces it as it says, from where it says; what is wrong with one is named."""

import math

import pytest
import torch

from flare_cli.errors import EnvmapError
from flare_cli.render.colour import linear_from_srgb
from flare_cli.render.light.environment import prefilter
from flare_cli.render.light.samples import map_directions, sample_environment
from flare_cli.show.filming.lamps import PRESETS, Lamp, linear_colour, paint_lamps, parse_lamp


@pytest.mark.parametrize("name", PRESETS)
def test_a_matte_card_that_faces_a_lamp_has_its_strength_and_colour(name: str):
    lamp = PRESETS[name]
    facing = torch.tensor([lamp.direction()])
    expected = lamp.strength * torch.tensor([lamp.colour])
    picture = paint_lamps((lamp,))
    torch.testing.assert_close(prefilter(picture).diffuse(facing), expected, rtol=0.03, atol=0)
    torch.testing.assert_close(sample_environment(picture, 256).diffuse(facing), expected, rtol=0.02, atol=0)


def test_a_lamp_is_a_disc_of_its_width_where_it_stands():
    lamp = Lamp(azimuth=60, elevation=-20, width=24, strength=2)
    picture, looking = paint_lamps((lamp,), rows=256)[..., 0], map_directions(256)
    angle = torch.rad2deg((looking @ torch.tensor(lamp.direction())).clamp(-1, 1).acos())
    assert (picture[angle < 11] > 0.999 * picture.max()).all()
    assert (picture[angle > 13] == 0).all()
    # Radiance of a disc of half width a, whose irradiance over pi is the strength: strength / sin^2 a.
    assert float(picture.max()) == pytest.approx(2 / math.sin(math.radians(12)) ** 2, rel=0.01)
    x, y, z = lamp.direction()
    assert x > 0  # to the subject's left
    assert y < 0
    assert z > 0  # from the viewer's side


def test_lamps_add_up():
    key, rim = PRESETS["key"], PRESETS["rim"]
    torch.testing.assert_close(paint_lamps((key, rim)), paint_lamps((key,)) + paint_lamps((rim,)))


def test_a_preset_is_changed_by_what_follows_its_name():
    lamp = parse_lamp("rim:azimuth=150,strength=3,colour=#ff8000")
    assert (lamp.azimuth, lamp.strength, lamp.width) == (150, 3, PRESETS["rim"].width)
    torch.testing.assert_close(torch.tensor(lamp.colour), linear_from_srgb(torch.tensor([255.0, 128, 0]) / 255))
    assert parse_lamp("key") == PRESETS["key"]
    assert linear_colour("white") == (1, 1, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sun", "no lamp 'sun'"),
        ("key:height=3", "no 'height'"),
        ("key:elevation=120", "-90 to 90"),
        ("key:strength=much", "not a number"),
        ("key:strength=nan", "not a number"),
        ("fill:colour=warm", "'warm' is not a colour"),
        ("fill:colour=#ff", "'#ff' is not a colour"),
    ],
)
def test_what_is_wrong_with_a_lamp_is_named(text: str, said: str):
    with pytest.raises(EnvmapError, match=said):
        parse_lamp(text)
