"""Where the work is done: a GPU that torch can use, or the CPU."""

from __future__ import annotations

import torch

from flare_cli.errors import BackendError


def choose_device(name: torch.device | str = "auto") -> torch.device:
    """The device called `name`; `auto` is CUDA where there is one, else the CPU.

    Raises `BackendError` if it is not there, or if our kernels don't run on it.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BackendError(f"{name!r} is not a device", hint="use auto, cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise BackendError(f"no renderer runs on {device.type!r}", hint="choose the device cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BackendError(
            "torch finds no CUDA device here", hint="choose the device cpu, or see `flare doctor` for what is missing"
        )
    return device
