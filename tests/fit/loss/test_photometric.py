import pytest
import torch

from flare_cli.data.celebamask import OCCLUDED
from flare_cli.fit.loss.photometric import photometric_loss
from flare_cli.render.colour import linear_from_srgb, tone_mapped


@pytest.fixture
def pictures():
    """Drawn pictures (some colours negative, black or bright), recorded ones, and masks with soft and empty parts."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 9, 7, 4, generator=generator) ** 3 * 2
    image[0, 0, :, :3] = 0.0
    image[0, 1, 0, :3] = -0.1
    image[0, 2, :, :3] = 1e-4
    target = torch.randint(256, (2, 9, 7, 3), generator=generator, dtype=torch.uint8)
    mask = torch.randint(256, (2, 9, 7), generator=generator, dtype=torch.uint8)
    mask[:, :, 0], mask[:, :, 1] = 0, 255
    label = torch.randint(OCCLUDED + 1, (2, 9, 7), generator=generator, dtype=torch.uint8)
    label[:, 3:5] = OCCLUDED
    return image, target, mask, label


def twin(image, target, mask, label):
    """The specification, in plain torch. At black, where the tone map has a kink, its slope is that above."""
    counts = (label != OCCLUDED)[..., None]
    image = image + (image == 0) * 1e-12  # clamp's own slope there is 1 before torch 2.14, and 0 since
    inside = mask[..., None].to(image.dtype) / 255
    wanted = tone_mapped(linear_from_srgb(target.to(image.dtype) / 255) * inside)
    colour = ((tone_mapped(image[..., :3] * inside) - wanted).abs() * counts).mean()
    return colour, ((image[..., 3:] - inside).square() * counts).mean()


def test_errors_and_gradients_match_the_twin(pictures):
    image, target, mask, label = pictures
    for weights in ((1.0, 0.0), (0.0, 1.0), (0.7, 2.0)):
        results = []
        for function, dtype in ((photometric_loss, torch.float32), (twin, torch.float64)):
            leaf = image.to(dtype).requires_grad_()
            colour, coverage = function(leaf, target, mask, label)
            (grad,) = torch.autograd.grad(weights[0] * colour + weights[1] * coverage, [leaf])
            results.append([t.detach().double() for t in (colour, coverage, grad)])
        torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-7)


def test_equal_pictures_have_no_error():
    target = torch.randint(256, (1, 5, 5, 3), dtype=torch.uint8)
    image = torch.cat([linear_from_srgb(target / 255), torch.ones(1, 5, 5, 1)], -1)
    mask = torch.full((1, 5, 5), 255, dtype=torch.uint8)
    colour, coverage = photometric_loss(image, target, mask, torch.zeros_like(mask))
    assert colour < 1e-6
    assert coverage == 0
