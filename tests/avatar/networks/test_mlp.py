import pytest
import torch

from flare_cli.avatar.networks.mlp import FOLD, SLOPE, dense


@pytest.mark.parametrize("rows", [3 * FOLD, 100])
@pytest.mark.parametrize("rectify", [True, False])
def test_a_dense_layer_and_its_gradients_are_torchs_own(rows, rectify):
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((rows, 7), (5, 7), (5,))]
    weight = torch.randn(rows, 5, generator=generator, dtype=torch.float64)
    results = []
    for layer in (
        lambda x, w, b: dense(x, w, b, rectify),
        lambda x, w, b: torch.nn.functional.leaky_relu(torch.nn.functional.linear(x, w, b), SLOPE if rectify else 1.0),
    ):
        leaves = [i.clone().requires_grad_() for i in inputs]
        values = layer(*leaves)
        (values * weight).sum().backward()
        results.append([values.detach(), *(leaf.grad for leaf in leaves)])
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-5)
