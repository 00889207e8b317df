"""Conformance of every rasterizer that runs here: coverage, depth and gradients against independent oracles."""

import math

import candidates
import numpy as np
import pytest
import raster_twin
import torch
import trimesh
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull, Delaunay

from flare_cli.errors import BackendError
from flare_cli.render.backend import choose_rasterizer
from flare_cli.render.camera import FAR, NEAR, look_at


@pytest.fixture(params=candidates.parameters(candidates.RASTERIZERS))
def rasterizer(request):
    chosen = candidates.rasterizer_of(request.param)
    reason = candidates.expected_failure(chosen.name, request.node)
    if reason:
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    return chosen


def clip_of(points, w=1.0, height=16, width=24):
    """Clip positions of points given in pixels, at depth w."""
    points = torch.as_tensor(points, dtype=torch.float32)
    w = torch.as_tensor(w, dtype=torch.float32).expand(points.shape[:-1])
    x, y = 2 * points[..., 0] / width - 1, 2 * points[..., 1] / height - 1
    z = ((FAR + NEAR) * w - 2 * FAR * NEAR) / (FAR - NEAR)
    return torch.stack([x * w, y * w, z, w], -1)


def faces_of(*rows):
    return torch.tensor(rows, dtype=torch.int32).view(-1, 3)


def soup(seed, n=12, behind=False):
    """Random triangles; some reach behind the camera."""
    generator = torch.Generator().manual_seed(seed)
    clip = torch.randn(3 * n, 4, generator=generator)
    clip[:, 3] = torch.rand(3 * n, generator=generator) * (3 if behind else 2) - (1 if behind else -1)
    clip[:, 2] = clip[:, 3] - 0.2
    return clip, torch.arange(3 * n, dtype=torch.int32).view(-1, 3)


def icosahedron(seed=0, radius=0.1, size=24):
    """A convex body turned at random, in clip space of a near camera."""
    golden = (1 + 5**0.5) / 2
    points = [(0, s, t * golden) for s in (-1, 1) for t in (-1, 1)]
    vertices = torch.tensor([p[k:] + p[:k] for p in points for k in range(3)], dtype=torch.float32)
    vertices = torch.nn.functional.normalize(vertices, dim=-1) * radius
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed)))[0]
    hull = torch.tensor(ConvexHull(vertices.numpy()).simplices, dtype=torch.int32)
    inward = torch.linalg.det(vertices[hull.long()]) < 0
    hull[inward] = hull[inward].flip(1)
    camera = look_at(torch.tensor([[0.0, 0.0, 0.5]]), torch.zeros(1, 3), fov_y=0.6, height=size, width=size)
    return camera.clip((vertices @ rotation)[None])[0], hull


def coverage(rasterizer, clip, faces, height=16, width=24):
    """Antialiased picture of ones, its fragments, and the clip positions that carry gradients."""
    clip = clip[None].clone().requires_grad_()
    fragments = rasterizer.rasterize(clip, faces, height, width)
    ones = (fragments.triangle >= 0).float()[..., None]
    return rasterizer.antialias(ones, clip, faces, fragments)[0, ..., 0], clip


# Visibility


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


# Gradients


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


def slopes(function, tensor, step):
    """Central differences of a number, one element of `tensor` at a time."""
    result = torch.zeros_like(tensor)
    for position in np.ndindex(*tensor.shape):
        change = torch.zeros_like(tensor)
        change[position] = step
        result[position] = (function(tensor + change).double() - function(tensor - change).double()) / (2 * step)
    return result


def test_interpolation_gradients_match_finite_differences(rasterizer):
    faces, weight = faces_of([0, 1, 2]), torch.randn(16, 24, 2, generator=torch.Generator().manual_seed(0))
    clip = clip_of([[1.0, 1.0], [23.0, 2.0], [5.0, 15.0]], [0.5, 1.0, 2.0])
    attributes = torch.tensor([[1.0, -2.0], [0.5, 3.0], [2.0, 0.3]])
    start = rasterizer.rasterize(clip[None], faces, 16, 24)
    # Away from the border, so that no small step changes which pixels are covered.
    inner = ((start.barycentric.amin(-1) > 0.05)[..., None] * weight).view(-1, 2)

    def total(clip, attributes):
        fragments = rasterizer.rasterize(clip[None], faces, 16, 24)
        pixels = rasterizer.foreground(fragments)
        return (rasterizer.interpolate(attributes[None], faces, fragments, pixels) * inner[pixels.index]).sum()

    leaves = clip.clone().requires_grad_(), attributes.clone().requires_grad_()
    total(*leaves).backward()
    by_clip, by_attribute = (
        slopes(lambda c: total(c, attributes), clip, 2e-3),
        slopes(lambda a: total(clip, a), attributes, 0.1),
    )
    torch.testing.assert_close(leaves[0].grad, by_clip, rtol=0.02, atol=0.02)
    torch.testing.assert_close(leaves[1].grad, by_attribute, rtol=1e-3, atol=1e-3)


def test_interpolation_takes_one_attribute_set_per_picture_and_pads_with_zeros(rasterizer):
    clip = clip_of([[0.3, 0.2], [23.0, 0.0], [0.0, 15.0]]).expand(2, 3, 4)
    fragments = rasterizer.rasterize(clip, faces_of([0, 1, 2]), 16, 24)
    pixels = rasterizer.foreground(fragments)
    count = len(pixels.index)
    padded = rasterizer.foreground(fragments, capacity=count + 5)
    attributes = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    values = rasterizer.interpolate(attributes, faces_of([0, 1, 2]), fragments, padded)
    weights = fragments.barycentric.view(-1, 3)[pixels.index]
    torch.testing.assert_close(values[:count], (weights[:, :, None] * attributes[pixels.batch]).sum(1))
    assert (values[count:] == 0).all()
    values.sum().backward()
    expected = torch.stack([weights[pixels.batch == b].sum(0) for b in (0, 1)])[..., None].expand(2, 3, 4)
    torch.testing.assert_close(attributes.grad, expected, rtol=1e-4, atol=1e-4)


def test_interpolation_takes_its_own_faces_and_one_attribute_set_for_all(rasterizer):
    clip = clip_of([[0.0, 0.0], [24.0, 0.0], [0.0, 16.0]]).expand(2, 3, 4)
    fragments = rasterizer.rasterize(clip, faces_of([0, 1, 2]), 16, 24)
    pixels = rasterizer.foreground(fragments)
    pixel_position = torch.tensor([[[9.0, 9.0], [0.0, 0.0], [24.0, 0.0], [0.0, 16.0]]], requires_grad=True)
    values = rasterizer.interpolate(pixel_position, faces_of([1, 2, 3]), fragments, pixels)
    x, y = pixels.index % 24 + 0.5, pixels.index // 24 % 16 + 0.5
    torch.testing.assert_close(values, torch.stack([x, y], 1))
    values.sum().backward()
    assert pixel_position.grad.sum() == pytest.approx(2 * len(pixels.index))
    assert (pixel_position.grad[0, 0] == 0).all()


# Antialiasing


def turned_square(angle, side=11.0):
    half = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]) * side / 2
    c, s = math.cos(angle), math.sin(angle)
    return half @ torch.tensor([[c, s], [-s, c]]) + torch.tensor([16.3, 15.8]), faces_of([0, 1, 2], [0, 2, 3])


def area(corners):
    x, y = corners.unbind(-1)
    return 0.5 * (x * y.roll(-1) - x.roll(-1) * y).sum()


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


# The choice


def test_an_unknown_rasterizer_is_refused():
    with pytest.raises(BackendError, match="vulkan") as refusal:
        choose_rasterizer("vulkan")
    assert "warp" in refusal.value.hint


def test_a_rasterizer_for_gpus_is_refused_on_a_cpu():
    with pytest.raises(BackendError, match="GPUs only"):
        choose_rasterizer("nvdiffrast", "cpu")


def test_a_device_that_is_not_here_is_refused():
    with pytest.raises(BackendError):
        choose_rasterizer("auto", "meta")


def test_scatter_lays_values_over_any_background_and_passes_gradients(rasterizer):
    fragments = rasterizer.rasterize(clip_of([[0.0, 0], [24, 0], [0, 16]])[None], faces_of([0, 1, 2]), 16, 24)
    pixels = rasterizer.foreground(fragments)
    values = torch.full((len(pixels.index), 2), 5.0, requires_grad=True)
    background = torch.zeros(1, 16, 24, 2, requires_grad=True)
    picture = rasterizer.scatter(values, pixels, (1, 16, 24), background)
    assert ((picture == 5.0).all(-1) == (fragments.triangle >= 0)).all()
    picture.sum().backward()
    assert (values.grad == 1).all()
    assert background.grad.sum() == 2 * (16 * 24 - len(pixels.index))


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
