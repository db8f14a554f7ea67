"""Who a client is, by which rules it goes, and what it remembers.

SPEC.md, sections 13 and 13.9.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from fedenclave.attestation.endorsements import NO_ENDORSEMENTS, Endorsements
from fedenclave.attestation.policy import read_policies
from fedenclave.client.state import (
    MAX_NONCES,
    ClientState,
    ClientStore,
    IssuedNonce,
    stored_state,
)
from fedenclave.protocol.digests import Digest, to_text
from fedenclave.protocol.errors import ConfigurationError, EnclaveRefused
from fedenclave.protocol.evidence import NONCE_SIZE
from fedenclave.protocol.exchange import (
    Hello,
    Participation,
)
from fedenclave.protocol.manifest import Manifest, approving_members
from fedenclave.protocol.signing import (
    Signed,
    Signer,
    public_key,
    sign,
)
from fedenclave.protocol.statements import (
    Announcement,
)

Agreement = tuple[Manifest, tuple[bytes, ...]]
"""A manifest, and the members' signed approvals of it."""


class EnrolledClient:
    """A client of one federation, under a manifest that its owner has approved."""

    def __init__(
        self,
        *,
        manifest: Manifest,
        approvals: Sequence[bytes],
        name: str,
        key: Signer,
        store: ClientStore,
        endorsements: Endorsements = NO_ENDORSEMENTS,
        former: Sequence[Agreement] = (),
    ) -> None:
        """Take the manifest that the data owner approved, and this client's identity.

        Args:
            manifest: the approved rules.
            approvals: the members' signed approvals of it.
            name: this client's on the roster.
            key: with which it signs.
            store: keeps its state and receipts.
            endorsements: vendors' collateral and the members' revocations; what is absent is
                refused where the evidence or the manifest needs it.
            former: the manifests before, for receipts that are still to come.

        Raises:
            ConfigurationError: a pin of the manifest cannot be read, the roster does not hold this
                name with this key, too few members approve, or the stored state is damaged or of
                another manifest.
        """
        entry = manifest.roster.get(name)
        if entry is None or entry.key != public_key(key):
            raise ConfigurationError(
                f"client {name} with this key is not on the manifest's roster",
                hint="enrol this client's public key and have the members approve the new manifest",
            )
        approving = approving_members(manifest, approvals)
        if len(approving) < manifest.threshold:
            raise ConfigurationError(
                f"manifest is approved by {len(approving)} members, want {manifest.threshold}",
                hint="collect the members' approvals of exactly this file",
            )
        # Now, and not at the first round: a wrong pin is the members' mistake, not the enclave's.
        read_policies(manifest.attestation)
        self.manifest, self.name, self._endorsements = manifest, name, endorsements
        self._key, self._store = key, store
        self._agreements = {manifest.digest: (manifest, tuple(approvals))} | {
            each.digest: (each, signed) for each, signed in former
        }
        self._state = stored_state(store, self._lineage(), manifest.initial_model)

    def _lineage(self) -> list[Digest]:
        """Return the manifest, and those that it continues, as far as they are known here."""
        found, before = [self.manifest.digest], self.manifest.continues
        while before is not None and before not in found:
            found.append(before)
            known = self._agreements.get(before)
            before = known[0].continues if known is not None else None
        return found

    @property
    def state(self) -> ClientState:
        """What this client remembers."""
        return self._state

    def _save(self, state: ClientState) -> None:
        self._store.save_state(state.to_bytes())
        self._state = state

    def hello(self, now: int) -> Hello:
        """Return a fresh nonce for the next round's evidence."""
        nonce = os.urandom(NONCE_SIZE)
        issued = IssuedNonce(nonce=nonce, time=now)
        nonces = (*self._state.nonces, issued)[-MAX_NONCES:]
        self._save(replace(self._state, nonces=nonces))
        return Hello(
            client=self.name,
            key=public_key(self._key),
            nonce=nonce,
            chain_round=self._state.head_round,
            log_size=self._state.log_size,
        )

    def signed_hello(self, now: int) -> bytes:
        """Return a hello signed by this client, so that nobody else can take its place."""
        return sign(self.hello(now), self._key)

    def _agreement_of(self, part: Participation) -> Agreement:
        """Return the manifest that a round was under, and its approvals."""
        announced = Announcement.from_bytes(Signed.from_bytes(part.announcement).payload)
        agreement = self._agreements.get(announced.manifest)
        if agreement is None:
            raise EnclaveRefused(
                f"round {part.round} was under manifest {to_text(announced.manifest)}, which this "
                "client's folder does not hold any more",
                hint="put it back under former/",
            )
        return agreement
