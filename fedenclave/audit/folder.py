"""Verify a folder of receipts: each alone, and together as one history.

Together means: one enclave key unless a restart was agreed, no two ends of one round that differ,
and each release built on the one before where both are at hand.

SPEC.md, section 14.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from fedenclave.attestation.collateral import iso
from fedenclave.attestation.endorsements import Endorsements
from fedenclave.audit.receipt import Verdict, VerifiedReceipt, verify_one_of_many
from fedenclave.audit.shared_parts import ReceiptInvalid, SharedParts
from fedenclave.protocol.digests import Digest, to_text
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedFile:
    """One file and what it proves, or why it proves nothing."""

    path: Path
    verified: VerifiedReceipt | None
    problem: str


def receipt_files(paths: Sequence[Path]) -> list[Path]:
    """Return the receipt files that `paths` name: files, or folders that hold them.

    Raises:
        ConfigurationError: there is none.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(path.glob("*.receipt")) or sorted(path.glob("receipts/*.receipt"))
        else:
            files.append(path)
    if not files:
        deeper = [
            found.parent.parent
            for path in paths
            for pattern in ("*/receipts/*.receipt", "*/*/receipts/*.receipt")
            for found in path.glob(pattern)
        ]
        raise ConfigurationError(
            "no receipts found in " + ", ".join(map(str, paths)),
            hint=f"did you mean {sorted(set(deeper))[0]}?"
            if deeper
            else "name *.receipt files, or a client folder after its first round",
        )
    return files


def judge_files(
    files: Sequence[Path],
    trusted: Manifest,
    endorsements: Endorsements,
    former: Sequence[Manifest] = (),
) -> list[JudgedFile]:
    """Return for each file what it proves under the manifest that the reader trusts.

    Args:
        files: the receipts.
        trusted: that manifest.
        endorsements: for their evidence.
        former: the manifests that it has taken the place of; see `manifests_before`.

    Raises:
        ConfigurationError: a file cannot be read.
    """
    shared = SharedParts(trusted, endorsements, former)
    judged: dict[Path, JudgedFile] = {}
    # A round's receipts have one name, whoever's they are: one after the other they share most.
    for path in sorted(set(files), key=lambda path: (path.name, path)):
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"cannot read receipt {path}: {error.strerror}") from error
        try:
            verified = verify_one_of_many(data, shared)
            judged[path] = JudgedFile(path=path, verified=verified, problem="")
        except ReceiptInvalid as error:
            problem = f"{error.message}; {error.hint}" if error.hint else error.message
            judged[path] = JudgedFile(path=path, verified=None, problem=problem)
    return [judged[path] for path in files]


CLOCKS_MAY_DIFFER_SECONDS = 24 * 3600
"""Host's and client's clocks, and the time that a client takes to accept a round."""


def contradictions(receipts: Sequence[VerifiedReceipt], *, now: int) -> list[str]:
    """Return what receipts that are valid each alone say against each other, and against `now`.

    Args:
        receipts: verified ones.
        now: the reader's own clock, Unix seconds.
    """
    found = _odd_times(receipts, now)
    releases: dict[tuple[bytes, int], VerifiedReceipt] = {}
    keys = {receipt.attestation.signing_key for receipt in receipts}
    if len(keys) > 1:
        found.append(
            f"the receipts are of {len(keys)} enclaves; was a restart agreed between the members?"
        )
    aborted = {_place(receipt) for receipt in receipts if _shows_abort(receipt)}
    for receipt in receipts:
        if receipt.model is None:
            continue
        place = _place(receipt)
        if place in aborted:
            found.append(f"round {receipt.round} was both released and aborted: a fork")
        other = releases.setdefault(place, receipt)
        if _end(other) != _end(receipt):
            found.append(f"round {receipt.round} has two different releases: a fork")
    ends: dict[tuple[bytes, int], VerifiedReceipt] = {}
    for receipt in receipts:
        other = ends.setdefault(_place(receipt), receipt)
        if other.checkpoint != receipt.checkpoint:
            found.append(f"round {receipt.round} ends in two logs: a fork")
    return found + _odd_answers(receipts) + _broken_chains(receipts)


def _shows_abort(receipt: VerifiedReceipt) -> bool:
    """Return whether it shows an abort; that of a rejected update does not say which end it has."""
    left_out = receipt.verdict is Verdict.LEFT_OUT and receipt.model is None
    return left_out or receipt.verdict is Verdict.ABORTED


def _odd_answers(receipts: Sequence[VerifiedReceipt]) -> list[str]:
    """Return who had two updates admitted to a round, and whose answer one receipt lacks."""
    found = []
    admitted: dict[tuple[bytes, int, str], Digest] = {}
    for receipt in receipts:
        if receipt.verdict in (Verdict.REJECTED, Verdict.LEFT_OUT):
            continue
        first = admitted.setdefault((*_place(receipt), receipt.client), receipt.update)
        if first != receipt.update:
            found.append(f"round {receipt.round} admitted two updates of {receipt.client}")
    answered = {
        (*_place(receipt), receipt.update)
        for receipt in receipts
        if receipt.verdict is not Verdict.LEFT_OUT
    }
    for receipt in receipts:
        known = (*_place(receipt), receipt.update) in answered
        if known and receipt.verdict is Verdict.LEFT_OUT:
            found.append(
                f"round {receipt.round} answered the update of {receipt.client}, and one receipt "
                "has no answer: it was kept back by the host, or taken out"
            )
    return found


def _broken_chains(receipts: Sequence[VerifiedReceipt]) -> list[str]:
    """Return which rounds do not build on what an earlier one left behind."""
    # One receipt speaks for its round: that the others agree is for the caller. That of a rejected
    # update does not say what its round left behind.
    telling = (r for r in receipts if r.model is not None or _shows_abort(r))
    rounds = sorted({_place(receipt): receipt for receipt in telling}.items())
    found = []
    for ((key, _), earlier), ((next_key, _), later) in pairwise(rounds):
        if key != next_key or earlier.verdict is Verdict.REJECTED:
            continue
        left = earlier.model or earlier.base_model
        if later.round == earlier.round + 1 and later.base_model != left:
            did = "released" if earlier.model else "was aborted on"
            found.append(
                f"round {later.round} builds on {to_text(later.base_model)}, and round "
                f"{earlier.round} {did} {to_text(left)}"
            )
    replaced: dict[tuple[bytes, Digest], int] = {}
    for (key, number), receipt in rounds:
        before = replaced.get((key, receipt.base_model), number)
        if before < number - 1:
            found.append(
                f"round {number} builds on {to_text(receipt.base_model)}, which the release of "
                f"round {before} had replaced: a fork, unless a release between led back to it"
            )
        if receipt.model is not None:
            replaced.pop((key, receipt.model), None)
            if receipt.model != receipt.base_model:
                replaced[key, receipt.base_model] = number
    return found


def _odd_times(receipts: Sequence[VerifiedReceipt], now: int) -> list[str]:
    """Return what is odd about the times at which evidence was judged: its supplier wrote them."""
    found = []
    for receipt in receipts:
        judged = f"round {receipt.round} of {receipt.client} judges evidence at"
        if receipt.judged_at > now + CLOCKS_MAY_DIFFER_SECONDS:
            found.append(f"{judged} {iso(receipt.judged_at)}, which has not come yet")
        elif abs(receipt.judged_at - receipt.time) > CLOCKS_MAY_DIFFER_SECONDS:
            found.append(
                f"{judged} {iso(receipt.judged_at)}, and the enclave was told {iso(receipt.time)}"
            )
    return found


def _place(receipt: VerifiedReceipt) -> tuple[bytes, int]:
    """Return which enclave's which round a receipt is of."""
    return bytes(receipt.attestation.signing_key), receipt.round


def _end(receipt: VerifiedReceipt) -> tuple[object, ...]:
    """Return what all receipts of one release must agree in."""
    return receipt.model, receipt.base_model, receipt.clients, receipt.organisations
