"""Adam over the parts that a stage trains, with its state as plain tensors so that a fit resumes exactly."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from flare_cli.avatar.avatar import Avatar
from flare_cli.config.schema import Part, StageSettings


def stage_optimiser(avatar: Avatar, stage: StageSettings) -> torch.optim.Adam:
    """Adam with one group per trained part; every other parameter is frozen."""
    parts: dict[Part, tuple[nn.Module, float]] = {
        "mesh": (avatar.mesh, stage.mesh_rate * (stage.mesh_rate_after if _is_subdivided(avatar, stage) else 1.0)),
        "deformer": (avatar.deformer, stage.deformer_rate),
        "material": (avatar.material, stage.material_rate),
        "light": (avatar.light, stage.light_rate),
    }
    groups: list[dict[str, object]] = []
    for name, (module, rate) in parts.items():
        trained = name in stage.trains
        module.requires_grad_(trained)
        if trained:
            start = torch.tensor(rate, device=avatar.device)
            groups.append({"params": list(module.parameters()), "lr": start.clone(), "start": start})
    on_gpu = avatar.device.type == "cuda"
    return torch.optim.Adam(groups, eps=1e-8, fused=on_gpu, capturable=on_gpu)


def _is_subdivided(avatar: Avatar, stage: StageSettings) -> bool:
    return stage.subdivide_at > 0 and avatar.mesh.subdivisions > 0


def set_rates(optimiser: torch.optim.Adam, decay: Float[Tensor, ""]) -> None:
    """Learning rates `decay` times their start. They are tensors, so that a captured step can change them."""
    for group in optimiser.param_groups:
        torch.mul(group["start"], decay, out=group["lr"])


def optimiser_tensors(optimiser: torch.optim.Adam) -> dict[str, Tensor]:
    """The optimiser's state as named tensors."""
    state = optimiser.state_dict()["state"]
    return {f"optimiser.{i}.{key}": value for i, entry in state.items() for key, value in entry.items()}


def restore_optimiser(optimiser: torch.optim.Adam, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimiser_tensors` returned."""
    state = optimiser.state_dict()
    entries: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimiser."):
            _, index, key = name.split(".", 2)
            entries.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({"state": entries, "param_groups": state["param_groups"]})
