"""OpenFL's weighted mean in plain text, by its stream, codec, TensorDB and WeightedAverage.

Begins with the messages of the gRPC stream `SendLocalTaskResults`, each at most 2 MiB, as bytes:
they are parsed, joined and parsed again as TaskResults, decompressed by NoCompressionPipeline, and
put into a new TensorDB, all as OpenFL's Aggregator does it, one collaborator after the other.
Ends with the averaged array. Not counted: its SQLite copy of every update (on by default), the
model file, and the preparation of the next round's tensors.

The way "one message" begins with one TaskResults of each collaborator, joined already.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from openfl.databases import TensorDB
from openfl.interface.aggregation_functions import WeightedAverage
from openfl.interface.aggregation_functions.core import AggregationFunction
from openfl.pipelines import NoCompressionPipeline, TensorCodec
from openfl.protocols import aggregator_pb2, base_pb2
from openfl.protocols.utils import (
    construct_named_tensor,
    datastream_to_proto,
    proto_to_datastream,
)
from openfl.utilities import TensorKey, change_tags

from benchmarks.peers.figures import ARRIVED, Way, all_trained, figures, main, time_ways, true_mean
from benchmarks.trained import TENSOR, num_examples

AGGREGATOR = "aggregator"
TRAINED = ("trained",)


def task_results(trained: NDArray[np.float32], client: int) -> Any:
    """Return what a collaborator sends, as TaskResults."""
    key = TensorKey(TENSOR, _name(client), 0, False, TRAINED)
    compressed, data, metadata = TensorCodec(NoCompressionPipeline()).compress(key, trained)
    return aggregator_pb2.TaskResults(
        round_number=0,
        task_name="train",
        data_size=num_examples(client),
        tensors=[construct_named_tensor(compressed, data, metadata, lossless=True)],
    )


def stream_of(results: Any) -> list[bytes]:
    """Return the messages of the stream that carries `results`, as bytes."""
    return [message.SerializeToString() for message in proto_to_datastream(results)]


def joined(stream: Sequence[bytes]) -> Any:
    """Return the TaskResults that a stream carries."""
    messages = (base_pb2.DataStream.FromString(message) for message in stream)
    return datastream_to_proto(aggregator_pb2.TaskResults(), messages)


def aggregated(results: Iterable[Any], rule: AggregationFunction) -> NDArray[Any]:
    """Return the aggregate of all TaskResults, by way of a TensorDB."""
    codec = TensorCodec(NoCompressionPipeline())
    db = TensorDB()
    examples = {}
    for client, result in enumerate(results):
        examples[_name(client)] = result.data_size
        for named in result.tensors:
            key, array = _decompressed(codec, named)
            tags = change_tags(key.tags, add_field=_name(client))
            db.cache_tensor({key._replace(tags=tags): array})
    total = sum(examples.values())
    return db.get_aggregated_tensor(
        TensorKey(TENSOR, AGGREGATOR, 0, False, TRAINED),
        {name: count / total for name, count in examples.items()},
        aggregation_function=rule,
    )


def _decompressed(codec: TensorCodec, named: Any) -> tuple[TensorKey, NDArray[Any]]:
    """Return key and array of a NamedTensor, as `Aggregator._process_named_tensor` does."""
    metadata = [
        {"int_to_float": m.int_to_float, "int_list": m.int_list, "bool_list": m.bool_list}
        for m in named.transformer_metadata
    ]
    key = TensorKey(named.name, AGGREGATOR, named.round_number, named.report, tuple(named.tags))
    return codec.decompress(
        key, data=named.data_bytes, transformer_metadata=metadata, require_lossless=True
    )


def _name(client: int) -> str:
    return f"collaborator-{client}"


def measure(clients: int, parameters: int, repeat: int) -> dict[str, Any]:
    """Return the figures of OpenFL's weighted mean."""
    # NumPy 2.1 deprecates an argument that NoCompressionPipeline passes; 2.4 lacks it.
    warnings.simplefilter("ignore", DeprecationWarning)
    trained = all_trained(clients, parameters)
    expected = true_mean(trained)
    messages = [task_results(values, i) for i, values in enumerate(trained)]
    one_message = [message.SerializeToString() for message in messages]
    streams = [stream_of(message) for message in messages]
    del trained, messages
    rule = WeightedAverage()
    ways = {
        ARRIVED: Way(
            run=lambda _: aggregated((joined(stream) for stream in streams), rule),
            parameters=np.asarray,
        ),
        "one message": Way(
            run=lambda _: aggregated(map(aggregator_pb2.TaskResults.FromString, one_message), rule),
            parameters=np.asarray,
        ),
    }
    seconds, error = time_ways(ways, repeat, expected)
    return figures(
        seconds=seconds,
        largest_error=error,
        packages=("openfl", "protobuf"),
        wire=sum(map(len, streams[0])) / (4 * parameters),
    )


if __name__ == "__main__":
    sys.exit(main("openfl_mean", measure))
