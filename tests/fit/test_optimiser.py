import torch
from torch import nn

from flare_cli.fit.optimiser import Adam


def gradients(parameters, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_steps_are_those_of_torchs_adam_with_the_rates_of_the_moment():
    torch.manual_seed(0)
    mine, theirs = (nn.ModuleList([nn.Linear(5, 7), nn.Linear(7, 2)]) for _ in range(2))
    theirs.load_state_dict(mine.state_dict())
    rates = (1e-2, 3e-3)
    adam = Adam(list(zip(mine, rates, strict=True)), torch.device("cpu"))
    groups = [{"params": part.parameters(), "lr": rate} for part, rate in zip(theirs, rates, strict=True)]
    reference = torch.optim.Adam(groups)
    for step in range(20):
        decay = 0.9**step
        gradients(mine.parameters(), step)
        gradients(theirs.parameters(), step)
        adam.step(torch.tensor(decay))
        for group, rate in zip(reference.param_groups, rates, strict=True):
            group["lr"] = rate * decay
        reference.step()
    torch.testing.assert_close(mine.state_dict(), theirs.state_dict(), rtol=1e-5, atol=1e-6)


def test_a_restored_optimiser_goes_on_bit_for_bit():
    torch.manual_seed(0)
    part = nn.Linear(5, 7)
    adam = Adam([(part, 1e-2)], torch.device("cpu"))
    gradients(part.parameters(), 1)
    adam.step(torch.tensor(1.0))
    other = nn.Linear(5, 7)
    other.load_state_dict(part.state_dict())
    again = Adam([(other, 1e-2)], torch.device("cpu"))
    again.restore({name: tensor.clone() for name, tensor in adam.tensors().items()})
    for module, optimiser in ((part, adam), (other, again)):
        gradients(module.parameters(), 2)
        optimiser.step(torch.tensor(0.5))
    assert all(torch.equal(a, b) for a, b in zip(part.parameters(), other.parameters(), strict=True))
