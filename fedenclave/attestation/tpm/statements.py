"""The members' word that an attestation key is in a TPM: the evidence's part `activations`.

Rule: a statement that is of no use (signed by nobody named, about another key, twice by one
member) is a refusal, not something to pass over.

Source: SPEC.md, section 9; protocol/activation.py is the statement.
"""

from __future__ import annotations

from collections.abc import Collection

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.result import Trust
from fedenclave.protocol.activation import Activation
from fedenclave.protocol.codec import decode, encode
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.signing import PublicKey, Signed, signature_holds

MAX_SIZE = 1 << 16


def pack_activations(signed: Collection[bytes]) -> bytes:
    """Return the evidence's part `activations`: an array of signed statements."""
    return encode(list(signed))


def verify_activations(
    checklist: Checklist,
    data: bytes,
    *,
    activators: Collection[PublicKey],
    wanted: int,
    name: bytes,
    ek_certificate: bytes,
) -> tuple[str, ...]:
    """Verify that enough members say that this key is in the TPM of this certificate.

    Args:
        checklist: where the checks go, as `activations` and `ak`.
        data: the part `activations`.
        activators: the members' keys that the policy names, distinct.
        wanted: how many of them must have said so.
        name: the attestation key's Name.
        ek_certificate: SHA-256 of the DER of the EK certificate, whose chain has been verified.

    Returns:
        The members, in the statements' order.

    Raises:
        EvidenceRefused: a statement is of no use.
        MalformedMessage: it does not decode.
    """
    statements = decode(data, max_size=MAX_SIZE)
    if not isinstance(statements, list) or not all(isinstance(s, bytes) for s in statements):
        raise MalformedMessage("activations are not an array of byte strings")
    unused = list(activators)
    members = []
    for number, signed in enumerate(statements, 1):
        envelope = Signed.from_bytes(signed)
        key = _signer(envelope, unused)
        checklist.must(
            "activations",
            holds=key is not None,
            found=f"number {number} is {'signed' if key else 'not signed'} by a member's key",
            wanted="a statement of a member that the policy names in activators, one of each",
            trust=Trust.INSTANCE_IDENTITY,
            hint="have the member sign again with the key that the manifest names",
        )
        unused = [other for other in unused if other != key]
        activation = Activation.from_bytes(envelope.payload)
        checklist.must(
            "activations",
            holds=(activation.attestation_key, activation.ek_certificate) == (name, ek_certificate),
            found=f"{activation.member} says it of {activation.attestation_key.hex()} under "
            f"{activation.ek_certificate.hex()}",
            wanted=f"{name.hex()} under {ek_certificate.hex()}",
            trust=Trust.INSTANCE_IDENTITY,
            hint="it is about another key or another machine",
        )
        members.append(activation.member)
    checklist.must(
        "ak",
        holds=len(members) >= wanted,
        found=f"{name.hex()}, activated by {len(members)} members",
        wanted=f"an attestation key that {wanted} members activated",
        trust=Trust.INSTANCE_IDENTITY,
        hint="ask more members to challenge the tpm, or the operator to send their statements",
    )
    return tuple(members)


def _signer(envelope: Signed, keys: Collection[PublicKey]) -> PublicKey | None:
    if envelope.type != Activation.TYPE:
        return None
    for key in keys:
        if signature_holds(Activation.TYPE, envelope.payload, envelope.signature, key):
            return key
    return None
