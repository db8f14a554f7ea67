"""Verify one receipt: which code averaged this update, with whom, under which rules, exactly once.

The checks are SPEC.md's, section 14, with its numbers. What they cannot say: whether the rules are
good ones, and in development mode whether the measured code is what really ran.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from fedenclave.attestation.endorsements import NO_ENDORSEMENTS, Endorsements
from fedenclave.attestation.result import AttestationResult
from fedenclave.audit.shared_parts import ReceiptInvalid as ReceiptInvalid
from fedenclave.audit.shared_parts import SharedParts, refused, require
from fedenclave.protocol import merkle
from fedenclave.protocol.cohort import cohort_problem
from fedenclave.protocol.digests import Digest, equal, to_text
from fedenclave.protocol.errors import FedEnclaveError
from fedenclave.protocol.exchange import Delivery, Receipt
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.sealed_update import Envelope
from fedenclave.protocol.signing import PublicKey, Signed, statement_digest, verify_opened
from fedenclave.protocol.statements import (
    NO_DATA,
    VERSION,
    Abort,
    Admission,
    Announcement,
    Checkpoint,
    Outcome,
    Rejection,
    UpdateHeader,
)


class Verdict(StrEnum):
    """What a valid receipt proves about the update."""

    INCLUDED = "included"
    REJECTED = "rejected"
    SET_ASIDE = "set aside"
    ABORTED = "round aborted"
    LEFT_OUT = "left out"


_RELEASED_WITHOUT = "released without it"
_ABORTED_UNANSWERED = "aborted without an answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedReceipt:
    """What has been proved. `organisations` are those in the release, none where there is none.

    `checkpoint` is of the log with the round's end as its last entry. `reason` says why an update
    was rejected, or how the round ended that left it out. `data` is what the client has said of its
    data, `NO_DATA` for nothing.
    """

    client: str
    federation: str
    round: int
    verdict: Verdict
    reason: str
    attestation: AttestationResult
    manifest: Digest
    base_model: Digest
    training_config: Digest
    model: Digest | None
    update: Digest
    data: Digest
    organisations: tuple[str, ...]
    clients: tuple[str, ...]
    time: int
    judged_at: int
    nonce_root: Digest
    checkpoint: Checkpoint


def verify_receipt(
    data: bytes, trusted: Manifest, endorsements: Endorsements = NO_ENDORSEMENTS
) -> VerifiedReceipt:
    """Return what the receipt proves to somebody who trusts `trusted`.

    Evidence is judged at the time at which the client accepted it, by the client's clock, which is
    in the receipt: certificates of some TEEs are valid for hours only.

    Args:
        data: the receipt file.
        trusted: the manifest that the reader holds for the agreed one.
        endorsements: vendors' collateral of that time, and revocations.

    Raises:
        ReceiptInvalid: a check does not hold, or the bytes are no receipt.
    """
    return verify_one_of_many(data, SharedParts(trusted, endorsements))


def verify_one_of_many(data: bytes, shared: SharedParts) -> VerifiedReceipt:
    """Return what `verify_receipt` returns to the reader whose `shared` parts these are.

    Raises:
        ReceiptInvalid: as there.
    """
    try:
        return _verify(Receipt.from_bytes(data), shared)
    except ReceiptInvalid:
        raise
    except FedEnclaveError as error:
        hint = (
            error.hint or "it is damaged or incomplete, or made by somebody else; compare a backup"
        )
        raise ReceiptInvalid(error.message, hint=hint) from error


def _verify(receipt: Receipt, shared: SharedParts) -> VerifiedReceipt:
    shared = shared.under(receipt.manifest)
    trusted = shared.trusted
    part, delivery = receipt.participation, receipt.delivery
    # 1. Same version, and the very manifest that the reader trusts, approved by enough members.
    require(receipt.version == VERSION, f"version is {receipt.version}, want {VERSION}")
    shared.check_manifest(receipt.manifest, receipt.approvals)
    # 2. Evidence satisfies the manifest's policy and binds key, manifest and the nonces' root.
    nonce_root = _root_of_path(part.nonce, part.nonce_index, part.nonce_count, part.nonce_path)
    attestation = shared.attestation(part.evidence, nonce_root, part.time)
    key = attestation.signing_key
    # 3. That key announced the round, to this client, under this manifest.
    announcement = shared.statement(Announcement, part.announcement, key)
    require(receipt.client in announcement.cohort, "the client is not in the round's cohort")
    drawn, available = trusted.rules.drawn, announcement.available
    problem = cohort_problem(drawn, announcement.cohort, available, trusted.roster)
    require(not problem, problem)
    require(part.round == announcement.round == delivery.round, "its parts are of several rounds")
    # 4. The client signed this update for that announcement.
    client = trusted.roster.get(receipt.client)
    if client is None:
        raise refused("the client is not on the roster")
    envelope = Envelope.from_bytes(part.envelope)
    header = envelope.verified_header(client.key)
    shared.check_rules(header)
    _check_header(header, receipt.client, announcement, part.announcement)
    # 5. The enclave answered to exactly this update, or the host has brought no answer.
    update = envelope.digest
    rejection = None
    if delivery.answer:
        answer = _check_answer(delivery.answer, key, header, update)
        shared.check_rules(answer)
        rejection = answer if isinstance(answer, Rejection) else None
    base = VerifiedReceipt(
        client=receipt.client,
        federation=trusted.name,
        round=part.round,
        verdict=Verdict.REJECTED if rejection else Verdict.LEFT_OUT,
        reason=rejection.reason.value if rejection else "",
        attestation=attestation,
        manifest=trusted.digest,
        base_model=announcement.base_model,
        training_config=announcement.training_config,
        model=None,
        update=update,
        data=header.data,
        organisations=(),
        clients=(),
        time=announcement.time,
        judged_at=part.time,
        nonce_root=nonce_root,
        checkpoint=announcement.checkpoint,
    )
    # 6.-7. The same key ended the round: with an abort, or with a release that counts right.
    require(bool(delivery.abort) != bool(delivery.release), "the round has not one end")
    if delivery.abort:
        checkpoint, verified = _aborted(base, receipt, key, shared)
    else:
        checkpoint, verified = _released(base, receipt, key, shared)
    # 8. The answer is in the log that the round's end commits to.
    if delivery.answer:
        _check_leaf(
            delivery.answer,
            checkpoint,
            delivery,
            "the enclave's answer is not in the log that the round's end commits to",
        )
    # 9. The log's subtrees make that root: with the round's end behind them they are the log then.
    end = delivery.abort or delivery.release
    log = shared.log_after(checkpoint.size, checkpoint.root, delivery.log_roots, end)
    # 8. Without an answer the leaf is that end, the last of this log.
    if not delivery.answer:
        _check_leaf(end, log, delivery, "the round's end is not the last entry of its log")
        require(delivery.leaf_index == checkpoint.size, "the round's end is at another place")
    return replace(verified, checkpoint=log)


def _check_leaf(signed: bytes, log: Checkpoint, delivery: Delivery, problem: str) -> None:
    require(
        merkle.includes(
            log.root,
            statement_digest(signed),
            index=delivery.leaf_index,
            size=log.size,
            path=delivery.leaf_path,
        ),
        problem,
    )


def _root_of_path(nonce: bytes, index: int, count: int, path: tuple[Digest, ...]) -> Digest:
    """Return the root that the nonce's path leads to; evidence must bind it."""
    root = merkle.root_from_path(nonce, index=index, size=count, path=path)
    if root is None:
        raise refused("the nonce's path is not one")
    return root


def _check_header(
    header: UpdateHeader, client: str, announcement: Announcement, signed: bytes
) -> None:
    require(header.client == client, "the update is another client's")
    require(header.round == announcement.round, "the update is of another round")
    require(
        equal(header.announcement, statement_digest(signed)),
        "the update is for another announcement",
    )
    require(equal(header.base_model, announcement.base_model), "the update's base model differs")


def _check_answer(
    answer: bytes, key: PublicKey, header: UpdateHeader, update: Digest
) -> Rejection | Admission:
    """Return the enclave's answer, a rejection or an admission of exactly this update."""
    signed = Signed.from_bytes(answer)
    statement: Rejection | Admission
    if signed.type == Rejection.TYPE:
        statement = verify_opened(Rejection, signed, key)
    else:
        statement = verify_opened(Admission, signed, key)
        require(equal(statement.data, header.data), "the enclave's answer names other data")
    require(statement.client == header.client, "the enclave's answer is to another client")
    require(equal(statement.update, update), "the enclave's answer is to another update")
    require(statement.round == header.round, "the enclave's answer is of another round")
    return statement


def _aborted(
    base: VerifiedReceipt, receipt: Receipt, key: PublicKey, shared: SharedParts
) -> tuple[Checkpoint, VerifiedReceipt]:
    abort = shared.statement(Abort, receipt.delivery.abort, key)
    require(abort.round == base.round, "the abort is of another round")
    require(not receipt.delivery.cohort, "an aborted round has no cohort report")
    if not receipt.delivery.answer:
        return abort.checkpoint, replace(base, reason=_ABORTED_UNANSWERED)
    verdict = Verdict.REJECTED if base.reason else Verdict.ABORTED
    return abort.checkpoint, replace(base, verdict=verdict)


def _released(
    base: VerifiedReceipt, receipt: Receipt, key: PublicKey, shared: SharedParts
) -> tuple[Checkpoint, VerifiedReceipt]:
    # 6. The release is of this round, and 7. counts right: what is the same for all of its
    #    receipts, `SharedParts.counted` checks.
    delivery = receipt.delivery
    announced = receipt.participation.announcement
    counted = shared.counted(announced, delivery.release, delivery.cohort, key)
    release = counted.release
    # 7. And of this one: an admitted update is in the report exactly once, a rejected one not at
    #    all, and of a client without an answer none.
    if not delivery.answer:
        require(
            base.client in counted.missing and base.client not in counted.contributions,
            "the update has an answer that was not delivered: the cohort report does not list its "
            "client as missing",
        )
        return release.checkpoint, replace(
            base,
            reason=_RELEASED_WITHOUT,
            model=release.model,
            organisations=counted.organisations,
            clients=counted.clients,
        )
    if base.reason:
        require(
            base.update not in counted.updates,
            "the update was rejected, and is in the cohort report",
        )
        return release.checkpoint, base
    own = counted.contributions.get(base.client)
    if own is None:
        raise refused("the update is in the cohort report 0 times, want once")
    require(equal(own.update, base.update), "the cohort report names another update")
    return release.checkpoint, replace(
        base,
        verdict=Verdict.INCLUDED if own.outcome is Outcome.INCLUDED else Verdict.SET_ASIDE,
        model=release.model,
        organisations=counted.organisations,
        clients=counted.clients,
    )


def summary(verified: VerifiedReceipt) -> dict[str, object]:
    """Return the result as plain values for JSON."""
    return {
        "client": verified.client,
        "federation": verified.federation,
        "round": verified.round,
        "verdict": verified.verdict.value,
        "reason": verified.reason,
        "insecure": verified.attestation.insecure,
        "status": verified.attestation.status.value,
        "exceptions": list(verified.attestation.excepted),
        "format": verified.attestation.format,
        "measurement": verified.attestation.measurement,
        "manifest": to_text(verified.manifest),
        "base_model": to_text(verified.base_model),
        "training_config": to_text(verified.training_config),
        "model": to_text(verified.model) if verified.model is not None else None,
        "update": to_text(verified.update),
        "data": to_text(verified.data) if verified.data != NO_DATA else None,
        "organisations": list(verified.organisations),
        "clients": list(verified.clients),
        "time": verified.time,
        "judged_at": verified.judged_at,
        "nonce_root": verified.nonce_root.hex(),
        "log_size": verified.checkpoint.size,
        "log_root": to_text(verified.checkpoint.root),
    }
