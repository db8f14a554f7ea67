"""Read what a pickle says, without doing what it says.

A pickle is a program: loading one calls whatever it names. The package that has the loans holds
them as one, of a pandas table. Here its instructions are read by the standard library's
disassembler, which runs nothing, and what would have been called is kept as a `Call`: a name and
its arguments. No class is looked up, no module imported, and neither pandas nor the pickle's
package is needed.

Rules:
  * Only the instructions that protocol 5 writes for plain tables are known; any other is refused.
  * Nothing is called. Who reads the result looks for the calls that it knows, by name.

Source: pickletools, Python's own description of the instructions.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


class PickleRefused(Exception):
    """The bytes are no pickle, or have an instruction that is not needed for a table."""


@dataclass(eq=False)
class Call:
    """What a pickle would have called, and the state that it would have set on the result."""

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = field(default=None)


@dataclass(frozen=True)
class Global:
    """A name that a pickle would have imported."""

    name: str


_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_NUMBERS = frozenset(("BININT", "BININT1", "BININT2", "BINFLOAT"))
_GIVEN = _NUMBERS | {"SHORT_BINUNICODE", "BINUNICODE", "SHORT_BINBYTES", "BINBYTES", "BYTEARRAY8"}
_IGNORED = frozenset(("PROTO", "FRAME"))


class _Reader:
    """The stack and the memo of one pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: list[Any] = []
        self._do: dict[str, Callable[[Any], None]] = {
            "MARK": lambda _: self.stack.append(_MARK),
            "MEMOIZE": lambda _: self.memo.append(self.stack[-1]),
            "BINGET": lambda place: self.stack.append(self.memo[place]),
            "LONG_BINGET": lambda place: self.stack.append(self.memo[place]),
            "EMPTY_TUPLE": lambda _: self.stack.append(()),
            "EMPTY_LIST": lambda _: self.stack.append([]),
            "EMPTY_DICT": lambda _: self.stack.append({}),
            "TUPLE": lambda _: self.stack.append(tuple(self._above_mark())),
            "TUPLE1": lambda _: self.stack.append(tuple(self._pop(1))),
            "TUPLE2": lambda _: self.stack.append(tuple(self._pop(2))),
            "TUPLE3": lambda _: self.stack.append(tuple(self._pop(3))),
            "APPENDS": lambda _: self._append(),
            "SETITEM": lambda _: self._set(self._pop(2)),
            "SETITEMS": lambda _: self._set(self._above_mark()),
            "STACK_GLOBAL": lambda _: self._name(),
            "REDUCE": lambda _: self._note_call(),
            "NEWOBJ": lambda _: self._note_call(),
            "BUILD": lambda _: self._build(),
        }

    def take(self, name: str, argument: Any) -> None:
        """Follow one instruction."""
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _GIVEN:
            self.stack.append(argument)
        elif name in self._do:
            self._do[name](argument)
        elif name not in _IGNORED:
            raise PickleRefused(f"it has an instruction {name}, which no table needs")

    def _pop(self, count: int) -> list[Any]:
        taken = self.stack[-count:]
        del self.stack[-count:]
        if len(taken) < count or any(value is _MARK for value in taken):
            raise PickleRefused("an instruction finds too little to work on")
        return taken

    def _above_mark(self) -> list[Any]:
        taken: list[Any] = []
        while self.stack:
            value = self.stack.pop()
            if value is _MARK:
                return taken[::-1]
            taken.append(value)
        raise PickleRefused("an instruction finds no mark")

    def _append(self) -> None:
        values = self._above_mark()
        if not self.stack or not isinstance(self.stack[-1], list):
            raise PickleRefused("it appends to what is no list")
        self.stack[-1].extend(values)

    def _set(self, pairs: list[Any]) -> None:
        if not self.stack or not isinstance(self.stack[-1], dict) or len(pairs) % 2:
            raise PickleRefused("it sets items of what is no mapping")
        self.stack[-1].update(zip(pairs[::2], pairs[1::2], strict=True))

    def _name(self) -> None:
        module, name = self._pop(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleRefused("it imports what is no name")
        self.stack.append(Global(f"{module}.{name}"))

    def _note_call(self) -> None:
        what, arguments = self._pop(2)
        if not isinstance(what, Global) or not isinstance(arguments, tuple):
            raise PickleRefused("it calls what is no name")
        self.stack.append(Call(what.name, arguments))

    def _build(self) -> None:
        (state,) = self._pop(1)
        if not self.stack or not isinstance(self.stack[-1], Call):
            raise PickleRefused("it sets the state of what it did not make")
        self.stack[-1].state = state


def read_inert(data: bytes) -> Any:
    """Return what a pickle would have made, with a `Call` wherever it would have called something.

    Raises:
        PickleRefused: it is no pickle, or not one of a plain table.
    """
    reader = _Reader()
    try:
        for instruction, argument, _ in pickletools.genops(data):
            if instruction.name == "STOP":
                (result,) = reader.stack
                return result
            reader.take(instruction.name, argument)
    except (ValueError, IndexError, TypeError) as error:
        raise PickleRefused("it does not decode") from error
    raise PickleRefused("it has no end")
