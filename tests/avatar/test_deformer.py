import pytest
import torch

from flare_cli.avatar.deformer import Deformer


@pytest.fixture
def deformer():
    torch.manual_seed(0)
    deformer = Deformer(width=16, depth=2, n_expression=6, n_pose=4, n_joints=5)
    torch.nn.init.normal_(deformer.layers[-1].weight)
    torch.nn.init.normal_(deformer.layers[-1].bias)
    return deformer


def laid_out(deformer, position):
    """All corrections of all vertices, by the network as it is written down."""
    expression, pose, log_weights = deformer.layers(position).split(deformer.sizes, 1)
    scale = deformer.DIRECTION_SCALE
    return scale * expression.unflatten(1, (3, -1)), scale * pose.unflatten(1, (3, -1)), log_weights


def test_offsets_and_weights_are_those_of_the_network_laid_out(deformer):
    position, factors = torch.rand(50, 3) * 2 - 1, torch.randn(3, 10)
    corrections = deformer(position)
    expression, pose, log_weights = laid_out(deformer, position)
    expected = torch.einsum("bk,vck->bvc", factors, torch.cat([expression, pose], 2))
    torch.testing.assert_close(corrections.offsets(factors), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(corrections.log_weights, log_weights, rtol=1e-4, atol=1e-4)


def test_mean_squares_and_their_gradients_need_no_layout(deformer):
    position = torch.rand(50, 3) * 2 - 1
    corrections = deformer(position)
    expression, pose, _ = laid_out(deformer, position)
    pairs = ((corrections.expression, expression), (corrections.pose, pose))
    for directions, expected in pairs:
        short, long = corrections.mean_square(directions), expected.square().mean()
        torch.testing.assert_close(short, long, rtol=1e-4, atol=0)
        grads = [torch.autograd.grad(value, list(deformer.parameters()), retain_graph=True) for value in (short, long)]
        torch.testing.assert_close(grads[0], grads[1], rtol=1e-3, atol=1e-7)


def test_a_new_deformer_corrects_nothing():
    corrections = Deformer(width=16, depth=2, n_expression=6, n_pose=4, n_joints=5)(torch.rand(9, 3))
    assert (corrections.offsets(torch.randn(2, 10)) == 0).all()
    assert corrections.mean_square(corrections.expression) == 0
