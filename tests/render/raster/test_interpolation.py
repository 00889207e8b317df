"""Conformance of every rasterizer that runs here: vertex attributes at pixels, and their gradients."""

import numpy as np
import pytest
import torch
from support.scenes import clip_of, faces_of


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
