"""NVFlare's weighted mean of homomorphically encrypted updates: TenSEAL's CKKS, as NVFlare sets it.

NVFlare's defaults (`HEBuilder`): polynomials of degree 8192, moduli of 60, 40 and 40 bits, scale
2^40, symmetric encryption; a client multiplies by its examples before it encrypts.

Way "arrived", the server's part, begins with the FOBS message of each client's Shareable, in pieces
of 1 MiB, each with its ciphertexts and a copy of the CKKS context (as NVFlare's decomposer makes
it); ends with the FOBS message of the encrypted mean. Beside it "encrypt" and "decrypt", what one
client spends: from its array to the FOBS message, and from the message of the mean to the array.
TenSEAL uses every core in all three. What NVFlare does not hide: the clients share one secret key.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import numpy as np
import tenseal
from numpy.typing import NDArray
from nvflare.apis.dxo import DataKind, from_shareable
from nvflare.apis.fl_context import FLContext
from nvflare.app_opt.he.intime_accumulate_model_aggregator import (
    HEInTimeAccumulateWeightedAggregator,
)
from nvflare.app_opt.he.model_decryptor import HEModelDecryptor
from nvflare.app_opt.he.model_encryptor import HEModelEncryptor
from nvflare.lighter.impl.he import HEBuilder

from benchmarks.measure import timed
from benchmarks.peers.figures import (
    ARRIVED,
    all_trained,
    figures,
    largest_difference,
    main,
    true_mean,
)
from benchmarks.peers.nvflare_mean import aggregated, labelled, reply_of
from benchmarks.peers.nvflare_messages import (
    ArrivedShareable,
    decoded,
    register_decomposers,
    sent_as_one,
)
from benchmarks.trained import TENSOR, num_examples


class Client:
    """Holds the secret key, like every client."""

    def __init__(self, context: bytes) -> None:
        self._encryptor = HEModelEncryptor()
        self._decryptor = HEModelDecryptor()
        # What both do at the start of a run, with the file that was provisioned.
        self._encryptor.tenseal_context = tenseal.context_from(context)
        self._decryptor.tenseal_context = tenseal.context_from(context)
        self._encryptor.encrypt_layers = [True]

    def encrypted(self, trained: NDArray[np.float32], client: int) -> ArrivedShareable:
        """Return what arrives of an update."""
        reply = reply_of(trained, client)
        self._encryptor.n_iter = num_examples(client)
        dxo = self._encryptor.process_dxo(from_shareable(reply), reply, _context())
        return sent_as_one(labelled(dxo.update_shareable(reply), client))

    def decrypted(self, arrived: ArrivedShareable) -> NDArray[np.float64]:
        """Return the parameters of a mean."""
        mean = decoded(arrived)
        dxo = self._decryptor.process_dxo(from_shareable(mean), mean, _context())
        return np.asarray(dxo.data[TENSOR])


def _context() -> FLContext:
    context = FLContext()
    context.set_peer_context(FLContext())
    return context


def server_round(replies: list[ArrivedShareable]) -> ArrivedShareable:
    """Return the message of the encrypted mean."""
    aggregator = HEInTimeAccumulateWeightedAggregator(expected_data_kind=DataKind.WEIGHTS)
    return sent_as_one(aggregated(replies, aggregator).to_shareable())


def measure(clients: int, parameters: int, repeat: int) -> dict[str, Any]:
    """Return the figures of NVFlare's homomorphic mean."""
    logging.disable(logging.ERROR)  # it misses a running engine, which only counts events
    register_decomposers()
    builder = HEBuilder()
    builder.initialize(None, None)
    client = Client(builder.get_serialized_context(is_client=True))
    trained = all_trained(clients, parameters)
    expected = true_mean(trained)
    seconds: dict[str, list[float]] = {ARRIVED: [], "encrypt": [], "decrypt": []}
    replies = []
    for i, values in enumerate(trained):
        reply, took = timed(lambda i=i, values=values: client.encrypted(values, i))
        replies.append(reply)
        seconds["encrypt"].append(took)
    error = 0.0
    for _ in range(repeat + 1):
        mean, took = timed(lambda: server_round(replies))
        seconds[ARRIVED].append(took)
        found, took = timed(lambda mean=mean: client.decrypted(mean))
        seconds["decrypt"].append(took)
        error = max(error, largest_difference(found, expected))
    for way in (ARRIVED, "decrypt"):
        del seconds[way][0]  # the first round is not counted
    return figures(
        seconds=seconds,
        largest_error=error,
        packages=("nvflare", "tenseal"),
        wire=replies[0].size / (4 * parameters),
        wire_back=mean.size / (4 * parameters),
    )


if __name__ == "__main__":
    sys.exit(main("nvflare_homomorphic", measure))
