"""NVFlare's weighted mean in plain text, by its FOBS and InTimeAccumulateWeightedAggregator.

Begins with what a server's cell has received from each client: the FOBS message of a Shareable,
and the downloads of its array, in pieces of 1 MiB (`benchmarks.peers.nvflare_messages`). NVFlare
decodes these, and its aggregator accepts each Shareable, and aggregates. Ends with the aggregate's
array. Not counted: the model's persistence.

Ways: "arrived", one client after the other; "side by side", where two threads decode and accept, as
a server's threads may; "one message", where the array lies in the FOBS message (no download).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.aggregators.intime_accumulate_model_aggregator import (
    InTimeAccumulateWeightedAggregator,
)
from nvflare.app_common.app_constant import AppConstants

from benchmarks.peers.figures import ARRIVED, Way, all_trained, figures, main, time_ways, true_mean
from benchmarks.peers.nvflare_messages import (
    ArrivedShareable,
    decoded,
    register_decomposers,
    sent,
    sent_as_one,
)
from benchmarks.trained import TENSOR, num_examples

ROUND = 0
THREADS = 2

Accept = Callable[[ArrivedShareable], bool]


def client_name(client: int) -> str:
    """Return a client's name."""
    return f"site-{client}"


def reply_of(data: Any, client: int) -> Shareable:
    """Return a client's reply, as the server has it once its headers are set."""
    dxo = DXO(DataKind.WEIGHTS, {TENSOR: data})
    dxo.set_meta_prop(MetaKey.NUM_STEPS_CURRENT_ROUND, num_examples(client))
    return labelled(dxo.to_shareable(), client)


def labelled(shareable: Shareable, client: int) -> Shareable:
    """Say who contributed to which round, as server and workflow do."""
    shareable.set_peer_props({ReservedKey.IDENTITY_NAME: client_name(client)})
    shareable.add_cookie(AppConstants.CONTRIBUTION_ROUND, ROUND)
    return shareable


def aggregated(
    replies: Sequence[ArrivedShareable],
    aggregator: InTimeAccumulateWeightedAggregator,
    each: Callable[[Accept, Sequence[ArrivedShareable]], Iterable[bool]] = map,
) -> DXO:
    """Return the aggregate of all replies; `each` is how they are gone through."""
    context = FLContext()
    context.set_prop(AppConstants.CURRENT_ROUND, ROUND)
    aggregator.handle_event(EventType.START_RUN, context)
    accepted = list(each(lambda reply: aggregator.accept(decoded(reply), context), replies))
    assert all(accepted), f"{accepted.count(False)} replies were not accepted"
    return from_shareable(aggregator.aggregate(context))


def _mean(replies: Sequence[ArrivedShareable], **how: Any) -> DXO:
    aggregator = InTimeAccumulateWeightedAggregator(expected_data_kind=DataKind.WEIGHTS)
    return aggregated(replies, aggregator, **how)


def _parameters(dxo: DXO) -> NDArray[np.float32]:
    return np.asarray(dxo.data[TENSOR])


def measure(clients: int, parameters: int, repeat: int) -> dict[str, Any]:
    """Return the figures of NVFlare's weighted mean."""
    logging.disable(logging.ERROR)  # it misses a running engine, which only counts events
    register_decomposers()
    trained = all_trained(clients, parameters)
    expected = true_mean(trained)
    arrived = [sent(reply_of(t, i), client_name(i)) for i, t in enumerate(trained)]
    as_one = [sent_as_one(reply_of(t, i)) for i, t in enumerate(trained)]
    del trained
    with ThreadPoolExecutor(THREADS) as pool:
        ways = {
            ARRIVED: Way(run=lambda _: _mean(arrived), parameters=_parameters),
            "side by side": Way(
                run=lambda _: _mean(arrived, each=pool.map), parameters=_parameters
            ),
            "one message": Way(run=lambda _: _mean(as_one), parameters=_parameters),
        }
        seconds, error = time_ways(ways, repeat, expected)
    return figures(
        seconds=seconds,
        largest_error=error,
        packages=("nvflare",),
        wire=arrived[0].size / (4 * parameters),
    )


if __name__ == "__main__":
    sys.exit(main("nvflare_mean", measure))
