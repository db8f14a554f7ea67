"""A key service: who keeps a share of the key to an enclave's state, and releases it by evidence.

Run by a member, or by somebody whom the members trust, and never by the operator. The service
keeps one secret for one federation. A share is derived from it for the manifest and the code that
the evidence shows, so that there is nothing else to keep and nothing to look up, and who deletes
the secret has closed the state for ever.

Does no I/O and reads no clock; keeps no record of its challenges: it knows them again by a tag.

SPEC.md, section 11.6.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from fedenclave.attestation.appraise import appraise_evidence
from fedenclave.attestation.endorsements import Endorsements
from fedenclave.attestation.result import Appraisal
from fedenclave.protocol.codec import encode
from fedenclave.protocol.digests import equal, to_text
from fedenclave.protocol.errors import ConfigurationError, EnclaveRefused, MalformedMessage
from fedenclave.protocol.evidence import INSECURE, Evidence
from fedenclave.protocol.hpke import cipher_suite, load_public_key
from fedenclave.protocol.key_release import (
    SHARE_SIZE,
    SUITE,
    KeyChallenge,
    KeyQuestion,
    KeyRelease,
    KeyRequest,
    key_report_data,
    question_digest,
    share_info,
)
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.signing import key_to_text, public_key, sign
from fedenclave.protocol.statements import VERSION

SECRET_SIZE = 32
_TIME_SIZE, _RANDOM_SIZE, _TAG_SIZE = 8, 8, 16
"""A challenge's nonce: when it was made, what makes it new, and that it is the service's own."""

_NOTHING_RELEASED = "nothing was released"


def new_keys() -> tuple[Ed25519PrivateKey, bytes]:
    """Return what a new service signs with, and its secret."""
    return Ed25519PrivateKey.generate(), os.urandom(SECRET_SIZE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """An answer, and to whom it was given.

    Attributes:
        answer: the signed `KeyRelease`, for the enclave that asked.
        format: of the evidence.
        measurement: what identifies the code, as the evidence shows it; may be empty.
        excepted: whether the policy's exceptions let something pass.
    """

    answer: bytes
    format: str
    measurement: str
    excepted: bool

    @property
    def insecure(self) -> bool:
        """Whether no hardware stands behind this: anybody could have asked."""
        return self.format == INSECURE


class ShareKeeper:
    """One key service of one federation."""

    def __init__(self, manifest: Manifest, signing_key: Ed25519PrivateKey, secret: bytes) -> None:
        """Serve the federation of `manifest`, which must name the service by its key.

        Raises:
            ConfigurationError: it does not, or the secret has another length.
        """
        if len(secret) != SECRET_SIZE:
            raise ConfigurationError(
                f"the service's secret has {len(secret)} bytes, want {SECRET_SIZE}",
                hint="was the file cut? restore it from where you keep a copy",
            )
        own = public_key(signing_key)
        names = [service.name for service in manifest.key_services if service.key == own]
        if not names:
            listed = ", ".join(service.name for service in manifest.key_services) or "none"
            raise ConfigurationError(
                f"manifest names no key service with the key {key_to_text(own)}, but {listed}",
                hint="is it the manifest of this service's federation, as it was approved?",
            )
        (self.name,) = names
        self._manifest, self._signing_key, self._secret = manifest, signing_key, secret

    def challenge(self, now: int) -> bytes:
        """Return an encoded challenge, good for `freshness_seconds` of the policy from `now` on."""
        head = now.to_bytes(_TIME_SIZE, "big") + os.urandom(_RANDOM_SIZE)
        return KeyChallenge(
            service=self.name, manifest=self._manifest.digest, nonce=head + self._tag(head)
        ).to_bytes()

    def release(self, request: bytes, now: int, endorsements: Endorsements) -> Released:
        """Return this service's share for an enclave whose evidence satisfies the manifest.

        Args:
            request: an encoded `KeyRequest`.
            now: Unix seconds.
            endorsements: vendors' collateral and the members' revocations.

        Raises:
            EnclaveRefused: a check does not hold; `EvidenceRefused` where it is the evidence's.
            ConfigurationError: the manifest's pins cannot be read.
        """
        # 1. It decodes.
        try:
            asked = KeyRequest.from_bytes(request)
            question = KeyQuestion.from_bytes(asked.question)
            evidence = Evidence.from_bytes(asked.evidence)
        except MalformedMessage as error:
            raise EnclaveRefused(
                f"key request does not decode: {error.message}",
                hint=f"it was damaged on its way, or is of a newer version; {_NOTHING_RELEASED}",
            ) from error
        # 2. It is for this manifest.
        if not equal(question.manifest, self._manifest.digest):
            raise EnclaveRefused(
                f"key request is for the manifest {to_text(question.manifest)}, want "
                f"{to_text(self._manifest.digest)}",
                hint=f"the enclave runs another federation; {_NOTHING_RELEASED}",
            )
        # 3. It answers a challenge of this service's, in time.
        self._check_challenge(question, now)
        # 4. Its evidence satisfies the policy, and binds the question.
        bound = key_report_data(asked.question, evidence.signing_key)
        policy = self._manifest.attestation
        appraisal = appraise_evidence(evidence, policy, bound, now, endorsements)
        # 5. Its key is one: the share is sealed to it, and the answer signed.
        return self._released(asked.question, question.public_key, appraisal)

    def _check_challenge(self, question: KeyQuestion, now: int) -> None:
        nonces = [each.nonce for each in question.challenges if each.service == self.name]
        if len(nonces) != 1 or not equal(nonces[0][-_TAG_SIZE:], self._tag(nonces[0][:-_TAG_SIZE])):
            raise EnclaveRefused(
                f"key request holds {len(nonces)} challenges of {self.name}, want one that this "
                "service has made",
                hint=f"ask for a challenge first; {_NOTHING_RELEASED}",
            )
        age = now - int.from_bytes(nonces[0][:_TIME_SIZE], "big")
        limit = self._manifest.attestation.freshness_seconds
        if not 0 <= age <= limit:
            raise EnclaveRefused(
                f"key request answers a challenge that is {age} seconds old, want 0 to {limit}",
                hint=f"ask for a new one, and look at this machine's clock; {_NOTHING_RELEASED}",
            )

    def _released(self, question: bytes, to: bytes, appraisal: Appraisal) -> Released:
        measurement = next(iter(appraisal.claims.identifiers.get("measurement", ())), "")
        try:
            key = load_public_key(SUITE, to)
        except MalformedMessage as error:
            raise EnclaveRefused(error.message, hint=_NOTHING_RELEASED) from error
        share = self._share(appraisal.format, measurement)
        release = KeyRelease(
            version=VERSION,
            federation=self._manifest.name,
            manifest=self._manifest.digest,
            service=self.name,
            question=question_digest(question),
            sealed_share=cipher_suite(SUITE).encrypt(
                share, key, info=share_info(question, self.name)
            ),
        )
        return Released(
            answer=sign(release, self._signing_key),
            format=appraisal.format,
            measurement=measurement,
            excepted=any(check.excepted for check in appraisal.checks),
        )

    def _share(self, format_: str, measurement: str) -> bytes:
        """Return the share for one manifest and one code, whoever asks and whenever."""
        code = encode([self._manifest.digest, format_, measurement])
        return self._derived(b"share", SHARE_SIZE, code)

    def _tag(self, head: bytes) -> bytes:
        key = self._derived(b"challenge", 32, self._manifest.digest)
        return hmac.new(key, head, hashlib.sha256).digest()[:_TAG_SIZE]

    def _derived(self, purpose: bytes, size: int, context: bytes) -> bytes:
        info = b"fedenclave/key-service/v1\x00" + purpose + b"\x00" + context
        return HKDFExpand(algorithm=SHA256(), length=size, info=info).derive(self._secret)
