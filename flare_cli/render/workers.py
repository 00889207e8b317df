"""Threads for work that a CPU does block by block.

Torch's own threads share out single operations and meet after each; on blocks that stay in a core's cache that meeting
costs more than the work. Here a thread takes a whole block through all its operations.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch


def for_each_block(work: Callable[[int], None], blocks: int) -> None:
    """Call `work` with 0 to `blocks` - 1, without gradients, on as many threads as torch may use.

    Blocks come in any order and side by side: each writes to its own place, and what it computes does not depend on
    the number of threads.
    """
    threads = min(torch.get_num_threads(), blocks)
    waiting = itertools.count()

    def run() -> None:
        with torch.no_grad():
            while (block := next(waiting)) < blocks:
                work(block)

    if threads < 2:
        run()
        return
    for done in [_pool(torch.get_num_threads()).submit(run) for _ in range(threads)]:
        done.result()


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Workers in each of which torch has one thread."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="flare")
    everyone = threading.Barrier(threads)

    def start() -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()  # a thread that never asked still takes over what another sets
        everyone.wait()

    for started in [pool.submit(start) for _ in range(threads)]:
        started.result()
    torch.set_num_threads(threads)  # for threads to come, which take the number set last
    return pool
