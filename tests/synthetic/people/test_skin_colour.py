"""Skin's colour against published coefficients, closed forms and the range of real skin."""

import numpy as np
import pytest

from flare_cli.synthetic.people import skin_colour
from flare_cli.synthetic.people.skin_colour import endless_layer, layer, skin_albedo
from flare_cli.synthetic.people.skin_paint import BLOOD, MELANIN


@pytest.mark.parametrize(
    ("skin", "expected"),
    [("light", (0.59, 0.42, 0.33)), ("medium", (0.37, 0.22, 0.13)), ("dark", (0.13, 0.07, 0.045))],
)
def test_three_kinds_of_skin_have_the_albedo_of_real_ones(skin, expected):
    albedo = skin_albedo(np.array(MELANIN[skin]), np.array(BLOOD))
    np.testing.assert_allclose(albedo, expected, atol=0.02)
    assert albedo[0] > albedo[1] > albedo[2]


def test_absorption_is_what_the_sources_say():
    # Jacques: a melanosome's eumelanin near 694 nm has about 230 / cm; his formula at our wavelengths, by hand.
    eumelanin = np.array([350.3, 494.5, 964.6])
    pheomelanin = np.exp(np.log(2.9e15) - 4.75 * np.log(skin_colour.WAVELENGTHS))
    share = skin_colour.EUMELANIN
    expected = share * eumelanin + (1 - share) * pheomelanin
    np.testing.assert_allclose(skin_colour.melanin_absorption(), expected, rtol=1e-3)
    # Prahl's example: 150 g / l of haemoglobin, 64500 g / mole; oxygenated at 550 nm: 2.303 * 43016 * 150 / 64500.
    by_hand = 2.303 * (0.75 * 43016 + 0.25 * 53412) * 150 / 64500
    assert skin_colour.blood_absorption()[1] == pytest.approx(by_hand, rel=1e-3)


def test_melanin_darkens_and_blood_reddens():
    base = skin_albedo(np.array(0.05), np.array(0.01))
    tanned, flushed = skin_albedo(np.array(0.1), np.array(0.01)), skin_albedo(np.array(0.05), np.array(0.04))
    assert (tanned < base).all()
    assert (flushed < base).all()
    assert flushed[0] / flushed[1] > 1.15 * base[0] / base[1]


def test_a_layer_that_absorbs_nothing_loses_nothing():
    none, scattering = np.full(3, 1e-9), np.array([20.0, 30.0, 40.0])
    reflected, passed = layer(none, scattering, 0.01)
    np.testing.assert_allclose(reflected + passed, 1, atol=1e-4)
    np.testing.assert_allclose(reflected, scattering * 0.01 / (1 + scattering * 0.01), rtol=1e-4)  # two-flux slab


def test_a_thick_layer_is_an_endless_one_and_two_layers_are_one():
    absorption, scattering = np.array([5.0, 10.0, 20.0]), np.array([20.0, 30.0, 40.0])
    endless = endless_layer(absorption, scattering)
    np.testing.assert_allclose(layer(absorption, scattering, 3.0)[0], endless, rtol=1e-6)
    reflected, passed = layer(absorption, scattering, 0.02)
    stacked = reflected + passed**2 * endless / (1 - reflected * endless)
    np.testing.assert_allclose(stacked, endless, rtol=1e-6)
