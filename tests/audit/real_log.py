"""The log file of a real enclave, whose host keeps leaves only: what it signs is noted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from fedenclave.host.aggregator import Aggregator
from fedenclave.host.aggregator_api import RoundResult
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.frames import AdmissionResult
from fedenclave.protocol.log_file import MAGIC, frame
from fedenclave.protocol.signing import statement_digest


@dataclass
class RecordingAggregator:
    """Signed statements by their digest."""

    by_digest: dict[Digest, bytes]

    @classmethod
    def of(cls, aggregator: Aggregator) -> RecordingAggregator:
        """Note what an aggregator hands out from now on, and its start."""
        recorded = cls({})
        recorded.note(aggregator.info()[2].start)

        def noting(method: Callable[..., Any], signed: Callable[[Any], Iterable[bytes]]) -> Any:
            def called(*arguments: Any) -> Any:
                result = method(*arguments)
                recorded.note(*signed(result))
                return result

            return called

        def of_answer(result: AdmissionResult) -> Iterable[bytes]:
            return [result.statement]

        def of_result(result: RoundResult) -> Iterable[bytes]:
            return [*result.closed.set_aside, result.closed.release]

        wrapped: dict[str, Callable[[Any], Iterable[bytes]]] = {
            "open_round": lambda signed: [signed],
            "submit": of_answer,
            "close_round": of_result,
            "abort_round": lambda signed: [signed],
        }
        for name, signed in wrapped.items():
            setattr(aggregator, name, noting(getattr(aggregator, name), signed))
        return recorded

    def note(self, *signed: bytes) -> None:
        """Keep signed statements."""
        self.by_digest.update({statement_digest(each): each for each in signed})

    def file(self, leaves: Iterable[Digest]) -> bytes:
        """Return the log file of these leaves."""
        return MAGIC + b"".join(frame(self.by_digest[leaf]) for leaf in leaves)
