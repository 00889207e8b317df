import pytest
import torch

from flare_cli.avatar.networks.mlp import layered
from flare_cli.avatar.networks.triton_mlp import triton_mlp, triton_mlp_supports, triton_trouble


@pytest.mark.parametrize(
    ("sizes", "rows"), [((32, 64, 64, 5), 300), ((38, 64, 64, 3), 129), ((20, 24, 24, 1), 1), ((32, 64, 64, 5), 0)]
)
def test_the_fused_network_and_its_gradients_are_torchs_own(sizes, rows):
    pytest.importorskip("triton", reason="triton compiles the fused network; on a CPU it interprets it")
    # The interpreter's factors are float32. A GPU's are bfloat16: near 0 some units fall on the other side of the
    # rectifier's kink, so its kink is small here. A product of three layers is then off by about one in a hundred.
    device, slope, tolerance = ("cuda", 0.9, 2e-2) if torch.cuda.is_available() else ("cpu", 0.1, 1e-6)
    torch.manual_seed(0)
    network = layered(sizes, torch.zeros(sizes[-1])).to(device)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    network[1].negative_slope = network[3].negative_slope = slope
    points = torch.randn(rows, sizes[0], device=device, requires_grad=True)
    weight = torch.randn(rows, sizes[-1], device=device)
    values = triton_mlp(points, [network[i] for i in (0, 2, 4)], slope)
    found = [values, *torch.autograd.grad((values * weight).sum(), [points, *network.parameters()])]
    network = network.double()
    exact = points.detach().double().requires_grad_()
    values = network(exact)
    expected = [values, *torch.autograd.grad((values * weight).sum(), [exact, *network.parameters()])]
    for mine, true in zip(found, expected, strict=True):
        assert (mine - true).norm() <= tolerance * true.norm()


def test_only_two_equal_hidden_layers_are_fused():
    assert triton_mlp_supports((32, 64, 64, 5))
    assert not triton_mlp_supports((32, 64, 5))
    assert not triton_mlp_supports((32, 128, 128, 5))
    assert not triton_mlp_supports((32, 64, 32, 5))


def test_a_triton_that_does_not_start_says_why(monkeypatch):
    pytest.importorskip("triton")
    triton_trouble.cache_clear()
    monkeypatch.setenv("CC", "no-such-compiler")
    try:
        assert torch.cuda.is_available() or "triton does not start" in triton_trouble()
        triton_trouble.cache_clear()
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        assert triton_trouble() == "triton is not installed"
    finally:
        triton_trouble.cache_clear()
