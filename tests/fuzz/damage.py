"""Ways to damage a file, as hypothesis strategies of functions from bytes to bytes."""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

Damage = Callable[[bytes], bytes]

# What somebody, or a program, might write where something else belongs.
TOKENS = [
    *(b"NaN", b"nan", b"inf", b"-Infinity", b"1e999", b"1e300", b"-1", b"0", b"-0.0", b"3.5", b"65536", b"2147483648"),
    *(b"null", b"true", b"[]", b"{}", b'""', b'"x"', b"'", b'"', b"\n", b"\0", b"\xff\xfe", b"[[[]]]", b"99"),
    *(b"9" * 30, b"9" * 5000, b"[" * 3000, b'{"a":' * 3000, b"x" * 5000, b"../../..", b"\\u0000"),
]
VALUES = [
    *(None, True, -1, 0, 1, 3.5, 1e300, float("nan"), float("inf"), 10**30, "", "x", "../../x", "9" * 3000, "\0"),
    *([], [[]], [0], {}, {"x": 1}, ["x"], [[[[[[0]]]]]]),
]
ARRAYS = [
    *(np.zeros(0), np.zeros((0, 3)), np.float64(np.nan), np.full((3, 3), np.nan), np.zeros((2, 2, 2, 2)), np.zeros(3)),
    *(np.array("x"), np.zeros(4, complex), np.zeros(4, bool), np.full(4, 1e300), np.full((4, 3), -1), np.arange(10**5)),
]


def place(data: bytes, where: float) -> int:
    """The index that lies at the part `where` (0..1) of some bytes."""
    return min(int(where * len(data)), max(len(data) - 1, 0))


def flipped(where: float, bit: int) -> Damage:
    def damage(data: bytes) -> bytes:
        i = place(data, where)
        return data[:i] + bytes(byte ^ 1 << bit for byte in data[i : i + 1]) + data[i + 1 :]

    return damage


def cut(where: float) -> Damage:
    return lambda data: data[: place(data, where)]


def filled(where: float, length: int, byte: int) -> Damage:
    def damage(data: bytes) -> bytes:
        i = place(data, where)
        return data[:i] + bytes([byte]) * len(data[i : i + length]) + data[i + length :]

    return damage


def repeated(start: float, end: float) -> Damage:
    def damage(data: bytes) -> bytes:
        i, j = sorted((place(data, start), place(data, end)))
        return data[:j] + data[i:]

    return damage


def inserted(where: float, token: bytes) -> Damage:
    return lambda data: data[: place(data, where)] + token + data[place(data, where) :]


def number_replaced(which: float, token: bytes) -> Damage:
    """One of the numbers in a text becomes something else."""

    def damage(data: bytes) -> bytes:
        found = list(re.finditer(rb"-?[0-9][0-9.e+-]*", data))
        if not found:
            return data
        match = found[min(int(which * len(found)), len(found) - 1)]
        return data[: match.start()] + token + data[match.end() :]

    return damage


def of_json(which: float, value: object, *, remove: bool) -> Callable[[object], object]:
    """One node of a JSON value becomes another value, or goes."""

    def change(root: object) -> object:
        places = [place for place in _places(root) if place]
        if not places:
            return value
        *parents, last = places[min(int(which * len(places)), len(places) - 1)]
        node = root
        for key in parents:
            node = node[key]
        if remove:
            del node[last]
        else:
            node[last] = value
        return root

    return change


def _places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _places(item, (*path, key))


def json_changed(which: float, value: object, remove: bool) -> Damage:
    change = of_json(which, value, remove=remove)
    return lambda data: json.dumps(change(json.loads(data))).encode()


def header_changed(which: float, value: object, remove: bool) -> Damage:
    """One node in the JSON text of our header in a safetensors file."""
    change = of_json(which, value, remove=remove)

    def damage(data: bytes) -> bytes:
        (length,) = struct.unpack("<Q", data[:8])
        whole = json.loads(data[8 : 8 + length])
        whole["__metadata__"]["flare"] = json.dumps(change(json.loads(whole["__metadata__"]["flare"])))
        header = json.dumps(whole).encode()
        return struct.pack("<Q", len(header)) + header + data[8 + length :]

    return damage


def tensor_filled(where: float, value: float) -> Damage:
    """Some floats among the tensors of a safetensors file."""

    def damage(data: bytes) -> bytes:
        (length,) = struct.unpack("<Q", data[:8])
        start = 8 + length + 4 * int(where * ((len(data) - 8 - length) // 4 - 1))
        return data[:start] + struct.pack("<f", value) + data[start + 4 :]

    return damage


def array_changed(which: float, value: np.ndarray, remove: bool) -> Damage:
    """One array of an .npz."""

    def damage(data: bytes) -> bytes:
        arrays = dict(np.load(io.BytesIO(data)))
        name = sorted(arrays)[min(int(which * len(arrays)), len(arrays) - 1)]
        arrays[name] = value
        if remove:
            del arrays[name]
        made = io.BytesIO()
        np.savez(made, **arrays)
        return made.getvalue()

    return damage


def member_changed(which: float, inner: Damage) -> Damage:
    """One file in a zip archive, whose checksums are right again."""

    def damage(data: bytes) -> bytes:
        made = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w") as new:
            names = old.namelist()
            chosen = names[min(int(which * len(names)), len(names) - 1)]
            for name in names:
                content = old.read(name)
                new.writestr(name, inner(content) if name == chosen else content)
        return made.getvalue()

    return damage


part = st.floats(0, 1)
plain = st.one_of(
    st.builds(flipped, part, st.integers(0, 7)),
    st.builds(cut, part),
    st.builds(filled, part, st.integers(1, 64), st.sampled_from([0, 255, 0x39])),
    st.builds(repeated, part, part),
    st.builds(inserted, part, st.sampled_from(TOKENS)),
)
texts = st.one_of(plain, st.builds(number_replaced, part, st.sampled_from(TOKENS)))
jsons = st.one_of(texts, st.builds(json_changed, part, st.sampled_from(VALUES), st.booleans()))
tensors = st.one_of(
    plain,
    st.builds(header_changed, part, st.sampled_from(VALUES), st.booleans()),
    st.builds(tensor_filled, part, st.sampled_from([float("nan"), float("inf"), -3e38])),
)
zips = st.one_of(plain, st.builds(member_changed, part, plain))
arrays = st.one_of(zips, st.builds(array_changed, part, st.sampled_from(ARRAYS), st.booleans()))
