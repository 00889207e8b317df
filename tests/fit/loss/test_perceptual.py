"""The perceptual term with made-up VGG16 weights, against the network written out by torch's own functions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from support.drawn import drawn_step
from torch import nn

from flare_cli.fit.loss import perceptual
from flare_cli.fit.loss.losses import LossInputs, perceptual_term
from flare_cli.fit.loss.perceptual import PerceptualDistance, perceptual_status, vgg16_weights

# torchvision's VGG16, `features`: the number of each convolution up to relu4_3, and its channels in and out.
CONVOLUTIONS = {
    0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256), 12: (256, 256), 14: (256, 256),
    17: (256, 512), 19: (512, 512), 21: (512, 512),
}  # fmt: skip
POOLED = (4, 9, 16)
COMPARED = (3, 8, 15, 22)  # after the last ReLU of a block
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """Random weights that keep the features' size, and what follows them in torchvision's file."""
    generator = torch.Generator().manual_seed(0)
    values = {"features.24.weight": torch.zeros(1), "classifier.0.bias": torch.zeros(1)}
    for layer, (n_in, n_out) in CONVOLUTIONS.items():
        values[f"features.{layer}.weight"] = torch.randn(n_out, n_in, 3, 3, generator=generator) * (2 / 9 / n_in) ** 0.5
        values[f"features.{layer}.bias"] = 0.1 * torch.randn(n_out, generator=generator)
    return values


@pytest.fixture(scope="module")
def weights(state, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vgg") / "vgg16-397923af.pth"
    torch.save(state, path)
    return path


@pytest.fixture
def distance(weights: Path, monkeypatch: pytest.MonkeyPatch) -> PerceptualDistance:
    """The network, looking at pictures of 32 x 32 instead of 224 x 224."""
    monkeypatch.setattr(perceptual, "INPUT_SIZE", 32)
    return PerceptualDistance(weights)


def features(pictures: torch.Tensor, state: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """What the twin compares, in the pictures' own precision."""
    x = ((pictures - MEAN) / STD).permute(0, 3, 1, 2)
    found = []
    for layer in range(23):
        if layer in CONVOLUTIONS:
            weight, bias = (state[f"features.{layer}.{name}"].to(x) for name in ("weight", "bias"))
            x = F.conv2d(x, weight, bias, padding=1)
        else:
            x = F.max_pool2d(x, 2) if layer in POOLED else F.relu(x)
        if layer in COMPARED:
            found.append(x)
    return found


def twin(a: torch.Tensor, b: torch.Tensor, state: dict[str, torch.Tensor]) -> torch.Tensor:
    return sum((x - y).abs().mean() for x, y in zip(features(a, state), features(b, state), strict=True))


def pictures(seed: int, height: int = 32, width: int = 32) -> torch.Tensor:
    return torch.rand(2, height, width, 3, generator=torch.Generator().manual_seed(seed))


def test_distance_and_gradient_match_the_twin(distance, state):
    a, b = pictures(1).requires_grad_(), pictures(2).requires_grad_()
    found = distance(a, b)
    a64 = a.detach().double().requires_grad_()
    expected = twin(a64, b.detach().double(), state)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert found > 0.1
    found.backward()
    expected.backward()
    torch.testing.assert_close(a.grad.double(), a64.grad, rtol=1e-3, atol=1e-3 * float(a64.grad.abs().max()))
    assert b.grad is None
    assert not any(p.requires_grad for p in distance.parameters())


def test_gradient_matches_finite_differences(distance):
    distance = distance.double()
    a, b = pictures(1).double().requires_grad_(), pictures(2).double()
    (gradient,) = torch.autograd.grad(distance(a, b), a)
    direction = torch.randn(a.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    with torch.no_grad():
        slope = (distance(a + 1e-7 * direction, b) - distance(a - 1e-7 * direction, b)) / 2e-7
    # ReLUs, maxima and absolute values bend here and there within the step.
    assert float((gradient * direction).sum()) == pytest.approx(float(slope), rel=1e-4)


def test_equal_pictures_have_no_distance_and_order_does_not_matter(distance):
    a, b = pictures(1), pictures(2)
    assert distance(a, a) == 0
    torch.testing.assert_close(distance(a, b), distance(b, a))


@pytest.mark.parametrize(("height", "width"), [(80, 64), (20, 24)])
def test_pictures_are_resized_as_pillow_does(distance, state, height, width):
    both = [pictures(seed, height, width) for seed in (1, 2)]
    resized = []
    for batch in both:
        layers = [[Image.fromarray(layer).resize((32, 32), Image.Resampling.BILINEAR) for layer in picture]
                  for picture in batch.permute(0, 3, 1, 2).numpy()]  # fmt: skip
        resized.append(torch.from_numpy(np.stack([np.stack(layer, -1) for layer in layers])))
    assert distance(*both).item() == pytest.approx(twin(*resized, state).item(), rel=1e-4)


def test_the_network_sees_224_pixels_in_units_of_imagenets_spread(weights):
    distance = PerceptualDistance(weights)
    distance.blocks = nn.ModuleList([nn.Identity()])
    sizes = []
    distance.blocks[0].register_forward_hook(lambda _module, given, _result: sizes.append(tuple(given[0].shape)))
    grey = torch.full((1, 30, 40, 3), 0.3)
    assert distance(grey, grey + 0.2).item() == pytest.approx(0.2 * float((1 / STD).mean()), rel=1e-5)
    assert sizes == [(2, 3, 224, 224)]


@pytest.fixture
def step(toy_frames, open_head, tiny_config) -> LossInputs:
    return drawn_step(toy_frames, open_head, tiny_config)


def without_layers(weights: Path, monkeypatch: pytest.MonkeyPatch) -> PerceptualDistance:
    """Compares the toy pictures themselves, in ImageNet's units."""
    monkeypatch.setattr(perceptual, "INPUT_SIZE", 48)
    distance = PerceptualDistance(weights)
    distance.blocks = nn.ModuleList([nn.Identity()])
    return distance


def tone_mapped(linear: np.ndarray) -> np.ndarray:
    """sRGB of log(1 + x), as IEC 61966-2-1 writes it."""
    x = np.log(1 + linear)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 0.0031308) ** (1 / 2.4) - 0.055)


def test_the_term_compares_tone_mapped_pictures_within_the_mask(step, weights, monkeypatch):
    mask = step.target.mask.double().numpy()[..., None] / 255
    srgb = step.target.image.double().numpy() / 255
    recorded = mask * np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    drawn = mask * step.picture.colour.detach().double().numpy()
    away = np.abs(tone_mapped(drawn) - tone_mapped(recorded)) / STD.double().numpy()
    found = perceptual_term(step, without_layers(weights, monkeypatch))
    assert found.item() == pytest.approx(away.mean(), rel=1e-4)
    assert found > 0.01


def test_only_the_drawn_picture_within_the_mask_gets_a_gradient(step, weights, monkeypatch):
    image = step.picture.image.detach().requires_grad_()
    step = replace(step, picture=replace(step.picture, image=image))
    perceptual_term(step, without_layers(weights, monkeypatch)).backward()
    inside = step.target.mask > 0
    assert (image.grad[~inside] == 0).all()
    assert (image.grad[inside][:, :3] != 0).any()
    assert (image.grad[..., 3] == 0).all()


def test_weights_are_found_in_torchs_cache_and_their_absence_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert vgg16_weights() is None
    assert perceptual_status() == f"off: put torchvision's vgg16-397923af.pth into {tmp_path / 'checkpoints'}"
    path = tmp_path / "checkpoints" / "vgg16-397923af.pth"
    path.parent.mkdir()
    path.write_bytes(b"")
    assert vgg16_weights() == path
    assert perceptual_status() == "VGG16 (torchvision, ImageNet)"
