"""The host's bookkeeping of a round: nonces to a Merkle root, offers out, deliveries back.

Whoever carries messages (Flower's strategy, the simulation) asks this for what to put in them.
"""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from fedenclave.host.aggregator_api import AggregatorApi, RoundResult
from fedenclave.host.log_end import newest_announcement
from fedenclave.protocol import merkle
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import MalformedMessage, Reason
from fedenclave.protocol.exchange import Delivery, Hello, LogPart, RoundOffer
from fedenclave.protocol.frames import AdmissionResult
from fedenclave.protocol.log_file import MAGIC, read_log
from fedenclave.protocol.signing import Signed, statement_digest
from fedenclave.protocol.statements import (
    Abort,
    Admission,
    Announcement,
    Checkpoint,
    Rejection,
    Release,
)

_SIDE_BY_SIDE = 2
_OF_ANYBODY = (Reason.MALFORMED, Reason.UNKNOWN_CLIENT, Reason.BAD_SIGNATURE)
"""Rejections of what need not be by the client that it names."""


class RoundCoordinator:
    """Runs rounds against one aggregator. Holds signed bytes, verifies nothing."""

    def __init__(self, aggregator: AggregatorApi, *, send_manifest: bool) -> None:
        """Use `aggregator`; `send_manifest` only in a development federation."""
        self._aggregator = aggregator
        manifest, approvals, _ = aggregator.info()
        self._manifest = manifest if send_manifest else b""
        self._approvals = approvals if send_manifest else ()
        # Another ServerApp may have run rounds on this aggregator before: go on where it is.
        self._releases = [(_released(signed).round, signed) for signed in aggregator.releases()]
        self._places: dict[Digest, int] = {}
        self._log = merkle.Tree()
        self._parts: dict[tuple[int, int], LogPart] = {}
        self._copied: dict[str, int] = {}
        """By client the size of its copy of the log, where it has taken the newest offer."""
        self._cohort: tuple[str, ...] = ()
        self._opened_at = 0
        self._answers: dict[str, AdmissionResult] = {}
        self._lock = threading.Lock()
        self._round = 0
        self.left_behind: dict[str, Delivery] = {}
        """What is still to be delivered of a round that an earlier ServerApp has left open."""
        if aggregator.status().state == "collecting":
            self._end_left_open()

    def _end_left_open(self) -> None:
        # A ServerApp that ended in the middle of a round cannot come back to it.
        signed = self._aggregator.abort_round()
        # Without its deliveries a run is as good as ever: a log that cannot be read stops none.
        with contextlib.suppress(MalformedMessage):
            self._read_log()
            self._take_up(newest_announcement(self._aggregator.log_part, self._log.size))
            self.left_behind = self._deliver_abort(signed)

    def _take_up(self, announced: Announcement) -> None:
        self._round, self._cohort = announced.round, announced.cohort
        self._opened_at, self._answers = announced.checkpoint.size, {}

    def open(self, hellos: Mapping[str, Hello], training_config: Digest) -> dict[str, RoundOffer]:
        """Open a round for the clients that said hello, and return each one's offer.

        Where the enclave draws the cohort, there are offers for the drawn ones only.

        Args:
            hellos: newest hello per client name.
            training_config: digest of what each of them will be told about how to train.

        Raises:
            RequestRefused: the enclave does not open a round for this cohort.
        """
        names = sorted(hellos)
        nonces = [hellos[name].nonce for name in names]
        evidence = self._aggregator.evidence(merkle.root(nonces))
        announcement = self._aggregator.open_round(names, training_config)
        announced = _announced(announcement)
        self._take_up(announced)
        paths = merkle.inclusion_paths(nonces)
        self._read_log()
        cohort, size = set(announced.cohort), announced.checkpoint.size
        self._parts.clear()
        self._copied = dict.fromkeys(cohort, size)
        return {
            name: RoundOffer(
                evidence=evidence,
                nonce=nonces[index],
                nonce_index=index,
                nonce_count=len(nonces),
                nonce_path=paths[index],
                announcement=announcement,
                releases=self._releases_after(hellos[name].chain_round),
                log=self._log_part(hellos[name].log_size, size),
                manifest=self._manifest,
                approvals=self._approvals,
            )
            for index, name in enumerate(names)
            if name in cohort
        }

    def _releases_after(self, round_: int) -> tuple[bytes, ...]:
        return tuple(signed for number, signed in self._releases if number > round_)

    def submit(self, client: str, sealed: bytes) -> AdmissionResult:
        """Hand one sealed update over; `client` is only for whom the receipt is kept."""
        result = self._aggregator.submit([sealed])
        with self._lock:
            known = self._answers.get(client)
            # A later rejection (a replay, a forgery in the client's name) must not displace the
            # answer that admitted the client's update.
            if known is None or not known.admitted:
                self._answers[client] = result
        return result

    def submit_all(self, updates: Sequence[tuple[str, bytes]]) -> Sequence[AdmissionResult]:
        """Hand over updates that are here already, each with its client; return the answers.

        One is written to the store, or on its way to the gateway, while the enclave judges another.
        """
        with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
            return list(pool.map(lambda update: self.submit(*update), updates))

    def close(self) -> tuple[RoundResult, dict[str, Delivery]]:
        """Aggregate; return the result and a delivery for each client of the cohort.

        Where a client's update was not answered, its delivery shows that it was left out.

        Raises:
            RequestRefused: the cohort does not suffice; the round is still open.
        """
        result = self._aggregator.close_round()
        release = _released(result.closed.release)
        self._releases.append((self._round, result.closed.release))
        deliveries = self._deliver(
            release.checkpoint, release=result.closed.release, cohort=result.closed.cohort
        )
        return result, deliveries

    def abort(self) -> dict[str, Delivery]:
        """Abort; return a delivery for each client of the cohort, as `close` does."""
        return self._deliver_abort(self._aggregator.abort_round())

    def _deliver_abort(self, signed: bytes) -> dict[str, Delivery]:
        abort = Abort.from_bytes(Signed.from_bytes(signed).payload)
        return self._deliver(abort.checkpoint, abort=signed)

    def _deliver(
        self,
        checkpoint: Checkpoint,
        *,
        release: bytes = b"",
        cohort: bytes = b"",
        abort: bytes = b"",
    ) -> dict[str, Delivery]:
        self._read_log()
        size = checkpoint.size
        unanswered = Delivery(
            round=self._round,
            answer=b"",
            release=release,
            cohort=cohort,
            abort=abort,
            leaf_index=size,
            leaf_path=(),
            log_roots=self._log.subtree_roots(size),
        )
        answers = self._all_answers(size)
        deliveries = {}
        if not answers.keys() >= set(self._cohort):
            if self._log.size <= size:
                raise MalformedMessage("the aggregator's log lacks the end of the round")
            path = self._log.inclusion_path(size, size + 1)
            deliveries = dict.fromkeys(self._cohort, replace(unanswered, leaf_path=path))
        for client, answer in answers.items():
            index = self._places.get(statement_digest(answer))
            if index is None:
                raise MalformedMessage("the aggregator's log lacks an answer that it gave")
            deliveries[client] = replace(
                unanswered,
                answer=answer,
                leaf_index=index if index < size else 0,
                leaf_path=self._log.inclusion_path(index, size) if index < size else (),
            )
        return deliveries

    def _all_answers(self, size: int) -> dict[str, bytes]:
        """Return the enclave's answer to each client, as far as there is one.

        One that `submit` was not told, the connection having broken, is in the log. An admission
        comes before a rejection, and of these only one of an update that the client has signed.
        """
        answers = {client: result.statement for client, result in self._answers.items()}
        admitted = {client for client, result in self._answers.items() if result.admitted}
        if admitted.issuperset(self._cohort):
            return answers
        part = self._aggregator.log_part(self._opened_at, size)
        for entry in read_log(io.BytesIO(MAGIC + part)):
            signed = Signed.from_bytes(entry.unverified)
            if signed.type == Admission.TYPE:
                answers[Admission.from_bytes(signed.payload).client] = entry.unverified
            elif signed.type == Rejection.TYPE:
                rejection = Rejection.from_bytes(signed.payload)
                if rejection.reason not in _OF_ANYBODY:
                    answers.setdefault(rejection.client, entry.unverified)
        return answers

    def _read_log(self) -> None:
        """Take up what the enclave has signed since."""
        for leaf in self._aggregator.leaves(self._log.size):
            self._places[leaf] = self._log.append(leaf)

    def _log_part(self, first: int, end: int) -> LogPart:
        """Return statements `first` to `end` (excluded): the same object for all who lack them."""
        place = min(first, end), end
        if place not in self._parts:
            entries = self._aggregator.log_part(*place)
            self._parts[place] = LogPart(first=place[0], entries=entries)
        return self._parts[place]

    def log_part_for(self, client: str) -> LogPart:
        """Return what a client's copy lacks of the log with the end of the newest round."""
        self._read_log()
        end = self._log.size
        return self._log_part(self._copied.get(client, end), end)

    def chain(self) -> Sequence[bytes]:
        """Return every signed release so far."""
        return tuple(signed for _, signed in self._releases)


def _released(signed: bytes) -> Release:
    """Return what a signed release says; the host does not verify it."""
    return Release.from_bytes(Signed.from_bytes(signed).payload)


def _announced(announcement: bytes) -> Announcement:
    return Announcement.from_bytes(Signed.from_bytes(announcement).payload)
