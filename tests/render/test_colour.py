import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flare_cli.render.colour import linear_from_srgb, srgb_from_linear, tone_mapped


def test_black_pixels_have_finite_gradients():
    black = torch.zeros(2, 3, requires_grad=True)
    (srgb_from_linear(black).sum() + tone_mapped(black).sum() + linear_from_srgb(black).sum()).backward()
    assert black.grad is not None
    assert black.grad.isfinite().all()


@pytest.mark.parametrize(("encoded", "linear"), [(0.0, 0.0), (0.5, 0.21404), (0.04045, 0.0031308), (1.0, 1.0)])
def test_published_srgb_values(encoded: float, linear: float):
    assert float(linear_from_srgb(torch.tensor([encoded]))) == pytest.approx(linear, abs=1e-5)


@given(st.floats(0, 16, width=32))
def test_encoding_and_decoding_are_inverse(value: float):
    linear = torch.tensor([value], dtype=torch.float64)
    assert float(linear_from_srgb(srgb_from_linear(linear))) == pytest.approx(value, rel=1e-4, abs=1e-6)


def test_tone_map_is_monotonic():
    values = tone_mapped(torch.linspace(0, 50, 1000)[:, None])[:, 0]
    assert (values.diff() > 0).all()
