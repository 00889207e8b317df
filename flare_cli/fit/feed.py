"""The pictures of each step on their way to the device: a ring of the coming batches, however long the recording."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Int
from torch import Tensor

from flare_cli.fit.frames import Pictures

# Steps that a GPU can do before the host has to bring the next batch. Gathering one takes 0.6 ms, a step 4 ms or more
# (docs/experiments.md, "Memory, start and preprocessing"); eight let the host fall behind for a while. Not tuned.
GPU_SLOTS = 8


@dataclass(frozen=True, slots=True)
class _Slot:
    """One batch in host memory that a GPU can read by itself, and its two moments on the GPU."""

    host: Pictures
    filled: torch.cuda.Event
    used: torch.cuda.Event


@final
class BatchFeed:
    """Brings the batch of every step of a stage to the device ahead of time.

    The recording stays in host memory. The device holds a ring of batches at fixed addresses, which a captured step
    reads by its own number. The host gathers a batch while the GPU does earlier steps, and copies it on a stream of its
    own: events keep a step from starting before its batch is there, and a copy from starting before its slot is free.
    The host waits only when it is a whole ring ahead of the GPU.
    """

    def __init__(
        self, pictures: Pictures, chosen: Int[Tensor, "N B"], device: torch.device, slots: int | None = None
    ) -> None:
        on_gpu = device.type == "cuda"
        self._pictures, self._chosen = pictures, chosen.cpu()
        self._size = slots or (GPU_SLOTS if on_gpu else 1)
        batch = chosen.shape[1]
        self._ring = pictures.blank(self._size * batch, device=device)
        self._slots: list[_Slot] = []
        self._stream: torch.cuda.Stream | None = None
        if on_gpu:
            self._stream = torch.cuda.Stream(device)
            for _ in range(self._size):
                host = pictures.blank(batch, pinned=True)
                self._slots.append(_Slot(host, torch.cuda.Event(), torch.cuda.Event()))
        self._next = -1

    @property
    def bytes_on_device(self) -> int:
        """What the ring takes."""
        return self._ring.image.nbytes + self._ring.mask.nbytes + self._ring.label.nbytes

    def batch(self, step: Int[Tensor, "1"]) -> Pictures:
        """The pictures of a step, whose number may change between replays. Valid while `reading` that step."""
        batch_indices = torch.arange(self._chosen.shape[1], device=step.device)
        return self._ring[step % self._size * len(batch_indices) + batch_indices]

    @contextmanager
    def reading(self, step: int) -> Generator[None]:
        """Within the block, launches on the current stream find the pictures of `step`.

        Steps must follow each other; where they do not, the whole ring is filled anew.
        """
        if step != self._next:
            self._start(step)
        if self._stream is not None:
            slot = self._slots[step % self._size]
            torch.cuda.current_stream(self._stream.device).wait_event(slot.filled)
            yield
            slot.used.record(torch.cuda.current_stream(self._stream.device))
        else:
            yield
        self._next = step + 1
        self._bring(step + self._size)

    def _start(self, step: int) -> None:
        if self._stream is not None:
            # Whatever used the ring's memory before, on any stream, is over.
            torch.cuda.synchronize(self._stream.device)
        for ahead in range(step, step + self._size):
            self._bring(ahead)

    def _bring(self, step: int) -> None:
        if step >= len(self._chosen):
            return
        batch = self._chosen.shape[1]
        first = step % self._size * batch
        slot_pictures = self._ring[first : first + batch]
        if self._stream is None:
            slot_pictures.gather(self._pictures, self._chosen[step])
            return
        slot = self._slots[step % self._size]
        slot.filled.synchronize()  # the copy that read this host memory last, a ring ago
        slot.host.gather(self._pictures, self._chosen[step])
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(slot.used)
            slot_pictures.copy(slot.host)
            slot.filled.record(self._stream)
