"""Timing of calls: their latency, and on a GPU what their kernels take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

CALLS = 20  # in a row, between two looks at the clock


@dataclass(frozen=True, slots=True)
class Duration:
    """Milliseconds of one call: as the host sees calls one after the other, and of that a GPU's own work.

    Latency is what drawing waits for. A fit replays its steps from a graph, where only the GPU's own work counts.
    """

    latency: float
    busy: float | None


@final
class Clock:
    """Times calls after a warm-up: their latency, and on a GPU what its kernels take."""

    def __init__(self, device: torch.device, repeats: int) -> None:
        self.device, self.repeats = device, repeats

    def time(self, work: Callable[[], object]) -> Duration:
        """Time `work`; a latency is the median over means of some calls in a row."""
        work()
        once = self._milliseconds(work, 1)
        calls = max(1, min(CALLS, int(CALLS / once))) if self.device.type == "cuda" else 1
        repeats = self.repeats if once < CALLS else min(self.repeats, 3)
        latency = statistics.median(self._milliseconds(work, calls) for _ in range(repeats))
        return Duration(latency, self._busy(work, calls) if self.device.type == "cuda" else None)

    def time_gradient(self, outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...]) -> Duration:
        """Time the gradient of `outputs` to `inputs`."""
        ones = [torch.ones_like(output) for output in outputs]
        return self.time(lambda: torch.autograd.grad(outputs, inputs, ones, retain_graph=True))

    def _milliseconds(self, work: Callable[[], object], calls: int) -> float:
        self._wait()
        before = time.perf_counter()
        for _ in range(calls):
            work()
        self._wait()
        return 1e3 * (time.perf_counter() - before) / calls

    def _busy(self, work: Callable[[], object], calls: int) -> float:
        with profile(activities=[ProfilerActivity.CUDA]) as recorded:
            for _ in range(calls):
                work()
            self._wait()
        return 1e-3 * sum(event.self_device_time_total for event in recorded.key_averages()) / calls

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
