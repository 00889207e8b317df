"""Items from a process of its own; what is sent to it is from the standard library, which it can import."""

import itertools
import os
from contextlib import closing
from functools import partial
from math import sqrt

import pytest

from flare_cli.parallel.stream import batches_from_process


def test_all_items_come_in_order_and_in_batches():
    batches = list(batches_from_process(partial(range, 7), batch=3, ahead=2))
    assert batches == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batches_from_process(partial(range, 0), batch=3, ahead=2)) == []


def test_the_process_goes_on_where_it_was():
    with closing(batches_from_process(itertools.count, batch=4, ahead=2)) as batches:
        assert list(itertools.chain(*itertools.islice(batches, 5))) == list(range(20))


def test_it_is_another_process():
    (pids,) = batches_from_process(partial(map, eval, ["__import__('os').getpid()"] * 2), batch=4, ahead=1)
    assert len(set(pids)) == 1
    assert os.getpid() not in pids


def test_an_error_among_the_items_is_raised_here():
    batches = batches_from_process(partial(map, sqrt, [4, 9, -1]), batch=2, ahead=1)
    assert next(batches) == [2, 3]
    with pytest.raises(ValueError, match=r"math domain|nonnegative"):
        next(batches)
