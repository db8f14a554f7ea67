"""Aggregation: the manifest's rule over sealed updates, chunk by chunk.

A rule is one of two kinds. Most say only *how much of each update* there is in the result, some
after comparing every pair of updates; their result is the exact weighted sum. The others combine
every coordinate for itself, over a tile of all updates. Then the server optimiser makes the step of
it, the base model's chunk is added and the new model's chunk is kept inside.

Updates are taken in the order of their clients' names, never of their arrival. Nothing of an
unfinished pass leaves, and memory does not grow with the number of updates.

SPEC.md, section 11.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fedenclave.enclave import fixed_point
from fedenclave.enclave.base_model import BaseModel
from fedenclave.enclave.fingerprints import Fingerprinter
from fedenclave.enclave.new_model import NewModel
from fedenclave.enclave.optimiser_state import OptimiserState
from fedenclave.enclave.pairs import inner_products
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
            workers.take_tiles(memory, tile_size(clients))
        self.state = OptimiserState(rules.server, schema)
        self.digest: Digest | None = None
        self.model = NewModel(schema)

    def run(
        self, updates: Sequence[Admitted], base: BaseModel, fingerprinter: Fingerprinter
    ) -> Digest:
        """Compute the new model into `self.model` and return its digest.

        Until the last chunk has passed, `self.digest` is None: what lies in `self.model` then must
        not leave, not even where the pass failed and an earlier release is asked for again.

        Args:
            updates: at least as many as the rule needs; what admission kept.
            base: the model that the updates are relative to.
            fingerprinter: the round's, which made the updates' fingerprints.

        Raises:
            ChangedAfterAdmission: an update's file has changed; run again without it.
            RequestRefused: a file cannot be read or written, or is not what it should be; or the
                rule cannot be computed on these updates.
        """
        self.digest = None
        self.state.begin_pass()
        combine = self._prepare(sorted(updates, key=lambda u: u.client), fingerprinter)
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

    def _prepare(self, updates: Sequence[Admitted], fingerprinter: Fingerprinter) -> Combine:
        reader = Reader(updates, self._schema, fingerprinter, len(self._rules.reported))
        gram = None
        if self._combination.needs_gram:
            gram = inner_products(reader, self._schema, self._workers)
        made = self._combination.of(updates, gram)
        if isinstance(made, Mixture):
            kept = [k for k, coefficient in enumerate(made.coefficients) if coefficient != 0.0]
            return self._weighted_sum(reader.only(kept), [made.coefficients[k] for k in kept])
        return self._by_coordinate(reader.only(made.updates), made)

    def _weighted_sum(self, reader: Reader, coefficients: Sequence[float]) -> Combine:
        shrink = [update.shrink for update in reader.updates]
        clipped = [c * s for c, s in zip(coefficients, shrink, strict=True)]
        float_bits, count_bits = map(fixed_point.scale_bits, (self._rules.max_abs, MAX_COUNT))
        of_floats = (float_bits, fixed_point.factors(clipped, float_bits))
        of_counts = (count_bits, fixed_point.factors(coefficients, count_bits))

        def combine(index: int, _: Scratch, window: Window) -> None:
            integer = self._schema.chunks[index].dtype.integer
            bits, factors = of_counts if integer else of_floats
            total, work = window.sum, window.double
            total[:] = 0
            for number, factor in enumerate(factors):
                reader.open_chunk(number, index, window.sealed, window.plain)
                fixed_point.add(total, window.values(), factor, work)
            fixed_point.finish(total, len(factors), bits, work)

        return combine

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
