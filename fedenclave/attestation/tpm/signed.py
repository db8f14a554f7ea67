"""A structure that the TPM made, with its signature by the attestation key."""

from __future__ import annotations

from dataclasses import dataclass

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.result import Trust
from fedenclave.attestation.tpm.key import TpmKey
from fedenclave.attestation.tpm.quote import Attest, parse_attest
from fedenclave.attestation.tpm.signature import Signature, parse_signature, verify_signature
from fedenclave.protocol.digests import equal


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedAttest:
    """A TPMS_ATTEST, its bytes and its signature, which nobody has verified yet."""

    encoded: bytes
    attest: Attest
    signature: Signature


def read_signed(encoded: bytes, signature: bytes, what: str) -> SignedAttest:
    """Return both, parsed.

    Raises:
        MalformedMessage: one of them does not decode.
    """
    return SignedAttest(
        encoded=encoded,
        attest=parse_attest(encoded, what),
        signature=parse_signature(signature, f"signature of {what}"),
    )


def verify_signed(checklist: Checklist, name: str, signed: SignedAttest, ak: TpmKey) -> None:
    """Verify the signature, by the key's own scheme and hash.

    Raises:
        EvidenceRefused: it does not hold.
    """
    signature = signed.signature
    checklist.must(
        name,
        holds=(signature.scheme, signature.hash) == (ak.scheme, ak.hash)
        and verify_signature(ak.key, signature, signed.encoded),
        found=f"{signature.scheme} with {signature.hash}, of {len(signature.value)} bytes",
        wanted=f"{ak.scheme} with {ak.hash} by the ak, over these bytes",
        trust=Trust.INSTANCE_IDENTITY,
        hint="it was damaged or made up on its way",
    )


def check_binding(checklist: Checklist, name: str, signed: SignedAttest, bound: bytes) -> None:
    """Note whether the caller's data in the structure is `bound`."""
    checklist.want(
        name,
        holds=equal(signed.attest.extra_data, bound),
        found=signed.attest.extra_data,
        wanted=bound,
        trust=Trust.INSTANCE_IDENTITY,
        hint="it is for another nonce, key or manifest: old, or made for somebody else; nothing "
        "was sent",
    )
