"""The names that a pickle may mention, and the inert values that are built for them here."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, cast, final

import numpy as np
import scipy.sparse

MAX_ARRAY_BYTES = 1 << 30
MAX_DIMENSIONS = 8
# Booleans, integers, floats and complex numbers, byte and text strings of fixed length; no objects, no records.
DTYPE = re.compile(r"[<>|=]?(\?|[biufc](1|2|4|8|16)|[SUa]\d{1,6})")


class Refused(Exception):  # noqa: N818 - it reads as what happened
    """The file asks for something that is not allowed; the message says what."""


@dataclass(slots=True)
class Budget:
    """How many bytes of arrays a file may still become."""

    left: int = MAX_ARRAY_BYTES

    def spend(self, count: int) -> None:
        """Take `count` bytes, before they are allocated."""
        self.left -= count
        if self.left < 0:
            raise Refused(f"its arrays need more than {MAX_ARRAY_BYTES} bytes")


@final
@dataclass(frozen=True, slots=True)
class Global:
    """A function that a pickle may call: ours, under the name that the file uses."""

    name: str
    call: Callable[[tuple[Any, ...]], Any]


class Shell(ABC):
    """Something that a pickle makes and fills. It becomes a value only when the whole file has been read."""

    def __init__(self) -> None:
        self.state: Any = None

    def fill(self, state: Any) -> None:
        """Keep what the file says about it."""
        if self.state is not None:
            raise Refused("the same object is filled twice")
        self.state = state

    @abstractmethod
    def made(self, resolve: Callable[[Any], Any], budget: Budget) -> Any:
        """The value. `resolve` makes the values of other shells in the state."""

    def fields(self, kind: str) -> dict[Any, Any]:
        """The state as a dict of attributes."""
        if not isinstance(self.state, dict):
            raise Refused(f"a {kind} without its fields")
        return self.state


@final
class DType(Shell):
    """A numpy type. Filled with a version, a byte order, and five fields that only records and objects use."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def made(self, resolve: Callable[[Any], Any], budget: Budget) -> np.dtype[Any]:
        """The type in its byte order."""
        if self._text in ("O", "O8", "O4", "|O"):
            return np.dtype(object)
        if not DTYPE.fullmatch(self._text):
            raise Refused(f"an array of type {self._text[:40]!r}")
        try:
            dtype = np.dtype(self._text)
        except (TypeError, ValueError, OverflowError) as error:  # f1, and sizes beyond all
            raise Refused(f"an array of type {self._text[:40]!r}") from error
        if self.state is None:
            return dtype
        state = self.state
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise Refused("an array type with fields")
        if state[1] not in ("<", ">", "|", "="):
            raise Refused("an array type without a byte order")
        return dtype.newbyteorder(state[1])


@final
class Array(Shell):
    """A numpy array, filled with (version, shape, type, is Fortran, bytes)."""

    def made(self, resolve: Callable[[Any], Any], budget: Budget) -> Any:
        """The array; an object array without dimensions is the object in it."""
        if not isinstance(self.state, tuple) or len(self.state) not in (4, 5):
            raise Refused("an array without its content")
        shape, dtype, fortran, data = self.state[-4:]
        return array_of(data, _dtype_of(dtype, resolve, budget), shape, bool(fortran), budget, resolve)


@final
class Scalar(Shell):
    """A numpy number, made of a type and its bytes."""

    def __init__(self, dtype: Any, data: Any) -> None:
        super().__init__()
        self._dtype, self._data = dtype, data

    def made(self, resolve: Callable[[Any], Any], budget: Budget) -> Any:
        """The number."""
        return array_of(self._data, _dtype_of(self._dtype, resolve, budget), (), False, budget, resolve)[()]


@final
class Buffer(Shell):
    """A numpy array as protocol 5 writes it: a buffer, a type, a shape and an order."""

    def __init__(self, arguments: tuple[Any, Any, Any, Any]) -> None:
        super().__init__()
        self._data, self._dtype, self._shape, self._order = arguments

    def made(self, resolve: Callable[[Any], Any], budget: Budget) -> Any:
        """The array."""
        dtype = _dtype_of(self._dtype, resolve, budget)
        return array_of(self._data, dtype, self._shape, self._order == "F", budget, resolve)


def array_of(
    data: Any, dtype: np.dtype[Any], shape: Any, fortran: bool, budget: Budget, resolve: Callable[[Any], Any]
) -> Any:
    """An array of raw bytes, after the sizes were checked against each other."""
    if not isinstance(shape, tuple) or len(shape) > MAX_DIMENSIONS:
        raise Refused("an array without a shape")
    if not all(type(n) is int and n >= 0 for n in shape):
        raise Refused("an array with a shape that is not of whole numbers")
    if dtype.hasobject:
        if shape != () or not isinstance(data, list) or len(data) != 1:
            raise Refused("an array of Python objects")
        return resolve(data[0])
    raw = data.encode("latin-1") if isinstance(data, str) and _is_latin(data) else data
    needed = math.prod(shape) * dtype.itemsize
    if not isinstance(raw, (bytes, bytearray)) or len(raw) != needed:
        raise Refused(f"an array of shape {shape} that should have {needed} bytes and has others")
    budget.spend(needed)
    if not needed:
        return np.zeros(shape, dtype)
    return np.frombuffer(bytes(raw), dtype).reshape(shape, order="F" if fortran else "C").copy()


def _is_latin(text: str) -> bool:
    return text.isascii() or max(text) <= "\xff"


def _dtype_of(value: Any, resolve: Callable[[Any], Any], budget: Budget) -> np.dtype[Any]:
    if not isinstance(value, DType):
        raise Refused("an array without a type")
    return value.made(resolve, budget)


class Sparse(Shell):
    """A scipy.sparse matrix, filled with its attributes."""

    layout: ClassVar[str]

    def made(self, resolve: Callable[[Any], Any], budget: Budget) -> Any:
        """The matrix, with every index checked."""
        state = {name: resolve(part) for name, part in self.fields("sparse matrix").items()}
        shape, values = state.get("_shape"), state.get("data")
        names = ("row", "col") if self.layout == "coo" else ("indices", "indptr")
        indices = state.get("coords") if self.layout == "coo" and "coords" in state else [state.get(n) for n in names]
        if not isinstance(shape, tuple) or len(shape) != 2 or not all(type(n) is int and n >= 0 for n in shape):
            raise Refused("a sparse matrix without a shape")
        if not isinstance(indices, list | tuple) or len(indices) != 2:
            raise Refused("a sparse matrix without its two index arrays")
        if not all(isinstance(array, np.ndarray) and array.ndim == 1 for array in (values, *indices)):
            raise Refused("a sparse matrix without its arrays")
        if any(cast(np.ndarray, array).dtype.kind not in "iu" for array in indices):
            raise Refused("a sparse matrix whose indices are not whole numbers")
        if math.prod(shape) * 8 > MAX_ARRAY_BYTES:
            raise Refused(f"a sparse matrix of {shape}")
        try:
            if self.layout == "coo":
                matrix = scipy.sparse.coo_matrix((values, tuple(indices)), shape=shape)
            else:
                kind = scipy.sparse.csc_matrix if self.layout == "csc" else scipy.sparse.csr_matrix
                matrix = kind((values, *indices), shape=shape)
                matrix.check_format(full_check=True)
        except (ValueError, TypeError, IndexError) as error:
            raise Refused(f"a sparse matrix that contradicts itself ({error})") from error
        return matrix


@final
class Csc(Sparse):
    """Compressed columns."""

    layout = "csc"


@final
class Csr(Sparse):
    """Compressed rows."""

    layout = "csr"


@final
class Coo(Sparse):
    """Triplets."""

    layout = "coo"


@final
class ChumpyArray(Shell):
    """`chumpy.ch.Ch`: a numpy array in its field `x`, among bookkeeping that nobody needs."""

    def made(self, resolve: Callable[[Any], Any], budget: Budget) -> Any:
        """The array."""
        array = resolve(self.fields("chumpy array").get("x"))
        if not isinstance(array, np.ndarray):
            raise Refused("a chumpy array that holds no numpy array")
        return array


@final
class ChumpySelect(Shell):
    """`chumpy.reordering.Select`: some elements, in a shape, of the array in its field `a`."""

    def made(self, resolve: Callable[[Any], Any], budget: Budget) -> Any:
        """The selected elements."""
        fields = self.fields("chumpy selection")
        array, index = resolve(fields.get("a")), resolve(fields.get("idxs"))
        shape = resolve(fields.get("preferred_shape"))
        if not isinstance(array, np.ndarray) or not isinstance(index, np.ndarray) or index.dtype.kind not in "iu":
            raise Refused("a chumpy selection without its arrays")
        budget.spend(index.size * array.itemsize)
        try:
            return array.ravel()[index.ravel()].reshape(index.shape if shape is None else shape)
        except (IndexError, ValueError, TypeError) as error:
            raise Refused(f"a chumpy selection that contradicts itself ({error})") from error


def hashable(key: Any) -> Any:
    """`key`, if a set or dictionary may hold it."""
    # Of other kinds (tuples, floats, larger integers) so many can have the same hash that a dictionary of them takes
    # hours; hashes of texts depend on a secret.
    if isinstance(key, (str, bytes, type(None))) or (isinstance(key, int) and key.bit_length() <= 64):
        return key
    raise Refused(f"a key that is not a plain value ({kind_of(key)})")


def kind_of(value: Any) -> str:
    """What messages call a value."""
    return value.name if isinstance(value, Global) else type(value).__name__


def _marker(arguments: tuple[Any, ...]) -> Any:
    raise Refused("a call of a class that may only be named")


NDARRAY = Global("numpy.ndarray", _marker)
OBJECT = Global("builtins.object", _marker)


def _reconstruct_array(arguments: tuple[Any, ...]) -> Any:
    if len(arguments) != 3 or arguments[0] is not NDARRAY:
        raise Refused("an array of a class other than numpy.ndarray")
    return Array()


def _reconstruct_object(arguments: tuple[Any, ...]) -> Any:
    match arguments:
        case (type() as kind, base, None) if issubclass(kind, Shell) and base is OBJECT:
            return kind()
        case _:
            raise Refused("copyreg._reconstructor of something that is not allowed")


def _dtype(arguments: tuple[Any, ...]) -> Any:
    if not arguments or not isinstance(arguments[0], str):
        raise Refused("an array type that is not a name")
    return DType(arguments[0])


def _scalar(arguments: tuple[Any, ...]) -> Any:
    if len(arguments) != 2:
        raise Refused("a number without its type and bytes")
    return Scalar(*arguments)


def _buffer(arguments: tuple[Any, ...]) -> Any:
    if len(arguments) != 4:
        raise Refused("an array without its buffer, type, shape and order")
    return Buffer((arguments[0], arguments[1], arguments[2], arguments[3]))


def _encode(arguments: tuple[Any, ...]) -> bytes:
    match arguments:
        case (str() as text, "latin1" | "latin-1") if _is_latin(text):
            return text.encode("latin-1")
        case _:
            raise Refused("_codecs.encode of something that is not latin-1")


def _empty(make: Callable[[], Any], name: str) -> Callable[[tuple[Any, ...]], Any]:
    def call(arguments: tuple[Any, ...]) -> Any:
        if arguments:
            raise Refused(f"{name} with arguments")
        return make()

    return call


def _collection(make: Callable[[list[Any]], Any]) -> Callable[[tuple[Any, ...]], Any]:
    def call(arguments: tuple[Any, ...]) -> Any:
        items = arguments[0] if len(arguments) == 1 else []
        if len(arguments) > 1 or not isinstance(items, list):
            raise Refused("a set of something that is not a list")
        return make([hashable(item) for item in items])

    return call


def _ordered(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    match arguments:
        case ():
            return {}
        case (list() as pairs,) if all(
            isinstance(p, list | tuple) and len(p) == 2 and type(p[0]) is str for p in pairs
        ):
            return {pair[0]: pair[1] for pair in pairs}
        case _:
            raise Refused("an OrderedDict of something that is not a list of named values")


def _allowed() -> dict[tuple[str, str], Global | type[Shell]]:
    table: dict[tuple[str, str], Global | type[Shell]] = {("numpy", "ndarray"): NDARRAY}
    table["numpy", "dtype"] = Global("numpy.dtype", _dtype)
    table["collections", "OrderedDict"] = Global("collections.OrderedDict", _ordered)
    table["_codecs", "encode"] = Global("_codecs.encode", _encode)
    for core in ("numpy.core", "numpy._core"):
        table[f"{core}.multiarray", "_reconstruct"] = Global("numpy._reconstruct", _reconstruct_array)
        table[f"{core}.multiarray", "scalar"] = Global("numpy.scalar", _scalar)
        table[f"{core}.numeric", "_frombuffer"] = Global("numpy._frombuffer", _buffer)
    for builtins in ("builtins", "__builtin__"):
        table[builtins, "object"] = OBJECT
        table[builtins, "set"] = Global("set", _collection(set))
        table[builtins, "frozenset"] = Global("frozenset", _collection(frozenset))
        table[builtins, "bytes"] = Global("bytes", _empty(bytes, "bytes"))
    for copying in ("copyreg", "copy_reg"):
        table[copying, "_reconstructor"] = Global("copyreg._reconstructor", _reconstruct_object)
    for layout, shell in (("csc", Csc), ("csr", Csr), ("coo", Coo)):
        for kind in ("matrix", "array"):
            for module in (f"scipy.sparse.{layout}", f"scipy.sparse._{layout}"):
                table[module, f"{layout}_{kind}"] = shell
    table["chumpy.ch", "Ch"] = ChumpyArray
    table["chumpy.reordering", "Select"] = ChumpySelect
    return table


ALLOWED = _allowed()
