"""Adam over the parts that a stage trains, with its state as plain tensors so that a fit resumes exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from flare_cli.avatar.avatar import Avatar
from flare_cli.config.schema import Part, StageSettings
from flare_cli.render.geometry import mesh_edges, uniform_laplacian

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # as Kingma and Ba propose


@dataclass(frozen=True, slots=True)
class Smoother:
    """Spreads gradients at a mesh's vertices: `rounds` of half a way to the mean of a vertex's neighbours.

    With it a mesh finds its large shape first and no step creases it, as in Nicolet et al. 2021 ("Large Steps in
    Inverse Rendering of Geometry"), who solve a linear system. Rounds need no solver and can be captured; n of them
    spread over about the square root of n edges.
    """

    edges: Int[Tensor, "N 2"]
    rounds: int

    def __call__(self, gradient: Float[Tensor, "V 3"]) -> Float[Tensor, "V 3"]:
        """The smoothed gradient."""
        for _ in range(self.rounds):
            gradient = gradient + 0.5 * uniform_laplacian(gradient, self.edges)
        return gradient


@dataclass(frozen=True, slots=True)
class _Group:
    """Parameters that share a learning rate, and their state. `rate` is what a captured step reads and changes.

    With a `smoother` the parameters are vectors at vertices, and `square` is one number for all of a parameter's:
    numbers of their own would divide the smoothness out again (Nicolet et al. 2021, section 3.3).
    """

    parameters: list[Tensor]
    start: Tensor
    rate: Tensor
    step: Tensor
    mean: list[Tensor]
    square: list[Tensor]
    smoother: Smoother | None


@final
class Adam:
    """Adam (Kingma and Ba, 2015) by torch's own fused kernel, a few launches for all parameters.

    `torch.optim.Adam` calls the same kernel, but its first step imports torch's compiler: about 3 s of a fit.
    """

    def __init__(
        self,
        parts: list[tuple[nn.Module, float]],
        device: torch.device,
        smooth: dict[nn.Module, Smoother] | None = None,
    ) -> None:
        self.groups: list[_Group] = []
        for module, rate in parts:
            parameters: list[Tensor] = list(module.parameters())
            start = torch.tensor(rate, device=device)
            smoother = (smooth or {}).get(module)
            mean = [torch.zeros_like(parameter) for parameter in parameters]
            square = [torch.zeros_like(p) if smoother is None else p.new_zeros(()) for p in parameters]
            step = torch.zeros((), device=device)
            self.groups.append(_Group(parameters, start, start.clone(), step, mean, square, smoother))

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
            if group.smoother is not None:
                _smooth_step(group, [group.smoother(grad) for grad in grads])
                continue
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

    def tensors(self) -> dict[str, Tensor]:
        """The whole state by name. The tensors themselves: copying into them puts a state back."""
        state: dict[str, Tensor] = {}
        for i, group in enumerate(self.groups):
            state[f"optimiser.{i}.step"] = group.step
            for k, (mean, square) in enumerate(zip(group.mean, group.square, strict=True)):
                state[f"optimiser.{i}.{k}.mean"], state[f"optimiser.{i}.{k}.square"] = mean, square
        return state

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `tensors` returned."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])


def _smooth_step(group: _Group, grads: list[Tensor]) -> None:
    """Adam whose second moment is that of the largest vector, one for all."""
    for parameter, grad, mean, square in zip(group.parameters, grads, group.mean, group.square, strict=True):
        mean.lerp_(grad, 1 - BETA1)
        square.lerp_(grad.square().sum(-1).max(), 1 - BETA2)
        size = (square / (1 - BETA2**group.step)).sqrt() + EPSILON
        parameter.sub_(mean * (group.rate / (1 - BETA1**group.step) / size))


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None, "every parameter of a trained part takes part in the loss"
    return parameter.grad


def stage_optimiser(avatar: Avatar, stage: StageSettings) -> Adam:
    """Adam with one rate per trained part; every other parameter is frozen."""
    parts: dict[Part, tuple[nn.Module, float]] = {
        "mesh": (avatar.mesh, stage.mesh_rate * (stage.mesh_rate_after if _is_subdivided(avatar, stage) else 1.0)),
        "deformer": (avatar.deformer, stage.deformer_rate),
        "material": (avatar.material, stage.material_rate),
        "light": (avatar.light, stage.light_rate),
    }
    for name, (module, _) in parts.items():
        module.requires_grad_(name in stage.trains)
    smooth: dict[nn.Module, Smoother] = {}
    if stage.mesh_smoothing:
        # Edges are half as long after each division: four times the rounds reach as far.
        rounds = stage.mesh_smoothing * 4**avatar.mesh.subdivisions
        smooth[avatar.mesh] = Smoother(mesh_edges(avatar.mesh.topology.faces), rounds)
    return Adam([part for name, part in parts.items() if name in stage.trains], avatar.device, smooth)


def _is_subdivided(avatar: Avatar, stage: StageSettings) -> bool:
    return stage.subdivide_at > 0 and avatar.mesh.subdivisions > 0
