"""Pickles, read without doing what they say.

An interpreter of the opcodes (`pickletools` of the standard library is their reference) that builds
lists, tuples, pairs and plain values, and a description for everything else (described.py).
"""

from __future__ import annotations

import functools
import re
import struct
from typing import TYPE_CHECKING, Any

from devml_git.models.described import MAX_TEXT, Beyond, Blob, Made, Malformed, Named, Pairs

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from devml_git.models.described import World
    from devml_git.models.model import Bytes

    _Step: TypeAlias = "Callable[[_Machine, Any], object]"
    _Reader: TypeAlias = "Callable[[_Machine], Any]"

MAX_OPCODES = 4_000_000
_SHORT = 4096  # bytes: longer texts and byte strings stay where they are
_LONGEST_NUMBER = 256  # bytes
_MAX_MEMO = 1 << 32
_ESCAPED = re.compile(
    rb"""(?:[^\\]|\\(?:[\\'"abfnrtv\n]|x[0-9a-fA-F]{2}|[0-3]?[0-7]{1,2}))*+""", re.DOTALL
)


def interpret(
    data: Bytes, world: World, at: int = 0, *, most: int = MAX_OPCODES
) -> tuple[object, int]:
    """Return the value that the pickle at `at` describes, and where it ends.

    Raises Malformed, Beyond after `most` opcodes.
    """
    machine, table = _Machine(data, world, at), _table()
    for _ in range(most):
        try:
            step, argument = table[machine.data[machine.at]]
            machine.at += 1
            if step is None:  # STOP
                return machine.stack.pop(), machine.at
            step(machine, None if argument is None else argument(machine))
        except (IndexError, KeyError, struct.error, ValueError) as e:
            raise Malformed(f"no pickle goes on as this one does at byte {machine.at}") from e
    raise Beyond(f"it has more than {most} steps")


class _Machine:
    """A pickle half-way: where it is, its stack, marks and memo."""

    def __init__(self, data: Bytes, world: World, at: int) -> None:
        self.data = data.data
        self.world = world
        self.at = at
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    # -- arguments -------------------------------------------------------------------------------

    def take(self, length: int) -> memoryview:
        start, self.at = self.at, self.at + length
        if length < 0 or self.at > len(self.data):
            raise Malformed("it is truncated")
        return self.data[start : self.at]

    def number(self, form: struct.Struct) -> Any:  # noqa: ANN401 - a number of that form
        return form.unpack(self.take(form.size))[0]

    def long(self, width: int) -> int:
        length = int.from_bytes(self.take(width), "little")
        if length > _LONGEST_NUMBER:
            raise Malformed("a number of hundreds of digits")
        return int.from_bytes(self.take(length), "little", signed=True)

    def line(self) -> bytes:
        """Read a line; most are short, but protocol 0 has arrays in lines."""
        most = _SHORT
        while (end := bytes(self.data[self.at : self.at + most]).find(b"\n")) < 0:
            if self.at + most >= len(self.data):
                raise Malformed("a line without an end")
            most *= 8
        line = bytes(self.take(end + 1)[:end])
        self.keep(end)
        return line

    def keep(self, length: int) -> None:
        """Count what is kept of the pickle's own bytes."""
        self.world.room -= length
        if self.world.room < 0:
            raise Beyond(f"it has more than {MAX_TEXT >> 20} MB of text")

    def counted(self, width: int, *, text: bool) -> object:
        length = int.from_bytes(self.take(width), "little")
        at = self.at
        taken = self.take(length)
        if length > _SHORT:
            return Blob(at, length, text)
        self.keep(length)
        return bytes(taken).decode("utf-8", "surrogatepass") if text else bytes(taken)

    # -- steps -----------------------------------------------------------------------------------

    def push(self, value: object) -> None:
        self.stack.append(value)

    def since_mark(self) -> list[Any]:
        mark = self.marks.pop()
        if mark > len(self.stack):
            raise Malformed("it takes more than it has")
        taken = self.stack[mark:]
        del self.stack[mark:]
        return taken

    def last(self, count: int) -> tuple[Any, ...]:
        if count > len(self.stack):
            raise Malformed("it takes more than it has")
        taken = tuple(self.stack[-count:])
        del self.stack[-count:]
        return taken

    def extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Made):
            target.items += values
        elif isinstance(target, list) and not isinstance(target, Pairs):
            target += values

    def set(self, values: list[Any]) -> None:
        target = self.stack[-1]
        pairs = target.pairs if isinstance(target, Made) else target
        if isinstance(pairs, Pairs):
            pairs += zip(values[::2], values[1::2], strict=True)

    def remember(self, key: int) -> None:
        if not 0 <= key < _MAX_MEMO:
            raise Malformed("a memo that is no number")
        self.memo[key] = self.stack[-1]

    def name(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise Malformed("a class whose name is no text")
        named = Named(module, name)
        self.world.named[named] = None
        self.stack.append(named)

    def call(self, function: object, args: object) -> None:
        args = args if isinstance(args, tuple) else (args,)
        self.stack.append(self.world.call(function, args))

    def instance(self, kind: object, args: list[Any]) -> None:
        if isinstance(kind, Named):
            self.world.named[kind] = None
        self.call(kind, tuple(args))

    def pop(self) -> None:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.stack.pop()

    def build(self, state: object) -> None:
        self.at = self.world.build(self.stack[-1], state, self.at)


def _pairs(values: list[Any]) -> Pairs:
    return Pairs(zip(values[::2], values[1::2], strict=True))


# Opcodes that push their argument
_PUSHING = (
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE",
    "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "FLOAT", "BINFLOAT",
)  # fmt: skip
_STEPS: dict[str, _Step] = {
    **dict.fromkeys(_PUSHING, _Machine.push),
    **dict.fromkeys(("PROTO", "FRAME", "READONLY_BUFFER"), lambda *_: None),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.remember),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda m, n: m.push(m.memo[n])),
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), lambda m, n: m.name("copyreg", f"extension {n}")),
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),  # noqa: FBT003
    "NEWFALSE": lambda m, _: m.push(False),  # noqa: FBT003
    "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "EMPTY_DICT": lambda m, _: m.push(Pairs()),
    "EMPTY_SET": lambda m, _: m.push([]),
    "LIST": lambda m, _: m.push(m.since_mark()),
    "FROZENSET": lambda m, _: m.push(m.since_mark()),
    "TUPLE": lambda m, _: m.push(tuple(m.since_mark())),
    "DICT": lambda m, _: m.push(_pairs(m.since_mark())),
    "TUPLE1": lambda m, _: m.push(m.last(1)),
    "TUPLE2": lambda m, _: m.push(m.last(2)),
    "TUPLE3": lambda m, _: m.push(m.last(3)),
    "APPEND": lambda m, _: m.extend(list(m.last(1))),
    "APPENDS": lambda m, _: m.extend(m.since_mark()),
    "ADDITEMS": lambda m, _: m.extend(m.since_mark()),
    "SETITEM": lambda m, _: m.set(list(m.last(2))),
    "SETITEMS": lambda m, _: m.set(m.since_mark()),
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "POP": lambda m, _: m.pop(),
    "POP_MARK": lambda m, _: m.since_mark(),
    "DUP": lambda m, _: m.push(m.stack[-1]),
    "MEMOIZE": lambda m, _: m.remember(len(m.memo)),
    "GLOBAL": lambda m, name: m.name(*name.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m.name(*m.last(2)),
    "INST": lambda m, name: m.instance(Named(*name.split(" ", 1)), m.since_mark()),
    "OBJ": lambda m, _: m.instance(*_first(m.since_mark())),
    "NEWOBJ": lambda m, _: m.call(*m.last(2)),
    "NEWOBJ_EX": lambda m, _: m.call(*m.last(3)[:2]),
    "REDUCE": lambda m, _: m.call(*m.last(2)),
    "BUILD": lambda m, _: m.build(*m.last(1)),
    "PERSID": lambda m, key: m.push(m.world.persistent(key)),
    "BINPERSID": lambda m, _: m.push(m.world.persistent(*m.last(1))),
    "NEXT_BUFFER": lambda m, _: m.push(Made("a buffer outside of the pickle")),
}


def _first(values: list[Any]) -> tuple[Any, list[Any]]:
    return values[0], values[1:]


def _decimal(line: bytes) -> int | bool:
    if len(line) > _LONGEST_NUMBER:
        raise Malformed("a number of hundreds of digits")
    return line == b"01" if line in {b"00", b"01"} else int(line.rstrip(b"L"))


def _name(machine: _Machine) -> str:
    return machine.line().decode("utf-8", "backslashreplace")


def _repr(line: bytes) -> bytes | str:
    """Return the string of Python 2 whose repr this is; of what is none, Python would warn."""
    import codecs

    if not _ESCAPED.fullmatch(line[1:-1]):
        raise Malformed("a text with an escape that no repr has")
    content = bytes(codecs.escape_decode(line[1:-1])[0])
    return content.decode("ascii") if content.isascii() else content


def _fixed(form: str) -> _Reader:
    packed = struct.Struct(form)
    return lambda m: m.number(packed)


def _with_length(width: int, *, text: bool) -> _Reader:
    return lambda m: m.counted(width, text=text)


# How an argument is read, by pickletools' name for its kind
_READERS: dict[str, _Reader] = {
    "uint1": _fixed("<B"), "uint2": _fixed("<H"), "int4": _fixed("<i"), "uint4": _fixed("<I"),
    "uint8": _fixed("<Q"), "float8": _fixed(">d"),
    "long1": lambda m: m.long(1), "long4": lambda m: m.long(4),
    "decimalnl_short": lambda m: _decimal(m.line()),
    "decimalnl_long": lambda m: _decimal(m.line()),
    "floatnl": lambda m: float(m.line()[:_LONGEST_NUMBER]),
    "stringnl": lambda m: _repr(m.line()),
    "stringnl_noescape": _name,
    "stringnl_noescape_pair": lambda m: f"{_name(m)} {_name(m)}",
    "unicodestringnl": lambda m: m.line().decode("raw-unicode-escape"),
    "string1": _with_length(1, text=False), "string4": _with_length(4, text=False),
    "bytes1": _with_length(1, text=False), "bytes4": _with_length(4, text=False),
    "bytes8": _with_length(8, text=False), "bytearray8": _with_length(8, text=False),
    "unicodestring1": _with_length(1, text=True), "unicodestring4": _with_length(4, text=True),
    "unicodestring8": _with_length(8, text=True),
}  # fmt: skip


@functools.cache
def _table() -> dict[int, tuple[_Step | None, _Reader | None]]:
    """Return what each opcode does and how its argument is read; STOP does nothing."""
    import pickletools

    return {
        ord(code.code): (
            None if code.name == "STOP" else _STEPS[code.name],
            None if code.arg is None else _READERS[code.arg.name],
        )
        for code in pickletools.opcodes
    }
