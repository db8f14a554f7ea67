"""What one log says of the rounds, statement by statement: the checks that need no signature.

Does no I/O: `log.py` feeds it statements whose signatures it has checked, or will have checked
before it hands out a result.

Rules:
  * A statement that an honest enclave could not have made at its place ends the history.
  * Who is in a release follows from the log alone, but where several enclaves shared the cohort.

SPEC.md, section 7.2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NoReturn

from fedenclave.audit.round_history import End, RoundHistory
from fedenclave.protocol.cohort import cohort_problem
from fedenclave.protocol.digests import Digest, equal, to_text
from fedenclave.protocol.errors import FedEnclaveError, Reason
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.merkle import Frontier
from fedenclave.protocol.peers import PeerMessage, Purpose
from fedenclave.protocol.signing import PublicKey
from fedenclave.protocol.statements import (
    NO_DATA,
    Abort,
    Admission,
    Adoption,
    Amendment,
    Announcement,
    Checkpoint,
    Evaluation,
    FederationStatement,
    Rejection,
    Release,
    Shutdown,
    Start,
)


class LogInvalid(FedEnclaveError):
    """A log proves nothing: the message says which entry is the first that cannot be there."""


@dataclass(slots=True, kw_only=True)
class _OpenRound:
    announcement: Announcement
    digest: Digest
    cohort: dict[str, str]
    admitted: dict[str, Digest] = field(default_factory=dict)
    data: dict[str, Digest] = field(default_factory=dict)
    set_aside: set[str] = field(default_factory=set)
    rejected: int = 0
    is_root: bool = False


class LogRounds:
    """The history of one enclave, as far as it has been read."""

    def __init__(self, key: PublicKey, manifests: Sequence[Manifest]) -> None:
        """Begin before the first entry; each manifest has taken the place of the one before."""
        self._key, self._manifest = key, manifests[0]
        self._later = list(manifests[1:])
        manifest = manifests[-1]
        self._tree = Frontier()
        self.model = manifest.initial_model
        self._open: _OpenRound | None = None
        self.rounds: list[RoundHistory] = []
        self.admissions = 0
        self.shutdowns = 0
        self._evaluations: list[Digest] = []
        """Of the newest round, while the next is not announced."""
        self.approved: list[tuple[Digest, tuple[str, ...]]] = []
        """Each manifest that the log was under so far, and who had approved it."""
        self.rejections: Counter[Reason] = Counter()

    def checkpoint(self) -> Checkpoint:
        """Return size and root of what has been read."""
        return Checkpoint(size=self._tree.size, root=self._tree.root())

    def history(self) -> list[RoundHistory]:
        """Return every round, an open one last."""
        self._note_evaluations()
        return [*self.rounds, *([self._as_history(self._open)] if self._open else [])]

    def _note_evaluations(self) -> None:
        """Add them to the newest round; a host may log as many as it likes."""
        if self._evaluations:
            self.rounds[-1] = replace(self.rounds[-1], evaluations=tuple(self._evaluations))

    def add(self, statement: FederationStatement, digest: Digest) -> None:
        """Take the next statement, of that statement digest.

        Raises:
            LogInvalid: no honest enclave makes it at this place.
        """
        # 3. It is of this federation and manifest.
        if statement.federation != self._manifest.name:
            self._refuse("it is of another federation than yours")
        if isinstance(statement, Start | Amendment):
            self._change_rules(statement)
        if not equal(statement.manifest, self._manifest.digest):
            self._refuse("it is under another manifest")
        # 4. The first is the start, on the agreed model, and no other is.
        first = self._tree.size == 0
        if isinstance(statement, Start) is not first:
            self._refuse("it is no start, want one first" if first else "it is a second start")
        match statement:
            # First the one that nearly all of a long log are.
            case Admission():
                self._admission(statement)
            case Start():
                self._start(statement)
            case Announcement():
                self._announcement(statement, digest)
            case Rejection():
                self._rejection(statement)
            case PeerMessage():
                self._message(statement)
            case Release():
                self._release(statement)
            case Abort():
                self._abort(statement)
            case Adoption():
                self._adoption(statement)
            case Amendment():
                self._amendment(statement)
            case Evaluation():
                self._evaluation(statement)
            case Shutdown():
                self._shutdown(statement)
        self._tree.append(digest)

    @property
    def manifest(self) -> Manifest:
        """The one that the newest entry is under."""
        return self._manifest

    def _change_rules(self, statement: Start | Amendment) -> None:
        """Go by the manifest that a start is under, or by the next where an amendment says so."""
        if isinstance(statement, Amendment):
            if not equal(statement.before, self._manifest.digest):
                self._refuse("it takes the place of another manifest than the one before it")
            self._require_approved(statement.let_by)
        most = len(self._later) if isinstance(statement, Start) else 1
        for place, manifest in enumerate(self._later[:most]):
            if equal(statement.manifest, manifest.digest):
                self._manifest, self._later = manifest, self._later[place + 1 :]
                return
        if isinstance(statement, Amendment):
            self._refuse("it is under another manifest than the one that continues the last")

    def _amendment(self, amendment: Amendment) -> None:
        # 11. Another manifest takes this one's place between two rounds, as enough members of both
        #     have approved.
        self._require(self._open is None, "a round is open")
        self._require(amendment.round == len(self.rounds), f"it is behind round {amendment.round}")
        self._require_model(amendment.base_model)
        self._require_checkpoint(amendment.checkpoint)
        self._require_approved(amendment.approved_by)
        self.approved.append((amendment.manifest, amendment.approved_by))

    def _require_approved(self, by: tuple[str, ...]) -> None:
        members = {member.name for member in self._manifest.members}
        self._require(list(by) == sorted({*by} & members), "its approvals are not the members'")
        self._require(
            len(by) >= self._manifest.threshold,
            f"it is approved by {len(by)} members, want {self._manifest.threshold}",
        )

    def _start(self, start: Start) -> None:
        self._require(
            equal(start.model, self._manifest.initial_model),
            "it starts from another model than the agreed one",
        )
        self._require(equal(start.schema, self._manifest.schema), "it starts with another schema")
        self._require_approved(start.approved_by)
        self.approved.append((start.manifest, start.approved_by))

    def _announcement(self, announcement: Announcement, digest: Digest) -> None:
        # 5. Rounds follow each other, each on the newest model, for clients of enough members.
        wanted = len(self.rounds) + 1
        self._require(self._open is None, f"round {wanted} has no end before it")
        self._require(
            announcement.round == wanted, f"it announces round {announcement.round}, want {wanted}"
        )
        self._require_model(announcement.base_model)
        self._require(equal(announcement.schema, self._manifest.schema), "it has another schema")
        self._require(announcement.suite == self._manifest.suite, "it has another hpke suite")
        cohort = announcement.cohort
        roster = self._manifest.roster
        self._require(list(cohort) == sorted(set(cohort)), "its cohort is not sorted, each once")
        strangers = [client for client in cohort if client not in roster]
        self._require(not strangers, f"its cohort names {', '.join(strangers)}, not on the roster")
        self._require_members(len(self._manifest.organisations(cohort)))
        drawn, roster = self._manifest.rules.drawn, self._manifest.roster
        problem = cohort_problem(drawn, cohort, announcement.available, roster)
        self._require(not problem, problem)
        self._require_checkpoint(announcement.checkpoint)
        self._note_evaluations()
        self._evaluations = []
        # By the roster's own strings: a history of many rounds holds each name once.
        names = {client: roster[client].name for client in cohort}
        self._open = _OpenRound(announcement=announcement, digest=digest, cohort=names)

    def _admission(self, admission: Admission) -> None:
        # 6. An answer is of the open round; of a client of its cohort one update is admitted.
        open_round = self._of_open_round(admission.round)
        client = open_round.cohort.get(admission.client)
        # Not by `_require`: of a million admissions nobody wants the sentences.
        if client is None:
            self._refuse(f"it admits {admission.client}, not of the cohort")
        if client in open_round.admitted or client in open_round.set_aside:
            self._refuse(f"it admits a second update of {client}")
        open_round.admitted[client] = admission.update
        if admission.data != NO_DATA:
            open_round.data[client] = admission.data
        self.admissions += 1

    def _rejection(self, rejection: Rejection) -> None:
        open_round = self._of_open_round(rejection.round)
        self.rejections[rejection.reason] += 1
        if rejection.reason is not Reason.CHANGED_AFTER_ADMISSION:
            open_round.rejected += 1
            return
        admitted = open_round.admitted.pop(rejection.client, None)
        open_round.data.pop(rejection.client, None)
        self._require(
            admitted is not None and equal(admitted, rejection.update),
            f"it sets an update of {rejection.client} aside that was not admitted",
        )
        open_round.set_aside.add(open_round.cohort[rejection.client])

    def _message(self, message: PeerMessage) -> None:
        open_round = self._of_open_round(message.round)
        self._require(message.sender == self._key, "it is another enclave's message")
        open_round.is_root |= message.purpose is Purpose.TOTAL

    def _release(self, release: Release) -> None:
        # 8. A release is the end of the open round, on its base model, of those it has admitted.
        open_round = self._of_open_round(release.round)
        self._require(
            equal(release.announcement, open_round.digest), "it names another announcement"
        )
        self._require_model(release.base_model)
        self._require(equal(release.schema, self._manifest.schema), "it has another schema")
        metrics = tuple(metric.name for metric in release.metrics)
        self._require(
            metrics == self._manifest.rules.metrics, "it releases other metrics than the manifest"
        )
        own = len(open_round.admitted), len(self._manifest.organisations(list(open_round.admitted)))
        counted = release.clients, release.organisations
        # The root of a shared cohort counts other enclaves' clients, too: they are in their logs.
        fits = own == counted or (
            open_round.is_root and own[0] <= counted[0] and own[1] <= counted[1]
        )
        self._require(
            fits,
            f"it counts {counted[0]} clients of {counted[1]} organisations, "
            f"and the log admits {own[0]} of {own[1]}",
        )
        self._require_members(release.organisations)
        self._require_checkpoint(release.checkpoint)
        self.model = release.model
        self._end(
            End.RELEASED,
            release.time,
            model=release.model,
            clients=release.clients,
            organisations=release.organisations,
        )

    def _abort(self, abort: Abort) -> None:
        # 9. An abort or an adoption ends the open round, too; an adoption gives the next base.
        self._of_open_round(abort.round)
        self._require_checkpoint(abort.checkpoint)
        self._end(End.ABORTED, abort.time)

    def _adoption(self, adoption: Adoption) -> None:
        self._of_open_round(adoption.round)
        self._require(adoption.root != self._key, "it adopts a release of its own")
        self._require_checkpoint(adoption.checkpoint)
        self.model = adoption.model
        self._end(End.ADOPTED, adoption.time, model=adoption.model)

    def _evaluation(self, evaluation: Evaluation) -> None:
        # 12. What is said between two rounds names the newest; an evaluation the newest model, too.
        self._require_between(evaluation.round)
        self._require(evaluation.round > 0, "it evaluates a model before the first round")
        self._require(
            equal(evaluation.model, self.model),
            f"it evaluates {to_text(evaluation.model)}, want {to_text(self.model)}, the newest",
        )
        self._require_checkpoint(evaluation.checkpoint)
        self._evaluations.append(evaluation.digest)

    def _shutdown(self, shutdown: Shutdown) -> None:
        self._require_between(shutdown.round)
        self._require_checkpoint(shutdown.checkpoint)
        self.shutdowns += 1

    def _require_between(self, round_: int) -> None:
        newest = len(self.rounds)
        self._require(self._open is None, f"round {newest + 1} has no end before it")
        self._require(round_ == newest, f"it is of round {round_}, want {newest}, the newest")

    def _of_open_round(self, round_: int) -> _OpenRound:
        if self._open is None:
            self._refuse(f"it is of round {round_}, and none is open")
        number = self._open.announcement.round
        if round_ != number:
            self._refuse(f"it is of round {round_}, want {number}, which is open")
        return self._open

    def _end(
        self,
        end: End,
        time: int,
        *,
        model: Digest | None = None,
        clients: int = 0,
        organisations: int = 0,
    ) -> None:
        if self._open is None:
            raise AssertionError("a round ends that is not open")
        self.rounds.append(
            replace(
                self._as_history(self._open),
                end=end,
                ended=time,
                model=model,
                clients=clients,
                organisations=organisations,
            )
        )
        self._open = None

    @staticmethod
    def _as_history(open_round: _OpenRound) -> RoundHistory:
        announcement = open_round.announcement
        return RoundHistory(
            round=announcement.round,
            base_model=announcement.base_model,
            training_config=announcement.training_config,
            cohort=tuple(open_round.cohort.values()),
            included=tuple(sorted(open_round.admitted)),
            set_aside=tuple(sorted(open_round.set_aside)),
            data={client: open_round.data[client] for client in sorted(open_round.data)},
            rejected=open_round.rejected,
            announced=announcement.time,
        )

    def _require_model(self, base_model: Digest) -> None:
        self._require(
            equal(base_model, self.model),
            f"it builds on {to_text(base_model)}, want {to_text(self.model)}",
        )

    def _require_members(self, organisations: int) -> None:
        wanted = self._manifest.rules.min_cohort
        self._require(
            organisations >= wanted, f"it has {organisations} organisations, want {wanted}"
        )

    def _require_checkpoint(self, checkpoint: Checkpoint) -> None:
        # 7. A checkpoint in a statement is the log before this statement.
        self._require(
            checkpoint == self.checkpoint(),
            f"its checkpoint is of {checkpoint.size} entries, and not of the {self._tree.size} "
            "before it"
            if checkpoint.size != self._tree.size
            else "its checkpoint has another root than the entries before it",
        )

    def _require(self, holds: bool, what: str) -> None:
        if not holds:
            self._refuse(what)

    def _refuse(self, what: str) -> NoReturn:
        raise LogInvalid(
            f"log proves nothing: entry {self._tree.size}: {what}",
            hint="the log was changed, or its enclave is not what it should be: compare receipts",
        )
