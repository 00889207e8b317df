"""Conformance of every rasterizer that runs here: coverage and depth, and their gradients, against oracles."""

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scipy.spatial import Delaunay
from support import candidates, raster_twin
from support.scenes import clip_of, coverage, faces_of, icosahedron, soup

from flare_cli.render.camera import NEAR, look_at


def test_pixels_inside_a_triangle_are_covered(rasterizer):
    corners = np.array([[2.2, 1.3], [20.7, 4.1], [6.4, 14.9]])
    fragments = rasterizer.rasterize(clip_of(corners)[None], faces_of([0, 1, 2]), 16, 24)
    x, y = np.meshgrid(np.arange(24) + 0.5, np.arange(16) + 0.5)
    inside = np.ones((16, 24), bool)
    for a, b in zip(corners, np.roll(corners, -1, 0), strict=True):
        inside &= (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0]) > 0
    assert ((fragments.triangle[0] >= 0).numpy() == inside).all()


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0]])
def test_a_pixel_centre_on_an_edge_belongs_to_the_top_left(rasterizer, order):
    corners = [[4.5, 2.5], [12.5, 2.5], [4.5, 10.5]]
    fragments = rasterizer.rasterize(clip_of(corners)[None], faces_of(order), 16, 24)
    seen = fragments.triangle[0] >= 0
    assert seen[2, 4:12].all()  # the top edge is in, without its right end
    assert not seen[2, 12]
    assert seen[2:10, 4].all()  # the left edge is in, without its lower end
    assert not seen[10, 4]
    assert not any(seen[2 + k, 12 - k] for k in range(9))  # the lower right edge is out


@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 10**6), grid=st.sampled_from([1, 2, 16, 0]), perspective=st.booleans())
def test_a_triangulated_square_covers_every_pixel_once(rasterizer, seed, grid, perspective):
    rng = np.random.default_rng(seed)
    inner = rng.uniform(1, 15, (10, 2))
    if grid:  # many vertices and edges exactly on pixel centres
        inner = np.round(inner * grid) / grid + 0.5
    points = np.unique(np.concatenate([[[0, 0], [24, 0], [0, 16], [24, 16]], inner.clip(1, 15)]), axis=0)
    w = rng.uniform(0.5, 2, len(points)) if perspective else 1.0
    clip = clip_of(points, w)[None]
    count = sum(
        (rasterizer.rasterize(clip, faces_of(face.tolist()), 16, 24).triangle[0] >= 0).int()
        for face in Delaunay(points).simplices
    )
    assert (count == 1).all()


@pytest.mark.parametrize(("height", "width"), [(16, 24), (40, 23), (1, 24), (16, 1), (70, 130)])
def test_depth_is_that_of_the_plane(rasterizer, height, width):
    corners, w = torch.tensor([[-1.0, -1.0], [223.0, 2.0], [5.0, 115.0]]), torch.tensor([0.5, 1.0, 3.0])
    fragments = rasterizer.rasterize(clip_of(corners, w, height, width)[None], faces_of([0, 1, 2]), height, width)
    # On a plane, 1/w is affine in the picture.
    plane = torch.linalg.solve(torch.cat([corners, torch.ones(3, 1)], 1), 1 / w)
    row, column = torch.nonzero(fragments.triangle[0] >= 0).T
    expected = 1 / (plane[0] * (column + 0.5) + plane[1] * (row + 0.5) + plane[2])
    assert len(row) > 0
    torch.testing.assert_close(fragments.depth[0, row, column], expected, rtol=1e-5, atol=1e-5)


def test_the_nearer_triangle_wins_and_ties_go_to_the_lower(rasterizer):
    corners = [[0.0, 0.0], [24.0, 0.0], [0.0, 16.0]]
    clip = torch.cat([clip_of(corners, 2.0), clip_of(corners), clip_of(corners)])[None]
    fragments = rasterizer.rasterize(clip, faces_of([0, 1, 2], [3, 4, 5], [6, 7, 8]), 16, 24)
    assert set(fragments.triangle.unique().tolist()) == {-1, 1}


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_a_triangle_soup_matches_the_twin(rasterizer, seed, behind):
    clip, faces = soup(seed, behind=behind)
    expected = raster_twin.rasterize(clip, faces, 16, 24)
    fragments = rasterizer.rasterize(clip[None], faces, 16, 24)
    assert (fragments.triangle[0] == expected[0]).all()
    torch.testing.assert_close(fragments.barycentric[0].double(), expected[1], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(fragments.depth[0].double(), expected[2], rtol=1e-4, atol=1e-5)
    seen = fragments.triangle[0] >= 0
    torch.testing.assert_close(fragments.barycentric[0][seen].sum(-1), torch.ones(int(seen.sum())))


def test_a_floor_that_passes_under_the_camera_reaches_the_near_plane(rasterizer):
    # 1 m below a camera that looks along the floor: row v sees it at depth fy / (v - cy), or not above the horizon.
    camera = look_at(torch.tensor([[0.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, -1.0]]), fov_y=1.5, height=32, width=32)
    floor = torch.tensor([[[-50.0, -1.0, 15.0], [50.0, -1.0, 15.0], [0.0, -1.0, -5000.0]]])
    fragments = rasterizer.rasterize(camera.clip(floor), faces_of([0, 1, 2]), 32, 32)
    rows = torch.arange(17, 32) + 0.5
    expected = 16 / math.tan(0.75) / (rows - 16)
    torch.testing.assert_close(fragments.depth[0, 17:, 16], expected, rtol=1e-3, atol=0)
    assert (fragments.triangle[0, :16] == -1).all()


def test_what_is_nearer_than_the_near_plane_is_cut(rasterizer):
    camera = look_at(torch.tensor([[0.0, 0.0, 1.0]]), torch.zeros(1, 3), fov_y=0.8, height=16, width=16)
    wall = torch.tensor([[-9.0, -9.0, 0.0], [9.0, -9.0, 0.0], [0.0, 9.0, 0.0]])
    for depth, seen in ((NEAR * 0.99, False), (NEAR * 1.01, True), (-1.0, False)):
        clip = camera.clip(wall[None] + torch.tensor([0.0, 0.0, 1 - depth]))
        assert bool((rasterizer.rasterize(clip, faces_of([0, 1, 2]), 16, 16).triangle >= 0).any()) == seen


@pytest.mark.parametrize(
    "corners",
    [
        [[3.0, 3.0], [9.0, 9.0], [6.0, 6.0]],  # a line through pixel corners
        [[3.5, 3.5], [9.5, 9.5], [9.5, 9.5]],  # a line through pixel centres
        [[5.5, 5.5], [5.5, 5.5], [5.5, 5.5]],
        [[-9.0, 3.0], [-1.0, 3.0], [-5.0, 9.0]],
        [[3.0, 99.0], [9.0, 99.0], [6.0, 199.0]],
        [[5.6, 5.6], [5.9, 5.6], [5.6, 5.9]],  # between pixel centres
    ],
)
def test_degenerate_and_invisible_triangles_cover_nothing(rasterizer, corners):
    cover, clip = coverage(rasterizer, clip_of(corners), faces_of([0, 1, 2]))
    cover.sum().backward()
    assert cover.max() == 0
    assert clip.grad.isfinite().all()


def test_a_vertex_that_is_not_a_number_hides_its_triangle(rasterizer):
    cover, _ = coverage(rasterizer, clip_of([[torch.nan, 3.0], [9.0, 3.0], [6.0, 9.0]]), faces_of([0, 1, 2]))
    assert cover.max() == 0


def test_a_view_without_triangles_is_empty(rasterizer):
    clip, faces = clip_of([[0.0, 0.0]])[None].requires_grad_(), torch.zeros(0, 3, dtype=torch.int32)
    fragments = rasterizer.rasterize(clip, faces, 5, 7)
    pixels = rasterizer.foreground(fragments)
    values = rasterizer.interpolate(torch.ones(1, 1, 3), faces, fragments, pixels)
    picture = rasterizer.scatter(values, pixels, (1, 5, 7), torch.tensor([0.1, 0.2, 0.3]))
    picture = rasterizer.antialias(picture, clip, faces, fragments)
    assert values.shape == (0, 3)
    assert picture.shape == (1, 5, 7, 3)
    assert (picture == torch.tensor([0.1, 0.2, 0.3])).all()


def test_a_picture_of_nothing_does_not_disturb_its_neighbours(rasterizer):
    triangle = clip_of([[2.0, 2.0], [20.0, 3.0], [6.0, 14.0]])
    behind = triangle * torch.tensor([1.0, 1.0, -1.0, -1.0])
    clip = torch.stack([triangle, behind, triangle]).requires_grad_()
    fragments = rasterizer.rasterize(clip, faces_of([0, 1, 2]), 16, 24)
    counts = (fragments.triangle >= 0).sum((1, 2)).tolist()
    assert counts[0] == counts[2] > 50
    assert counts[1] == 0
    picture = rasterizer.antialias(fragments.barycentric, clip, faces_of([0, 1, 2]), fragments)
    picture.square().sum().backward()
    assert (clip.grad[1] == 0).all()
    torch.testing.assert_close(clip.grad[0], clip.grad[2])


def test_a_batch_equals_its_pictures_one_by_one_and_repeats_exactly(rasterizer):
    clip = torch.stack([soup(1)[0], soup(2)[0], soup(3)[0]])
    faces = soup(1)[1]

    def render(item):
        item = item.clone().requires_grad_()
        fragments = rasterizer.rasterize(item, faces, 16, 24)
        pixels = rasterizer.foreground(fragments)
        values = rasterizer.interpolate(item[..., :2] + 0, faces, fragments, pixels)
        picture = rasterizer.scatter(values, pixels, tuple(fragments.triangle.shape), 0.0)
        picture = rasterizer.antialias(picture, item, faces, fragments)
        (grad,) = torch.autograd.grad(picture.square().sum(), item)
        return fragments.triangle, fragments.depth, picture, grad

    # A GPU adds gradients, and nvdiffrast blends, in no fixed order.
    same = {"rtol": 0, "atol": 0} if rasterizer.device == "cpu" else {"rtol": 1e-4, "atol": 1e-4}
    together, again = render(clip), render(clip)
    for k, single in enumerate(zip(*(render(item[None]) for item in clip), strict=True)):
        torch.testing.assert_close(together[k], torch.cat(single), **same)
        torch.testing.assert_close(together[k], again[k], **same)


def test_two_hundred_thousand_triangles_keep_their_numbers(rasterizer):
    n = 200_000
    clip = torch.cat([clip_of([[-9.0, -9.0], [-8.0, -9.0], [-9.0, -8.0]]), clip_of([[0, 0], [50.0, 0], [0, 50.0]])])
    faces = torch.cat([faces_of([0, 1, 2]).expand(n, 3), faces_of([3, 4, 5])])
    assert (rasterizer.rasterize(clip[None], faces, 16, 24).triangle == n).all()


@pytest.mark.parametrize("seed", range(4))
def test_gradients_of_barycentrics_and_depth_match_the_twin(rasterizer, seed):
    clip, faces = soup(seed, n=5)
    clip[:, :2] *= 0.7
    weight = torch.randn(16, 24, 4, generator=torch.Generator().manual_seed(seed))
    ours, theirs = clip.clone().requires_grad_(), clip.double().requires_grad_()
    fragments = rasterizer.rasterize(ours[None], faces, 16, 24)
    ((fragments.barycentric[0] * weight[..., :3]).sum() + (fragments.depth[0] * weight[..., 3]).sum()).backward()
    _, barycentric, depth = raster_twin.rasterize(theirs, faces, 16, 24)
    ((barycentric * weight[..., :3]).sum() + (depth * weight[..., 3]).sum()).backward()
    torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=2e-3, atol=2e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("seed", range(3))
def test_warp_gives_the_same_pictures_and_gradients_on_both_devices(seed):
    results = []
    for device in ("cpu", "cuda"):
        rasterizer = candidates.rasterizer_of(("warp", device))
        clip, faces = icosahedron(seed)
        leaf = clip[None].clone().requires_grad_()
        fragments = rasterizer.rasterize(leaf, faces, 24, 24)
        pixels = rasterizer.foreground(fragments)
        values = rasterizer.interpolate(leaf, faces, fragments, pixels)
        picture = rasterizer.antialias(rasterizer.scatter(values, pixels, (1, 24, 24), 0.0), leaf, faces, fragments)
        picture.square().sum().backward()
        results.append((fragments.triangle, picture.detach(), leaf.grad))
    assert (results[0][0] == results[1][0]).all()
    torch.testing.assert_close(results[0][1:], results[1][1:], rtol=1e-3, atol=1e-3)
