"""The same work again and again: called on a CPU; on a GPU captured once as a CUDA graph and replayed."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch

# Before a capture: kernels are compiled, the optimiser and the allocator settle. As many as the examples in PyTorch's
# notes on CUDA graphs run; not tuned.
EAGER_STEPS = 3


@final
class Replay:
    """Calls some work eagerly a few times, then captures it on `stream` and replays it from there on.

    Nothing in it may depend on the host: a replay repeats its launches at the same addresses. Without `captures` it is
    called each time.
    """

    def __init__(self, *, captures: bool, stream: torch.cuda.Stream | None) -> None:
        self._stream = stream
        self._captures = captures and stream is not None
        self._eager_left = EAGER_STEPS
        self._graph: torch.cuda.CUDAGraph | None = None

    @property
    def is_captured(self) -> bool:
        """Whether calls are replays by now."""
        return self._graph is not None

    def __call__(self, work: Callable[[], None]) -> None:
        """Do `work`, the same each time, once more on the current stream."""
        if not self._captures or self._eager_left > 0:
            work()
            self._eager_left -= 1
            return
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            # Other threads (a checkpoint, a preview) may use the GPU meanwhile.
            with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
                work()
        self._graph.replay()
