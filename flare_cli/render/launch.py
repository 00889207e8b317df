"""Launch Warp kernels on torch tensors, on the tensors' own device and stream."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

import torch
import warp as wp
from torch import Tensor

from flare_cli.data.native_output import without_lines
from flare_cli.parallel.blocks import for_each_block, thread_count
from flare_cli.render.kernel_cache import other_cache

# Parts of a launch that sums. Fixed, so that sums are the same for any number of threads. Not tuned.
PARTS = 4
# Kernel threads that a part must have: fewer are done before another CPU thread has begun. A guess, not measured.
LEAST_THREADS = 4096


def _start_warp() -> None:
    """Start Warp without its greeting, and without its native complaint where torch knows there is no GPU."""
    wp.config.quiet = True  # Warp below 1.13  # pyright: ignore[reportAttributeAccessIssue]
    wp.config.log_level = 40  # errors only
    if folder := other_cache():
        wp.config.kernel_cache_dir = str(folder / wp.config.version)
    with nullcontext() if torch.cuda.is_available() else without_lines(rb"Warp CUDA warning: "):
        wp.init()


_start_warp()
# Two threads that load kernels at once leave each other half of them, in the cache too: fixed bit by bit between Warp
# 1.10 and 1.19 (its issues 1474, 1532 and 1705). The first launch of a module, which loads it, is therefore alone.
_loading = Lock()
_loaded: set[tuple[wp.Module, torch.device]] = set()


@functools.cache
def _warp_stream(stream: torch.cuda.Stream) -> wp.Stream:
    return wp.stream_from_torch(stream)


@dataclass(frozen=True, slots=True)
class Each:
    """An argument that has one entry per thread along the launch's first axis: here along its own `axis`.

    `of_vectors`: its last axis is a vector to the kernel.
    """

    tensor: Tensor
    axis: int = 0
    of_vectors: bool = False

    def part(self, start: int, length: int) -> Any:
        """These entries alone."""
        tensor = self.tensor.detach().narrow(self.axis, start, length)
        return vectors(tensor) if self.of_vectors else tensor


@dataclass(frozen=True, slots=True)
class Total:
    """A tensor of zeros to which every thread may add. On a CPU, each part of a split launch gets its own."""

    tensor: Tensor
    of_vectors: bool = False


def launch(kernel: Any, dim: int | tuple[int, ...], device: torch.device, arguments: Sequence[object]) -> None:
    """Run `kernel` over `dim` threads; `arguments` are numbers, contiguous tensors, `vectors`, `Each` and `Total`.

    Where some are `Each`, a CPU splits the launch along the first axis of `dim`: all else is shared, so the parts must
    not write to the same place but by `Total`. How these are summed depends on `dim` alone.
    """
    sizes = (dim,) if isinstance(dim, int) else dim
    if 0 in sizes:
        return
    totals = [a.tensor for a in arguments if isinstance(a, Total)]
    parts = 1
    if device.type == "cpu" and any(isinstance(a, Each) for a in arguments):
        threads = thread_count()
        most_without_sums = max(PARTS, threads) if threads > 1 else 1
        most = PARTS if totals else most_without_sums
        parts = min(most, sizes[0], math.prod(sizes) // LEAST_THREADS)
    if parts < 2:
        _launch(kernel, sizes, device, [_whole(a) for a in arguments])
        return
    sums_of_parts = [[torch.zeros_like(total) for total in totals] for _ in range(parts)]

    def run(part: int) -> None:
        start, end = (sizes[0] * i // parts for i in (part, part + 1))
        sums = iter(sums_of_parts[part])
        part_arguments = [
            replace(a, tensor=next(sums)) if isinstance(a, Total) else _narrowed(a, start, end) for a in arguments
        ]
        _launch(kernel, (end - start, *sizes[1:]), device, [_whole(a) for a in part_arguments])

    for_each_block(run, parts)
    for i, total in enumerate(totals):
        for sums in sums_of_parts:
            total += sums[i]


def _narrowed(argument: object, start: int, end: int) -> object:
    """What threads `start` to before `end` get of an argument."""
    return argument.part(start, end - start) if isinstance(argument, Each) else argument


def _whole(argument: object) -> object:
    if isinstance(argument, Each | Total):
        return vectors(argument.tensor) if argument.of_vectors else argument.tensor
    return argument


def _launch(kernel: Any, dim: tuple[int, ...], device: torch.device, arguments: Sequence[object]) -> None:
    stream = _warp_stream(torch.cuda.current_stream(device)) if device.type == "cuda" else None
    module = kernel.module, device
    is_loaded = module in _loaded
    with nullcontext() if is_loaded else _loading:
        wp.launch(
            kernel,
            dim=dim,
            inputs=[_descriptor(a) if isinstance(a, Tensor) else a for a in arguments],
            device=wp.device_from_torch(device),
            stream=stream,
        )
        if not is_loaded:
            _loaded.add(module)


def vectors(tensor: Tensor) -> Any:
    """View the last axis of a float32 tensor as a vector for a launch (`vec3` where it has three entries)."""
    return _descriptor(tensor, _vector_type(tensor.shape[-1]))


def _descriptor(tensor: Tensor, dtype: type | None = None) -> Any:
    """What a kernel gets to see of a tensor; half the work of a `wp.array`, which the launch would unpack again."""
    return wp.from_torch(tensor, dtype=dtype, requires_grad=False, return_ctype=True)


@functools.cache
def _vector_type(length: int) -> type:
    return {2: wp.vec2, 3: wp.vec3, 4: wp.vec4}.get(length) or wp.types.vector(length=length, dtype=wp.float32)
