"""Have the log say what the ServerApp's own evaluation found, by its digest.

Rules:
  * It is the operator's word, and worth no run: what cannot be logged is said, and the run goes on.
  * Only the digest goes to the aggregator; the metrics stay where Flower has them.

SPEC.md, section 13.7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from logging import WARNING

from flwr.app import ArrayRecord, MetricRecord
from flwr.common.logger import log

from fedenclave.host.aggregator_api import AggregatorApi
from fedenclave.protocol.errors import FedEnclaveError, MalformedMessage
from fedenclave.protocol.evaluation import evaluation_digest

EvaluateFn = Callable[[int, ArrayRecord], MetricRecord | None]


def logged(evaluate: EvaluateFn, aggregator: Callable[[], AggregatorApi | None]) -> EvaluateFn:
    """Return `evaluate` with what it finds after each round logged.

    Args:
        evaluate: Flower's `evaluate_fn`; before the first round it is called, too, and there is no
            release to speak of.
        aggregator: gives the one that runs the rounds; None before there was one.
    """

    def evaluated(server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        found = evaluate(server_round, arrays)
        running = aggregator()
        if found is not None and server_round and running is not None:
            _log_digest(found, running)
        return found

    return evaluated


def _log_digest(found: object, aggregator: AggregatorApi) -> None:
    try:
        if not isinstance(found, Mapping):
            raise MalformedMessage(f"it is {type(found).__name__}, want a MetricRecord")
        if odd := [name for name in found if not isinstance(name, str)]:
            raise MalformedMessage(f"its name {odd[0]!r} is {type(odd[0]).__name__}, want str")
        aggregator.evaluated(evaluation_digest(found))
    except FedEnclaveError as error:
        log(WARNING, "the evaluation is not in the enclave's log: %s", error)
