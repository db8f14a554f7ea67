"""Verify the quote of an Azure paravisor's vTPM, by the key in the paravisor's report.

Azure's tools hand out the signature's bare bytes, and others a TPMT_SIGNATURE; both are read, and
either must be RSASSA with SHA-256: the key's scheme is not in the report, and the vTPM has no
other.

Source: TCG TPM 2.0 Library, Part 2, revision 1.59, sections 10.12.12 (TPMS_ATTEST) and 11.3.4
(TPMT_SIGNATURE).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.result import Trust
from fedenclave.attestation.tpm import signed as tpm_signed
from fedenclave.attestation.tpm.claims import quote_claims, register_claims
from fedenclave.attestation.tpm.policy import TpmPins
from fedenclave.attestation.tpm.quote import (
    Attest,
    PcrSelection,
    Quoted,
    parse_attest,
    pcr_digest,
    split_values,
)
from fedenclave.attestation.tpm.registers import BANK, judge_registers
from fedenclave.attestation.tpm.signature import (
    Scheme,
    Signature,
    parse_signature,
    verify_signature,
)
from fedenclave.protocol.digests import equal
from fedenclave.protocol.errors import MalformedMessage

_HASH = "sha256"
_WHAT = "tpm-quote"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedQuote:
    """A quote whose signature and registers hold; only `verify_quote` makes one.

    `values` are the quoted registers of the SHA-256 bank.
    """

    signed: tpm_signed.SignedAttest
    values: Mapping[int, bytes]

    @property
    def attest(self) -> Attest:
        """What was signed."""
        return self.signed.attest


def verify_quote(
    checklist: Checklist, ak: RSAPublicKey, *, quote: bytes, signature: bytes, pcrs: bytes
) -> VerifiedQuote:
    """Return the quote, signed by `ak`, over the registers in `pcrs`.

    Raises:
        EvidenceRefused: signature or digest do not hold.
        MalformedMessage: a part is not well formed.
    """
    attest = parse_attest(quote, _WHAT)
    selection, digest = _registers_of(attest)
    values = split_values(selection, pcrs, "tpm-pcrs")
    read = _read_signature(signature, ak)
    checklist.must(
        "vtpm signature",
        holds=read.scheme is Scheme.RSASSA
        and read.hash == _HASH
        and verify_signature(ak, read, quote),
        found=f"{read.scheme} with {read.hash}, of {len(read.value)} bytes",
        wanted=f"{Scheme.RSASSA} with {_HASH} by HCLAkPub of this hcl report",
        trust=Trust.INSTANCE_IDENTITY,
        hint="the quote is of another machine's vtpm, or was changed",
    )
    found = pcr_digest(values, selection.indices, read.hash)
    checklist.must(
        "pcr digest",
        holds=equal(found, digest),
        found=found,
        wanted=digest,
        trust=Trust.EXECUTABLES,
        hint="the registers are not those that were quoted",
    )
    return VerifiedQuote(
        signed=tpm_signed.SignedAttest(encoded=quote, attest=attest, signature=read),
        values=values,
    )


def _registers_of(attest: Attest) -> tuple[PcrSelection, bytes]:
    """Return which registers are quoted, and the digest over them."""
    if not isinstance(attest.body, Quoted):
        raise MalformedMessage(f"{_WHAT} attests something else than registers")
    selections = attest.body.selections
    if len(selections) != 1 or selections[0].bank != BANK:
        banks = ", ".join(selection.bank for selection in selections) or "none"
        raise MalformedMessage(f"{_WHAT} is over banks {banks}, want {BANK} alone")
    return selections[0], attest.body.digest


def _read_signature(data: bytes, ak: RSAPublicKey) -> Signature:
    if 8 * len(data) == ak.key_size:
        return Signature(scheme=Scheme.RSASSA, hash=_HASH, value=data)
    return parse_signature(data, "tpm-signature")


def check_binding(checklist: Checklist, quote: VerifiedQuote, bound: bytes) -> None:
    """Note whether the quote's extra data is `bound`."""
    tpm_signed.check_binding(checklist, "report data", quote.signed, bound)


def judge(checklist: Checklist, quote: VerifiedQuote, pins: TpmPins) -> bytes:
    """Compare the registers with the pins; return what identifies the code."""
    return judge_registers(checklist, quote.values, pins)


def key_id(ak: RSAPublicKey) -> str:
    """Return SHA-256 of the key's SubjectPublicKeyInfo, in hex."""
    encoded = ak.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(encoded).hexdigest()


def claims_of(quote: VerifiedQuote) -> dict[str, object]:
    """Return what a verified quote says."""
    return {**quote_claims(quote.attest), "pcrs": register_claims(quote.values)}


def unverified_claims(quote: bytes, pcrs: bytes) -> dict[str, object]:
    """Return what a quote says, without any check.

    Raises:
        MalformedMessage: it is none, or the registers are not those that it selects.
    """
    attest = parse_attest(quote, _WHAT)
    selection, _ = _registers_of(attest)
    values = split_values(selection, pcrs, "tpm-pcrs")
    return {**quote_claims(attest), "pcrs": register_claims(values)}
