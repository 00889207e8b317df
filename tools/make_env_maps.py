"""Make the bundled environment maps: `python tools/make_env_maps.py [FOLDER]`. Procedural and deterministic.

Each is 256 x 128, linear, and scaled so that a face looking along +z receives an irradiance / pi of 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from flare_cli.data.hdr import save_hdr

ROWS = 128


def directions() -> np.ndarray:
    """Unit directions of texel centres (docs/conventions.md): row 0 up, centre -z, right half +x."""
    theta = (np.arange(ROWS) + 0.5)[:, None] / ROWS * np.pi
    phi = ((np.arange(2 * ROWS) + 0.5)[None] / (2 * ROWS) - 0.5) * 2 * np.pi
    return np.stack([np.sin(theta) * np.sin(phi), np.cos(theta) + 0 * phi, -np.sin(theta) * np.cos(phi)], -1)


TOWARD = directions()
HEIGHT = TOWARD[..., 1:2]  # sine of the elevation


def smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def aim(azimuth: float, elevation: float) -> np.ndarray:
    """Unit direction; azimuth in degrees from +z (in front of the face) toward +x, elevation above the horizon."""
    a, e = np.radians([azimuth, elevation])
    return np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])


def panel(azimuth: float, elevation: float, width: float, height: float, soft: float = 0.06) -> np.ndarray:
    """Mask of a rectangular lamp; sizes are tangents of half angles."""
    centre = aim(azimuth, elevation)
    right = np.cross([0.0, 1.0, 0.0], centre)
    right /= np.linalg.norm(right)
    up = np.cross(centre, right)
    depth = np.maximum(TOWARD @ centre, 1e-3)
    x, y = np.abs(TOWARD @ right) / depth, np.abs(TOWARD @ up) / depth
    inside = 1 - smoothstep(width - soft, width + soft, x)
    inside = inside * (1 - smoothstep(height - soft, height + soft, y)) * (TOWARD @ centre > 0.05)
    return inside[..., None]


def glow(azimuth: float, elevation: float, degrees: float) -> np.ndarray:
    """A round soft light whose brightness falls to 1/e at `degrees`."""
    cosine = (TOWARD @ aim(azimuth, elevation))[..., None]
    return np.exp((cosine - 1) / (1 - np.cos(np.radians(degrees))))


def colour(red: float, green: float, blue: float) -> np.ndarray:
    return np.array([red, green, blue])


def studio() -> np.ndarray:
    """A dark room: large soft key light front right, weak fill on the left, two rim strips behind, a pale floor."""
    room = 0.02 + 0.05 * smoothstep(0.0, 1.0, -HEIGHT)
    light = room * colour(1.0, 0.98, 0.95)
    light = light + 14.0 * panel(42, 32, 0.42, 0.42) * colour(1.0, 0.96, 0.9)
    light = light + 1.3 * panel(-58, 8, 0.5, 0.7) * colour(0.9, 0.96, 1.0)
    light = light + 9.0 * panel(150, 20, 0.1, 0.75, 0.03) * colour(1.0, 1.0, 1.0)
    return light + 7.0 * panel(-145, 25, 0.1, 0.75, 0.03) * colour(0.92, 0.97, 1.0)


def overcast() -> np.ndarray:
    """The CIE standard overcast sky (zenith three times the horizon) with faint cloud banks, over grass and asphalt."""
    x, y, z = np.moveaxis(TOWARD, -1, 0)
    banks = np.sin(5 * x + 2 * np.sin(4 * y + 3 * z)) * np.sin(6 * z + 2 * np.sin(3 * x)) * (1 - np.abs(y))
    sky = (1 + 2 * np.clip(HEIGHT, 0, 1)) / 3 * (1 + 0.12 * banks[..., None]) * colour(0.95, 1.0, 1.08)
    ground = 0.18 * (1 + 0.3 * banks[..., None]) * colour(0.95, 1.0, 0.8)
    return ground + (sky - ground) * smoothstep(-0.03, 0.03, HEIGHT)


def sunset() -> np.ndarray:
    """A low sun front left, an orange horizon that fades to blue, dark land."""
    elevation = np.clip(HEIGHT, 0, 1)
    toward_sun = (TOWARD @ aim(-62, 7))[..., None]
    horizon = np.exp(-6 * elevation) * (0.35 + 0.65 * smoothstep(-0.6, 1.0, toward_sun))
    sky = 0.55 * horizon * colour(1.0, 0.45, 0.18) + 0.22 * (1 - np.exp(-3 * elevation)) * colour(0.35, 0.55, 1.0)
    sky = sky + 1.2 * glow(-62, 7, 14) * colour(1.0, 0.55, 0.22) + 260 * glow(-62, 7, 1.6) * colour(1.0, 0.62, 0.3)
    land = 0.02 * colour(0.9, 0.7, 0.6) * (1 + smoothstep(-0.2, 1.0, toward_sun))
    return land + (sky - land) * smoothstep(-0.02, 0.02, HEIGHT)


def night_street() -> np.ndarray:
    """Sodium lamps along a street, a cyan and a magenta sign, lit windows, a wet road that mirrors them."""
    rng = np.random.default_rng(7)
    above = 0.004 * colour(0.5, 0.65, 1.0) * np.ones_like(HEIGHT)
    azimuth = np.degrees(np.arctan2(TOWARD[..., 0], TOWARD[..., 2]))[..., None]
    facade = (np.abs(np.sin(np.radians(azimuth))) > 0.45) & (HEIGHT < 0.55)
    above = above + facade * 0.01 * colour(1.0, 0.85, 0.7)
    column, floor = np.floor(azimuth / 9).astype(int) + 20, np.floor(np.clip(HEIGHT, 0, 1) / 0.11).astype(int)
    lit = rng.random((64, 16)) < 0.22
    within = (np.abs(azimuth / 9 - np.floor(azimuth / 9) - 0.5) < 0.3) & (np.abs(HEIGHT / 0.11 % 1 - 0.5) < 0.3)
    above = above + (facade & within & lit[column, floor]) * 0.35 * colour(1.0, 0.8, 0.5)
    for where, elevation, power in ((35, 48, 90), (-75, 40, 60), (120, 35, 60), (-150, 30, 50), (175, 18, 30)):
        lamp = glow(where, elevation, 2.2) + 0.004 * glow(where, elevation, 12)
        above = above + power * lamp * colour(1.0, 0.6, 0.22)
    above = above + 5.0 * panel(-48, 12, 0.1, 0.3, 0.03) * colour(0.1, 0.85, 1.0)
    above = above + 4.0 * panel(82, 14, 0.28, 0.09, 0.03) * colour(1.0, 0.12, 0.7)
    mirrored = 0.12 * above[::-1] + 0.006 * colour(1.0, 0.8, 0.6)
    return np.where(HEIGHT > 0, above, mirrored)


def exposed(light: np.ndarray) -> np.ndarray:
    """Scaled so that the mean over channels of irradiance / pi on a surface that faces +z is 1."""
    edges = np.cos(np.arange(ROWS + 1) / ROWS * np.pi)
    solid_angle = ((edges[:-1] - edges[1:]) * np.pi / ROWS)[:, None, None]
    irradiance = (light * np.clip(TOWARD[..., 2:], 0, None) * solid_angle).sum((0, 1)).mean() / np.pi
    return (light / irradiance).astype(np.float32)


def main(folder: Path) -> None:
    for make in (studio, overcast, sunset, night_street):
        save_hdr(folder / f"{make.__name__}.hdr", exposed(make()))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "assets" / "env_maps")
