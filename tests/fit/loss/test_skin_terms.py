import pytest
import torch

from flare_cli.avatar.material import Material
from flare_cli.fit.loss.losses import fibre_gloss
from flare_cli.fit.loss.skin_terms import skin_terms
from flare_cli.render.raster.fragments import Pixels


def twin(values, skin):
    """The specification: the three terms over skin pixels, in plain torch."""
    albedo, roughness, specular = values[skin].split([3, 1, 1], 1)

    def hinge(values, mean, deviation):
        return ((values - mean).abs() - 2 * deviation).clamp(min=0).mean()

    return torch.stack(
        [(albedo - albedo.mean(0)).abs().mean(), hinge(roughness, 0.5, 0.1), hinge(specular, 0.3753, 0.1655)]
    )


@pytest.fixture
def scene():
    """Labels of two pictures, a list of 50 of their pixels with 6 of padding, and materials there."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 1, 3, 7, 8, 10, 14, 16], dtype=torch.uint8)[
        torch.randint(8, (2, 6, 5), generator=generator)
    ]
    index = torch.cat([torch.randperm(60, generator=generator)[:50].sort().values, torch.full((6,), 60)])
    values = torch.rand(56, 5, generator=generator)
    skin = torch.isin(torch.cat([labels.flatten(), labels.new_zeros(1)])[index], torch.tensor([1, 7, 8, 10, 14]))
    return labels, Pixels(index, torch.zeros_like(index), torch.tensor(50)), values, skin


def test_terms_and_gradients_match_the_twin_and_skip_padding(scene):
    labels, pixels, values, skin = scene
    for weight in torch.eye(3):
        ours, theirs = values.clone().requires_grad_(), values.double().requires_grad_()
        terms = torch.stack(skin_terms(Material(*ours.split([3, 1, 1], 1)), pixels, labels))
        expected = twin(theirs, skin)
        torch.testing.assert_close(terms.double(), expected, rtol=1e-5, atol=1e-6)
        (terms * weight).sum().backward()
        (expected * weight).sum().backward()
        torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=1e-4, atol=1e-7)


def test_pictures_without_skin_have_no_terms_and_no_gradients(scene):
    labels, pixels, values, _ = scene
    values.requires_grad_()
    terms = torch.stack(skin_terms(Material(*values.split([3, 1, 1], 1)), pixels, torch.full_like(labels, 17)))
    assert (terms == 0).all()
    terms.sum().backward()
    assert (values.grad == 0).all()


def test_hinges_are_flat_within_two_deviations():
    values = torch.tensor([[0.5, 0.5, 0.5, 0.31, 0.05], [0.5, 0.5, 0.5, 0.9, 0.7]])
    labels = torch.ones(1, 1, 2, dtype=torch.uint8)
    pixels = Pixels(torch.tensor([0, 1]), torch.tensor([0, 0]))
    even, roughness, specular = skin_terms(Material(*values.split([3, 1, 1], 1)), pixels, labels)
    assert even == 0
    assert specular == 0
    assert float(roughness) == pytest.approx(0.2 / 2)


def test_gloss_of_fibres_and_its_gradient_are_those_of_their_pixels_alone(scene):
    labels, pixels, values, _ = scene
    values.requires_grad_()
    gloss = fibre_gloss(Material(*values.split([3, 1, 1], 1)), pixels, labels)
    label = torch.cat([labels.flatten(), labels.new_zeros(1)])[pixels.index]
    fibres = torch.isin(label, torch.tensor([2, 3, 16, 17, 18]))
    torch.testing.assert_close(gloss, (1 - values[fibres, 3]).mean())
    gloss.backward()
    expected = torch.zeros_like(values)
    expected[fibres, 3] = -1 / fibres.sum()
    torch.testing.assert_close(values.grad, expected)
    assert fibre_gloss(Material(*values.split([3, 1, 1], 1)), pixels, torch.ones_like(labels)) == 0
