"""Every rasterizer that is here against Warp on the same device, on the open head before realistic cameras."""

import pytest
import torch
from support import candidates

from flare_cli.apps.bench.agreement import agreements
from flare_cli.apps.bench.bench import head_scene

# Largest values of `Agreement`, from what docs/backends.md says of each.
ALLOWED = {
    "pytorch3d": {
        "triangle": 2e-4,
        "covered": 2e-4,
        "barycentric": 1e-3,
        "depth": 1e-5,
        "interpolated": 1e-6,
        "antialiased_mean": 1e-5,
        "surface_gradient": 0.01,
        "silhouette_gradient": 0.01,
    },
    "nvdiffrast": {
        "triangle": 0.03,
        "covered": 3e-3,
        "interpolated": 1e-4,
        "antialiased_mean": 1e-3,
        "surface_gradient": 0.3,
        "silhouette_gradient": 0.3,
    },
}
OTHERS = [candidate for candidate in candidates.RASTERIZERS if candidate[0] != "warp"]


@pytest.mark.parametrize("candidate", candidates.parameters(OTHERS))
def test_the_open_head_looks_the_same(candidate):
    name, device = candidate
    rasterizers = {n: candidates.rasterizer_of((n, device)).inner for n in ("warp", name)}
    # A CPU tests every triangle at every pixel: few pixels.
    scene = head_scene(0, 4 if device == "cuda" else 2, 512 if device == "cuda" else 64, torch.device(device))
    (found,) = agreements(rasterizers, scene.clip, scene.attributes, scene.faces, scene.size)
    too_far = {key: getattr(found, key) for key, most in ALLOWED[name].items() if getattr(found, key) > most}
    assert not too_far
