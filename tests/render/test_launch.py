import os
import subprocess
import sys

import pytest
import torch
import trimesh

from flare_cli.render import launch
from flare_cli.render.backend import choose_encoding
from flare_cli.render.camera import look_at
from flare_cli.render.light.integrated_directional import directional_encoding
from flare_cli.render.raster.antialias import antialias
from flare_cli.render.raster.fragments import foreground, scatter
from flare_cli.render.raster.warp_rasterizer import WarpRasterizer


def drawn():
    """Two views of a ball with random colours, and gradients to its vertices and colours."""
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.1)
    vertices = torch.tensor(ball.vertices.copy(), dtype=torch.float32).expand(2, -1, 3).clone().requires_grad_()
    faces = torch.tensor(ball.faces.copy(), dtype=torch.int32)
    generator = torch.Generator().manual_seed(0)
    colours = torch.rand(2, vertices.shape[1], 3, generator=generator, requires_grad=True)
    eyes = torch.tensor([[0.0, 0.0, 0.5], [0.3, 0.0, 0.4]])
    clip = look_at(eyes, torch.zeros(2, 3), fov_y=0.5, height=40, width=48).clip(vertices)
    rasterizer = WarpRasterizer()
    fragments = rasterizer.rasterize(clip, faces, 40, 48)
    pixels = foreground(fragments)
    values = rasterizer.interpolate(colours, faces, fragments, pixels)
    image = antialias(scatter(values, pixels, (2, 40, 48), 0.0), clip, faces, fragments)
    weight = torch.rand(image.shape, generator=generator)
    return [image, *torch.autograd.grad((image * weight).sum(), [vertices, colours])]


def encoded():
    """Features of random points in a hash grid, and gradients to its table and to the points."""
    generator = torch.Generator().manual_seed(0)
    grid = choose_encoding("warp", levels=5, log2_entries=9, base=4, finest=64, generator=generator)
    with torch.no_grad():
        grid.table.copy_(torch.randn(grid.table.shape, generator=generator))
    points = torch.rand(300, 3, generator=generator, requires_grad=True)
    weight = torch.randn(300, grid.width, generator=generator)
    values = grid(points)
    return [values, *torch.autograd.grad((values * weight).sum(), [grid.table, points])]


def lit():
    """Directional encodings, and gradients to directions and roughness."""
    generator = torch.Generator().manual_seed(0)
    direction = torch.nn.functional.normalize(torch.randn(300, 3, generator=generator), dim=1).requires_grad_()
    roughness = torch.rand(300, 1, generator=generator, requires_grad=True)
    values = directional_encoding(direction, roughness)
    weight = torch.randn(values.shape, generator=generator)
    return [values, *torch.autograd.grad((values * weight).sum(), [direction, roughness])]


@pytest.mark.parametrize("work", [drawn, encoded, lit])
def test_a_split_launch_does_the_whole_work_and_threads_change_no_bit(work, monkeypatch):
    whole = work()
    monkeypatch.setattr(launch, "LEAST_THREADS", 1)
    split = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        split.append(work())
    torch.testing.assert_close(split[0], whole, rtol=1e-4, atol=1e-4)
    for other in split[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, split[0], strict=True))


COLD_START = """
from concurrent.futures import ThreadPoolExecutor
import torch
from flare_cli.render.light.shading import mirrored
up = torch.tensor([[0.0, 0.0, 1.0]])
with ThreadPoolExecutor(8) as pool:
    seen = list(pool.map(lambda _: mirrored(up, up), range(8)))
assert all(torch.equal(one, up) for one in seen), seen
"""


def test_threads_that_launch_the_same_kernels_first_do_not_disturb_each_other(tmp_path):
    environment = {**os.environ, "WARP_CACHE_PATH": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", COLD_START], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
