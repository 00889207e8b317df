import threading

import pytest
import torch

from flare_cli.parallel.blocks import for_each_block, thread_count, threads_for_blocks


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_block_is_done_once_without_gradients(count):
    torch.set_num_threads(count)
    done, lock = [], threading.Lock()

    def work(block):
        assert not torch.is_grad_enabled()
        with lock:
            done.append(block)

    for_each_block(work, 50)
    for_each_block(work, 0)
    assert sorted(done) == list(range(50))
    assert torch.get_num_threads() == count


def test_a_failing_block_is_heard_of():
    torch.set_num_threads(2)
    with pytest.raises(ZeroDivisionError):
        for_each_block(lambda block: 1 // (block - 3), 5)


def test_torch_has_one_thread_in_each_of_ours():
    torch.set_num_threads(2)
    seen = [0, 0]
    both = threading.Barrier(2)

    def work(block):
        both.wait(timeout=5)
        seen[block] = torch.get_num_threads()

    for_each_block(work, 2)
    assert seen == [1, 1]


def test_blocks_can_have_all_threads_and_single_operations_one():
    torch.set_num_threads(3)
    with threads_for_blocks():
        assert torch.get_num_threads() == 1
        with threads_for_blocks():
            assert thread_count() == 3
        for_each_block(lambda block: None, 9)
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == thread_count() == 3
