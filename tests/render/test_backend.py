"""The choice of rasterizer and encoding, and what all rasterizers share: pixels laid into pictures."""

import pytest
import torch
from support.scenes import clip_of, faces_of

from flare_cli.errors import BackendError
from flare_cli.render.backend import choose_encoding, choose_rasterizer


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


def test_an_unknown_encoding_is_refused():
    with pytest.raises(BackendError, match="fourier"):
        choose_encoding("fourier")


def test_an_encoding_for_gpus_is_refused_on_a_cpu():
    with pytest.raises(BackendError, match="GPUs only"):
        choose_encoding("tinycudann", "cpu")


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
