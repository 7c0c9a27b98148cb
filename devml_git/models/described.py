"""What a pickle is read into: plain values, and descriptions of everything else.

No class is looked up and no function is called; what a description means, a World decides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MAX_TEXT = 256 << 20  # bytes


class Malformed(Exception):
    """The bytes are no pickle, or one that no program writes; the text says why."""


class Beyond(Malformed):
    """The pickle may be sound, but is larger, or of another kind, than what is read here."""


@dataclass(frozen=True, slots=True)
class Named:
    """A class or function that a pickle names, and that nobody looks up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Pairs(list[Any]):
    """A dictionary as the pairs it was given: keys that collide in a hash table cost nothing."""


@dataclass(eq=False, repr=False, slots=True)
class Made:
    """An object of a class that is not looked up: what it was made of."""

    kind: object
    args: tuple[Any, ...] = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)
    pairs: Pairs = field(default_factory=Pairs)


@dataclass(frozen=True, slots=True)
class Blob:
    """A long text or byte string, left in the pickle: where it lies there."""

    at: int
    length: int
    text: bool


class World:
    """What the objects of a pickle mean; this one takes all of them for descriptions.

    `named` are the classes and functions that the pickle has named so far, `room` the bytes of
    text that may still be kept.
    """

    def __init__(self) -> None:
        self.named: dict[Named, None] = {}
        self.room = MAX_TEXT

    def call(self, function: object, args: tuple[Any, ...]) -> object:
        """Return what stands for the value of a call."""
        return Made(function, args)

    def persistent(self, key: object) -> object:
        """Return what stands for something that is kept outside of the pickle."""
        return Made(None, (key,))

    def build(self, made: object, state: object, at: int) -> int:
        """Give an object its state; return where the pickle goes on (`at`: after this opcode)."""
        if isinstance(made, Made):
            made.state = state
        return at
