"""One cohort, several enclaves: what a round's root and its shards do in turn.

Reads no file: partial sums are written and merged elsewhere, as is agreed here.

Rules:
  * Nothing is summed up below `min_cohort` organisations of all, or too close to an earlier
    release; each enclave looks at its own history.
  * A root makes one release of a round. A shard follows one root, and never an older total.
  * After a refusal everything is as before.

SPEC.md, section 11.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from fedenclave.enclave.differencing import CohortHistory
from fedenclave.enclave.host_file import HostFile
from fedenclave.enclave.partial_sums import Others, PartialSum
from fedenclave.enclave.peer_channel import Channel, Peer, claimed_sender, unusable
from fedenclave.protocol.aggregation import Mean
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.protocol.frames import ShardPapers
from fedenclave.protocol.peers import METRIC_SIZE, WEIGHT_SIZE, Purpose, ShardReport, Total
from fedenclave.protocol.sealed_update import CONTENT_KEY_SIZE
from fedenclave.protocol.signing import PublicKey, statement_digest, verify
from fedenclave.protocol.statements import CohortReport, Outcome, Release
from fedenclave.protocol.tensors import Schema


class Shard:
    """This enclave adds up its updates for a root."""

    def __init__(self, channel: Channel, root: Peer) -> None:
        """Follow `root` until the round ends."""
        self._channel, self.root = channel, root
        self._reported: Digest | None = None
        self._included: dict[str, str] = {}
        self._attempt = 0
        self.shared: dict[str, str] = {}
        """The clients of the newest total that was answered, with their organisations: for all
        that this enclave can know they are released together."""

    def report(self) -> bytes:
        """Return the signed report of who is admitted; it takes the place of an earlier one."""
        round_ = self._channel.round
        who = round_.cohort_report()
        report = ShardReport(
            contributions=who.contributions,
            missing=who.missing,
            weight=round_.weight().to_bytes(WEIGHT_SIZE, "big"),
            metrics=tuple(
                total.to_bytes(METRIC_SIZE, "big", signed=True) for total in round_.metric_sums()
            ),
        )
        root = self.root
        signed = self._channel.send(root, Purpose.REPORT, root.announcement, report.to_bytes())
        self._reported, self._included = statement_digest(signed), round_.included()
        return signed

    def read(self, signed: bytes, history: CohortHistory) -> Total:
        """Return the root's total, where a partial sum may answer it.

        Raises:
            RequestRefused: it does not answer the newest report, is older than one that was
                answered, or its cohort is too close to one of this enclave's history; or an update
                has been set aside since the report.
        """
        if self._reported is None or self._channel.round.included() != self._included:
            raise RequestRefused(Refusal.SET_ASIDE, hint="report again")
        plain = self._channel.receive(self.root.enclave, Purpose.TOTAL, self._reported, signed)
        total = Total.from_bytes(plain)
        if total.attempt < self._attempt:
            raise unusable("the root has sent a newer total")
        history.check(self._channel.round.announcement.base_model, self._owners(total))
        return total

    def answer(self, signed: bytes, total: Total, content_key: bytes) -> bytes:
        """Return the signed key of the partial sum that has been written for `total`."""
        self._attempt, self.shared = total.attempt, self._owners(total)
        answers = statement_digest(signed)
        return self._channel.send(self.root, Purpose.PARTIAL_SUM, answers, content_key)

    def released(self, signed: bytes) -> Release:
        """Return the release with which the root has ended this round.

        Raises:
            MalformedMessage: it is not the root's.
            RequestRefused: it is of another round or base model.
        """
        release = verify(Release, signed, PublicKey(self.root.enclave))
        own = self._channel.round.announcement
        of = (release.federation, release.manifest, release.round, release.base_model)
        if of != (own.federation, own.manifest, own.round, own.base_model):
            raise unusable("the release is of another round")
        return release

    def _owners(self, total: Total) -> dict[str, str]:
        roster = self._channel.manifest.roster
        return {client: roster[client].member for client in total.clients}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reported:
    """A shard that has reported."""

    peer: Peer
    digest: Digest
    report: ShardReport

    @property
    def weight(self) -> int:
        return int.from_bytes(self.report.weight, "big")


class Root:
    """This enclave adds up everybody's partial sums, and releases."""

    def __init__(self, channel: Channel) -> None:
        """Begin without shards."""
        self._channel = channel
        self._attempt = 0
        self._shards: list[_Reported] = []
        self._totals: dict[bytes, Digest] = {}
        self._own: dict[str, str] = {}

    @property
    def shards(self) -> int:
        """How many partial sums a merge needs."""
        return len(self._shards)

    def weight(self) -> int:
        """Return what all clients weigh together."""
        return self._channel.round.weight() + sum(shard.weight for shard in self._shards)

    def total(
        self, peers: Sequence[bytes], papers: Sequence[ShardPapers], history: CohortHistory
    ) -> tuple[bytes, ...]:
        """Take these shards and no others, and return the signed total for each.

        Raises:
            RequestRefused: a shard is no peer, its round is another or its report no answer; a
                client is in two cohorts; all together are too few, or too close to a release.
        """
        shards = [self._reported(paper, peers) for paper in papers]
        cohorts = [self._channel.round.announcement.cohort, *(s.peer.cohort for s in shards)]
        if len({c for cohort in cohorts for c in cohort}) != sum(map(len, cohorts)):
            raise RequestRefused(Refusal.UNKNOWN_CLIENT, hint="a client is in two shards")
        before, self._shards = self._shards, shards
        try:
            self.check(history)
        except RequestRefused:
            self._shards = before
            raise
        self._attempt += 1
        self._own = self._channel.round.included()
        total = Total(
            attempt=self._attempt,
            weight=self.weight().to_bytes(WEIGHT_SIZE, "big"),
            clients=tuple(sorted(self.included())),
        ).to_bytes()
        signed = [self._channel.send(s.peer, Purpose.TOTAL, s.digest, total) for s in shards]
        self._totals = {
            shard.peer.enclave: statement_digest(message)
            for shard, message in zip(shards, signed, strict=True)
        }
        return tuple(signed)

    def _reported(self, papers: ShardPapers, peers: Sequence[bytes]) -> _Reported:
        sender = claimed_sender(papers.report)
        peer, own = self._channel.peer(sender, papers.announcement, peers), self._channel.round
        plain = self._channel.receive(
            sender, Purpose.REPORT, own.announcement_digest, papers.report
        )
        report = ShardReport.from_bytes(plain)
        everyone = sorted([*(c.client for c in report.contributions), *report.missing])
        roster = self._channel.manifest.roster
        # The cohort first: who is in none is perhaps not on the roster either.
        if tuple(everyone) != peer.cohort or any(
            roster[c.client].member != c.organisation for c in report.contributions
        ):
            raise unusable("the report is not about the shard's cohort")
        return _Reported(peer=peer, digest=statement_digest(papers.report), report=report)

    def check(self, history: CohortHistory) -> None:
        """Refuse to go on with too few organisations, or too close to an earlier release."""
        included = self.included()
        if len(set(included.values())) < self._channel.manifest.rules.min_cohort:
            raise RequestRefused(Refusal.COHORT_TOO_SMALL)
        history.check(self._channel.round.announcement.base_model, included)

    def others(
        self,
        partial_sums: Sequence[tuple[bytes, HostFile]],
        schema: Schema,
        history: CohortHistory,
    ) -> Others:
        """Return what the shards bring to the sum: each one's signed key, and its file.

        Raises:
            RequestRefused: they are not the answers to the newest total, one of every shard; an
                update of this enclave's has been set aside since; or see `check`.
        """
        self.check(history)
        keys = self._content_keys([signed for signed, _ in partial_sums])
        files = [file for _, file in partial_sums]
        sums = [PartialSum(schema, *pair) for pair in zip(keys, files, strict=True)]
        return Others(weight=self.weight(), sums=sums)

    def _content_keys(self, partial_sums: Sequence[bytes]) -> list[bytes]:
        if self._channel.round.included() != self._own:
            raise RequestRefused(Refusal.SET_ASIDE, hint="ask for a total again")
        senders = [claimed_sender(signed) for signed in partial_sums]
        if sorted(senders) != sorted(self._totals):
            raise unusable("these are not the partial sums of every shard, one of each")
        keys = [
            self._channel.receive(sender, Purpose.PARTIAL_SUM, self._totals[sender], signed)
            for sender, signed in zip(senders, partial_sums, strict=True)
        ]
        if any(len(key) != CONTENT_KEY_SIZE for key in keys):
            raise unusable("a content key has another length")
        return keys

    def included(self) -> dict[str, str]:
        """Return the organisation of every client that counts, of all enclaves."""
        theirs = {
            c.client: c.organisation
            for shard in self._shards
            for c in shard.report.contributions
            if c.outcome is Outcome.INCLUDED
        }
        return self._channel.round.included() | theirs

    def metric_sums(self) -> list[int]:
        """Return the weighted sums of the released metrics, over all enclaves."""
        sums = self._channel.round.metric_sums()
        for shard in self._shards:
            theirs = [int.from_bytes(m, "big", signed=True) for m in shard.report.metrics]
            sums = [mine + more for mine, more in zip(sums, theirs, strict=True)]
        return sums

    def cohort_report(self) -> CohortReport:
        """Return who is in the release, set aside, and missing, over all enclaves."""
        own = self._channel.round.cohort_report()
        parts: list[CohortReport | ShardReport] = [own, *(shard.report for shard in self._shards)]
        contributions = (c for part in parts for c in part.contributions)
        return CohortReport(
            round=own.round,
            contributions=tuple(sorted(contributions, key=lambda c: c.client)),
            missing=tuple(sorted(name for part in parts for name in part.missing)),
        )


RoleT = TypeVar("RoleT", Shard, Root)


class Sharing:
    """What part this enclave takes in one round: none at first."""

    def __init__(self, channel: Channel) -> None:
        """Begin alone."""
        self._channel = channel
        self._role: Shard | Root | None = None

    def report(self, root: bytes, announcement: bytes, peers: Sequence[bytes]) -> bytes:
        """Become a shard of `root`, or report again, and return the signed report.

        Raises:
            RequestRefused: the rule cannot be divided, `root` is no peer, its round another one, or
                this enclave is another's shard.
        """
        self._check_rule()
        peer = self._channel.peer(root, announcement, peers)
        shard = self._role if isinstance(self._role, Shard) else Shard(self._channel, peer)
        if shard.root.announcement != peer.announcement:
            raise RequestRefused(Refusal.WRONG_STATE, hint="this enclave is another one's shard")
        signed = shard.report()
        self._role = shard
        return signed

    def total(
        self, shards: Sequence[ShardPapers], peers: Sequence[bytes], history: CohortHistory
    ) -> tuple[bytes, ...]:
        """Become the root of `shards`, or of other ones, and return a signed total for each.

        Raises:
            RequestRefused: the rule cannot be divided; see `Root.total`.
        """
        self._check_rule()
        root = self._role if isinstance(self._role, Root) else Root(self._channel)
        signed = root.total(peers, shards, history)
        self._role = root
        return signed

    def _check_rule(self) -> None:
        if not isinstance(self._channel.manifest.rules.rule, Mean):
            raise RequestRefused(
                Refusal.RULE, hint="only the rule mean can be divided among enclaves"
            )

    def role(self, role: type[RoleT]) -> RoleT:
        """Return the part that this enclave takes.

        Raises:
            RequestRefused: it is not of that kind.
        """
        if not isinstance(self._role, role):
            raise RequestRefused(Refusal.WRONG_STATE)
        return self._role

    @property
    def shared(self) -> dict[str, str]:
        """Whom a shard's answers may have had released, with their organisations."""
        return self._role.shared if isinstance(self._role, Shard) else {}
