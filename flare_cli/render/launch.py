"""Launch Warp kernels on torch tensors, on the tensors' own device and stream."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import Any

import torch
import warp as wp


def _start_warp() -> None:
    """Start Warp without its greeting, and without its native complaint where torch knows there is no GPU."""
    wp.config.quiet = True  # Warp below 1.13  # pyright: ignore[reportAttributeAccessIssue]
    wp.config.log_level = 40  # errors only
    if torch.cuda.is_available():
        wp.init()
        return
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        wp.init()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


_start_warp()


@functools.cache
def _warp_stream(stream: torch.cuda.Stream) -> wp.Stream:
    return wp.stream_from_torch(stream)


def launch(kernel: Any, dim: int | tuple[int, ...], device: torch.device, arguments: Sequence[object]) -> None:
    """Run `kernel` over `dim` threads; `arguments` are numbers, contiguous tensors and `vectors`."""
    stream = _warp_stream(torch.cuda.current_stream(device)) if device.type == "cuda" else None
    wp.launch(
        kernel,
        dim=dim,
        inputs=[wp.from_torch(a.detach()) if isinstance(a, torch.Tensor) else a for a in arguments],
        device=wp.device_from_torch(device),
        stream=stream,
    )


def vectors(tensor: torch.Tensor) -> wp.array:
    """View the last axis of a contiguous float32 tensor as `vec2`, `vec3` or `vec4` for a kernel."""
    dtype = {2: wp.vec2, 3: wp.vec3, 4: wp.vec4}[tensor.shape[-1]]
    return wp.from_torch(tensor.detach(), dtype=dtype)
