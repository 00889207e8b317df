"""How many threads the libraries themselves use while the stages of tracking run."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import cv2
import torch


@contextmanager
def one_thread_each() -> Generator[None]:
    """Torch and OpenCV on one CPU thread: their small operations gain little from more, and wait for each other.

    Measured on two shared cores: 6 s instead of 85 s for the same solve.
    """
    torch_before, opencv_before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(torch_before)
        cv2.setNumThreads(opencv_before)
