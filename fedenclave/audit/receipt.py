"""Verify one receipt: which code averaged this update, with whom, under which rules, exactly once.

The checks are SPEC.md's, section 14, with its numbers. What they cannot say: whether the rules are
good ones, and in development mode whether the measured code is what really ran.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from fedenclave.attestation.appraise import appraise
from fedenclave.attestation.endorsements import NO_ENDORSEMENTS, Endorsements
from fedenclave.attestation.result import AttestationResult
from fedenclave.protocol import merkle
from fedenclave.protocol.cohort import cohort_problem
from fedenclave.protocol.digests import Digest, domain_digest, equal, to_text
from fedenclave.protocol.errors import FedEnclaveError
from fedenclave.protocol.exchange import Receipt
from fedenclave.protocol.manifest import Manifest, approving_members
from fedenclave.protocol.sealed_update import Envelope
from fedenclave.protocol.signing import PublicKey, Signed, statement_digest, verify
from fedenclave.protocol.statements import (
    VERSION,
    Abort,
    Admission,
    Announcement,
    Checkpoint,
    CohortReport,
    Contribution,
    Outcome,
    Rejection,
    Release,
    UpdateHeader,
)


class ReceiptInvalid(FedEnclaveError):
    """A receipt proves nothing: the message says which check failed."""


class Verdict(StrEnum):
    """What a valid receipt proves about the update."""

    INCLUDED = "included"
    REJECTED = "rejected"
    SET_ASIDE = "set aside"
    ABORTED = "round aborted"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedReceipt:
    """What has been proved. `organisations` are those in the release, none where there is none.

    `checkpoint` is of the log with the round's end as its last entry.
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
    try:
        return _verify(Receipt.from_bytes(data), trusted, endorsements)
    except ReceiptInvalid:
        raise
    except FedEnclaveError as error:
        hint = (
            error.hint or "it is damaged or incomplete, or made by somebody else; compare a backup"
        )
        raise ReceiptInvalid(error.message, hint=hint) from error


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ReceiptInvalid(
            f"receipt proves nothing: {what}",
            hint="it was changed, mixed up with another, or made by somebody else",
        )


def _verify(receipt: Receipt, trusted: Manifest, endorsements: Endorsements) -> VerifiedReceipt:
    part, delivery = receipt.participation, receipt.delivery
    # 1. Same version, and the very manifest that the reader trusts, approved by enough members.
    _require(receipt.version == VERSION, f"version is {receipt.version}, want {VERSION}")
    named = domain_digest("manifest", receipt.manifest)
    _require(
        receipt.manifest == trusted.source,
        f"it is for another manifest than yours, or was damaged: it holds {to_text(named)}, "
        f"and yours is {to_text(trusted.digest)}",
    )
    approving = approving_members(trusted, receipt.approvals)
    _require(
        len(approving) >= trusted.threshold,
        f"{len(approving)} members approved the manifest, want {trusted.threshold}",
    )
    # 2. Evidence satisfies the manifest's policy and binds key, manifest and the nonces' root.
    nonce_root = _root_of_path(part.nonce, part.nonce_index, part.nonce_count, part.nonce_path)
    attestation = appraise(part.evidence, trusted, nonce_root, part.time, endorsements)
    key = attestation.signing_key
    # 3. That key announced the round, to this client, under this manifest.
    announcement = verify(Announcement, part.announcement, key)
    _same_rules(announcement.manifest, announcement.federation, trusted)
    _require(receipt.client in announcement.cohort, "the client is not in the round's cohort")
    drawn, available = trusted.rules.drawn, announcement.available
    problem = cohort_problem(drawn, announcement.cohort, available, trusted.roster)
    _require(not problem, problem)
    _require(part.round == announcement.round == delivery.round, "its parts are of several rounds")
    # 4. The client signed this update for that announcement.
    client = trusted.roster.get(receipt.client)
    if client is None:
        raise ReceiptInvalid("receipt proves nothing: the client is not on the roster")
    envelope = Envelope.from_bytes(part.envelope)
    header = envelope.verified_header(client.key)
    _check_header(header, receipt.client, announcement, part.announcement, trusted)
    # 5. The enclave answered to exactly this update.
    answer = _check_answer(delivery.answer, key, receipt.client, envelope.digest, part.round)
    _same_rules(answer.manifest, answer.federation, trusted)
    rejection = answer if isinstance(answer, Rejection) else None
    base = VerifiedReceipt(
        client=receipt.client,
        federation=trusted.name,
        round=part.round,
        verdict=Verdict.REJECTED,
        reason=rejection.reason.value if rejection else "",
        attestation=attestation,
        manifest=trusted.digest,
        base_model=announcement.base_model,
        training_config=announcement.training_config,
        model=None,
        update=envelope.digest,
        organisations=(),
        clients=(),
        time=announcement.time,
        judged_at=part.time,
        nonce_root=nonce_root,
        checkpoint=announcement.checkpoint,
    )
    # 6.-7. The same key ended the round: with an abort, or with a release that counts right.
    _require(bool(delivery.abort) != bool(delivery.release), "the round has not one end")
    if delivery.abort:
        checkpoint, verified = _aborted(base, receipt, key, trusted)
    else:
        checkpoint, verified = _released(base, receipt, announcement, key, trusted)
    # 8. The answer is in the log that the round's end commits to.
    _require(
        merkle.includes(
            checkpoint.root,
            statement_digest(delivery.answer),
            index=delivery.leaf_index,
            size=checkpoint.size,
            path=delivery.leaf_path,
        ),
        "the enclave's answer is not in the log that the round's end commits to",
    )
    # 9. The log's subtrees make that root: with the round's end behind them they are the log then.
    log = merkle.Frontier.of(checkpoint.size, delivery.log_roots)
    _require(equal(log.root(), checkpoint.root), "the log's subtrees do not make its root")
    log.append(statement_digest(delivery.abort or delivery.release))
    return replace(verified, checkpoint=Checkpoint(size=log.size, root=log.root()))


def _root_of_path(nonce: bytes, index: int, count: int, path: tuple[Digest, ...]) -> Digest:
    """Return the root that the nonce's path leads to; evidence must bind it."""
    root = merkle.root_from_path(nonce, index=index, size=count, path=path)
    if root is None:
        raise ReceiptInvalid("receipt proves nothing: the nonce's path is not one")
    return root


def _same_rules(manifest: Digest, federation: str, trusted: Manifest) -> None:
    _require(equal(manifest, trusted.digest), "a statement is for another manifest")
    _require(federation == trusted.name, "a statement is for another federation")


def _check_header(
    header: UpdateHeader, client: str, announcement: Announcement, signed: bytes, trusted: Manifest
) -> None:
    _same_rules(header.manifest, header.federation, trusted)
    _require(header.client == client, "the update is another client's")
    _require(header.round == announcement.round, "the update is of another round")
    _require(
        equal(header.announcement, statement_digest(signed)),
        "the update is for another announcement",
    )
    _require(equal(header.base_model, announcement.base_model), "the update's base model differs")


def _check_answer(
    answer: bytes, key: PublicKey, client: str, update: Digest, round_: int
) -> Rejection | Admission:
    """Return the enclave's answer, a rejection or an admission of exactly this update."""
    statement: Rejection | Admission
    if Signed.from_bytes(answer).type == Rejection.TYPE:
        statement = verify(Rejection, answer, key)
    else:
        statement = verify(Admission, answer, key)
    _require(statement.client == client, "the enclave's answer is to another client")
    _require(equal(statement.update, update), "the enclave's answer is to another update")
    _require(statement.round == round_, "the enclave's answer is of another round")
    return statement


def _aborted(
    base: VerifiedReceipt, receipt: Receipt, key: PublicKey, trusted: Manifest
) -> tuple[Checkpoint, VerifiedReceipt]:
    abort = verify(Abort, receipt.delivery.abort, key)
    _same_rules(abort.manifest, abort.federation, trusted)
    _require(abort.round == base.round, "the abort is of another round")
    _require(not receipt.delivery.cohort, "an aborted round has no cohort report")
    verdict = Verdict.REJECTED if base.reason else Verdict.ABORTED
    return abort.checkpoint, replace(base, verdict=verdict)


def _released(
    base: VerifiedReceipt,
    receipt: Receipt,
    announcement: Announcement,
    key: PublicKey,
    trusted: Manifest,
) -> tuple[Checkpoint, VerifiedReceipt]:
    delivery = receipt.delivery
    # 6. The release is of this round, on this base model, by the same key.
    release = verify(Release, delivery.release, key)
    _same_rules(release.manifest, release.federation, trusted)
    _require(release.round == base.round, "the release is of another round")
    _require(
        equal(release.announcement, statement_digest(receipt.participation.announcement)),
        "the release is for another announcement",
    )
    _require(
        equal(release.base_model, announcement.base_model), "the release has another base model"
    )
    # 7. The cohort report is the one it names and counts right; an admitted update is in it exactly
    #    once, a rejected one not at all.
    _require(
        equal(release.cohort, domain_digest("cohort", delivery.cohort)),
        "the cohort report is not the one that the release names",
    )
    report = CohortReport.from_bytes(delivery.cohort)
    included = _check_report(report, release, announcement, trusted)
    if base.reason:
        _require(
            all(c.update != base.update for c in report.contributions),
            "the update was rejected, and is in the cohort report",
        )
        return release.checkpoint, base
    own = [c for c in report.contributions if c.client == base.client]
    _require(len(own) == 1, f"the update is in the cohort report {len(own)} times, want once")
    _require(equal(own[0].update, base.update), "the cohort report names another update")
    included_own = own[0].outcome is Outcome.INCLUDED
    return release.checkpoint, replace(
        base,
        verdict=Verdict.INCLUDED if included_own else Verdict.SET_ASIDE,
        model=release.model,
        organisations=tuple(sorted({c.organisation for c in included})),
        clients=tuple(c.client for c in included),
    )


def _check_report(
    report: CohortReport, release: Release, announcement: Announcement, trusted: Manifest
) -> list[Contribution]:
    """Return the contributions that are in the model, of a report that counts right."""
    names = [c.client for c in report.contributions]
    _require(len(set(names)) == len(names), "the cohort report names a client twice")
    for contribution in report.contributions:
        _require(contribution.client in announcement.cohort, "the cohort report names a stranger")
        owner = trusted.roster.get(contribution.client)
        _require(
            owner is not None and owner.member == contribution.organisation,
            "the cohort report gives a client to another organisation",
        )
    included = [c for c in report.contributions if c.outcome is Outcome.INCLUDED]
    organisations = {c.organisation for c in included}
    _require(len(included) == release.clients, "the release counts other clients")
    _require(len(organisations) == release.organisations, "the release counts other organisations")
    _require(
        len(organisations) >= trusted.rules.min_cohort,
        f"{len(organisations)} organisations are in the release, want {trusted.rules.min_cohort}",
    )
    return included


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
        "organisations": list(verified.organisations),
        "clients": list(verified.clients),
        "time": verified.time,
        "judged_at": verified.judged_at,
        "nonce_root": verified.nonce_root.hex(),
        "log_size": verified.checkpoint.size,
        "log_root": to_text(verified.checkpoint.root),
    }
