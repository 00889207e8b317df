"""The backends under test: each on its device, fed and read from the CPU, with what it is known not to do."""

from dataclasses import dataclass

import pytest
import torch
import warp as wp

from flare_cli.errors import BackendError
from flare_cli.render.backend import choose_encoding, choose_rasterizer
from flare_cli.render.raster.antialias import antialias
from flare_cli.render.raster.fragments import Fragments, Pixels, foreground, scatter

RASTERIZERS = [("warp", "cpu"), ("pytorch3d", "cpu"), ("warp", "cuda"), ("nvdiffrast", "cuda"), ("pytorch3d", "cuda")]
ENCODINGS = [("warp", "cpu"), ("torch", "cpu"), ("warp", "cuda"), ("torch", "cuda"), ("tinycudann", "cuda")]


def parameters(candidates):
    return [pytest.param(c, id="-".join(c), marks=[pytest.mark.gpu] if c[1] == "cuda" else []) for c in candidates]


def needs(device):
    """Skip where the device, or Warp's compiler for it, is not there."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    if device == "cpu" and not wp.is_cpu_available():
        pytest.skip("Warp has no CPU compiler here")


@dataclass(frozen=True)
class OnDevice:
    """A rasterizer that is handed CPU tensors and returns CPU tensors; gradients pass."""

    inner: object
    device: str

    @property
    def name(self):
        return self.inner.name

    def rasterize(self, clip, faces, height, width):
        return _moved(self.inner.rasterize(clip.to(self.device), faces.to(self.device), height, width), "cpu")

    def foreground(self, fragments, capacity=None):
        pixels = foreground(_moved(fragments, self.device), capacity)
        n_covered = None if pixels.n_covered is None else pixels.n_covered.cpu()
        return Pixels(pixels.index.cpu(), pixels.batch.cpu(), n_covered)

    def interpolate(self, attributes, faces, fragments, pixels):
        fragments, pixels = _moved(fragments, self.device), self._pixels(pixels)
        return self.inner.interpolate(attributes.to(self.device), faces.to(self.device), fragments, pixels).cpu()

    def scatter(self, values, pixels, shape, background):
        background = background.to(self.device) if isinstance(background, torch.Tensor) else background
        return scatter(values.to(self.device), self._pixels(pixels), shape, background).cpu()

    def antialias(self, image, clip, faces, fragments):
        image, clip, faces = (tensor.to(self.device) for tensor in (image, clip, faces))
        return antialias(image, clip, faces, _moved(fragments, self.device)).cpu()

    def _pixels(self, pixels):
        n_covered = None if pixels.n_covered is None else pixels.n_covered.to(self.device)
        return Pixels(pixels.index.to(self.device), pixels.batch.to(self.device), n_covered)


def _moved(fragments, device):
    return Fragments(fragments.triangle.to(device), fragments.barycentric.to(device), fragments.depth.to(device))


def rasterizer_of(candidate):
    name, device = candidate
    needs(device)
    try:
        return OnDevice(choose_rasterizer(name, device), device)
    except BackendError as missing:
        pytest.skip(missing.message)


def encoding_of(candidate, **shape):
    name, device = candidate
    needs(device)
    try:
        return choose_encoding(name, device, **shape)
    except BackendError as missing:
        pytest.skip(missing.message)


@dataclass(frozen=True)
class Departure:
    """Why a test fails: in all its cases, or in those that are named (by the rest of their parameters)."""

    reason: str
    cases: tuple[str, ...] = ()


SNAPS = "snaps vertices to 1/16 pixel"
# What a backend does not do, as its docstring says: the tests that show it.
DEPARTURES = {
    "pytorch3d": {
        "test_a_pixel_centre_on_an_edge_belongs_to_the_top_left": Departure("draws no centre that lies on an edge"),
        "test_a_triangulated_square_covers_every_pixel_once": Departure("leaves gaps where an edge meets a centre"),
    },
    "nvdiffrast": {
        "test_pixels_inside_a_triangle_are_covered": Departure(SNAPS),
        "test_a_triangle_soup_matches_the_twin": Departure(
            SNAPS, ("0-False", "0-True", "1-False", "1-True", "2-True", "3-False")
        ),
        "test_gradients_of_barycentrics_and_depth_match_the_twin": Departure(SNAPS, ("0", "2")),
        # Our antialiasing starts at the pixels that nvdiffrast covers: a snapped edge loses the pixels it jumps over.
        "test_moving_an_edge_changes_coverage_by_its_length": Departure(SNAPS, ("0",)),
        "test_a_convex_body_is_antialiased_like_the_twin": Departure(SNAPS, ("3",)),
        "test_silhouette_gradients_match_finite_differences": Departure(SNAPS, ("1-0",)),
        "test_the_nearer_triangle_wins_and_ties_go_to_the_lower": Departure("of equally near triangles shows the last"),
        "test_a_vertex_that_is_not_a_number_hides_its_triangle": Departure("draws triangles with such a vertex"),
    },
}


def expected_failure(name, node):
    """Why the test of this pytest node fails with the backend called `name`, or None."""
    departure = DEPARTURES.get(name, {}).get(node.originalname)
    if departure is None:
        return None
    case = node.callspec.id.partition("-")[2].partition("-")[2]  # without name and device
    return departure.reason if not departure.cases or case in departure.cases else None
