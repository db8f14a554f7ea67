"""Sealing under a key that the federation's key services release to attested code.

For hardware that seals nothing for a guest: TDX, Nitro, CCA, Confidential Space, Azure. Before a
start or a restart the enclave asks, the host carries question and answers, and the enclave makes
the key of every service's share.

Rules:
  * A share counts only if the service that the manifest names has signed it, for the question at
    hand. Any one that is missing, another's, older or changed: no key, and nothing has changed.
  * The key is for the manifest under which it was asked for, and seals no other federation's state.
  * A question is answered once; its private key is dropped then.
  * Nobody keeps which state is the newest, so an open round's keys are not sealed.

SPEC.md, section 11.6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedenclave.enclave.attesters.attester import Attester
from fedenclave.enclave.attesters.insecure import InsecureAttester
from fedenclave.enclave.sealing.hardware_key import HardwareKeySealer
from fedenclave.enclave.sealing.insecure import InsecureSealer
from fedenclave.enclave.sealing.sealer import KEY_SIZE, Sealer, SealingFailed
from fedenclave.protocol.digests import equal
from fedenclave.protocol.errors import MalformedMessage, Refusal
from fedenclave.protocol.evidence import INSECURE
from fedenclave.protocol.key_release import (
    SHARE_SIZE,
    SUITE,
    KeyChallenge,
    KeyQuestion,
    KeyRelease,
    KeyRequest,
    KeyService,
    key_report_data,
    question_digest,
    share_info,
)
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.opening import CannotOpen, RoundKey
from fedenclave.protocol.signing import public_key, verify
from fedenclave.protocol.statements import VERSION

NAME = "key-service"
_KEY_INFO = b"fedenclave/released-key/v1\x00"


class ReleasedKeySealer(HardwareKeySealer):
    """Wraps as under a processor's key; whose key it is differs."""

    sealed_elsewhere = "the state was sealed under another key than the key services release now"
    go_back = "start the image that it was sealed by; have the services lost or changed a secret?"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A question that is not answered yet."""

    manifest: Manifest
    question: bytes
    key: RoundKey


class ReleasedKeys:
    """What this enclave has asked its federation's key services, and what they have released."""

    def __init__(self, attester: Attester, own: Sealer | None) -> None:
        """Ask with `attester`'s evidence, where the machine's `own` sealer keeps nothing secret."""
        self._attester = attester
        self._needed = own is None or isinstance(own, InsecureSealer)
        self._asked: _Asked | None = None
        self._released_for: Manifest | None = None

    def ask(self, manifest: Manifest, challenges: Sequence[KeyChallenge]) -> bytes:
        """Return an encoded `KeyRequest`, under a new key; the earlier question is forgotten.

        Empty where this machine's hardware seals by itself: nobody else has to know that key.

        Raises:
            RequestRefused: the challenges are not one of each service that the manifest names, for
                this manifest, in its order; or there is no evidence to be had.
        """
        if not self._needed:
            return b""
        named = [(service.name, manifest.digest) for service in manifest.key_services]
        if not named or named != [(each.service, each.manifest) for each in challenges]:
            raise _unusable(f"got {len(challenges)} challenges, want one of each service: {named}")
        key, signing_key = RoundKey(SUITE), Ed25519PrivateKey.generate()
        question = KeyQuestion(
            version=VERSION,
            manifest=manifest.digest,
            public_key=key.public_bytes,
            challenges=tuple(challenges),
        ).to_bytes()
        bound = key_report_data(question, public_key(signing_key))
        evidence = self._attester.evidence(bound, signing_key)
        self._asked = _Asked(manifest=manifest, question=question, key=key)
        return KeyRequest(question=question, evidence=evidence.to_bytes()).to_bytes()

    def unlock(self, answers: Sequence[bytes]) -> ReleasedKeySealer:
        """Return the sealer whose key is made of every service's share.

        Args:
            answers: a signed `KeyRelease` of each service, in the manifest's order.

        Raises:
            RequestRefused: nothing is asked, or not every service has released its share for it.
                The question stays.
        """
        asked = self._asked
        if asked is None:
            raise _unusable("nothing is asked, or it is answered already")
        services = asked.manifest.key_services
        if len(answers) != len(services):
            raise _unusable(f"got {len(answers)} answers, want {len(services)}")
        shares = [_share(asked, *each) for each in zip(services, answers, strict=True)]
        info = _KEY_INFO + asked.manifest.digest
        hkdf = HKDF(algorithm=SHA256(), length=KEY_SIZE, salt=None, info=info)
        key = hkdf.derive(b"".join(shares))
        self._asked, self._released_for = None, asked.manifest
        # Whoever can make such evidence is given the key: that is anybody.
        insecure = isinstance(self._attester, InsecureAttester)
        return ReleasedKeySealer(f"{INSECURE}-{NAME}" if insecure else NAME, lambda: key)

    def check(self, manifest: Manifest) -> None:
        """Refuse to seal the state of a federation under a key that was released for another.

        Raises:
            RequestRefused: it was.
        """
        released = self._released_for
        if released is not None and not equal(released.digest, manifest.digest):
            raise _unusable("the key was released for another manifest")


def _share(asked: _Asked, service: KeyService, answer: bytes) -> bytes:
    """Return a service's share, 32 bytes."""
    try:
        release = verify(KeyRelease, answer, service.key)
    except MalformedMessage as error:
        raise _unusable(f"the answer of {service.name} is not by it: {error.message}") from None
    named = (release.federation, release.manifest, release.service, release.question)
    manifest = asked.manifest
    question = question_digest(asked.question)
    if named != (manifest.name, manifest.digest, service.name, question):
        raise _unusable(f"the answer of {service.name} is to another question")
    try:
        share = asked.key.open(release.sealed_share, share_info(asked.question, service.name))
    except CannotOpen:
        raise _unusable(f"the share of {service.name} does not open") from None
    if len(share) != SHARE_SIZE:
        raise _unusable(f"the share of {service.name} has {len(share)} bytes, want {SHARE_SIZE}")
    return share


def _unusable(why: str) -> SealingFailed:
    return SealingFailed(why, refusal=Refusal.KEYS)
