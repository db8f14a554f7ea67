"""Verify Intel's collateral for one quote: chains, revocation, signatures, age.

The policy's greatest age holds for what Intel signs anew at least every 30 days; the root's
revocation list comes about once a year, so for that only Intel's own next update holds.

Source: Intel PCS API version 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from fedenclave.attestation.certificates import common_name, verify_chain
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.collateral import FETCH_HINT, Dated, judge_age
from fedenclave.attestation.crl import check_revocation
from fedenclave.attestation.crl_versions import Crl
from fedenclave.attestation.format import Question
from fedenclave.attestation.intel.bundle import (
    ROOT_CRL,
    Bundle,
    Document,
    pck_crl_name,
)
from fedenclave.attestation.intel.pck import PckChain
from fedenclave.attestation.intel.signature import verifies
from fedenclave.attestation.intel.tcb_info import QeIdentity, TcbInfo
from fedenclave.attestation.result import Trust

TCB_SIGNING = "Intel SGX TCB Signing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endorsements:
    """Intel's collateral for one quote: verified, in force, and not too old.

    Attributes:
        certificates: TCB signing certificates.
        arguments: the same collateral as dcap-qvl takes it.
    """

    tcb_info: TcbInfo
    identity: QeIdentity
    certificates: tuple[x509.Certificate, ...]
    arguments: Mapping[str, str | bytes]


def verify_collateral(
    checklist: Checklist, question: Question, tee: str, chain: PckChain, root: x509.Certificate
) -> Endorsements:
    """Return the collateral for a quote by the platform of `chain`, which is verified already.

    Checks, in this order: 1. every file is there and can be read; 2. the TCB signing chains;
    3. the root's revocation list, over every certificate by the root; 4. the PCK CA's, over the PCK
    certificate; 5. signature and age of TCB info and of the quoting enclave's identity; 6. the TCB
    info is for this platform.

    Raises:
        EvidenceRefused: a check does not hold, or something is missing.
    """
    bundle = Bundle(checklist, question)
    root_crl, pck_crl = bundle.crl(ROOT_CRL), bundle.crl(pck_crl_name(chain.ca))
    info, identity = bundle.tcb_info(tee, chain.extension.fmspc), bundle.qe_identity(tee)
    issuers = [bundle.issuers(info), bundle.issuers(identity)]
    signers = [_verify_signer(checklist, question.now, each, root) for each in issuers]
    _check_revocations(checklist, question, root_crl, pck_crl, chain, signers, root)
    _verify_document(checklist, question, info, signers[0])
    _verify_document(checklist, question, identity, signers[1])
    found = (info.parsed.fmspc.hex(), info.parsed.pce_id.hex())
    wanted = (chain.extension.fmspc.hex(), chain.extension.pce_id.hex())
    checklist.must(
        "tcb info platform",
        holds=found == wanted,
        found=f"fmspc {found[0]}, pceid {found[1]}",
        wanted=f"fmspc {wanted[0]}, pceid {wanted[1]}: the pck certificate's",
        trust=Trust.HARDWARE,
        hint=FETCH_HINT,
    )
    return Endorsements(
        tcb_info=info.parsed,
        identity=identity.parsed,
        certificates=tuple(signers),
        arguments={
            "pck_crl_issuer_chain": chain.pem,
            "root_ca_crl": root_crl.content.public_bytes(Encoding.DER),
            "pck_crl": pck_crl.content.public_bytes(Encoding.DER),
            "tcb_info_issuer_chain": signers[0].public_bytes(Encoding.PEM).decode("ascii"),
            "tcb_info": info.signed.body,
            "tcb_info_signature": info.signed.signature,
            "qe_identity_issuer_chain": signers[1].public_bytes(Encoding.PEM).decode("ascii"),
            "qe_identity": identity.signed.body,
            "qe_identity_signature": identity.signed.signature,
        },
    )


def _verify_signer(
    checklist: Checklist, now: int, issuers: Sequence[x509.Certificate], root: x509.Certificate
) -> x509.Certificate:
    """Return the certificate that must have signed a document, its chain verified."""
    chain = [certificate for certificate in issuers if certificate != root]
    verify_chain(checklist, chain, root, name="tcb signing chain", now=now, trust=Trust.HARDWARE)
    subjects = [common_name(certificate) for certificate in chain]
    checklist.must(
        "tcb signing certificate",
        holds=subjects == [TCB_SIGNING],
        found=" by ".join(subjects),
        wanted=f"{TCB_SIGNING}, by the root itself",
        trust=Trust.HARDWARE,
        hint=FETCH_HINT,
    )
    return chain[0]


def _verify_document(
    checklist: Checklist, question: Question, document: Document[Any], signer: x509.Certificate
) -> None:
    """Check signature and age of `document`."""
    signed = verifies(signer.public_key(), document.signed.signature, document.signed.body.encode())
    checklist.must(
        f"signature of {document.name}",
        holds=signed,
        found="verifies" if signed else "does not verify",
        wanted=f"a document signed by {TCB_SIGNING}",
        trust=Trust.HARDWARE,
        hint="fetch it again, and keep it as it comes, with the chain that came with it",
    )
    judge_age(
        checklist,
        document.name,
        issued=document.parsed.issued,
        next_update=document.parsed.next_update,
        now=question.now,
        max_age_seconds=question.collateral_max_age_seconds,
        trust=Trust.HARDWARE,
    )


def _check_revocations(
    checklist: Checklist,
    question: Question,
    root_crl: Dated[Crl],
    pck_crl: Dated[Crl],
    chain: PckChain,
    signers: Sequence[x509.Certificate],
    root: x509.Certificate,
) -> None:
    by_root = dict.fromkeys((root, chain.intermediate, *signers))
    check_revocation(
        checklist,
        tuple(by_root),
        root_crl,
        root,
        name=ROOT_CRL,
        now=question.now,
        # Intel renews this list once a year; its next update is the limit.
        max_age_seconds=(root_crl.next_update or root_crl.issued) - root_crl.issued,
    )
    check_revocation(
        checklist,
        (chain.leaf,),
        pck_crl,
        chain.intermediate,
        name=pck_crl_name(chain.ca),
        now=question.now,
        max_age_seconds=question.collateral_max_age_seconds,
    )
