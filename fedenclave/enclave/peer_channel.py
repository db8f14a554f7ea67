"""What an enclave can say to its peers in a round, and what it takes from them.

Appraises nobody: the members do that, and say so in signed `Peers`.

Rules:
  * Nothing is said but to an enclave that enough members named together with this one.
  * A message counts once it is the peer's, of this round, and answers what it should.

SPEC.md, section 11.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fedenclave.enclave.log import Log
from fedenclave.enclave.round import Round
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.protocol.hpke import HpkePublicKey, cipher_suite, load_public_key
from fedenclave.protocol.manifest import Manifest, agreed_peers
from fedenclave.protocol.opening import CannotOpen
from fedenclave.protocol.peers import PeerMessage, Purpose
from fedenclave.protocol.signing import PublicKey, Signed, statement_digest, verify
from fedenclave.protocol.statements import VERSION, Announcement


def unusable(hint: str) -> RequestRefused:
    """Return the refusal of a peer's message."""
    return RequestRefused(Refusal.PEER_MESSAGE, hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another enclave in this round, as its verified announcement says."""

    enclave: bytes
    key: HpkePublicKey
    announcement: Digest
    cohort: tuple[str, ...]


class Channel:
    """What this enclave can say to its peers, and hear from them, in one round."""

    def __init__(self, manifest: Manifest, round_: Round, own: bytes, log: Log) -> None:
        """Speak as the enclave with the signing key `own`."""
        self.manifest, self.round = manifest, round_
        self._own, self._log = own, log

    def peer(self, enclave: bytes, announcement: bytes, peers: Sequence[bytes]) -> Peer:
        """Return the peer with the signing key `enclave`, by its signed announcement.

        Raises:
            RequestRefused: too few members name it together with this enclave, or its round is
                another one.
            MalformedMessage: it has not signed the announcement.
        """
        if enclave == self._own or not {enclave, self._own} <= agreed_peers(self.manifest, peers):
            raise RequestRefused(
                Refusal.NOT_A_PEER, hint="too few members have signed that these two are peers"
            )
        theirs = verify(Announcement, announcement, PublicKey(enclave))
        if _agreed_on(theirs) != _agreed_on(self.round.announcement):
            raise unusable("the peer's round has another number, model or training configuration")
        return Peer(
            enclave=enclave,
            key=load_public_key(theirs.suite, theirs.public_key),
            announcement=statement_digest(announcement),
            cohort=theirs.cohort,
        )

    def send(self, to: Peer, purpose: Purpose, answers: Digest, plain: bytes) -> bytes:
        """Return the signed message that only `to` can open."""
        message = self._message(purpose, self._own, to.enclave, answers)
        suite = cipher_suite(self.manifest.suite)
        sealed = suite.encrypt(plain, to.key, info=message.info())
        return self._log.append(replace(message, sealed=sealed))

    def receive(self, sender: bytes, purpose: Purpose, answers: Digest, signed: bytes) -> bytes:
        """Return what the peer `sender` has sealed to this enclave.

        Raises:
            RequestRefused: it has another purpose, receiver or round, does not answer what it
                should, or does not open.
            MalformedMessage: it does not decode, or the signature is not the sender's.
        """
        message = verify(PeerMessage, signed, PublicKey(sender))
        wanted = self._message(purpose, sender, self._own, answers)
        if message.info() != wanted.info():
            raise unusable("the message is of another round, for another enclave, or an old one")
        try:
            return self.round.open_from_peer(message.sealed, wanted.info())
        except CannotOpen:
            raise unusable("the message does not open with this round's key") from None

    def _message(
        self, purpose: Purpose, sender: bytes, receiver: bytes, answers: Digest
    ) -> PeerMessage:
        return PeerMessage(
            version=VERSION,
            federation=self.manifest.name,
            manifest=self.manifest.digest,
            round=self.round.announcement.round,
            purpose=purpose,
            sender=sender,
            receiver=receiver,
            answers=answers,
            sealed=b"",
        )


def _agreed_on(announcement: Announcement) -> tuple[object, ...]:
    """Return what all announcements of one shared round have in common."""
    a = announcement
    return a.federation, a.manifest, a.round, a.base_model, a.schema, a.training_config, a.suite


def claimed_sender(signed: bytes) -> bytes:
    """Return who an unverified message says it is from, to find whose key to check it with."""
    return PeerMessage.from_bytes(Signed.from_bytes(signed).payload).sender
