"""Reading what `torch.save` wrote, through the restricted unpickler: tensors become numpy arrays, code never runs.

Both formats are read: the zip archive of torch 1.6 and later, and the older row of pickles followed by raw storages.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import numpy as np

from flare_cli.data.array_file import DAMAGED_ARCHIVE
from flare_cli.data.pickle.globals import MAX_DIMENSIONS, Budget, Global, Refused, Shell
from flare_cli.data.pickle.machine import HINT, MAX_FILE_BYTES, Machine, read_bounded, resolved
from flare_cli.errors import PickleError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
STORAGES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4",
    "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?",
}  # fmt: skip


def load_torch_pickle(path: Path) -> Any:
    """The value in a file of `torch.save`, with tensors as numpy arrays.

    Raises `PickleError`, naming what was refused, before anything of it runs.
    """
    return loads(read_bounded(path), path)


def loads(data: bytes, path: Path) -> Any:
    """The value that `data`, the content of `path`, holds."""
    try:
        return _of_archive(data) if data[:2] == b"PK" else _of_legacy(data)
    except Refused as error:
        raise PickleError(f"{path} is refused: {error}", hint=HINT) from error
    except DAMAGED_ARCHIVE as error:
        raise PickleError(f"{path} is a damaged archive: {error}", hint="copy or download it again") from error


@final
class _Storage(Shell):
    """Raw numbers that lie elsewhere in the file."""

    def __init__(self, dtype: np.dtype[Any], key: str, read: Callable[[str], bytes]) -> None:
        super().__init__()
        self._dtype, self._key, self._read = dtype, key, read

    def made(self, resolve: Callable[[Any], Any], budget: Budget) -> np.ndarray:
        """All the numbers in a row."""
        raw = self._read(self._key)
        if len(raw) % self._dtype.itemsize:
            raise Refused(f"the storage {self._key!r} has a size that its type does not divide")
        return np.frombuffer(raw, self._dtype)


@final
class _Tensor(Shell):
    """A view into a storage."""

    def __init__(self, storage: _Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> None:
        super().__init__()
        self._storage, self._offset, self._shape, self._stride = storage, offset, shape, stride

    def made(self, resolve: Callable[[Any], Any], budget: Budget) -> np.ndarray:
        """A copy of the view, after it was checked to lie inside."""
        values = resolve(self._storage)
        count = math.prod(self._shape)
        reach = sum((n - 1) * step for n, step in zip(self._shape, self._stride, strict=True)) if count else -1
        if self._offset + reach >= len(values):
            raise Refused("a tensor that reaches beyond its storage")
        budget.spend(count * values.itemsize)
        if not count:
            return np.zeros(self._shape, values.dtype)
        steps = tuple(step * values.itemsize for step in self._stride)
        return np.lib.stride_tricks.as_strided(values[self._offset :], self._shape, steps).copy()


def _tensor(arguments: tuple[Any, ...]) -> Any:
    if len(arguments) < 4 or not isinstance(arguments[0], _Storage):
        raise Refused("a tensor without a storage")
    storage, offset, shape, stride = arguments[:4]
    if not isinstance(shape, tuple) or not isinstance(stride, tuple) or len(shape) != len(stride):
        raise Refused("a tensor whose shape and stride do not belong together")
    if any(type(n) is not int or not 0 <= n < 1 << 40 for n in (offset, *shape, *stride)):
        raise Refused("a tensor with a shape or stride that is not of whole numbers")
    if len(shape) > MAX_DIMENSIONS:
        raise Refused("a tensor of too many dimensions")
    return _Tensor(storage, offset, shape, stride)


def _parameter(arguments: tuple[Any, ...]) -> Any:
    if not arguments or not isinstance(arguments[0], _Tensor):
        raise Refused("a parameter without a tensor")
    return arguments[0]


def _machine(read: Callable[[str], bytes]) -> Machine:
    def never(arguments: tuple[Any, ...]) -> Any:
        raise Refused("a call of a storage class")

    kinds = {name: Global(f"torch.{name}", never) for name in STORAGES}

    def storage(key: Any) -> Any:
        match key:
            case ("storage", Global() as kind, str() as name, str(), int(), *_) if kind in kinds.values():
                return _Storage(np.dtype(STORAGES[kind.name.removeprefix("torch.")]), name, read)
            case _:
                raise Refused("a persistent id that is not a storage of numbers")

    machine = Machine(storage=storage)
    machine.globals |= {("torch", name): kind for name, kind in kinds.items()}
    machine.globals["torch._utils", "_rebuild_tensor_v2"] = Global("torch._utils._rebuild_tensor_v2", _tensor)
    machine.globals["torch._utils", "_rebuild_parameter"] = Global("torch._utils._rebuild_parameter", _parameter)
    return machine


def _of_archive(data: bytes) -> Any:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        if sum(sizes.values()) > MAX_FILE_BYTES:
            raise Refused("the archive unpacks to more than such files hold")
        pickles = [name for name in sizes if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise Refused("the archive is not one of torch.save: it has no data.pkl")
        folder = pickles[0].removesuffix("data.pkl")
        if archive.read(f"{folder}byteorder").strip() != b"little" if f"{folder}byteorder" in sizes else False:
            raise Refused("numbers in big-endian order")

        def read(key: str) -> bytes:
            if f"{folder}data/{key}" not in sizes:
                raise Refused(f"the archive lacks the storage {key[:40]!r}")
            return archive.read(f"{folder}data/{key}")

        machine = _machine(read)
        value, _ = machine.run(archive.read(pickles[0]))
        return resolved(value, machine.budget)


def _of_legacy(data: bytes) -> Any:
    storages: dict[str, tuple[int, int]] = {}
    sizes: dict[str, int] = {}

    def read(key: str) -> bytes:
        if key not in storages:
            raise Refused(f"the file lacks the storage {key[:40]!r}")
        start, count = storages[key]
        end = start + count * sizes[key]
        if end > len(data):
            raise Refused("the file is cut off")
        return data[start:end]

    machine = _machine(read)
    inner = machine.storage
    assert inner is not None

    def storage(key: Any) -> Any:
        made = inner(key)
        sizes[key[2]] = np.dtype(STORAGES[key[1].name.removeprefix("torch.")]).itemsize
        return made

    machine.storage = storage
    magic, position = machine.run(data)
    if magic != LEGACY_MAGIC:
        raise Refused("it is not a file of torch.save")
    _, position = machine.run(data, position)
    system, position = machine.run(data, position)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise Refused("numbers in big-endian order")
    value, position = machine.run(data, position)
    keys, position = machine.run(data, position)
    if not isinstance(keys, list):
        raise Refused("the list of storages is missing")
    for key in keys:
        count = int.from_bytes(data[position : position + 8], "little")
        if not isinstance(key, str) or key not in sizes or position + 8 + count * sizes[key] > len(data):
            raise Refused("the file is cut off")
        storages[key] = (position + 8, count)
        position += 8 + count * sizes[key]
    return resolved(value, machine.budget)
