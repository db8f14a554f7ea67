"""What the receipts of one round have in common, verified once for all of them.

A round's receipts hold the same approvals, evidence, announcement, release and cohort report, byte
for byte. Whoever judges a folder of them judges those once.

Rules:
  * `SharedParts` is one reader's: one manifest and one set of endorsements, as long as it lives.
    What it says depends on these two and on a method's arguments, and on nothing else.
  * It remembers by all arguments, byte for byte. What differs in any of them is verified anew.
  * Only what holds is remembered; what does not is an error every time.
  * Of each kind it remembers the newest few: a folder of any size takes the same memory.

SPEC.md, section 14.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from fedenclave.attestation.appraise import appraise
from fedenclave.attestation.endorsements import Endorsements
from fedenclave.attestation.result import AttestationResult
from fedenclave.protocol.digests import Digest, domain_digest, equal, to_text
from fedenclave.protocol.errors import FedEnclaveError
from fedenclave.protocol.manifest import Manifest, approving_members
from fedenclave.protocol.merkle import Frontier
from fedenclave.protocol.signing import PublicKey, statement_digest, verify
from fedenclave.protocol.statements import (
    Abort,
    Announcement,
    Checkpoint,
    CohortReport,
    Contribution,
    FederationStatement,
    Outcome,
    Release,
)

StatementT = TypeVar("StatementT", Announcement, Release, Abort)
CallT = TypeVar("CallT", bound=Callable[..., object])

_NEWEST = 64
"""Of each kind: receipts are judged round by round, and a round has few enclaves and times."""


class ReceiptInvalid(FedEnclaveError):
    """A receipt proves nothing: the message says which check failed."""


def refused(what: str) -> ReceiptInvalid:
    """Return the error that says which check does not hold."""
    return ReceiptInvalid(
        f"receipt proves nothing: {what}",
        hint="it was changed, mixed up with another, or made by somebody else",
    )


def require(holds: bool, what: str) -> None:
    """Refuse a receipt where a check does not hold.

    Raises:
        ReceiptInvalid: it does not.
    """
    if not holds:
        raise refused(what)


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedRelease:
    """A release with its cohort report, which counts right.

    Attributes:
        release: the statement.
        contributions: every line of the report, by client.
        updates: the updates in the report.
        missing: clients of the cohort without an admitted update, as the report says.
        clients: whose updates are in the model, in the report's order.
        organisations: theirs, sorted.
    """

    release: Release
    contributions: Mapping[str, Contribution]
    updates: frozenset[Digest]
    missing: frozenset[str]
    clients: tuple[str, ...]
    organisations: tuple[str, ...]


class SharedParts:
    """What one reader has found of parts that many receipts hold."""

    def __init__(
        self, trusted: Manifest, endorsements: Endorsements, former: Sequence[Manifest] = ()
    ) -> None:
        """Judge by the reader's manifest and endorsements, and remember nothing yet.

        Receipts of rounds under one of `former` are judged by that one.
        """
        self.trusted = trusted
        self._former = {each.source: SharedParts(each, endorsements) for each in former}
        self._endorsements = endorsements
        # Exceptions are not remembered by lru_cache, and arguments are compared whole.
        self.check_approved = _remembering(self._check_approved)
        self.attestation = _remembering(self._attestation)
        self.counted = _remembering(self._counted)
        self.log_after = _remembering(self._log_after)
        self._verified = _remembering(verify)

    def under(self, manifest: bytes) -> SharedParts:
        """Return what judges receipts of rounds under a manifest: this, unless it is a former."""
        return self._former.get(manifest, self)

    def check_manifest(self, manifest: bytes, approvals: tuple[bytes, ...]) -> None:
        """Check that a receipt is for the reader's manifest, and that enough members approved it.

        Raises:
            ReceiptInvalid: it is for another, or too few did.
        """
        trusted = self.trusted
        if manifest != trusted.source:
            named = to_text(domain_digest("manifest", manifest))
            raise refused(
                f"it is for another manifest than yours, or was damaged: it holds {named}, "
                f"and yours is {to_text(trusted.digest)}"
            )
        self.check_approved(approvals)

    def statement(self, cls: type[StatementT], signed: bytes, key: PublicKey) -> StatementT:
        """Return a statement that `key` has signed, under the reader's manifest.

        Raises:
            MalformedMessage: it does not decode, or the signature does not hold.
            ReceiptInvalid: it is of another federation or manifest.
        """
        found: StatementT = self._verified(cls, signed, key)
        self.check_rules(found)
        return found

    def check_rules(self, statement: FederationStatement) -> None:
        """Check that a statement is of the reader's federation and manifest.

        Raises:
            ReceiptInvalid: it is not.
        """
        require(
            equal(statement.manifest, self.trusted.digest), "a statement is for another manifest"
        )
        require(statement.federation == self.trusted.name, "a statement is for another federation")

    def _check_approved(self, approvals: tuple[bytes, ...]) -> None:
        """Check that enough members approved the reader's manifest."""
        approving = approving_members(self.trusted, approvals)
        require(
            len(approving) >= self.trusted.threshold,
            f"{len(approving)} members approved the manifest, want {self.trusted.threshold}",
        )

    def _attestation(self, evidence: bytes, nonce_root: Digest, time: int) -> AttestationResult:
        """Return what evidence proves, bound to a root of nonces and judged at a time.

        Raises:
            EvidenceRefused: it does not satisfy the manifest.
        """
        return appraise(evidence, self.trusted, nonce_root, time, self._endorsements)

    def _log_after(
        self, checkpoint_size: int, checkpoint_root: Digest, roots: tuple[Digest, ...], end: bytes
    ) -> Checkpoint:
        """Return the log with the round's end behind it.

        Raises:
            ReceiptInvalid: the roots are not of that log's subtrees.
            MalformedMessage: a log of that size has another number of them.
        """
        log = Frontier.of(checkpoint_size, roots)
        require(equal(log.root(), checkpoint_root), "the log's subtrees do not make its root")
        log.append(statement_digest(end))
        return Checkpoint(size=log.size, root=log.root())

    def _counted(
        self, announced: bytes, released: bytes, cohort: bytes, key: PublicKey
    ) -> CountedRelease:
        """Return a release and its cohort report.

        Args:
            announced: the round's announcement, of which the caller has checked `key`'s signature.
            released: the signed release.
            cohort: the report's encoding.
            key: the enclave's.

        Raises:
            ReceiptInvalid: they are not of one round, or do not count right.
            MalformedMessage: one does not decode, or is not signed by `key`.
        """
        announcement = self.statement(Announcement, announced, key)
        # 6. The release is of this round, on this base model, by the same key.
        release = self.statement(Release, released, key)
        require(release.round == announcement.round, "the release is of another round")
        require(
            equal(release.announcement, statement_digest(announced)),
            "the release is for another announcement",
        )
        require(
            equal(release.base_model, announcement.base_model),
            "the release has another base model",
        )
        # 7. The cohort report is the one it names and counts right.
        require(
            equal(release.cohort, domain_digest("cohort", cohort)),
            "the cohort report is not the one that the release names",
        )
        report = CohortReport.from_bytes(cohort)
        included = _included(report, release, announcement, self.trusted)
        return CountedRelease(
            release=release,
            contributions={c.client: c for c in report.contributions},
            updates=frozenset(c.update for c in report.contributions),
            missing=frozenset(report.missing),
            clients=tuple(c.client for c in included),
            organisations=tuple(sorted({c.organisation for c in included})),
        )


def _remembering(work: CallT) -> CallT:
    """Return `work` with its newest results remembered by its arguments."""
    return lru_cache(maxsize=_NEWEST)(work)  # type: ignore[return-value]  # the same call


def _included(
    report: CohortReport, release: Release, announcement: Announcement, trusted: Manifest
) -> list[Contribution]:
    """Return the contributions that are in the model, of a report that counts right."""
    names = [c.client for c in report.contributions]
    require(len(set(names)) == len(names), "the cohort report names a client twice")
    cohort = frozenset(announcement.cohort)
    for contribution in report.contributions:
        require(contribution.client in cohort, "the cohort report names a stranger")
        owner = trusted.roster.get(contribution.client)
        require(
            owner is not None and owner.member == contribution.organisation,
            "the cohort report gives a client to another organisation",
        )
    included = [c for c in report.contributions if c.outcome is Outcome.INCLUDED]
    organisations = {c.organisation for c in included}
    require(len(included) == release.clients, "the release counts other clients")
    require(len(organisations) == release.organisations, "the release counts other organisations")
    require(
        len(organisations) >= trusted.rules.min_cohort,
        f"{len(organisations)} organisations are in the release, want {trusted.rules.min_cohort}",
    )
    return included
