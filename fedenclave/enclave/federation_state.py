"""What the enclave knows of its federation, from a start or a restart on.

Everything here is in a snapshot and its transitions (transitions.py), or made anew from them. What
changes it is in federation.py.

Rules:
  * Nothing happens under a manifest that its members have not approved.
  * A restart repeats what was sealed, in order, and signs nothing.

SPEC.md, sections 11.3 and 11.5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.enclave.aggregation import Aggregation
from fedenclave.enclave.agreed import Agreed, Lent
from fedenclave.enclave.base_model import BaseModel
from fedenclave.enclave.differencing import CohortHistory
from fedenclave.enclave.fingerprints import Fingerprinter
from fedenclave.enclave.host_file import HostFile
from fedenclave.enclave.journal import Journal, Remembered, read_segment
from fedenclave.enclave.log import Log
from fedenclave.enclave.peer_channel import Channel
from fedenclave.enclave.round import Round
from fedenclave.enclave.sealing.sealer import Sealer
from fedenclave.enclave.sharding import Sharing
from fedenclave.enclave.states import State
from fedenclave.enclave.transitions import (
    EndedRound,
    FormerClient,
    OpenedRound,
    ReleasedCohort,
    Snapshot,
    Transition,
    first_snapshot,
)
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import MalformedMessage, Refusal, RequestRefused
from fedenclave.protocol.frames import Closed
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.signing import public_key
from fedenclave.protocol.statements import (
    VERSION,
    CohortReport,
    Outcome,
    Start,
)


class FederationState:
    """One federation: its identity, its log, its model, its open round."""

    def __init__(
        self, *, agreed: Agreed, lent: Lent, journal: Journal, snapshot: Snapshot, base: BaseModel
    ) -> None:
        """Take up a federation between two rounds. `start` and `resume` make one.

        Raises:
            RequestRefused: the rule is none of this image's.
        """
        self.manifest = manifest = agreed.manifest
        self.schema = agreed.schema
        self.start_signed = snapshot.start
        self._lent, self._journal = lent, journal
        self._key = Ed25519PrivateKey.from_private_bytes(snapshot.signing_key)
        self._workers, self._slots = lent.workers, lent.slots
        self._models = Fingerprinter()
        self._base, self._base_digest = base, snapshot.base_model
        self._aggregation = Aggregation(
            self.schema, manifest.rules, self._workers, lent.memory, len(manifest.clients)
        )
        self._aggregation.state.remembered(snapshot.optimiser_key, snapshot.optimiser_steps)
        self._former = snapshot.former
        self._owner_of = owners(manifest, snapshot.former)
        self._history = CohortHistory(manifest.rules.min_cohort, self._owner_of, journal)
        self._history.remembered(snapshot.history)
        self._log = Log.remembered(self._key, journal, snapshot)
        self._round_number = snapshot.round
        self._round: Round | None = None
        self._closed: Closed | None = None
        self._fetched = True
        """Whether the host has the newest release; it may have none."""
        self._unwritten: EndedRound | None = None
        self._lost = False
        """Whether a round is open whose keys the machine has not kept over a restart."""
        self._untold: tuple[ReleasedCohort, ...] = ()
        self._shared_before = False
        self._sharing: Sharing | None = None
        self._behind = snapshot.behind

    @classmethod
    def start(
        cls,
        *,
        agreed: Agreed,
        lent: Lent,
        first_model: HostFile,
        measurement: Digest,
        time: int,
        sealer: Sealer | None = None,
    ) -> Self:
        """Take up an approved manifest and its agreed first model, under a new signing key.

        Args:
            agreed: what the members have agreed on.
            lent: what the process lends.
            first_model: the host's file.
            measurement: what this process measured of itself.
            time: the host's clock.
            sealer: keeps the state over a restart; None where the machine has none.

        Raises:
            RequestRefused: the model is not the agreed one, or the rule is none of this image's.
        """
        manifest, journal = agreed.manifest, Journal(sealer, agreed.manifest)
        base = BaseModel.of_agreed_model(
            first_model, manifest.initial_model, agreed.schema, Fingerprinter(), lent.workers
        )
        snapshot = first_snapshot(Ed25519PrivateKey.generate(), manifest.initial_model)
        federation = cls(agreed=agreed, lent=lent, journal=journal, snapshot=snapshot, base=base)
        journal.anchor_here()
        journal.begin(snapshot)
        federation.start_signed = federation._log.append(
            Start(
                version=VERSION,
                federation=manifest.name,
                manifest=manifest.digest,
                model=manifest.initial_model,
                schema=agreed.schema.digest,
                measurement=measurement,
                approved_by=agreed.approved_by,
                time=time,
            )
        )
        return federation

    @classmethod
    def resume(
        cls,
        *,
        agreed: Agreed,
        lent: Lent,
        base_model: HostFile,
        segment: bytes,
        sealer: Sealer | None,
    ) -> tuple[Self, Remembered]:
        """Go on where an earlier run of this code on this machine was, and say what it knew.

        A round that was open is open; `attach` must bring its updates' files. Where the newest
        release's model was not written, `repeat` must compute it again.

        Args:
            agreed: the same as then.
            lent: what the process lends.
            base_model: the newest released model that the host has.
            segment: the newest segment of the state.
            sealer: the machine's.

        Raises:
            RequestRefused: the state is not this federation's, damaged or rolled back, or the model
                is neither the newest nor the one before it; or other enclaves share its round.
        """
        manifest, journal = agreed.manifest, Journal(sealer, agreed.manifest)
        remembered = read_segment(segment, sealer, manifest)
        snapshot = remembered.snapshot
        ended = [ended for each in remembered.transitions for ended in each.ended]
        # The newest first.
        candidates = dict.fromkeys([*(e.base_model for e in ended[::-1]), snapshot.base_model])
        base, digest = BaseModel.of_one_of(
            base_model, list(candidates), agreed.schema, Fingerprinter(), lent.workers
        )
        untold: tuple[ReleasedCohort, ...] = ()
        if digest != next(iter(candidates)) and not _keeps_rounds(remembered):
            # Of a release that was sealed, and never told: its round is not closed, but lost. That
            # it was never told is what the host says: the guard counts it.
            if not remembered.transitions[-1].ended:
                raise RequestRefused(Refusal.WRONG_MODEL)  # something was said behind it
            untold = remembered.transitions[-1].released
            remembered = remembered.without_last()
        before = replace(snapshot, base_model=digest)
        try:
            federation = cls(agreed=agreed, lent=lent, journal=journal, snapshot=before, base=base)
            for transition in remembered.transitions:
                federation._replay(transition)
            federation._history.replay(untold)
            federation._untold = untold
        except (LookupError, ValueError, MalformedMessage):
            # No code of ours seals such a state; in development others can.
            raise RequestRefused(Refusal.STATE) from None
        if federation._shared_before:
            # What the others know of it, and it of them, ended with the earlier run.
            raise RequestRefused(Refusal.STATE, hint="other enclaves share the open round")
        journal.follow(remembered)
        # Before anything of it is told again: the host has the transition, as it has shown.
        journal.settle()
        return federation, remembered

    def _replay(self, transition: Transition) -> None:
        """Change the state as `transition` once has."""
        self._log.replay(transition)
        if not self.start_signed:
            self.start_signed = transition.statements[0]
        self._history.replay(transition.released)
        self._shared_before |= transition.shared
        for opened in transition.opened:
            self._round_number += 1
            self._lost = not opened.private_key
            if not self._lost:
                self._take_up_round(transition.statements[-1], opened)
        for kept in transition.kept:
            self._open().replay(kept, transition.statements[-1])
        for ended in transition.ended:
            self._replay_end(ended)

    def _replay_end(self, ended: EndedRound) -> None:
        self._behind = ended.behind
        self._lost = self._shared_before = False
        self._closed = Closed.from_bytes(ended.closed) if ended.closed else None
        if ended.base_model != self._base_digest:
            if not ended.closed:
                raise RequestRefused(Refusal.WRONG_MODEL)
            # The host has not written the model: it is computed again, from what is still there.
            report = CohortReport.from_bytes(self.last_closed().cohort)
            included = {c.client for c in report.contributions if c.outcome is Outcome.INCLUDED}
            if not included <= self._open().admitted.keys():
                # Merged: the sum without the other enclaves' parts must not even be begun.
                raise RequestRefused(Refusal.WRONG_MODEL)
            self._open().only(included)
            self._unwritten = ended
            return
        self._aggregation.state.remembered(ended.optimiser_key, ended.optimiser_steps)
        self._forget_round()

    def _snapshot(self) -> Snapshot:
        """Return the state as it is between two rounds."""
        roots, handed_out = self._log.remember()
        return Snapshot(
            signing_key=self._key.private_bytes_raw(),
            start=self.start_signed,
            log_size=self._log.size,
            log_roots=roots,
            handed_out=handed_out,
            base_model=self._base_digest,
            round=self._round_number,
            behind=self._behind,
            optimiser_key=self._aggregation.state.key,
            optimiser_steps=self._aggregation.state.steps,
            history=self._history.remember(self._owner_of),
            former=self._former,
        )

    @property
    def owner_of(self) -> Mapping[str, str]:
        """The organisation of every client that is, or was, on the roster."""
        return self._owner_of

    def continued(self, agreed: Agreed, sealer: Sealer | None) -> Self:
        """Return this federation under another manifest: same key, log, model and history.

        Between two rounds, and settled. What the server optimiser remembers is kept where it is the
        same optimiser.
        """
        manifest = agreed.manifest
        now = {client.name for client in manifest.clients}
        former = tuple(
            FormerClient(name=name, member=member)
            for name, member in sorted(self._owner_of.items())
            if name not in now
        )
        snapshot = replace(
            self._snapshot(),
            former=former,
            history=self._history.remember(owners(manifest, former)),
        )
        if manifest.rules.server != self.manifest.rules.server:
            snapshot = replace(snapshot, behind=False, optimiser_key=b"", optimiser_steps=0)
        journal = self._journal.continued(sealer, manifest)
        federation = type(self)(
            agreed=agreed, lent=self._lent, journal=journal, snapshot=snapshot, base=self._base
        )
        journal.begin(snapshot)
        return federation

    def settle(self) -> None:
        """Settle the last transition, which the host has by now; see `Journal.settle`."""
        self._journal.settle()

    @property
    def to_settle(self) -> bool:
        """Whether this request's transition is one that the anchor has to settle."""
        return self._journal.binding

    def transition(self) -> bytes:
        """Return what the host must write before anybody learns of the request; see `Journal`."""
        return self._journal.take()

    @property
    def state(self) -> State:
        """Where the federation is after `resume`."""
        if self._unwritten is not None:
            return State.UNWRITTEN
        if self._lost:
            return State.LOST
        return State.IDLE if self._round is None else State.COLLECTING

    def awaits(self) -> tuple[Digest, ...]:
        """Return the admitted updates whose files are still to be attached."""
        return self._round.awaits() if self._round is not None else ()

    @property
    def closed_before(self) -> bytes:
        """The encoded `Closed` of the release that ended the newest round; empty without one."""
        return self._closed.to_bytes() if self._closed is not None else b""

    def attach(self, file: HostFile) -> None:
        """Take over the file of an update that was admitted before a restart.

        Raises:
            RequestRefused: it is none of them.
        """
        self._open().attach(file)

    @property
    def signing_key(self) -> bytes:
        """The enclave's raw public key."""
        return public_key(self._key)

    def _take_up_round(self, announcement: bytes, opened: OpenedRound) -> None:
        self._round = Round(
            manifest=self.manifest,
            schema=self.schema,
            announcement=announcement,
            opened=opened,
            log=self._log,
            journal=self._journal,
            slots=self._slots,
            workers=self._workers,
        )
        self._sharing = Sharing(Channel(self.manifest, self._round, self.signing_key, self._log))

    def _open(self) -> Round:
        if self._round is None:
            raise RequestRefused(Refusal.WRONG_STATE)
        return self._round

    def _forget_round(self) -> None:
        self._sharing, self._lost = None, False
        if self._round is not None:
            self._round.destroy()
        self._slots.wipe()
        self._round = None

    def last_closed(self) -> Closed:
        """Return the newest release again, until another round opens: the host may have lost it.

        Raises:
            RequestRefused: there is none.
        """
        if self._closed is None:
            raise RequestRefused(Refusal.WRONG_STATE)
        return self._closed


def owners(manifest: Manifest, former: Sequence[FormerClient]) -> dict[str, str]:
    """Return the organisation of every client that is, or was, on the roster."""
    was = {client.name: client.member for client in former}
    return was | {client.name: client.member for client in manifest.clients}


def _keeps_rounds(remembered: Remembered) -> bool:
    opened = (opened for each in remembered.transitions for opened in each.opened)
    return all(each.private_key for each in opened)
