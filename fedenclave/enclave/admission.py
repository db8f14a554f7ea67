"""Admission: everything that is checked when a sealed update arrives.

Does no I/O but reading the update's file, and keeps nothing: the round keeps what is returned.
Whatever is wrong raises `UpdateRejected` with a closed reason; the numbers are SPEC.md's,
section 11.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedenclave.enclave import norms
from fedenclave.enclave.fingerprints import Fingerprinter
from fedenclave.enclave.host_file import HostFile
from fedenclave.enclave.scratch import Scratch
from fedenclave.enclave.workers import Workers
from fedenclave.protocol import sealed_update as layout
from fedenclave.protocol.aggregation import QFedAvg
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import MalformedMessage, Reason, UpdateRejected
from fedenclave.protocol.manifest import Manifest, Rules
from fedenclave.protocol.opening import CannotOpen, RoundKey
from fedenclave.protocol.sealed_update import TAG_SIZE, Envelope, private_header
from fedenclave.protocol.statements import Announcement, Checkpoint, UpdateHeader
from fedenclave.protocol.tensors import Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRound:
    """What admission needs to know of the round."""

    manifest: Manifest
    schema: Schema
    announcement: Announcement
    announcement_digest: Digest
    key: RoundKey
    knows_checkpoint: Callable[[Checkpoint], bool]
    admitted: Callable[[str], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An update that passed: what the enclave keeps of it. The content key goes to a key slot."""

    client: str
    digest: Digest
    data: Digest
    content_key: bytes
    weight: int
    shrink: float
    square_norm: float
    metrics: tuple[float, ...]
    fingerprints: tuple[bytes, ...]
    chunks_at: int


def check_header(envelope: Envelope, round_: OpenRound) -> UpdateHeader:
    """Return the header of an envelope for which the checks up to 13 hold.

    No key of the round is needed for them.

    Raises:
        UpdateRejected: one does not.
    """
    manifest, announcement = round_.manifest, round_.announcement
    # 1. The envelope decodes (the round has seen to it), and so does its header.
    try:
        claimed = envelope.unverified_header()
    except MalformedMessage:
        raise UpdateRejected(Reason.MALFORMED) from None
    # 2. The client is on the roster.
    client = manifest.roster.get(claimed.client)
    if client is None:
        raise UpdateRejected(Reason.UNKNOWN_CLIENT)
    # 3. Its key signed this header with this wrapped key.
    try:
        header = envelope.verified_header(client.key)
    except MalformedMessage:
        raise UpdateRejected(Reason.BAD_SIGNATURE) from None
    wanted = (
        # 4. It is for this federation,
        (header.federation == manifest.name, Reason.WRONG_FEDERATION),
        # 5. under this manifest,
        (header.manifest == manifest.digest, Reason.WRONG_MANIFEST),
        # 6. for this round
        (header.round == announcement.round, Reason.WRONG_ROUND),
        # 7. as this enclave announced it,
        (header.announcement == round_.announcement_digest, Reason.WRONG_ROUND),
        # 8. on its base model,
        (header.base_model == announcement.base_model, Reason.WRONG_BASE_MODEL),
        # 9. of its schema,
        (header.schema == round_.schema.digest, Reason.WRONG_SCHEMA),
        # 10. and from a client of its cohort.
        (header.client in announcement.cohort, Reason.NOT_IN_COHORT),
        # 11. This enclave has been where the client has been (T7).
        (round_.knows_checkpoint(header.checkpoint), Reason.ENCLAVE_OLDER_THAN_CLIENT),
        # 12. The header names the length that every update of this schema has.
        (
            header.sealed_size == layout.sealed_size(round_.schema, len(manifest.rules.reported)),
            Reason.WRONG_LENGTH,
        ),
        # 13. A client counts at most once in a round (T6).
        (not round_.admitted(header.client), Reason.REPLAYED),
    )
    for holds, reason in wanted:
        if not holds:
            raise UpdateRejected(reason)
    return header


def open_update(
    envelope: Envelope,
    header: UpdateHeader,
    file: HostFile,
    chunks_at: int,
    round_: OpenRound,
    fingerprinter: Fingerprinter,
    serial: int,
    workers: Workers,
) -> Opened:
    """Decrypt every chunk once, judge it, and return what the round keeps.

    Args:
        envelope: the checked envelope.
        header: its checked header.
        file: the sealed update.
        chunks_at: position of sealed chunk 0 in `file`.
        round_: the open round.
        fingerprinter: this round's.
        serial: this update's serial number for the fingerprints.
        workers: the threads.

    Raises:
        UpdateRejected: a chunk does not open, or holds what the rules forbid.
        RequestRefused: the host's file cannot be read.
    """
    # 14. The file ends where the header says: a truncated one is its sender's fault.
    if file.size() != chunks_at + header.sealed_size:
        raise UpdateRejected(Reason.WRONG_LENGTH)
    # 15. The content key was wrapped to this round's key with exactly this header.
    try:
        content_key = round_.key.unwrap(envelope)
    except CannotOpen:
        raise UpdateRejected(Reason.CANNOT_OPEN) from None
    cipher, schema, rules = AESGCM(content_key), round_.schema, round_.manifest.rules
    offsets, last = layout.chunk_offsets(schema, len(rules.reported)), len(schema.chunks)

    # 16. The private header opens. It is a few numbers, which become Python's: no scratch.
    private = private_header(len(rules.reported))
    nonce = layout.chunk_nonce(0, last=False)
    sealed_header = file.read(private.size + TAG_SIZE, chunks_at)
    try:
        num_examples, *metrics = private.unpack(cipher.decrypt(nonce, sealed_header, None))
    except InvalidTag:
        raise UpdateRejected(Reason.CANNOT_OPEN) from None
    # 17. It counts at least one example.
    weight = _weight(num_examples, rules)
    # 18. Every metric is a number that the rule can use.
    _check_metrics(metrics, rules)

    def judge(index: int, scratch: Scratch) -> tuple[bytes, Sequence[float]]:
        # 19. Every chunk opens.
        number, window = index + 1, scratch.window(schema.chunks[index])
        file.read_into(window.sealed, chunks_at + offsets[number])
        # Before it is decrypted: computing may overwrite it.
        fingerprint = fingerprinter.of(window.sealed, serial=serial, chunk=number)
        nonce = layout.chunk_nonce(number, last=number == last)
        try:
            cipher.decrypt_into(nonce, window.sealed, None, window.plain)
        except InvalidTag:
            raise UpdateRejected(Reason.CANNOT_OPEN) from None
        # 20. Every element is finite. 21. None is larger than `max_abs`.
        if schema.chunks[index].dtype.integer:
            norms.judge_counts(window.values())
            return fingerprint, ()
        return fingerprint, norms.judged_squares(window.values(), rules.max_abs)

    judged = workers.each(last, judge)
    square_norm = math.fsum(square for _, squares in judged for square in squares)
    # 22. The whole update is within `max_norm`, or `shrink` brings it there.
    return Opened(
        client=header.client,
        digest=envelope.digest,
        data=header.data,  # signed by the client, and judged by nobody
        content_key=content_key,
        weight=weight,
        shrink=_shrink(math.sqrt(square_norm), rules),
        square_norm=square_norm,
        metrics=tuple(metrics),
        fingerprints=tuple(fingerprint for fingerprint, _ in judged),
        chunks_at=chunks_at,
    )


def _weight(num_examples: int, rules: Rules) -> int:
    """Return what the update counts (check 17): at least one example, capped (T9)."""
    if num_examples < 1:
        raise UpdateRejected(Reason.BAD_NUM_EXAMPLES)
    return 1 if rules.weighting == "uniform" else min(num_examples, rules.weight_cap)


def _check_metrics(metrics: Sequence[float], rules: Rules) -> None:
    """Refuse a metric that is not finite, and a loss below 0 (check 18)."""
    if not all(math.isfinite(metric) for metric in metrics):
        raise UpdateRejected(Reason.BAD_METRIC)
    rule = rules.rule
    if isinstance(rule, QFedAvg) and metrics[rules.reported.index(rule.loss)] < 0:
        raise UpdateRejected(Reason.BAD_METRIC)


def _shrink(norm: float, rules: Rules) -> float:
    """Return the factor that brings the update within `max_norm` (check 22), or reject it."""
    if norm <= rules.max_norm:
        return 1.0
    if rules.over_norm == "reject":
        raise UpdateRejected(Reason.OVER_NORM)
    return rules.max_norm / norm
