"""The columns of a pandas table that lies in a pickle, without pandas and without unpickling.

Rule: a table of another form than this one is refused, and never guessed at. The bytes are checked
against a known digest by the caller (lending_club.py); the form that is read here is pandas 2's.

Source: pandas.core.internals: a table is blocks of columns of one type, each with the places of its
columns, and two indexes, of which the first names the columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bank.inert_pickle import Call, PickleRefused, read_inert

_KINDS = {"f8": np.float64, "i8": np.int64}
Column = NDArray[np.generic] | Sequence[str]


def read_columns(data: bytes) -> Mapping[str, Column]:
    """Return the columns by name: numbers as an array of float64 or int64, texts as a list.

    Raises:
        PickleRefused: it is no pickle of a table, or one of another form.
    """
    frame = read_inert(data)
    try:
        manager = frame.state["_mgr"]
        _want(manager, "pandas.core.internals.managers.BlockManager")
        blocks, (names_index, _) = manager.arguments
        names = _texts(names_index.arguments[1]["data"])[0]
        found: dict[str, Column] = {}
        for block in blocks:
            _want(block, "pandas._libs.internals._unpickle_block")
            values, places, _ = block.arguments
            found |= {
                names[at]: column for at, column in zip(_places(places), _rows(values), strict=True)
            }
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise PickleRefused("it holds no table of the form that is read here") from error
    if len(found) != len(names):
        raise PickleRefused("its columns are not those that it names")
    return found


def _want(call: Any, name: str) -> None:
    if not isinstance(call, Call) or call.name != name:
        raise PickleRefused(f"it does not make a {name}")


def _rows(call: Call) -> Sequence[Column]:
    """Return a block's columns: pandas keeps each as a row."""
    return (
        _texts(call) if call.name == "numpy.core.multiarray._reconstruct" else list(_numbers(call))
    )


def _numbers(call: Call) -> NDArray[np.generic]:
    _want(call, "numpy.core.numeric._frombuffer")
    data, kind, shape, order = call.arguments
    return np.frombuffer(data, dtype=_KINDS[kind.arguments[0]]).reshape(shape, order=order)


def _texts(call: Call) -> list[list[str]]:
    """Return the rows of an array of objects, all of which must be texts."""
    _want(call, "numpy.core.multiarray._reconstruct")
    _, shape, kind, fortran, values = call.state
    width = shape[-1]
    if kind.arguments[0] != "O8" or fortran or len(values) != int(np.prod(shape)):
        raise PickleRefused("it has an array of objects of another form")
    if not all(isinstance(value, str) for value in values):
        raise PickleRefused("it has an object that is no text")
    return [values[at : at + width] for at in range(0, len(values), width)]


def _places(call: Call) -> list[int]:
    """Return which columns a block holds."""
    if call.name == "builtins.slice":
        return list(range(*call.arguments))
    return [int(place) for place in _numbers(call)]
