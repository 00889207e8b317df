import pytest
import torch

from flare_cli.avatar.networks.cpu_mlp import BLOCK, LeakyRelu, Softplus, cpu_mlp
from flare_cli.avatar.networks.mlp import SLOPE, layered


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = layered([7, 16, 16, 3], torch.zeros(3))
    torch.nn.init.normal_(network[-1].weight)
    return network


def gradients(evaluate, network, points, weight):
    points = points.clone().requires_grad_()
    values = evaluate(points)
    wanted = torch.autograd.grad((values * weight).sum(), [points, *network.parameters()])
    return [values.detach(), *wanted]


@pytest.mark.parametrize("n", [3 * BLOCK, 2 * BLOCK + 5, 0])
def test_values_and_gradients_are_those_of_the_layers_one_after_another(network, n):
    points, weight = torch.randn(7, n).T, torch.randn(n, 3)
    layers = [network[i] for i in (0, 2, 4)]

    def ours(points):
        return cpu_mlp(points, layers, LeakyRelu(SLOPE))

    results = gradients(ours, network, points, weight)
    expected = gradients(network.double(), network, points.double(), weight.double())
    torch.testing.assert_close([r.double() for r in results], expected, rtol=1e-4, atol=1e-3)


def test_softplus_behind_every_layer_is_torchs_own():
    torch.manual_seed(0)
    layers = [torch.nn.Linear(3, 16), torch.nn.Linear(16, 8)]
    network = torch.nn.Sequential(layers[0], torch.nn.Softplus(beta=100), layers[1], torch.nn.Softplus(beta=100))
    points, weight = torch.randn(BLOCK + 9, 3), torch.randn(BLOCK + 9, 8)
    results = gradients(lambda p: cpu_mlp(p, layers, Softplus(100), last=True), network, points, weight)
    expected = gradients(network.double(), network, points.double(), weight.double())
    torch.testing.assert_close([r.double() for r in results], expected, rtol=1e-4, atol=1e-3)


def test_the_number_of_threads_changes_no_bit(network):
    points, weight = torch.randn(5 * BLOCK, 7), torch.randn(5 * BLOCK, 3)
    layers = [network[i] for i in (0, 2, 4)]
    results = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        results.append(
            gradients(
                lambda p: cpu_mlp(p, layers, LeakyRelu(SLOPE)),
                network,
                points,
                weight,
            )
        )
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))
