"""Reading pickles that others wrote, without ever running what is in them.

Python's own unpickler calls whatever a file names. This one is a small stack machine of its own: it knows the opcodes
that hold plain data, and a fixed list of names (`restricted_globals`) each of which builds an inert value here. No
module is imported, no attribute is set and no method of a foreign class is called; anything else is refused by name.
"""

from __future__ import annotations

import codecs
import io
import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np

from flare_cli.data.array_file import DAMAGED_ARCHIVE
from flare_cli.data.pickle.globals import ALLOWED, Budget, Global, Refused, Shell, hashable, kind_of
from flare_cli.errors import PickleError

MAX_FILE_BYTES = 1 << 30
MAX_OPERATIONS = 500_000
MAX_DEPTH = 64
MAX_ITEMS = 1_000_000  # in the value as a tree, where a thing that is referred to twice counts twice
MAX_INTEGER_DIGITS = 40
HINT = "use the file as its makers publish it; nothing in this one was run"

Resolve = Callable[[Any], Any]


def load_pickle(path: Path) -> Any:
    """The value in a pickle file of plain data: containers, numpy, scipy.sparse, and chumpy arrays as numpy.

    Strings of Python 2 are read as latin-1. Raises `PickleError`, naming what was refused, before anything of it runs.
    """
    return loads(read_bounded(path), path)


def load_object_array(path: Path) -> Any:
    """The value in a `.npy` file, also where it is one pickled Python object, as FLAME's landmark embeddings are."""
    file = io.BytesIO(read_bounded(path))
    try:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
        if not dtype.hasobject:
            file.seek(0)
            return np.lib.format.read_array(file, allow_pickle=False)
    except DAMAGED_ARCHIVE as error:
        raise PickleError(f"{path} is not a .npy file: {error}", hint=HINT) from error
    if shape != ():
        raise PickleError(f"{path} holds an array of Python objects", hint=HINT)
    return loads(file.read(), path)


def read_bounded(path: Path) -> bytes:
    """A file's content. Raises `PickleError` if it is missing or larger than such files are."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise PickleError(f"{path} is too large: {size} bytes, at most {MAX_FILE_BYTES} are read", hint=HINT)
        return path.read_bytes()
    except OSError as error:
        raise PickleError(f"{path} can't be read: {error.strerror}", hint="check the path") from error


def loads(data: bytes, path: Path) -> Any:
    """The value that `data`, the content of `path`, holds."""
    try:
        machine = Machine()
        value, _ = machine.run(data)
        return resolved(value, machine.budget)
    except Refused as error:
        raise PickleError(f"{path} is refused: {error}", hint=HINT) from error


@final
@dataclass(slots=True)
class Machine:
    """Runs pickles. `storage` makes a value of a persistent id; without it persistent ids are refused."""

    storage: Callable[[Any], Any] | None = None
    budget: Budget = field(default_factory=Budget)
    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    globals: dict[tuple[str, str], Global | type[Shell]] = field(default_factory=lambda: dict(ALLOWED))

    def run(self, data: bytes, start: int = 0) -> tuple[Any, int]:
        """Run one pickle; return its value, not yet `resolved`, and where the next begins."""
        self.stack, self.marks, self.memo = [], [], {}
        for name, argument, end in _operations(data, start):
            if name == "STOP":
                return self.take(), end
            operation = _OPERATIONS.get(name)
            if operation is None:
                raise Refused(f"the operation {name} is not allowed")
            operation(self, argument)
        raise Refused("the pickle is cut off")

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def take(self) -> Any:
        """Take the topmost value; a mark hides what lies below it."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise Refused("the pickle takes a value that is not there")
        return self.stack.pop()

    def top(self, kind: type) -> Any:
        """Return the topmost value, which must be a `kind`."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0) or not isinstance(self.stack[-1], kind):
            raise Refused(f"the pickle fills something that is not a {kind.__name__}")
        return self.stack[-1]

    def since_mark(self) -> list[Any]:
        """Take everything above the last mark."""
        if not self.marks:
            raise Refused("the pickle lacks a mark")
        first = self.marks.pop()
        items = self.stack[first:]
        del self.stack[first:]
        return items

    def set_mark(self, _: Any) -> None:
        """Remember how high the stack is."""
        self.marks.append(len(self.stack))

    def drop(self, _: Any) -> None:
        """Forget the topmost value or mark."""
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.take()

    def remember(self, key: Any) -> None:
        """Keep the topmost value under a number."""
        self.memo[len(self.memo) if key is None else int(key)] = self.top(object)

    def recall(self, key: Any) -> None:
        """Push a value that was kept."""
        if int(key) not in self.memo:
            raise Refused("the pickle refers to a value that is not there")
        self.push(self.memo[int(key)])

    def tuple_of(self, count: int) -> None:
        """Join the topmost values."""
        items = [self.take() for _ in range(count)]
        self.push(tuple(reversed(items)))

    def extend(self, items: list[Any]) -> None:
        """Append to the list on the stack."""
        self.top(list).extend(items)

    def set_items(self, items: list[Any]) -> None:
        """Fill the dict on the stack with keys and values in turn."""
        target = self.top(dict)
        if len(items) % 2:
            raise Refused("the pickle has a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[hashable(key)] = value

    def set_item(self, _: Any) -> None:
        """Fill the dict under the topmost key and value."""
        value, key = self.take(), self.take()
        self.set_items([key, value])

    def make_dictionary(self, _: Any) -> None:
        """Push a dict of everything above the last mark."""
        items = self.since_mark()
        self.push({})
        self.set_items(items)

    def push_integer(self, value: Any) -> None:
        """Push a number of reasonable size."""
        if isinstance(value, int) and value.bit_length() > 128:
            raise Refused("an integer of more than 128 bits")
        self.push(value)

    def global_of(self, argument: str) -> None:
        """Push what `module name` stands for."""
        module, _, name = argument.partition(" ")
        self.push_named(module, name)

    def stack_global(self, _: Any) -> None:
        """Push what the topmost two strings stand for."""
        name, module = self.take(), self.take()
        if not isinstance(name, str) or not isinstance(module, str):
            raise Refused("a global whose name is not a string")
        self.push_named(module, name)

    def push_named(self, module: str, name: str) -> None:
        """Push our own stand-in for a global, if it has one."""
        value = self.globals.get((module, name))
        if value is None:
            raise Refused(f"the global {f'{module}.{name}'[:120]!r} is not allowed")
        self.push(value)

    def call(self, _: Any) -> None:
        """Call one of our own stand-ins."""
        arguments, function = self.take(), self.take()
        if not isinstance(arguments, tuple):
            raise Refused("a call without a tuple of arguments")
        if isinstance(function, Global):
            self.push(function.call(arguments))
        elif isinstance(function, type) and issubclass(function, Shell) and not arguments:
            self.push(function())
        else:
            raise Refused(f"a call of something that is not a function, or with arguments ({kind_of(function)})")

    def fill(self, _: Any) -> None:
        """Give a shell its state."""
        state = self.take()
        self.top(Shell).fill(state)

    def push_storage(self, _: Any) -> None:
        """Push what a persistent id stands for."""
        if self.storage is None:
            raise Refused("a persistent id: it refers to something outside the file")
        self.push(self.storage(self.take()))


Operation = Callable[[Machine, Any], None]


def _constant(value: Any) -> Operation:
    """The operation that pushes `value`, which can't be changed."""
    return lambda machine, _: machine.push(value)


def _fresh(make: Callable[[], Any]) -> Operation:
    """The operation that pushes a new, empty value each time."""
    return lambda machine, _: machine.push(make())


def _table() -> dict[str, Operation]:
    table: dict[str, Operation] = {
        "NONE": _constant(None), "NEWTRUE": _constant(True), "NEWFALSE": _constant(False),
        "EMPTY_LIST": _fresh(list), "EMPTY_DICT": _fresh(dict), "EMPTY_TUPLE": _constant(()), "EMPTY_SET": _fresh(set),
        "MARK": Machine.set_mark, "POP": Machine.drop, "POP_MARK": lambda m, _: m.since_mark().clear(),
        "DUP": lambda m, _: m.push(m.top(object)),
        "TUPLE": lambda m, _: m.push(tuple(m.since_mark())), "LIST": lambda m, _: m.push(m.since_mark()),
        "TUPLE1": lambda m, _: m.tuple_of(1), "TUPLE2": lambda m, _: m.tuple_of(2),
        "TUPLE3": lambda m, _: m.tuple_of(3),
        "APPEND": lambda m, _: m.extend([m.take()]), "APPENDS": lambda m, _: m.extend(m.since_mark()),
        "DICT": Machine.make_dictionary, "SETITEM": Machine.set_item,
        "SETITEMS": lambda m, _: m.set_items(m.since_mark()),
        "ADDITEMS": lambda m, _: _add(m, m.since_mark()),
        "FROZENSET": lambda m, _: m.push(frozenset(hashable(item) for item in m.since_mark())),
        "GLOBAL": Machine.global_of, "STACK_GLOBAL": Machine.stack_global,
        "REDUCE": Machine.call, "NEWOBJ": Machine.call, "BUILD": Machine.fill,
        "BINPERSID": Machine.push_storage,
    }  # fmt: skip
    table |= dict.fromkeys(("PROTO", "FRAME"), lambda m, _: None)
    table |= dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), Machine.remember)
    table |= dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), Machine.recall)
    table |= dict.fromkeys(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"), Machine.push_integer)
    plain = ("FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "BYTEARRAY8")
    texts = ("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8")
    return table | dict.fromkeys((*plain, *texts), Machine.push)


def _add(machine: Machine, items: list[Any]) -> None:
    machine.top(set).update(hashable(item) for item in items)


_OPERATIONS = _table()
_CODES = {operation.code.encode("latin-1"): operation for operation in pickletools.opcodes}


def _operations(data: bytes, start: int) -> Iterator[tuple[str, Any, int]]:
    """Names and arguments of the operations, like `pickletools.genops`, which can't read Python 2's strings."""
    file = io.BytesIO(data)
    file.seek(start)
    for _ in range(MAX_OPERATIONS):
        code = file.read(1)
        operation = _CODES.get(code)
        if operation is None:
            raise Refused("the pickle is cut off" if data and not code else "it is not a pickle")
        try:
            if operation.name == "STRING":
                argument = _quoted(file.readline())
            elif operation.name in ("INT", "LONG"):
                argument = _decimal(file.readline())
            else:
                argument = operation.arg.reader(file) if operation.arg else None
        except (ValueError, UnicodeError, OverflowError) as error:
            raise Refused(f"the pickle is cut off or damaged ({error})") from error
        yield operation.name, argument, file.tell()
    raise Refused(f"the pickle has more than {MAX_OPERATIONS} operations")


def _quoted(line: bytes) -> str:
    text = line.rstrip(b"\r\n")
    if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b"'", b'"'):
        raise ValueError("a string without quotes")
    return codecs.escape_decode(text[1:-1])[0].decode("latin-1")  # pyright: ignore[reportAttributeAccessIssue]


def _decimal(line: bytes) -> int | bool:
    text = line.strip().removesuffix(b"L")
    if len(text) > MAX_INTEGER_DIGITS:
        raise ValueError("a number with too many digits")
    return {b"00": False, b"01": True}[text] if text in (b"00", b"01") else int(text)


def resolved(value: Any, budget: Budget) -> Any:
    """`value` with its shells made into arrays. Refuses what is nested too deep, in itself, or without end."""
    return _Resolver(budget).value(value, 0)[0]


@final
class _Resolver:
    """Walks a value once per object, counting how large it is as a tree."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._done: dict[int, tuple[Any, int]] = {}
        self._inside: set[int] = set()
        self._kept: list[Any] = []  # keeps ids from being used again

    def value(self, value: Any, depth: int) -> tuple[Any, int]:
        """The value and its size."""
        if depth > MAX_DEPTH:
            raise Refused(f"it is nested more than {MAX_DEPTH} deep")
        if isinstance(value, Global) or (isinstance(value, type) and issubclass(value, Shell)):
            raise Refused(f"the function or class {kind_of(value)} where data should be")
        if not isinstance(value, (list, tuple, dict, Shell)):
            return value, 1
        key = id(value)
        if key in self._inside:
            raise Refused("it contains itself")
        if key not in self._done:
            self._inside.add(key)
            self._done[key] = self._made(value, depth + 1)
            self._inside.discard(key)
            self._kept.append(value)
        if self._done[key][1] > MAX_ITEMS:
            raise Refused(f"it unfolds to more than {MAX_ITEMS} items")
        return self._done[key]

    def _made(self, value: Any, depth: int) -> tuple[Any, int]:
        if isinstance(value, dict):
            items = {k: self.value(v, depth) for k, v in value.items()}
            return {k: v for k, (v, _) in items.items()}, 1 + sum(size for _, size in items.values())
        if isinstance(value, Shell):
            sizes: list[int] = []

            def inner(part: Any) -> Any:
                made, size = self.value(part, depth)
                sizes.append(size)
                return made

            return value.made(inner, self._budget), 1 + sum(sizes)
        parts = [self.value(item, depth) for item in value]
        made = [item for item, _ in parts]
        return (made if isinstance(value, list) else tuple(made)), 1 + sum(size for _, size in parts)
