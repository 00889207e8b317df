"""Plain data of every pickle protocol is read; hostile pickles are refused by name, and nothing of them runs."""

import os
import pickle
import sys

import numpy as np
import pytest
import scipy.sparse
from support.pickles import PLAIN, hostile

from flare_cli.data.pickle.machine import load_object_array, load_pickle
from flare_cli.data.pickle.torch_files import load_torch_pickle
from flare_cli.errors import PickleError

SPARSE = {kind: getattr(scipy.sparse, kind)(np.diag([1.0, 2.0, 0.0])) for kind in
          ("csc_matrix", "csr_matrix", "coo_matrix", "csc_array", "csr_array", "coo_array")}  # fmt: skip


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_comes_back_whole(tmp_path, protocol):
    path = tmp_path / "plain.pkl"
    path.write_bytes(pickle.dumps(PLAIN | SPARSE, protocol=protocol))
    value = load_pickle(path)
    for name, expected in PLAIN.items():
        if isinstance(expected, np.ndarray):
            assert value[name].dtype == expected.dtype
            np.testing.assert_array_equal(value[name], expected)
        else:
            assert value[name] == expected
    for name, expected in SPARSE.items():
        np.testing.assert_array_equal(value[name].toarray(), expected.toarray())


def test_one_array_named_twice_stays_one(tmp_path):
    array = np.arange(3)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([array, array]))
    first, second = load_pickle(tmp_path / "a.pkl")
    assert first is second


def test_object_files_of_numpy_are_read(tmp_path):
    np.save(tmp_path / "dict.npy", {"faces": np.arange(4)}, allow_pickle=True)
    np.save(tmp_path / "plain.npy", np.arange(5))
    np.testing.assert_array_equal(load_object_array(tmp_path / "dict.npy")["faces"], np.arange(4))
    np.testing.assert_array_equal(load_object_array(tmp_path / "plain.npy"), np.arange(5))


NAMES = sorted(hostile("canary"))


@pytest.mark.parametrize("name", NAMES)
def test_hostile_pickle_is_refused_and_runs_nothing(tmp_path, monkeypatch, name):
    canary = tmp_path / "canary"
    path = tmp_path / "hostile.pkl"
    path.write_bytes(hostile(str(canary))[name])
    modules = set(sys.modules)
    limit = sys.getrecursionlimit()
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("it ran"))
    monkeypatch.setattr("flare_cli.data.pickle.machine.MAX_OPERATIONS", 250_000)
    for load in (load_pickle, load_torch_pickle):
        with pytest.raises(PickleError) as caught:
            load(path)
        assert "\n" not in caught.value.message
        assert str(path) in caught.value.message
    assert not canary.exists()
    assert set(sys.modules) - modules <= {"encodings.raw_unicode_escape"}
    assert sys.getrecursionlimit() == limit


def test_there_are_more_than_twenty_hostile_pickles_and_pythons_own_unpickler_falls_for_them(tmp_path):
    canary = tmp_path / "canary"
    assert len(NAMES) > 20
    pickle.loads(hostile(str(canary))["a call inside a call"])
    assert canary.exists()


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("subprocess", "subprocess.Popen"),
        ("eval of Python 2", "__builtin__.eval"),
        ("chumpy function", "chumpy.ch.MatVecMult"),
        ("functools.partial", "functools.partial"),
        ("dotted name", "OrderedDict.__init__"),
    ],
)
def test_what_is_refused_is_named(tmp_path, name, refused):
    path = tmp_path / "hostile.pkl"
    path.write_bytes(hostile("canary")[name])
    with pytest.raises(PickleError, match=refused.replace(".", r"\.")):
        load_pickle(path)


def test_a_missing_file_is_one_clear_error(tmp_path):
    with pytest.raises(PickleError, match="can't be read"):
        load_pickle(tmp_path / "nothing.pkl")
