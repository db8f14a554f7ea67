"""Aggregation: the manifest's rule over sealed updates, chunk by chunk.

A rule is one of two kinds. Most say only *how much of each update* there is in the result, some
after comparing every pair of updates; their result is the exact weighted sum. The others combine
every coordinate for itself, over a tile of all updates. Then the server optimiser makes the step of
it, the base model's chunk is added and the new model's chunk is kept inside.

Updates are taken in the order of their clients' names, never of their arrival. Nothing of an
unfinished pass leaves, and memory does not grow with the number of updates.

Several enclaves can share a sum: each exports its part, and one of them merges the parts.

SPEC.md, sections 11.2 and 11.4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fedenclave.enclave import fixed_point
from fedenclave.enclave.base_model import BaseModel
from fedenclave.enclave.new_model import NewModel
from fedenclave.enclave.optimiser_state import OptimiserState
from fedenclave.enclave.pairs import inner_products
from fedenclave.enclave.partial_sums import Others, PartialSum
from fedenclave.enclave.rules.choose import Coordinates, Mixture, combination
from fedenclave.enclave.scratch import Scratch, Window
from fedenclave.enclave.secret_memory import SecretMemory
from fedenclave.enclave.tile import tile_size, tiles
from fedenclave.enclave.updates import Admitted, Reader
from fedenclave.enclave.workers import Workers
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.floats import MAX_COUNT
from fedenclave.protocol.manifest import Rules
from fedenclave.protocol.model import model_digest
from fedenclave.protocol.tensors import Schema

Combine = Callable[[int, Scratch, Window], None]
"""Writes the combined update of a chunk to `window.double`."""


class Aggregation:
    """Makes new models of a federation by its rule."""

    def __init__(
        self, schema: Schema, rules: Rules, workers: Workers, memory: SecretMemory, clients: int
    ) -> None:
        """Allocate what the rule needs for a cohort of at most `clients`.

        Raises:
            RequestRefused: the manifest names a rule that this image does not hold.
        """
        self._schema, self._rules, self._workers = schema, rules, workers
        self._combination = combination(rules)
        if self._combination.needs_tile:
            workers.take_tiles(memory, tile_size(clients, blocks=self._combination.needs_gram))
        self.state = OptimiserState(rules.server, schema)
        self.digest: Digest | None = None
        self.model = NewModel(schema)

    def run(
        self,
        updates: Sequence[Admitted],
        base: BaseModel,
        others: Others | None = None,
    ) -> Digest:
        """Compute the new model into `self.model` and return its digest.

        Until the last chunk has passed, `self.digest` is None: what lies in `self.model` then must
        not leave, not even where the pass failed and an earlier release is asked for again.

        Args:
            updates: at least as many as the rule needs; what admission kept.
            base: the model that the updates are relative to.
            others: what other enclaves bring to the sum; the rule is `mean` where there are any.

        Raises:
            ChangedAfterAdmission: an update's file has changed; run again without it.
            RequestRefused: a file cannot be read or written, or is not what it should be; or the
                rule cannot be computed on these updates.
        """
        self.digest = None
        self.state.begin_pass()
        combine = self._prepare(updates, others)
        chunks = self._schema.chunks

        def aggregate_chunk(index: int, scratch: Scratch) -> bytes:
            window = scratch.window(chunks[index])
            combine(index, scratch, window)
            step = self.state.step(index, window.double)
            if step is not window.double:
                np.copyto(window.double, step)
            return self.model.keep(index, window, base)

        digests = self._workers.each(len(chunks), aggregate_chunk)
        self.digest = model_digest(self._schema.digest, digests)
        return self.digest

    def export(self, updates: Sequence[Admitted], weight: int, into: PartialSum) -> None:
        """Write the partial sum of `updates`, of which all clients together weigh `weight`.

        Raises:
            ChangedAfterAdmission: an update's file has changed.
            RequestRefused: a file cannot be read or written.
        """
        shares = fixed_point.shares([update.weight for update in updates], weight)
        add_up = self._add_up(self._reader(updates), shares)
        chunks = self._schema.chunks

        def export_chunk(index: int, scratch: Scratch) -> None:
            window = scratch.window(chunks[index])
            add_up(index, window)
            into.write(index, window.sum)

        self._workers.each(len(chunks), export_chunk)

    def _reader(self, updates: Sequence[Admitted]) -> Reader:
        return Reader(updates, self._schema, len(self._rules.reported))

    def _prepare(self, updates: Sequence[Admitted], others: Others | None) -> Combine:
        updates = sorted(updates, key=lambda update: update.client)
        reader = self._reader(updates)
        if others is not None:
            shares = fixed_point.shares([update.weight for update in updates], others.weight)
            return self._weighted_sum(reader, shares, others.sums)
        gram = None
        if self._combination.needs_gram:
            gram = inner_products(reader, self._schema, self._workers)
        made = self._combination.of(updates, gram)
        if isinstance(made, Mixture):
            kept = [k for k, coefficient in enumerate(made.coefficients) if coefficient != 0.0]
            return self._weighted_sum(reader.only(kept), [made.coefficients[k] for k in kept])
        return self._by_coordinate(reader.only(made.updates), made)

    def _weighted_sum(
        self, reader: Reader, coefficients: Sequence[float], others: Sequence[PartialSum] = ()
    ) -> Combine:
        add_up = self._add_up(reader, coefficients)

        def combine(index: int, _: Scratch, window: Window) -> None:
            bits = add_up(index, window)
            for other in others:
                other.add_to(index, window)
            fixed_point.unscale(window.sum, bits, window.double)

        return combine

    def _add_up(
        self, reader: Reader, coefficients: Sequence[float]
    ) -> Callable[[int, Window], int]:
        """Return what leaves T of a chunk in `window.sum` and says by which scale."""
        shrink = [update.shrink for update in reader.updates]
        clipped = [c * s for c, s in zip(coefficients, shrink, strict=True)]
        float_bits, count_bits = map(fixed_point.scale_bits, (self._rules.max_abs, MAX_COUNT))
        of_floats = (float_bits, fixed_point.factors(clipped, float_bits))
        of_counts = (count_bits, fixed_point.factors(coefficients, count_bits))

        def add_up(index: int, window: Window) -> int:
            integer = self._schema.chunks[index].dtype.integer
            bits, factors = of_counts if integer else of_floats
            total, work = window.sum, window.double
            total[:] = 0
            for number, factor in enumerate(factors):
                reader.open_chunk(number, index, window.sealed, window.plain)
                fixed_point.add(total, window.values(), factor, work)
            fixed_point.settle(total, len(factors))
            return bits

        return add_up

    def _by_coordinate(self, reader: Reader, rule: Coordinates) -> Combine:
        shrink = [update.shrink for update in reader.updates]
        weights, ones = [update.weight for update in reader.updates], [1.0] * len(shrink)

        def combine(index: int, scratch: Scratch, window: Window) -> None:
            factors = ones if self._schema.chunks[index].dtype.integer else shrink
            # Not yet in `double`, where the next run of columns is deciphered.
            out = window.sum.view(np.float64)
            for start, tile in tiles(reader, self._schema, index, scratch, factors):
                rule.combine(tile, out[start : start + tile.shape[1]], weights, window.spare)
            np.copyto(window.double, out)

        return combine
