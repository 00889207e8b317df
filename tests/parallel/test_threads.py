import threading
import time

import pytest

from flare_cli.parallel.threads import Beside, in_parallel, one_per_thread, read_ahead


def test_results_come_in_the_order_of_the_items():
    def slow_first(k: int) -> int:
        time.sleep(0.02 if k % 3 == 0 else 0)
        return k * k

    assert list(in_parallel(slow_first, range(40))) == [k * k for k in range(40)]


def test_only_a_few_items_are_taken_ahead(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    taken = 0

    def items():
        nonlocal taken
        for k in range(100):
            taken += 1
            yield k

    results = in_parallel(lambda k: k, items())
    assert next(results) == 0
    assert taken <= 6
    results.close()


def test_an_error_ends_the_work_and_is_told():
    done: list[int] = []

    def fails_at_five(k: int) -> None:
        if k == 5:
            raise ValueError("five")
        done.append(k)

    with pytest.raises(ValueError, match="five"):
        list(in_parallel(fails_at_five, range(10000)))
    assert len(done) < 1000


def test_reading_ahead_keeps_order_and_errors():
    def items():
        yield from range(5)
        raise OSError("gone")

    seen: list[int] = []
    with pytest.raises(OSError, match="gone"):
        seen.extend(read_ahead(items()))
    assert list(read_ahead(range(5))) == list(range(5))


def test_reading_goes_on_while_the_caller_is_busy():
    read = threading.Event()

    def items():
        yield 0
        read.set()
        yield 1

    ahead = read_ahead(items())
    assert next(ahead) == 0
    assert read.wait(5)
    assert list(ahead) == [1]


def test_every_thread_has_its_own():
    made = one_per_thread(object)
    assert made() is made()
    others: list[object] = []
    thread = threading.Thread(target=lambda: others.append(made()))
    thread.start()
    thread.join()
    assert others[0] is not made()


def count_slowly(tell):
    for k in range(1000):
        time.sleep(0.002)
        tell(k, 1000)


def test_work_beside_the_block_gives_its_result_and_its_time():
    told: list[int] = []
    with Beside(lambda tell: [tell(k, 3) for k in range(3)] and "done", lambda done, total: told.append(done)) as work:
        result, seconds = work.result()
        work.check()
    assert (result, told) == ("done", [0, 1, 2])
    assert 0 <= seconds < 1


def test_an_error_in_the_block_ends_the_work_beside_it():
    told: list[int] = []
    with pytest.raises(KeyboardInterrupt), Beside(count_slowly, lambda done, total: told.append(done)):
        raise KeyboardInterrupt
    assert len(told) < 500
    assert not any("ThreadPoolExecutor" in thread.name for thread in threading.enumerate() if thread.is_alive())


def test_an_error_in_the_work_is_told_to_the_block():
    def fail(tell) -> None:
        raise OSError("no space")

    with Beside(fail, lambda done, total: None) as work:
        time.sleep(0.05)
        with pytest.raises(OSError, match="no space"):
            work.check()
