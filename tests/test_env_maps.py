"""The bundled environment maps are what assets/env_maps/README.md promises."""

from pathlib import Path

import pytest
import torch

from flare_cli.data.hdr import load_envmap
from flare_cli.render.light.environment import prefilter

FOLDER = Path(__file__).parents[1] / "assets" / "env_maps"


@pytest.mark.parametrize("name", ["studio", "overcast", "sunset", "night_street"])
def test_a_bundled_map_is_small_and_exposed_for_a_face(name):
    path = FOLDER / f"{name}.hdr"
    envmap = torch.from_numpy(load_envmap(path))
    assert envmap.shape == (128, 256, 3)
    assert path.stat().st_size < 150_000
    forward = torch.tensor([[0.0, 0.0, 1.0]])
    assert prefilter(envmap).diffuse(forward).mean().item() == pytest.approx(1.0, rel=0.05)


def test_light_comes_from_where_the_readme_says():
    left = torch.tensor([[1.0, 0.0, 0.0]])  # the subject's left
    up = torch.tensor([[0.0, 1.0, 0.0]])
    studio, overcast, sunset = (
        prefilter(torch.from_numpy(load_envmap(FOLDER / f"{name}.hdr"))) for name in ("studio", "overcast", "sunset")
    )
    assert studio.diffuse(left).mean() > 2 * studio.diffuse(-left).mean()
    assert sunset.diffuse(-left).mean() > 2 * sunset.diffuse(left).mean()
    assert overcast.diffuse(up).mean() > 3 * overcast.diffuse(-up).mean()
    assert sunset.diffuse(-left)[0, 0] > 1.5 * sunset.diffuse(-left)[0, 2]  # warm
