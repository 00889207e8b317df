"""Conformance of every rasterizer that runs here: antialiased silhouettes, and the gradients that move them."""

import math

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import Delaunay
from support import raster_twin
from support.scenes import area, clip_of, coverage, faces_of, icosahedron, soup

from flare_cli.render.camera import look_at


def turned_square(angle, side=11.0):
    half = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]) * side / 2
    c, s = math.cos(angle), math.sin(angle)
    return half @ torch.tensor([[c, s], [-s, c]]) + torch.tensor([16.3, 15.8]), faces_of([0, 1, 2], [0, 2, 3])


@pytest.mark.parametrize("angle", [0.0, 0.2, 0.7, 1.3, 3.0])
def test_antialiased_coverage_sums_to_the_area_and_so_do_its_gradients(rasterizer, angle):
    square, faces = turned_square(angle)
    corners = square.clone().requires_grad_()
    clip = clip_of(corners, 0.7, 32, 32)[None]
    fragments = rasterizer.rasterize(clip, faces, 32, 32)
    cover = rasterizer.antialias((fragments.triangle >= 0).float()[..., None], clip, faces, fragments)
    # Only the four corner pixels are approximate.
    assert cover.sum().item() == pytest.approx(area(square).item(), abs=1.0)
    cover.sum().backward()
    centre = square.mean(0)
    grown = (corners.grad * (square - centre)).sum().item()
    assert grown == pytest.approx(2 * area(square).item(), rel=0.1)  # d area / d log size


@pytest.mark.parametrize("edge", range(4))
def test_moving_an_edge_changes_coverage_by_its_length(rasterizer, edge):
    square, faces = turned_square(0.3, side=15.0)
    corners = square.clone().requires_grad_()
    clip = clip_of(corners, 0.7, 32, 32)[None]
    fragments = rasterizer.rasterize(clip, faces, 32, 32)
    rasterizer.antialias((fragments.triangle >= 0).float()[..., None], clip, faces, fragments).sum().backward()
    a, b = edge, (edge + 1) % 4
    along = (square[b] - square[a]) / 15.0
    outward = torch.stack([along[1], -along[0]])
    assert ((corners.grad[a] + corners.grad[b]) @ outward).item() == pytest.approx(15.0, abs=1.6)


@pytest.mark.parametrize("seed", range(5))
def test_a_convex_body_is_antialiased_like_the_twin(rasterizer, seed):
    clip, faces = icosahedron(seed)
    image = torch.rand(24, 24, 3, generator=torch.Generator().manual_seed(seed))
    weight = torch.rand(24, 24, 3, generator=torch.Generator().manual_seed(seed + 1))
    leaves = [image.clone().requires_grad_(), clip.clone().requires_grad_()]
    fragments = rasterizer.rasterize(leaves[1][None], faces, 24, 24)
    ours = rasterizer.antialias(leaves[0][None], leaves[1][None], faces, fragments)[0]
    (ours * weight).sum().backward()
    twin_leaves = [image.double().requires_grad_(), clip.double().requires_grad_()]
    screen = (twin_leaves[1][:, :2] / twin_leaves[1][:, 3:] + 1) * 12
    theirs = raster_twin.antialias_convex(twin_leaves[0], screen, faces, fragments.triangle[0])
    (theirs * weight).sum().backward()
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(leaves[0].grad.double(), twin_leaves[0].grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(leaves[1].grad.double(), twin_leaves[1].grad, rtol=1e-2, atol=1e-2)
    assert leaves[1].grad.abs().max() > 1


def sphere(subdivisions, size):
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=0.12)
    camera = look_at(torch.tensor([[0.0, 0.0, 0.6]]), torch.zeros(1, 3), fov_y=0.6, height=size, width=size)
    clip = camera.clip(torch.tensor(mesh.vertices.copy(), dtype=torch.float32)[None])[0]
    return clip, torch.tensor(mesh.faces.copy(), dtype=torch.int32)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("subdivisions", [0, 1, 3])
def test_silhouette_gradients_match_finite_differences(rasterizer, subdivisions, axis):
    size = 48
    clip, faces = sphere(subdivisions, size)
    y, x = torch.meshgrid(torch.arange(size) / size, torch.arange(size) / size, indexing="ij")
    target = torch.sin(3 * x + 1) * torch.cos(2 * y)
    values, slopes_there, shifts = [], [], torch.linspace(-2, 2, 17) / size  # two pixels in all
    for shift in shifts:
        moved = clip.clone()
        moved[:, axis] += shift * clip[:, 3]
        cover, leaf = coverage(rasterizer, moved, faces, size, size)
        total = (cover * target).sum()
        total.backward()
        values.append(total.item())
        slopes_there.append((leaf.grad[0, :, axis] * clip[:, 3]).sum().item())
    # The mean slope over the way, because a gradient does not see the small jumps at outline corners.
    slope = (values[-1] - values[0]) / (shifts[-1] - shifts[0]).item()
    assert np.mean(slopes_there) == pytest.approx(slope, rel=0.03, abs=8)
    assert abs(slope) > 100


def test_a_fine_sphere_keeps_its_area_where_slivers_make_the_outline(rasterizer):
    clip, faces = sphere(5, 128)
    cover, leaf = coverage(rasterizer, clip, faces, 128, 128)
    radius = math.tan(math.asin(0.12 / 0.6)) / math.tan(0.3) * 64
    assert cover.sum().item() == pytest.approx(math.pi * radius**2, rel=1e-3)
    cover.sum().backward()
    growth = (leaf.grad[0, :, :2] * clip[:, :2]).sum().item()
    assert growth == pytest.approx(2 * math.pi * radius**2, rel=0.03)


def test_antialiasing_touches_no_pixel_inside_a_surface(rasterizer):
    rng = np.random.default_rng(0)
    points = np.concatenate([[[2, 2], [22, 2], [2, 14], [22, 14]], rng.uniform([3, 3], [21, 13], (30, 2))])
    clip, faces = clip_of(points, rng.uniform(0.9, 1.1, len(points)))[None], torch.tensor(Delaunay(points).simplices)
    image = torch.rand(1, 16, 24, 3, generator=torch.Generator().manual_seed(0))
    fragments = rasterizer.rasterize(clip, faces, 16, 24)
    result = rasterizer.antialias(image, clip, faces, fragments)
    assert (result[:, 3:13, 3:21] == image[:, 3:13, 3:21]).all()


def test_an_occluding_edge_is_blended_and_the_result_stays_in_range(rasterizer):
    near, far = (
        clip_of([[6.2, 1.1], [13.3, 2.0], [8.1, 14.2]], 0.5),
        clip_of([[0.5, 0.5], [23.0, 0.5], [0.5, 15.0]], 1.0),
    )
    clip, faces = torch.cat([near, far])[None], faces_of([0, 1, 2], [3, 4, 5])
    fragments = rasterizer.rasterize(clip, faces, 16, 24)
    image = (fragments.triangle == 0).float()[..., None]
    result = rasterizer.antialias(image, clip, faces, fragments)
    assert ((result > 0.01) & (result < 0.99)).sum() > 15
    assert result.min() >= 0
    assert result.max() <= 1
    assert result.sum().item() == pytest.approx(
        area(torch.tensor([[6.2, 1.1], [13.3, 2.0], [8.1, 14.2]])).item(), abs=1.5
    )


@pytest.mark.parametrize("seed", range(3))
def test_triangles_behind_the_camera_leave_finite_pictures_and_gradients(rasterizer, seed):
    clip, faces = soup(seed, n=4, behind=True)
    leaf = clip[None].clone().requires_grad_()
    fragments = rasterizer.rasterize(leaf, faces, 16, 24)
    picture = rasterizer.antialias(fragments.barycentric, leaf, faces, fragments)
    picture.square().sum().backward()
    assert picture.isfinite().all()
    assert leaf.grad.isfinite().all()
    assert leaf.grad.abs().max() > 0
    assert ((picture - fragments.barycentric).abs() > 0.01).any()
