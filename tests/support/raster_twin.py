"""What the rasterizer kernels must compute, in readable float64 torch: every triangle over every pixel."""

import torch


def rasterize(clip, faces, height, width):
    """One picture. Returns triangle, barycentric and depth; the last two differentiable."""
    clip = clip.double()
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    pixel = torch.stack([2 * x / width - 1, 2 * y / height - 1, torch.ones_like(x)], -1).double()
    triangle = torch.full((height, width), -1)
    nearest = torch.full((height, width), torch.inf, dtype=torch.float64)
    barycentric, depth = torch.zeros_like(pixel), torch.zeros_like(nearest)
    for index, face in enumerate(faces.long()):
        corners = clip[face]
        homogeneous = corners[:, [0, 1, 3]]
        if homogeneous.det().abs() < 1e-12:
            continue
        # pixel * w = sum of barycentric * corner, and barycentrics sum to one.
        mixed = torch.linalg.solve(homogeneous.T, pixel.view(-1, 3).T).T.view(height, width, 3)
        weights = mixed / mixed.sum(-1, keepdim=True)
        w, beyond_near = weights @ corners[:, 3], weights @ (corners[:, 2] + corners[:, 3])
        wins = (weights >= 0).all(-1) & (w > 0) & (beyond_near >= 0) & (w < nearest)
        triangle[wins], nearest[wins] = index, w.detach()[wins]
        barycentric, depth = torch.where(wins[..., None], weights, barycentric), torch.where(wins, w, depth)
    return triangle, barycentric, depth


def antialias_convex(image, screen, faces, triangle):
    """One picture of one convex body over nothing: blend where an outline edge passes between two pixel centres."""
    image, screen = image.double(), screen.double()
    doubled_area = _cross(*(screen[faces.long()[:, k]] - screen[faces.long()[:, 0]] for k in (1, 2)))
    sides = {}
    for face, facing in zip(faces.tolist(), (doubled_area > 0).tolist(), strict=True):
        for k in range(3):
            sides.setdefault(frozenset((face[k], face[(k + 1) % 3])), []).append(facing)
    outline = [screen[sorted(edge)] for edge, facing in sides.items() if len(facing) == 1 or facing[0] != facing[1]]
    for axis in (0, 1):
        image = _antialias_axis(image, outline, triangle, axis)
    return image


def _antialias_axis(image, outline, triangle, axis):
    out = image.clone()
    for row in range(image.shape[0] - axis):
        for column in range(image.shape[1] - 1 + axis):
            other = (row + axis, column + 1 - axis)
            if (triangle[row, column] < 0) == (triangle[other] < 0):
                continue
            for a, b in outline:
                steep = abs(b[1] - a[1]) >= abs(b[0] - a[0])
                if steep != (axis == 0):
                    continue
                t = ((column, row)[1 - axis] + 0.5 - a[1 - axis]) / (b[1 - axis] - a[1 - axis])
                u = a[axis] + t * (b[axis] - a[axis]) - ((column, row)[axis] + 0.5)
                if not (0 <= t < 1 and 0 <= u <= 1):
                    continue
                if u < 0.5:
                    out[row, column] = out[row, column] + (0.5 - u) * (image[other] - image[row, column])
                else:
                    out[other] = out[other] + (u - 0.5) * (image[row, column] - image[other])
    return out


def _cross(a, b):
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
