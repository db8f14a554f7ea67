"""The inner products of every pair of updates, added up tile by tile in 64-bit fixed point.

A tile is cut into blocks of `BLOCK` columns, counted from its start. A block's products are one
matrix product in its own precision; each is then scaled, rounded to an integer and added. Integers
add up to the same sum in any order, so neither the tiles' width, as long as it is a multiple of
`BLOCK`, nor the threads change a bit.

The scale is each update's own: a power of two that brings its norm to at most 2**25. By the
inequality of Cauchy and Schwarz a product of two updates is then at most 2**50 and nothing wraps,
and an update that is much longer than the others costs them no precision.

What is left is the error of the matrix product: about 2**-24 of the product of the two norms for
float32, where products below 2**-126 count as 0. Another make of CPU may round it differently.

A matrix product has BLAS pack the blocks into buffers of its own, on ordinary pages, from where
nobody wipes them (THREAT_MODEL.md, limits).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedenclave.enclave.fixed_point import HEADROOM_BITS, ROUNDER, scale_bits, settle
from fedenclave.protocol.floats import BLOCK

_MOST_PRODUCTS = 2**18


def work_size(clients: int, itemsize: int) -> int:
    """Return how many bytes of scratch `block_gram` takes for tiles of K rows."""
    return _blocks_at_once(clients) * clients * clients * (itemsize + 8)


def scale_bits_for(norm: float) -> int:
    """Return s, the largest integer with `norm * 2**s <= 2**25`; 0 for a norm of 0."""
    return scale_bits(norm, HEADROOM_BITS // 2) if norm else 0


def scales(bits: Sequence[int], factors: Sequence[float]) -> NDArray[np.float64]:
    """Return what the product of each pair is multiplied with: [K, K].

    Args:
        bits: K scales, from `scale_bits_for` and the norms that the updates have once shrunk.
        factors: K factors in (0, 1]: 1, or less for an update that is clipped to the norm bound.
    """
    each = np.array([math.ldexp(f, s) for f, s in zip(factors, bits, strict=True)])
    pairs: NDArray[np.float64] = np.multiply.outer(each, each)
    return pairs


def block_gram(
    tile: NDArray[Any],
    scale: NDArray[np.float64],
    out: NDArray[np.int64],
    work: NDArray[np.uint8],
) -> None:
    """Add the scaled inner products of the rows of `tile` to `out`.

    Args:
        tile: [K, n], float32 or float64, of magnitudes up to 2**50, with contiguous rows. The norms
            that `scale` was made for are of whole updates, so those of a tile are no larger.
        scale: [K, K], from `scales`.
        out: [K, K], running sums.
        work: `work_size(K, itemsize)` bytes, aligned to 8.
    """
    clients, total = tile.shape
    at_once = _blocks_at_once(clients)
    whole = total // BLOCK
    for start in range(0, whole, at_once):
        count = min(at_once, whole - start)
        columns = tile[:, start * BLOCK : (start + count) * BLOCK]
        _add_products(columns.reshape(clients, count, BLOCK), scale, out, work)
    if total % BLOCK:
        rest = tile[:, whole * BLOCK :]
        _add_products(rest.reshape(clients, 1, -1), scale, out, work)


def gram_floats(gram: NDArray[np.int64], bits: Sequence[int]) -> NDArray[np.float64]:
    """Return the inner products without their scale: [K, K], exact."""
    negated = -np.array(bits, np.int64)
    products: NDArray[np.float64] = np.ldexp(
        gram.astype(np.float64), np.add.outer(negated, negated)
    )
    return products


def distances(gram: NDArray[np.int64], bits: Sequence[int]) -> NDArray[np.float64]:
    """Return the squared distance of every pair: [K, K], symmetric, 0 on the diagonal, none below.

    Where all scales are the same every step is exact: the integers are below 2**53.
    """
    products = gram_floats(gram, bits)
    squares = np.diagonal(products)
    # A matrix product need not be symmetric to the last bit.
    found: NDArray[np.float64] = np.add.outer(squares, squares) - (products + products.T)
    np.maximum(found, 0.0, out=found)
    np.fill_diagonal(found, 0.0)
    return found


def _blocks_at_once(clients: int) -> int:
    return max(1, min(16, _MOST_PRODUCTS // clients**2))


def _add_products(
    blocks: NDArray[Any],
    scale: NDArray[np.float64],
    out: NDArray[np.int64],
    work: NDArray[np.uint8],
) -> None:
    """Add the products of `blocks`, [K, count, columns], block by block."""
    clients, count, _ = blocks.shape
    shape, size = (count, clients, clients), count * clients * clients
    double = work[: 8 * size].view(np.float64).reshape(shape)
    found = work[8 * size : (8 + blocks.itemsize) * size].view(blocks.dtype).reshape(shape)
    np.matmul(blocks.transpose(1, 0, 2), blocks.transpose(1, 2, 0), out=found)
    np.copyto(double, found)
    np.multiply(double, scale, out=double)
    np.add(double, ROUNDER, out=double)
    integers = double.view(np.int64)
    for each in integers:
        np.add(out, each, out=out)
    settle(out, count)
