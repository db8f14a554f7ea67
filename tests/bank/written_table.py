"""A pandas table's pickle, written instruction by instruction, for there is no pandas here.

The form is what pandas 2 writes for a table of one block of numbers and one of texts (protocol 5).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

STOP = b"."


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def tuple_of(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def list_of(*items: bytes) -> bytes:
    return b"](" + b"".join(items) + b"e"


def call(module: str, name: str, arguments: bytes) -> bytes:
    return text(module) + text(name) + b"\x93" + arguments + b"R"


def kind(name: str) -> bytes:
    return call("numpy", "dtype", tuple_of(text(name), b"\x89", b"\x88"))


def numbers(values: NDArray[np.generic], name: str) -> bytes:
    data = values.tobytes()
    buffer = b"\x96" + struct.pack("<Q", len(data)) + data
    shape = tuple_of(*(number(size) for size in values.shape))
    return call("numpy.core.numeric", "_frombuffer", tuple_of(buffer, kind(name), shape, text("C")))


def texts(shape: Sequence[int], values: Sequence[bytes]) -> bytes:
    array = text("numpy") + text("ndarray") + b"\x93"
    empty = call(
        "numpy.core.multiarray", "_reconstruct", tuple_of(array, tuple_of(number(0)), b"C\x01b")
    )
    sizes = tuple_of(*(number(size) for size in shape))
    return empty + tuple_of(number(1), sizes, kind("O8"), b"\x89", list_of(*values)) + b"b"


def block(values: bytes, places: Sequence[int]) -> bytes:
    where = numbers(np.array(places, np.int64), "i8")
    return call("pandas._libs.internals", "_unpickle_block", tuple_of(values, where, number(2)))


def index(names: bytes) -> bytes:
    plain = text("pandas.core.indexes.base") + text("Index") + b"\x93"
    told = b"}(" + text("data") + names + text("name") + b"Nu"
    return call("pandas.core.indexes.base", "_new_Index", tuple_of(plain, told))


def table(names: Sequence[str], blocks: Sequence[bytes]) -> bytes:
    """Return a whole pickle."""
    axes = list_of(index(texts([len(names)], [text(name) for name in names])), b"N")
    manager = call(
        "pandas.core.internals.managers", "BlockManager", tuple_of(tuple_of(*blocks), axes)
    )
    frame = text("pandas.core.frame") + text("DataFrame") + b"\x93)\x81"
    return b"\x80\x05" + frame + b"}(" + text("_mgr") + manager + b"ub" + STOP
