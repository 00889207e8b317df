"""Pickles written by hand: of plain data, and hostile ones."""

import builtins
import collections
import copyreg
import functools
import importlib
import operator
import os
import pickle
import struct
import subprocess

import numpy as np
import scipy.sparse

PLAIN = {
    "c": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.uint32).reshape(2, 3)),
    "big endian": np.arange(3, dtype=">f4"),
    "empty": np.zeros((0, 3)),
    "text": np.array(["ab", "c"]),
    "number": np.float32(3),
    "bool": np.bool_(True),
    "containers": [1, (2, 3.5, None, True), {"x": {1, 2}}, b"\xff\0", b"", "ü", 10**12, -5, frozenset("ab")],
    "ordered": collections.OrderedDict(a=1),
}


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.parts


def protocol2(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


ARRAY = named("numpy.core.multiarray", "_reconstruct") + named("numpy", "ndarray") + b"K\0\x85U\x01b\x87R"
FLOAT64 = named("numpy", "dtype") + b"U\x02f8K\0K\x01\x87R"


def filled_array(shape: bytes, dtype: bytes, data: bytes) -> bytes:
    return protocol2(ARRAY + b"(K\x01" + shape + dtype + b"\x89" + data + b"tb")


def laughs() -> bytes:
    layers = b"".join(b"](h\0" + b"h\0" * 9 + b"eq\0" for _ in range(20))
    return protocol2(b"]q\0" + layers)


def of_one_hash() -> list[bytes]:
    """Integers, pickled, which all have the hash 0: a dictionary of them compares each with all others."""
    return [b"\x8a\x0a" + ((2**61 - 1) * k).to_bytes(10, "little") for k in range(50_000)]


def hostile(canary: str) -> dict[str, bytes]:
    """Pickles that would make the file `canary`, or harm otherwise, under Python's own unpickler."""
    touch, python = f"touch {canary}", f"open({canary!r}, 'w')"

    def dump(value, protocol=2):
        return pickle.dumps(value, protocol)

    return {
        "os.system": dump(Call(os.system, touch)),
        "posix.system, protocol 0": b"cposix\nsystem\n(S" + repr(touch).encode() + b"\ntR.",
        "posix.system, protocol 5": dump(Call(os.system, touch), 5),
        "subprocess": dump(Call(subprocess.Popen, ["touch", canary]), 4),
        "subprocess.check_output": dump(Call(subprocess.check_output, ["touch", canary])),
        "eval": dump(Call(eval, python)),
        "exec": dump(Call(exec, python)),
        "eval of Python 2": protocol2(named("__builtin__", "eval") + text(python) + b"\x85R"),
        "open": dump(Call(builtins.open, canary, "w")),
        "getattr": dump(Call(getattr, "x", "__class__")),
        "__import__": dump(Call(__import__, "os")),
        "importlib": dump(Call(importlib.import_module, "os")),
        "functools.partial": dump(Call(functools.partial, os.system, touch)),
        "operator.attrgetter": dump(Call(operator.attrgetter, "__class__")),
        "operator.methodcaller": dump(Call(operator.methodcaller, "system", touch)),
        "a call inside a call": dump([{"a": (1, Call(list, [Call(os.system, touch)]))}]),
        "map": dump(Call(map, os.system, [touch])),
        "code in a dict's value": dump({"v_template": np.zeros(3), "f": Call(os.system, touch)}),
        "copyreg.add_extension": dump(Call(copyreg.add_extension, "os", "system", 240)),
        "copyreg._reconstructor of a class": protocol2(
            named("copy_reg", "_reconstructor") + named("subprocess", "Popen") + b"N\x86R"
        ),
        "copyreg._reconstructor of an array": protocol2(
            named("copy_reg", "_reconstructor") + named("numpy", "ndarray") + named("__builtin__", "object") + b"N\x87R"
        ),
        "dotted name": b"\x80\x04" + text("collections") + text("OrderedDict.__init__.__globals__") + b"\x93.",
        "a module's attribute by a dotted name": b"\x80\x04" + text("numpy") + text("f2py.os.system") + b"\x93.",
        "name that is no string": b"\x80\x04K\x01K\x02\x93.",
        "INST": b"(S" + repr(touch).encode() + b"\niposix\nsystem\n.",
        "OBJ": b"(" + named("posix", "system") + text(touch) + b"o.",
        "NEWOBJ": protocol2(named("subprocess", "Popen") + text(touch) + b"\x85\x81"),
        "NEWOBJ_EX": b"\x80\x04" + named("numpy", "ndarray") + b"K\x05\x85}\x92.",
        "numpy.load": protocol2(named("numpy", "load") + text(canary) + b"\x85R"),
        "runstring": protocol2(named("numpy.testing._private.utils", "runstring") + text(python) + b"}\x86R"),
        "multiarray.fromfile": protocol2(named("numpy.core.multiarray", "fromfile") + text("/etc/passwd") + b"\x85R"),
        "_reconstruct of another class": protocol2(
            named("numpy.core.multiarray", "_reconstruct") + named("subprocess", "Popen") + b"K\0\x85U\x01b\x87R"
        ),
        "ndarray called": protocol2(named("numpy", "ndarray") + b"J\xff\xff\xff\x7f\x85\x85R"),
        "object array of functions": dump(np.array([Call(os.system, touch)], object)),
        "object array of allowed names": filled_array(
            b"K\x01\x85", named("numpy", "dtype") + b"U\x02O8K\0K\x01\x87R", b"]" + named("numpy", "ndarray") + b"a"
        ),
        "object array without dimensions": filled_array(
            b")", named("numpy", "dtype") + b"U\x02O8K\0K\x01\x87R", b"]" + named("numpy", "ndarray") + b"a"
        ),
        "array of records": dump(np.zeros(2, [("a", "f4"), ("b", "i4")])),
        "huge array": filled_array(b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86", FLOAT64, b"U\x08" + b"\0" * 8),
        "array of negative size": filled_array(b"J\xff\xff\xff\xff\x85", FLOAT64, b"U\x08" + b"\0" * 8),
        "array with too few bytes": filled_array(b"K\x02\x85", FLOAT64, b"U\x08" + b"\0" * 8),
        "array with huge items": filled_array(
            b"K\x01\x85", named("numpy", "dtype") + text("S99999999") + b"\x85R", b"U\0"
        ),
        "sparse indices out of bounds": dump(_with_index(99)),
        "sparse indices below zero": dump(_with_index(-1)),
        "a type that numpy lacks": filled_array(
            b"K\x01\x85", named("numpy", "dtype") + b"U\x02f1K\0K\x01\x87R", b"U\x01x"
        ),
        "chumpy function": protocol2(named("chumpy.ch", "MatVecMult") + b")\x81"),
        "chumpy module": protocol2(named("chumpy.utils", "os") + b"."),
        "chumpy lambda": protocol2(named("chumpy.ch", "Ch") + b")\x81}" + text("x") + named("os", "system") + b"sb"),
        "chumpy without an array": protocol2(named("chumpy.ch", "Ch") + b")\x81}" + text("x") + text("y") + b"sb"),
        "chumpy with arguments": protocol2(named("chumpy.ch", "Ch") + text("x") + b"\x85R"),
        "state for a function": protocol2(named("numpy", "dtype") + b"}" + text("__defaults__") + b"Nsb"),
        "state for a class": protocol2(named("chumpy.ch", "Ch") + b"}" + text("made") + b"Nsb"),
        "state twice": protocol2(named("chumpy.ch", "Ch") + b")\x81}b}b"),
        "persistent id": protocol2(b"K\x01Q"),
        "persistent id, protocol 0": b"Pos.system\n.",
        "extension registry": protocol2(b"\x82\x01"),
        "out-of-band buffer": b"\x80\x05\x97.",
        "deep lists": protocol2(b"]" * 100_000 + b"a" * 99_999),
        "deep tuples as a key": protocol2(b"}" + b")" + b"\x85" * 100_000 + b"Ns"),
        "a list in itself": protocol2(b"]q\0h\0a"),
        "billion laughs": laughs(),
        "endless": protocol2(b"N0" * 400_000),
        "many digits": b"I" + b"9" * 100_000 + b"\n.",
        "large integer": protocol2(b"\x8b" + struct.pack("<I", 1000) + b"\x7f" * 1000),
        "cut off": pickle.dumps(PLAIN, 2)[:-40],
        "cut off in a string": protocol2(b"T\xff\xff\xff\x7fabc"),
        "empty": b"",
        "not a pickle": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "takes what is not there": protocol2(b"R"),
        "value that is not there": protocol2(b"h\x05"),
        "no mark": protocol2(b"t"),
        "a bare function": protocol2(named("_codecs", "encode")),
        "another codec": protocol2(named("_codecs", "encode") + text("x") + text("rot13") + b"\x86R"),
        "bytes of a length": protocol2(named("__builtin__", "bytes") + b"J\xff\xff\xff\x7f\x85R"),
        "unhashable key": protocol2(b"}]Ns"),
        "keys of one hash, integers": protocol2(b"}(" + b"".join(key + b"N" for key in of_one_hash()) + b"u"),
        "keys of one hash, tuples": protocol2(b"}(" + b"".join(key + b"\x85N" for key in of_one_hash()) + b"u"),
        "a set of one hash": b"\x80\x04\x8f(" + b"".join(of_one_hash()) + b"\x90.",
        "a set of one hash, by name": protocol2(
            named("__builtin__", "set") + b"](" + b"".join(of_one_hash()) + b"e\x85R"
        ),
    }  # fmt: skip


def _with_index(index: int):
    matrix = scipy.sparse.csc_matrix(np.eye(3))
    matrix.indices[0] = index
    return matrix
