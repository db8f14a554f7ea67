"""A tile: the same run of elements of every update, one row each, for rules over all of them.

A chunk is opened whole, for its seal covers all of it; where the rows of a large cohort are more
than the tile holds, the chunk is opened again for each run of columns. So a tile's memory does not
grow with the cohort.

SPEC.md, section 11.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from fedenclave.enclave.scratch import Scratch
from fedenclave.enclave.updates import Reader
from fedenclave.protocol.floats import BLOCK, WideArray
from fedenclave.protocol.tensors import CHUNK_SIZE, Schema

_SIZE = 16 << 20
"""Enough for the whole chunks of 64 clients."""

_FEWEST_COLUMNS = 1024
"""For the largest rosters: fewer, and chunks would be deciphered too many times."""


def tile_size(clients: int, *, blocks: bool) -> int:
    """Return the bytes of a thread's tile, for a cohort of at most `clients`.

    Args:
        clients: the most rows.
        blocks: whether a whole block of columns must fit, as rules that compare pairs take it.
    """
    wanted = min(_SIZE, clients * CHUNK_SIZE)
    return max(wanted, clients * (BLOCK if blocks else _FEWEST_COLUMNS) * 8)


def tiles(
    reader: Reader, schema: Schema, index: int, scratch: Scratch, shrink: Sequence[float]
) -> Iterator[tuple[int, WideArray]]:
    """Yield runs of columns of chunk `index`: the first one's number, and the values, [K, n].

    The values are good until the next are asked for, and may be destroyed.

    Args:
        reader: of the K updates.
        schema: their layout.
        index: the chunk's.
        scratch: a thread's, with a tile.
        shrink: what each update's elements are multiplied with.

    Raises:
        ChangedAfterAdmission: an update is not what admission judged.
        RequestRefused: a file cannot be read.
    """
    chunk = schema.chunks[index]
    window, wide = scratch.window(chunk), chunk.dtype.wide
    fit = len(scratch.tile) // (len(shrink) * wide.itemsize)
    step = window.count if fit >= window.count else fit // BLOCK * BLOCK or fit
    for start in range(0, window.count, step):
        columns = slice(start, min(start + step, window.count))
        width = columns.stop - start
        tile = scratch.tile[: len(shrink) * width * wide.itemsize].view(wide)
        tile = tile.reshape(len(shrink), width)
        # The most frequent case needs no copy: a row is the plaintext as it is deciphered.
        in_place = width == window.count and chunk.dtype.update_storage == wide
        for number, factor in enumerate(shrink):
            if in_place and factor == 1.0:
                row = memoryview(tile[number]).cast("B")
                reader.open_chunk(number, index, window.sealed, row)
                continue
            reader.open_chunk(number, index, window.sealed, window.plain)
            if factor == 1.0:
                np.copyto(tile[number], window.values()[columns])
            else:
                np.multiply(window.values()[columns], wide.type(factor), out=tile[number])
        yield start, tile
