"""One federation inside the enclave: its identity, its log, its model, its rounds.

Does no socket I/O and reads no clock: `service.py` feeds it requests, descriptors and the host's
time. What belongs to every round is in federation_rounds.py, what is said between two in
between_rounds.py; here is who the enclave is, and what it does for a cohort that several enclaves
share.

SPEC.md, sections 11.4 and 12.3.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from fedenclave.enclave.base_model import BaseModel
from fedenclave.enclave.between_rounds import BetweenRounds
from fedenclave.enclave.host_file import HostFile
from fedenclave.enclave.partial_sums import PartialSum
from fedenclave.enclave.sharding import Root, Shard, Sharing
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.protocol.evidence import NONCE_SIZE, Evidence, report_data
from fedenclave.protocol.frames import Closed, ShardPapers
from fedenclave.protocol.sealed_update import CONTENT_KEY_SIZE
from fedenclave.protocol.signing import statement_digest
from fedenclave.protocol.statements import (
    VERSION,
    Adoption,
    Amendment,
    Checkpoint,
)


class Federation(BetweenRounds):
    """Everything that the enclave knows of its one federation."""

    @property
    def admitted(self) -> int:
        """Updates admitted to the open round."""
        return len(self._round.admitted) if self._round else 0

    @property
    def log(self) -> Checkpoint:
        """The log of all statements so far."""
        return self._log.head()

    def announce_amendment(
        self, before: Digest, approved_by: tuple[str, ...], let_by: tuple[str, ...], time: int
    ) -> bytes:
        """Sign that this manifest has taken the place of `before`, and return the statement."""
        amendment = self._log.append(
            Amendment(
                version=VERSION,
                federation=self.manifest.name,
                manifest=self.manifest.digest,
                before=before,
                approved_by=approved_by,
                let_by=let_by,
                round=self._round_number,
                base_model=self._base_digest,
                checkpoint=self._log.checkpoint(),
                time=time,
            )
        )
        self._log.checkpoint()  # as for a release
        self._journal.bind()
        return amendment

    def note(self) -> bytes:
        """Return the log's newest checkpoint as a signed note.

        Between two rounds: it is that of the newest end, which clients present.
        """
        return self._log.note(self.manifest.name)

    def evidence(self, nonce: bytes) -> Evidence:
        """Return evidence that binds `nonce`, the signing key and the manifest.

        Raises:
            RequestRefused: the nonce has not 32 bytes, or the machine gives no evidence.
        """
        if len(nonce) != NONCE_SIZE:
            raise RequestRefused(Refusal.MALFORMED)
        bound = report_data(nonce, self.signing_key, self.manifest.digest)
        return self._lent.attester.evidence(bound, self._key)

    @property
    def shards(self) -> int:
        """How many partial sums' files come with a merge."""
        return self._shared().role(Root).shards

    def report(self, root: bytes, announcement: bytes, peers: Sequence[bytes]) -> bytes:
        """Return a signed report for the root; see `Sharing.report`."""
        signed = self._shared().report(root, announcement, peers)
        self._note_shared()
        return signed

    def total(self, shards: Sequence[ShardPapers], peers: Sequence[bytes]) -> tuple[bytes, ...]:
        """Return a signed total for each shard; see `Sharing.total`.

        Raises:
            RequestRefused: as there; or the optimiser's state is with another enclave.
        """
        self._check_may_release()
        signed = self._shared().total(shards, peers, self._history)
        self._note_shared()
        return signed

    def _note_shared(self) -> None:
        """Let no restart go back to before other enclaves heard of this round's updates."""
        self._journal.notes.shared = True
        self._journal.bind()

    def export(self, total: bytes, file: HostFile) -> bytes:
        """Write the partial sum that answers `total`, and return its signed key.

        Raises:
            RequestRefused: see `Shard.read` and `Round.export`.
        """
        shard = self._shared().role(Shard)
        agreed = shard.read(total, self._history)
        content_key = os.urandom(CONTENT_KEY_SIZE)
        weight = int.from_bytes(agreed.weight, "big")
        partial_sum = PartialSum(self.schema, content_key, file)
        self._open().export(self._aggregation, weight, partial_sum)
        return shard.answer(total, agreed, content_key)

    def merge(
        self,
        partial_sums: Sequence[tuple[bytes, HostFile]],
        base_file: HostFile,
        states: Sequence[HostFile],
        time: int,
    ) -> Closed:
        """Release what `close_round` would, had this enclave had the shards' updates, too.

        `partial_sums` are every shard's signed key and file; the rest is as for `close_round`.

        Raises:
            RequestRefused: see `Root.others`, `Round.merge` and `close_round`.
        """
        root, round_ = self._shared().role(Root), self._open()
        others = root.others(partial_sums, self.schema, self._history)
        return self._release(
            root,
            lambda: round_.merge(self._aggregation, self._base, others),
            base_file,
            states,
            time,
        )

    def adopt(self, signed: bytes, model: HostFile, time: int) -> bytes:
        """End the round with the root's release as the new base model; return the adoption.

        Raises:
            MalformedMessage: the release is not the root's.
            RequestRefused: it is of another round or base model, or the file is not its model.
        """
        shard = self._shared().role(Shard)
        release = shard.released(signed)
        base = BaseModel.of_agreed_model(
            model, release.model, self.schema, self._models, self._workers, self._round_number
        )
        adoption = self._log.append(
            Adoption(
                version=VERSION,
                federation=self.manifest.name,
                manifest=self.manifest.digest,
                round=self._round_number,
                root=shard.root.enclave,
                release=statement_digest(signed),
                model=release.model,
                checkpoint=self._log.checkpoint(),
                time=time,
            )
        )
        self._base, self._base_digest = base, release.model
        self._behind = bool(self.state_files)
        self._end_round(on=release.base_model)
        return adoption

    def _shared(self) -> Sharing:
        if self._sharing is None:
            raise RequestRefused(Refusal.WRONG_STATE)
        return self._sharing
