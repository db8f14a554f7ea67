"""Parse the attestation document of an AWS Nitro enclave, field by field.

Not here: signature, chain, policy (`nitro.py`).

Rules:
  * Exactly the nine fields that the document defines; six must be there. The three optional ones
    may be missing or null: the specification forbids null, and the hypervisor sends it.
  * Every type, length and range as documented.
  * Within the payload, and only there, lengths may be indefinite: the hypervisor has sent both
    forms.

Source: "Nitro Enclaves Attestation Process", docs/attestation_process.md in AWS's repository
aws-nitro-enclaves-nsm-api at commit 13464bf: sections 2.2, 3.1 and 3.2.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedenclave.attestation.cbor import decode
from fedenclave.attestation.cose import SIGN1_TAG, Sign1, parse_sign1
from fedenclave.protocol.errors import MalformedMessage

MAX_MESSAGE = 20 * 1024
"""A payload has at most 16,384 bytes (3.1); what is around it is short."""

MAX_PAYLOAD = 16384
MAX_CERTIFICATE = 1024
MAX_CERTIFICATES = 16
PCR_SIZES = (32, 48, 64)
PCR_COUNT = 32
DIGEST = "SHA384"
_MANDATORY = frozenset({"module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"})
_OPTIONAL: Mapping[str, tuple[int, int]] = {
    "public_key": (1, 1024),
    "user_data": (0, 512),
    "nonce": (0, 512),
}
"""Least and greatest length of the optional fields (3.2.2.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NitroDocument:
    """The document, parsed and not verified.

    Attributes:
        message: the COSE_Sign1 message around it.
        module_id: instance and enclave, such as `i-0827e799ec9232d44-enc019b5640fdf630d6`.
        timestamp: milliseconds since 1970, by the hypervisor's clock.
        pcrs: register by index.
        certificate: the leaf, DER.
        cabundle: its issuers, DER, root first.
        public_key: what the enclave put there; None if nothing.
        user_data: as `public_key`.
        nonce: as `public_key`.
    """

    message: Sign1
    module_id: str
    timestamp: int
    pcrs: Mapping[int, bytes]
    certificate: bytes
    cabundle: tuple[bytes, ...]
    public_key: bytes | None
    user_data: bytes | None
    nonce: bytes | None

    @property
    def instance_id(self) -> str:
        """The parent instance: the module id up to its enclave."""
        return self.module_id.rpartition("-enc")[0] or self.module_id

    def optional(self) -> dict[str, bytes | None]:
        """Return the fields that the enclave fills in, by name."""
        return {"user_data": self.user_data, "nonce": self.nonce, "public_key": self.public_key}


def parse_document(data: bytes) -> NitroDocument:
    """Return the document in a COSE_Sign1 message, tagged or not.

    Raises:
        MalformedMessage: it breaks a rule of this module.
    """
    message = parse_sign1(
        data,
        "attestation document",
        max_size=MAX_MESSAGE,
        tags=(None, SIGN1_TAG),
        key_id=False,
    )
    fields = decode(
        message.payload, "attestation document's payload", max_size=MAX_PAYLOAD, indefinite=True
    )
    if type(fields) is not dict:
        raise MalformedMessage("attestation document's payload is no map")
    names = set(fields)
    if not names >= _MANDATORY or not names <= _MANDATORY | set(_OPTIONAL):
        raise MalformedMessage(
            f"attestation document has fields {', '.join(sorted(map(str, names)))[:200]}, want "
            f"{', '.join(sorted(_MANDATORY))}, and of {', '.join(_OPTIONAL)}"
        )
    if fields["digest"] != DIGEST:
        raise MalformedMessage(f"digest is {str(fields['digest'])[:40]!r}, want {DIGEST}")
    optional = {name: _optional(fields, name) for name in _OPTIONAL}
    return NitroDocument(
        message=message,
        module_id=_module_id(fields["module_id"]),
        timestamp=_timestamp(fields["timestamp"]),
        pcrs=_pcrs(fields["pcrs"]),
        certificate=_certificate(fields["certificate"]),
        cabundle=_cabundle(fields["cabundle"]),
        public_key=optional["public_key"],
        user_data=optional["user_data"],
        nonce=optional["nonce"],
    )


def _module_id(value: Any) -> str:
    if type(value) is not str or not value or len(value) > 256:
        raise MalformedMessage("module_id is no text of 1 to 256 characters")
    return value


def _timestamp(value: Any) -> int:
    if type(value) is not int or value <= 0:
        raise MalformedMessage("timestamp is no integer above 0")
    return value


def _pcrs(value: Any) -> dict[int, bytes]:
    if type(value) is not dict or not 1 <= len(value) <= PCR_COUNT:
        raise MalformedMessage(f"pcrs is no map of 1 to {PCR_COUNT} registers")
    for index, register in value.items():
        if type(index) is not int or not 0 <= index < PCR_COUNT:
            raise MalformedMessage(f"pcrs has index {str(index)[:40]!r}, want 0 to {PCR_COUNT - 1}")
        if type(register) is not bytes or len(register) not in PCR_SIZES:
            raise MalformedMessage(f"pcr {index} is no byte string of 32, 48 or 64 bytes")
    return dict(sorted(value.items()))


def _certificate(value: Any) -> bytes:
    if type(value) is not bytes or not 1 <= len(value) <= MAX_CERTIFICATE:
        raise MalformedMessage(f"a certificate is no byte string of 1 to {MAX_CERTIFICATE} bytes")
    return value


def _cabundle(value: Any) -> tuple[bytes, ...]:
    if type(value) is not list or not 1 <= len(value) <= MAX_CERTIFICATES:
        raise MalformedMessage(f"cabundle is no array of 1 to {MAX_CERTIFICATES} certificates")
    return tuple(_certificate(item) for item in value)


def _optional(fields: dict[str, Any], name: str) -> bytes | None:
    value = fields.get(name)
    low, high = _OPTIONAL[name]
    if value is not None and (type(value) is not bytes or not low <= len(value) <= high):
        raise MalformedMessage(f"{name} is no byte string of {low} to {high} bytes")
    return value
