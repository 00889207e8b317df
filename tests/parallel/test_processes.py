"""Worker processes; what is sent to them is from the standard library, which they can import."""

import operator
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from math import sqrt
from pathlib import Path

import numpy as np
import pytest

from flare_cli.data.image import read_rgb
from flare_cli.errors import SubjectError, WorkerError
from flare_cli.parallel.processes import Processes


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with Processes(2) as workers:
        yield workers


def is_running(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    status = Path("/proc") / str(pid) / "status"
    try:
        return "State:\tZ" not in status.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_worker_keeps_to_one_thread(processes: Processes):
    # By default OpenCV takes every core, in every worker.
    assert set(processes.in_parallel(eval, ["__import__('cv2').getNumThreads()"] * 4)) == {1}


def test_results_come_in_the_order_of_the_items(processes: Processes):
    assert list(processes.in_parallel(sqrt, range(40))) == [sqrt(k) for k in range(40)]


def test_work_is_done_in_other_processes_that_stay_for_other_work(processes: Processes):
    def workers() -> set[int]:
        return set(processes.in_parallel(eval, ["__import__('os').getpid()"] * 20))

    first = workers()
    assert os.getpid() not in first
    assert list(processes.in_parallel(partial(operator.mul, 3), [1, 2])) == [3, 6]
    assert len(first | workers()) <= 2


def test_pictures_go_there_and_back(processes: Processes):
    picture = np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
    (back,) = processes.in_parallel(np.flipud, [picture])
    assert np.array_equal(back, picture[::-1])


def test_torch_stays_out_of_workers_that_label(processes: Processes):
    modules = ("flare_cli.track.label.frame_worker", "flare_cli.track.label.overlay")
    code = f"[*map(__import__, {modules}), __import__('sys').modules][-1]"
    (loaded,) = processes.in_parallel(eval, [f"{{'torch', 'warp', 'numpy'}} & set({code})"])
    assert loaded == {"numpy"}


def test_an_error_a_user_can_fix_keeps_its_hint_and_others_their_traceback(processes: Processes):
    with pytest.raises(SubjectError, match="can't be read") as caught:
        list(processes.in_parallel(read_rgb, [Path("missing.png")]))
    assert "path" in caught.value.hint
    with pytest.raises(ValueError, match=r"math domain|nonnegative") as caught:
        list(processes.in_parallel(sqrt, [1, -1, 4]))
    assert "in serve" in str(caught.value.__cause__)
    assert list(processes.in_parallel(sqrt, [9])) == [3]


def test_what_work_prints_does_not_get_between_the_answers(processes: Processes):
    assert list(processes.in_parallel(print, ["to stderr, please"] * 3)) == [None] * 3


def test_a_worker_that_is_gone_is_one_clear_error():
    with Processes(1) as workers, pytest.raises(WorkerError, match="exit code 7"):
        list(workers.in_parallel(os._exit, [7]))


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks processes up in /proc")
def test_an_interrupt_ends_the_work_soon_and_leaves_no_process():
    pids: set[int] = set()
    interrupted = 0.0

    def work() -> None:
        nonlocal interrupted
        with Processes(2) as workers:
            pids.update(workers.in_parallel(eval, ["__import__('os').getpid()"] * 8))
            for _ in workers.in_parallel(time.sleep, [0.05] * 1000):
                interrupted = time.monotonic()
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert time.monotonic() - interrupted < 1
    assert not any(is_running(pid) for pid in pids)


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks processes up in /proc")
def test_workers_end_when_their_parent_is_killed():
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import time; from flare_cli.parallel.processes import Processes; w = Processes(1);"
            " print(*w.in_parallel(eval, ['__import__(\"os\").getpid()']), flush=True); time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 5
    while is_running(worker) and time.monotonic() < until:
        time.sleep(0.02)
    assert not is_running(worker)
