"""What seen hair is like from near, to go on with where none was: its shades, how wide its locks are, how long."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.unseen.scalp import Scalp

# Locks: rows of so many metres from the crown on, so many places around it, and how they turn about it per metre.
ROW, ROWS, PLACES, SWIRL = 0.0015, 192, 1024, 1.5
# There are strands, locks and tufts: their widths against that of what was seen, and their parts of the variance.
WIDTHS = ((0.5, 0.3), (1.0, 0.45), (2.5, 0.25))
# Metres from the crown within which all is of the mean colour, less and less.
WHORL = 0.02
# Locks stray from the comb by so much, over so much along them and across (metres; deviations).
WAVE, WAVES = 0.003, (0.02, 0.015)
# Distances (metres) at which seen hair is compared with itself, and bounds of the deviation of a lock across.
LAGS = (0.001, 0.002, 0.003, 0.004, 0.006, 0.008, 0.012)
FINEST, COARSEST = 0.0007, 0.0015
# Metres: how far places are apart whose change tells which way hair is combed, deviation of what is combed alike; and
# how many times as long as wide locks are, by how much less changes along than across, and at most: by eye, on straight
# hair, combed (ratio 3.5) and less so (3.1), and on short curls (2.2).
GRADIENT, ALIKE, COMBED, LONGEST = 0.0015, 0.006, 3.0, 8.0
# Places that seen hair is looked at, of so many square metres at least; and steps of its colours from dark to light.
SAMPLES, LEAST_AREA, SHADES = 2048, 2e-4, 33
# Metres: deviation of the Gaussian around a place whose mean counts as the colour there.
AROUND = 0.012
# Of hair's albedo so much at either end counts as an outlier.
OUTLYING = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Places on what covers the skull: where on the template (metres), where they look up their material, and that.

    `along` are two directions along the surface at each, at right angles, of a metre on the template, and `canonical
    along` the same where materials are looked up.
    """

    places: Float[Tensor, "P 3"]
    along: Float[Tensor, "P 2 3"]
    canonical: Float[Tensor, "P 3"]
    canonical_along: Float[Tensor, "P 2 3"]
    values: Float[Tensor, "P 5"]

    def weights_about(self, places: Float[Tensor, "N 3"], deviation: float) -> Float[Tensor, "N P"]:
        """How much each sample counts in a mean around places, by a Gaussian. Where none is near the nearest does."""
        squared = torch.cdist(places, self.places).square()
        weight = torch.exp(-0.5 / deviation**2 * (squared - squared.amin(1, keepdim=True)))
        return weight / weight.sum(1, keepdim=True)

    def mean_about(self, places: Float[Tensor, "N 3"], deviation: float = AROUND) -> Float[Tensor, "N 5"]:
        """The mean material around places; of albedo the geometric one."""
        logarithmic = torch.cat([self.values[:, :3].log(), self.values[:, 3:]], 1)
        mean = self.weights_about(places, deviation) @ logarithmic
        return torch.cat([mean[:, :3].exp(), mean[:, 3:]], 1)


def samples_of(avatar: Avatar, share: Float[Tensor, "V 1"]) -> Samples | None:
    """Places spread by area times the least `share` of a triangle's corners; None where that is too little."""
    faces = avatar.mesh.topology.faces
    faces = faces[(share[:, 0] > 0)[faces].all(1)]
    template, canonical = avatar.mesh.topology.carried(avatar.head.template), avatar.material_positions()
    random = np.random.default_rng(0)
    edges = template[faces[:, 1:]] - template[faces[:, :1]]
    area = torch.linalg.cross(edges[:, 0], edges[:, 1]).norm(dim=1).cpu().double().numpy()
    mass = 0.5 * area * share[faces].amin((1, 2)).cpu().double().numpy()
    if mass.sum() < LEAST_AREA:
        return None
    chosen = faces[torch.from_numpy(random.choice(len(faces), SAMPLES, p=mass / mass.sum())).to(faces.device)]
    barycentric = torch.from_numpy(random.dirichlet(np.ones(3), SAMPLES)).to(template)[..., None]
    at, looked_up = template[chosen], canonical[chosen]
    where = (looked_up * barycentric).sum(1).contiguous()
    (first, second), (there, other) = ((c[:, 1:] - c[:, :1]).unbind(1) for c in (at, looked_up))
    part = (first * second).sum(1, keepdim=True) / first.square().sum(1, keepdim=True)
    lengths = first.norm(dim=1, keepdim=True), (second - part * first).norm(dim=1, keepdim=True)
    return Samples(
        places=(at * barycentric).sum(1),
        along=torch.stack([first / lengths[0], (second - part * first) / lengths[1]], 1),
        canonical=where,
        canonical_along=torch.stack([there / lengths[0], (other - part * there) / lengths[1]], 1),
        values=avatar.material(where).in_columns(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Locks:
    """Lighter and darker locks. `pattern` is 0..1, evenly spread, over `Scalp.combed`: rows, then places around.

    `shades` are albedo over its mean around, for the pattern from 0 to 1; `bounds` the darkest albedo and the lightest.
    """

    pattern: Float[Tensor, "_ _"]
    shades: Float[Tensor, "N 3"]
    bounds: Float[Tensor, "2 3"]

    def at(self, combed: Float[Tensor, "P 3"]) -> Float[Tensor, "P 1"]:
        """The pattern at places under the comb."""
        around = torch.atan2(combed[:, 1], combed[:, 0]) / math.pi  # -1..1, as `grid_sample` wants
        down = combed[:, 2] / (0.5 * ROW * (len(self.pattern) - 1)) - 1
        grid = torch.stack([around, down], 1)[None, None]
        return torch.nn.functional.grid_sample(
            self.pattern[None, None], grid, padding_mode="border", align_corners=True
        )[0, 0].T

    def shaded(self, albedo: Float[Tensor, "P 3"], pattern: Float[Tensor, "P 1"]) -> Float[Tensor, "P 3"]:
        """Hair of this mean albedo with its lighter and darker locks."""
        place = pattern[:, 0] * (len(self.shades) - 1)
        low = place.long().clamp(0, len(self.shades) - 2)
        shade = self.shades[low].lerp(self.shades[low + 1], (place - low)[:, None])
        return (albedo * shade).clamp(*self.bounds)


def locks_like(avatar: Avatar, samples: Samples, scalp: Scalp) -> Locks:
    """Locks with the shades of these samples, as wide as what changes there, and the longer the more it is combed."""
    albedo, mean = samples.values[:, :3], samples.mean_about(samples.places, ALIKE)[:, :3]
    by_lightness = (albedo / mean)[(albedo / mean).mean(1).argsort()]
    outlying = round(OUTLYING * SAMPLES)
    shades = torch.stack([part.mean(0) for part in by_lightness[outlying:-outlying].tensor_split(SHADES)])
    lightness = albedo.mean(1).log()

    def changes(lag: float) -> Float[Tensor, "P 2"]:
        """Of the logarithm of albedo, so far (metres) in both directions."""
        moved = samples.canonical[:, None] + lag * samples.canonical_along
        return avatar.material(moved.flatten(0, 1)).albedo.mean(1).log().view(-1, 2) - lightness[:, None]

    variance = (lightness - mean.mean(1).log()).square().mean()
    change = [0.0, *(float(changes(lag).square().mean()) for lag in LAGS)]
    # Of Gaussian noise blurred by d, half of the variance is left between places 2 d sqrt(log 2) apart.
    half = np.interp(float(variance), np.maximum.accumulate(change), (0.0, *LAGS))
    across = min(max(float(half) / (2 * math.sqrt(math.log(2))), FINEST), COARSEST)
    return Locks(
        pattern=_pattern(across, _elongation(samples, changes(GRADIENT)), scalp.radius).to(albedo),
        shades=shades,
        bounds=albedo.quantile(albedo.new_tensor([OUTLYING, 1 - OUTLYING]), dim=0),
    )


def _elongation(samples: Samples, changes: Float[Tensor, "P 2"]) -> float:
    """How many times as long as wide what is seen is: of curls and bristles it is near 1.

    By the structure tensor around each sample, of changes in both of its directions. Of blurred noise the root of its
    eigenvalues' ratio would be the answer; but a fit blurs hair to all sides, so what the ratio exceeds 1 by is what
    says how much it is combed.
    """
    gradient = (changes[..., None] * samples.along).sum(1)
    squares = (gradient[:, :, None] * gradient[:, None]).flatten(1)
    tensor = samples.weights_about(samples.places, ALIKE) @ squares
    eigenvalues = torch.linalg.eigvalsh(tensor.view(-1, 3, 3))  # the least is along the normal
    ratio = float((eigenvalues[:, 2] / eigenvalues[:, 1].clamp(min=1e-12)).median())
    return min(max(COMBED * (ratio - 1), 1.0), LONGEST)


def _pattern(across: float, elongation: float, radius: float) -> Float[Tensor, "R A"]:
    """Locks that deviate so far across (metres) and so many times as far along; one more place closes the circle."""
    from scipy import ndimage, special  # takes long to load, of a fit's start too, which needs no locks

    random, distance = np.random.default_rng(0), ROW * np.arange(ROWS)
    # A row is a circle about the crown, and what is so wide there takes up the more places the smaller it is.
    place = 2 * np.pi * radius * np.maximum(np.sin(distance / radius), 0.05) / PLACES

    def noise(along: float, across: float) -> Float[np.ndarray, "R A"]:
        """Gaussian noise of variance 1, blurred by so many metres."""
        rows = ndimage.gaussian_filter1d(random.normal(size=(ROWS, PLACES)), along / ROW, axis=0)
        kept = np.exp(-0.5 * (2 * np.pi * np.fft.rfftfreq(PLACES) * (across / place)[:, None]) ** 2)
        blurred = np.fft.irfft(np.fft.rfft(rows, axis=1) * kept, PLACES, axis=1)
        return blurred / blurred.std()

    locks = sum(part**0.5 * noise(elongation * width * across, width * across) for width, part in WIDTHS)
    locks *= np.minimum(distance / WHORL, 1)[:, None]
    row, column = np.indices(locks.shape).astype(float)
    column += (SWIRL / (2 * np.pi) * PLACES * distance + WAVE * noise(*WAVES).T / place).T
    waved = ndimage.map_coordinates(locks, [row, column], order=1, mode="grid-wrap")
    spread = special.ndtr(waved / waved.std())
    return torch.from_numpy(np.concatenate([spread, spread[:, :1]], 1))
