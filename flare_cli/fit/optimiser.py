"""Adam over the parts that a stage trains, with its state as plain tensors so that a fit resumes exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from flare_cli.avatar.avatar import Avatar
from flare_cli.config.schema import Part, StageSettings
from flare_cli.errors import AvatarError

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # as Kingma and Ba propose


@dataclass(frozen=True, slots=True)
class _Group:
    """Parameters that share a learning rate, and their state. `rate` is what a captured step reads and changes."""

    parameters: list[Tensor]
    start: Tensor
    rate: Tensor
    step: Tensor
    mean: list[Tensor]
    square: list[Tensor]


@final
class Adam:
    """Adam (Kingma and Ba, 2015) by torch's own fused kernel, a few launches for all parameters.

    `torch.optim.Adam` calls the same kernel, but its first step imports torch's compiler: about 3 s of a fit.
    """

    def __init__(self, parts: list[tuple[nn.Module, float]], device: torch.device) -> None:
        self.groups: list[_Group] = []
        for module, rate in parts:
            parameters: list[Tensor] = list(module.parameters())
            start = torch.tensor(rate, device=device)
            zeros = [[torch.zeros_like(parameter) for parameter in parameters] for _ in range(2)]
            self.groups.append(_Group(parameters, start, start.clone(), torch.zeros((), device=device), *zeros))

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for group in self.groups:
            for parameter in group.parameters:
                parameter.grad = None

    @torch.no_grad()
    def step(self, decay: Float[Tensor, ""]) -> None:
        """Move every parameter by its gradient, at `decay` times its first learning rate."""
        for group in self.groups:
            torch.mul(group.start, decay, out=group.rate)
            group.step.add_(1)
            grads = [_gradient(parameter) for parameter in group.parameters]
            torch.ops.aten._fused_adam_.tensor_lr(
                group.parameters,
                grads,
                group.mean,
                group.square,
                [],
                [group.step] * len(grads),
                lr=group.rate,
                beta1=BETA1,
                beta2=BETA2,
                weight_decay=0.0,
                eps=EPSILON,
                amsgrad=False,
                maximize=False,
            )

    def slow_down(self, part: float) -> None:
        """Go on with this part of every learning rate."""
        for group in self.groups:
            group.start.mul_(part)

    def tensors(self) -> dict[str, Tensor]:
        """The whole state by name. The tensors themselves: copying into them puts a state back."""
        state: dict[str, Tensor] = {}
        for i, group in enumerate(self.groups):
            state[f"optimiser.{i}.start"], state[f"optimiser.{i}.step"] = group.start, group.step
            for k, (mean, square) in enumerate(zip(group.mean, group.square, strict=True)):
                state[f"optimiser.{i}.{k}.mean"], state[f"optimiser.{i}.{k}.square"] = mean, square
        return state

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `tensors` returned. Raises `AvatarError` for the state of something else.

        The first checkpoints hold no rates, as no fit was ever slowed down then: those of the stage stay.
        """
        has_rates = any(name.endswith(".start") for name in tensors)
        for name, tensor in self.tensors().items():
            if name.endswith(".start") and not has_rates:
                continue
            # The one light of an avatar of before version 4 is the first of several now: as many numbers, an axis more.
            if name not in tensors or tensors[name].numel() != tensor.numel():
                raise AvatarError(f"the checkpoint lacks a whole {name}", hint="start again with --fresh")
            tensor.copy_(tensors[name].view_as(tensor))


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None, "every parameter of a trained part takes part in the loss"
    return parameter.grad


def stage_optimiser(avatar: Avatar, stage: StageSettings, *others: tuple[nn.Module, float]) -> Adam:
    """Adam with one rate per trained part of the avatar, and `others` with theirs; every other parameter is frozen."""
    parts: dict[Part, tuple[nn.Module, float]] = {
        "mesh": (avatar.mesh, stage.mesh_rate * (stage.mesh_rate_after if _is_subdivided(avatar, stage) else 1.0)),
        "deformer": (avatar.deformer, stage.deformer_rate),
        "material": (avatar.material, stage.material_rate),
        "light": (avatar.light, stage.light_rate),
    }
    for name, (module, _) in parts.items():
        module.requires_grad_(name in stage.trains)
    return Adam([*(part for name, part in parts.items() if name in stage.trains), *others], avatar.device)


def _is_subdivided(avatar: Avatar, stage: StageSettings) -> bool:
    return stage.subdivide_at > 0 and avatar.mesh.subdivisions > 0
