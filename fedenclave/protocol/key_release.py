"""What an enclave and its federation's key services say to each other, by way of the host.

For a TEE whose hardware seals nothing for a guest. Each service that the manifest names holds a
share of the key that wraps the enclave's state, and seals it to whoever shows by evidence to be
code that the manifest accepts. The enclave makes a new HPKE key pair for every request, and signs
nothing: what it says is bound into the evidence.

Rules:
  * The evidence of a request is never evidence of a round (evidence.py), nor the other way round:
    what each binds begins with a label of its own.
  * A share is for one question, and is signed by the service whose key the manifest names.
  * All services' shares together are the key; all but one of them say nothing of it.

SPEC.md, section 11.6.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar

from fedenclave.protocol.digests import Digest, domain_digest
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.evidence import NONCE_SIZE
from fedenclave.protocol.records import Record
from fedenclave.protocol.signing import PublicKey, key_from_text
from fedenclave.protocol.statements import VERSION, FederationStatement, Suite, checked_name
from fedenclave.protocol.toml_table import Table

SUITE = Suite.HYBRID
"""Whatever the manifest says of updates: what is recorded of it must stay closed for long."""

SHARE_SIZE = 32
MAX_SERVICES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyService:
    """Who holds a share, by the manifest: a name, and the key that signs what it releases."""

    name: str
    key: PublicKey


def read_key_services(top: Table) -> tuple[KeyService, ...]:
    """Return the services that a manifest names, in its order; none where it names none.

    Raises:
        ConfigurationError: a key is missing, unknown or wrong, a name is there twice, or they are
            too many.
        MalformedMessage: a name or a public key is none.
    """
    if "key_services" not in top:
        return ()
    services = []
    for table in top.take_tables("key_services"):
        name = checked_name(table.take_text("name"), "key service")
        services.append(KeyService(name=name, key=key_from_text(table.take_text("key"))))
        table.finish()
    if len({service.name for service in services}) != len(services) or len(services) > MAX_SERVICES:
        raise ConfigurationError(
            f"manifest names a key service twice, or more than {MAX_SERVICES} of them"
        )
    return tuple(services)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChallenge(Record):
    """A service's fresh nonce for an enclave under one manifest. Only its maker judges it."""

    service: str
    manifest: Digest
    nonce: bytes

    def __post_init__(self) -> None:
        """Refuse a nonce of another length."""
        if len(self.nonce) != NONCE_SIZE:
            raise MalformedMessage(
                f"challenge has a nonce of {len(self.nonce)} bytes, want {NONCE_SIZE}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyQuestion(Record):
    """What the evidence of a request binds: a new HPKE key, and a challenge of every service."""

    version: int
    manifest: Digest
    public_key: bytes
    challenges: tuple[KeyChallenge, ...]

    def __post_init__(self) -> None:
        """Refuse other versions."""
        if self.version != VERSION:
            raise MalformedMessage(f"protocol version is {self.version}, want {VERSION}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRequest(Record):
    """An encoded `KeyQuestion`, and encoded `Evidence` that binds it."""

    MAX_SIZE: ClassVar[int] = 4 << 20

    question: bytes
    evidence: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRelease(FederationStatement):
    """One service's share, sealed to the key in a question. Signed by the service."""

    TYPE: ClassVar[str] = "key-release"

    service: str
    question: Digest
    sealed_share: bytes


def question_digest(question: bytes) -> Digest:
    """Return the digest by which a release names an encoded question."""
    return domain_digest("key-question", question)


def key_report_data(question: bytes, signing_key: bytes) -> bytes:
    """Return the 64 bytes that a request's evidence binds; never those of `report_data`.

    Args:
        question: the encoded question.
        signing_key: the key that the evidence names, raw; it was made for this request alone.
    """
    bound = question_digest(question) + hashlib.sha256(signing_key).digest()
    return hashlib.sha512(b"fedenclave/key-request/v1\x00" + bound).digest()


def share_info(question: bytes, service: str) -> bytes:
    """Return HPKE's `info` for a share: of which service, in answer to which encoded question."""
    return b"fedenclave/key-share/v1\x00" + question_digest(question) + service.encode()
