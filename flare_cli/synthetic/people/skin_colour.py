"""Skin's colour from what colours it: melanin in a thin upper layer, blood in a deep scattering one.

Two layers of Kubelka and Munk, at three wavelengths that stand for red, green and blue. Absorption of melanin and
scattering of the dermis: S. L. Jacques, "Skin optics" (Oregon Medical Laser Center News, 1998); of haemoglobin: S.
Prahl's table "Optical absorption of hemoglobin" (omlc.org, 1999). The layering is that of Donner and Jensen, "A
spectral BSSRDF for shading human skin" (2006), in closed form.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

WAVELENGTHS = np.array([610.0, 550.0, 450.0])  # nm: where sRGB's matching functions for linear light peak
# Molar extinction at these wavelengths, 1 / (cm M), with oxygen and without (Prahl).
OXYGENATED, DEOXYGENATED = np.array([1506.0, 43016.0, 62816.0]), np.array([9443.6, 53412.0, 103292.0])
BLOOD_GRAMS, MOLAR_GRAMS = 150.0, 64500.0  # haemoglobin in a litre of blood, and in a mole (Prahl)
OXYGEN = 0.75  # share of haemoglobin that carries oxygen in skin, between veins and arteries
EUMELANIN = 0.5  # share of melanin; Donner and Jensen: 0.3 to 0.7
EPIDERMIS = 0.006  # cm (Jacques)
# Of light through a scattering layer, Kubelka and Munk's coefficients: diffuse light goes twice as far, and three
# quarters of the reduced scattering turn it back.
PATH, BACK = 2.0, 0.75


def skin_albedo(melanin: Float[np.ndarray, "*N"], blood: Float[np.ndarray, "*N"]) -> Float[np.ndarray, "*N 3"]:
    """Linear albedo (red, green, blue) from volume fractions: melanosomes in the epidermis, blood in the dermis.

    Jacques' melanosomes: 0.013 to 0.063 in light, 0.11 to 0.16 in medium, 0.18 to 0.43 in dark skin.
    """
    upper = melanin[..., None] * melanin_absorption() + (1 - melanin[..., None]) * baseline_absorption()
    deep = blood[..., None] * blood_absorption() + (1 - blood[..., None]) * baseline_absorption()
    scattering = BACK * reduced_scattering()
    reflected, passed = layer(PATH * upper, scattering, EPIDERMIS)
    below = endless_layer(PATH * deep, scattering)
    return reflected + passed**2 * below / (1 - reflected * below)


def melanin_absorption() -> Float[np.ndarray, "3"]:
    """Of a melanosome's inside, 1 / cm: brown eumelanin (Jacques) and yellow pheomelanin (Donner and Jensen)."""
    return EUMELANIN * 6.6e11 * WAVELENGTHS**-3.33 + (1 - EUMELANIN) * 2.9e15 * WAVELENGTHS**-4.75


def baseline_absorption() -> Float[np.ndarray, "3"]:
    """Of skin without melanin and blood, 1 / cm (Jacques)."""
    return 0.244 + 85.3 * np.exp(-(WAVELENGTHS - 154) / 66.2)


def blood_absorption() -> Float[np.ndarray, "3"]:
    """Of whole blood, 1 / cm: extinction is to the base of 10."""
    extinction = OXYGEN * OXYGENATED + (1 - OXYGEN) * DEOXYGENATED
    return np.log(10) * extinction * BLOOD_GRAMS / MOLAR_GRAMS


def reduced_scattering() -> Float[np.ndarray, "3"]:
    """Of skin, 1 / cm: Mie by fibres and Rayleigh by what is smaller (Jacques)."""
    return 2e5 * WAVELENGTHS**-1.5 + 2e12 * WAVELENGTHS**-4


def layer(
    absorption: Float[np.ndarray, "*N 3"], scattering: Float[np.ndarray, "3"], thickness: float
) -> tuple[Float[np.ndarray, "*N 3"], Float[np.ndarray, "*N 3"]]:
    """Reflectance and transmittance of a layer for diffuse light (Kubelka 1948)."""
    a = 1 + absorption / scattering
    b = np.sqrt(a**2 - 1)
    depth = b * scattering * thickness
    below = a * np.sinh(depth) + b * np.cosh(depth)
    return np.sinh(depth) / below, b / below


def endless_layer(
    absorption: Float[np.ndarray, "*N 3"], scattering: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "*N 3"]:
    """Reflectance of a layer without an end (Kubelka and Munk 1931)."""
    a = 1 + absorption / scattering
    return a - np.sqrt(a**2 - 1)
