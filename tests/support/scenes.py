"""Triangles to draw, in clip space."""

import torch
from scipy.spatial import ConvexHull

from flare_cli.render.camera import FAR, NEAR, look_at


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


def area(corners):
    x, y = corners.unbind(-1)
    return 0.5 * (x * y.roll(-1) - x.roll(-1) * y).sum()
