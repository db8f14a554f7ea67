"""The host's bookkeeping of a round: nonces to a Merkle root, offers out, deliveries back.

Whoever carries messages (Flower's strategy, the simulation) asks this for what to put in them.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from fedenclave.host.aggregator_api import AggregatorApi, RoundResult
from fedenclave.host.round_ends import NO_RECEIPT, RoundEnd, answered_client
from fedenclave.protocol import merkle
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import MalformedMessage, RequestRefused
from fedenclave.protocol.exchange import Delivery, Hello, LogPart, RoundOffer
from fedenclave.protocol.frames import AdmissionResult
from fedenclave.protocol.log_file import MAGIC, read_log
from fedenclave.protocol.signing import Signed, statement_digest
from fedenclave.protocol.statements import (
    Abort,
    Admission,
    Announcement,
    Release,
)

_SIDE_BY_SIDE = 2
_LONGEST_PART = LogPart.MAX_SIZE - 1024


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
        """By client a size that its copy of the log has surely: as it said itself, or as the offer
        brought that it has answered."""
        self._offered = 0
        self._announcement = b""
        self._answers: dict[str, AdmissionResult] = {}
        self._lock = threading.Lock()
        self._round = 0
        # A ServerApp that ended in the middle of a round cannot come back to it.
        if aggregator.status().state == "collecting":
            aggregator.abort_round()

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
        self._announcement, self._round, self._answers = announcement, announced.round, {}
        paths = merkle.inclusion_paths(nonces)
        self._read_log()
        cohort, size = set(announced.cohort), announced.checkpoint.size
        self._parts.clear()
        self._copied |= {name: hellos[name].log_size for name in names}
        self._offered = size
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

    def deliveries_before(self) -> list[dict[str, Delivery]]:
        """Return, round by round, what an earlier ServerApp may not have handed out any more.

        A client that has it already, or sealed nothing, does not await it and ignores it.
        """
        return [
            self._deliver_end(end, _by_client(end.answers)) for end in self._aggregator.round_ends()
        ]

    def submit(self, client: str, sealed: bytes) -> AdmissionResult:
        """Hand one sealed update over; `client` is only for whom the receipt is kept."""
        result = self._aggregator.submit([sealed])
        if result.reason in NO_RECEIPT:
            return result
        with self._lock:
            self._copied[client] = self._offered
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
        closed = result.closed
        self._releases.append((self._round, closed.release))
        end = RoundEnd(
            announcement=self._announcement, release=closed.release, cohort=closed.cohort
        )
        return result, self._deliver_end(end, self._answered())

    def abort(self) -> dict[str, Delivery]:
        """Abort; return a delivery for each client of the cohort, as `close` does.

        Raises:
            RequestRefused: there is no round to be aborted, and the last was released.
        """
        try:
            abort = self._aggregator.abort_round()
        except RequestRefused:
            # An aggregator that has been started again may have aborted it already.
            (end,) = self._aggregator.round_ends()[-1:] or (None,)
            if end is None or not end.abort or end.announcement != self._announcement:
                raise
            abort = end.abort
        end = RoundEnd(announcement=self._announcement, abort=abort)
        return self._deliver_end(end, self._answered())

    def _answered(self) -> dict[str, bytes]:
        """Return the enclave's answer to each client in the round that has just ended.

        One that `submit` was not told, the connection having broken, is in the log.
        """
        admitted = {client for client, result in self._answers.items() if result.admitted}
        answers = {client: result.statement for client, result in self._answers.items()}
        if admitted.issuperset(_announced(self._announcement).cohort):
            return answers
        newest = self._aggregator.round_ends()[-1:]
        logged = _by_client(newest[0].answers) if newest else {}
        return answers | {
            client: signed
            for client, signed in logged.items()
            if client not in admitted and (client not in answers or _admits(signed))
        }

    def _deliver_end(self, end: RoundEnd, answers: Mapping[str, bytes]) -> dict[str, Delivery]:
        """Return each client's delivery of a round that ended so, by what it was answered."""
        statement: Release | Abort
        if end.release:
            statement = Release.from_bytes(Signed.from_bytes(end.release).payload)
        else:
            statement = Abort.from_bytes(Signed.from_bytes(end.abort).payload)
        self._read_log()
        size = statement.checkpoint.size
        unanswered = Delivery(
            round=statement.round,
            answer=b"",
            release=end.release,
            cohort=end.cohort,
            abort=end.abort,
            leaf_index=size,
            leaf_path=(),
            log_roots=self._log.subtree_roots(size),
        )
        deliveries = {}
        cohort = _announced(end.announcement).cohort
        if not answers.keys() >= set(cohort):
            if self._log.size <= size:
                raise MalformedMessage("the aggregator's log lacks the end of the round")
            path = self._log.inclusion_path(size, size + 1)
            deliveries = dict.fromkeys(cohort, replace(unanswered, leaf_path=path))
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

    def _read_log(self) -> None:
        """Take up what the enclave has signed since."""
        for leaf in self._aggregator.leaves(self._log.size):
            self._places[leaf] = self._log.append(leaf)

    def _log_part(self, first: int, end: int) -> LogPart:
        """Return statements `first` to `end` (excluded): the same object for all who lack them.

        A client may say anything of its copy. With parts whose lengths are powers of two, all of
        them together are hardly more than two logs; who gets more than it lacks passes over it.
        """
        lacking = max(end - first, 0)
        place = max(end - (1 << (lacking - 1).bit_length()), 0) if lacking else end, end
        if place not in self._parts:
            self._parts[place] = self._read_part(*place)
        return self._parts[place]

    def _read_part(self, first: int, end: int) -> LogPart:
        """Return as much of the end of this as one message holds."""
        entries = self._aggregator.log_part(first, end)
        if len(entries) <= _LONGEST_PART:
            return LogPart(first=first, entries=entries)
        for entry in read_log(io.BytesIO(MAGIC + entries)):
            if len(MAGIC) + len(entries) - entry.offset <= _LONGEST_PART:
                break
        start = entry.offset - len(MAGIC)
        return LogPart(first=first + entry.index, entries=entries[start:])

    def log_part_for(self, client: str) -> LogPart:
        """Return what a client's copy lacks of the log with the end of the newest round."""
        self._read_log()
        end = self._log.size
        return self._log_part(self._copied.get(client, end), end)

    def checkpoint(self) -> bytes:
        """Return the newest note of the log, as far as witnesses have cosigned it by now."""
        return self._aggregator.checkpoint()

    def chain(self) -> Sequence[bytes]:
        """Return every signed release so far."""
        return tuple(signed for _, signed in self._releases)


def _released(signed: bytes) -> Release:
    """Return what a signed release says; the host does not verify it."""
    return Release.from_bytes(Signed.from_bytes(signed).payload)


def _announced(announcement: bytes) -> Announcement:
    return Announcement.from_bytes(Signed.from_bytes(announcement).payload)


def _by_client(answers: Sequence[bytes]) -> dict[str, bytes]:
    """Return signed answers, of which each client has one, by client."""
    return {answered_client(signed): signed for signed in answers}


def _admits(signed: bytes) -> bool:
    return Signed.from_bytes(signed).type == Admission.TYPE
