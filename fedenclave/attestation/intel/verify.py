"""Verify a quote, SGX or TDX, up to Intel's root, with its collateral. No policy is applied here.

What is verified, in this order:
  1. structure: quote.py, pck.py;
  2. the PCK chain, up to the pinned root, which is also the root that the quote brings;
  3. the PCK key's signature over the quoting enclave's report;
  4. that report's data: SHA-256 over attestation key and authentication data, then zeros;
  5. the attestation key's signature over header and body;
  6. the collateral: collateral.py;
  7. the quoting enclave's report against its identity;
  8. for TDX, the TDX module's signer and attributes against TCB info;
  9. the platform's TCB: some level of TCB info is reached, and none that is revoked;
 10. all of it again by dcap-qvl, whose claims must agree.

What the caller still owes: report data, attributes (debug and the like), measurements, and whether
the TCB status will do. dcap-qvl refuses some attributes of a TD whatever one tells it; that is no
failure here where `lax` says that the caller judges that very attribute.

Source: Intel SGX and TDX DCAP quote verification, as in the documents that quote.py and
tcb_status.py name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from cryptography import x509

from fedenclave.attestation.certificates import common_name, fingerprint, verify_chain
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.format import Question
from fedenclave.attestation.intel.agreement import check_library
from fedenclave.attestation.intel.collateral import Endorsements, verify_collateral
from fedenclave.attestation.intel.pck import PckChain, parse_pck_chain
from fedenclave.attestation.intel.quote import PCK_CHAIN, EnclaveReport, Quote
from fedenclave.attestation.intel.signature import parse_key, verifies
from fedenclave.attestation.intel.tcb_info import QeIdentity
from fedenclave.attestation.intel.tcb_status import (
    REVOKED,
    NoLevel,
    TcbStatus,
    find_tcb_status,
    module_of,
)
from fedenclave.attestation.intel.verified import VerifiedQuote
from fedenclave.attestation.result import Trust

ALWAYS = frozenset(
    {
        "pck chain",
        "pck chain validity",
        "pck certificate",
        "qe report signature",
        "qe report data",
        "quote signature",
        "tcb signing chain",
        "tcb signing chain validity",
        "tcb signing certificate",
        "tcb info platform",
        "qe identity",
        "tcb level",
        "dcap-qvl",
    }
)
"""Names of the checks that `verify_signatures` and `verify_endorsed` always make; ages and
revocations have names of files and certificates in them and are made on the way."""

PCK_LEAF = "Intel SGX PCK Certificate"
_DAMAGED = "it was damaged or made up on its way"


def verify_signatures(
    checklist: Checklist, quote: Quote, now: int, root: x509.Certificate
) -> PckChain:
    """Verify points 2 to 5 of the list above, which need no collateral, and return the chain.

    Raises:
        EvidenceRefused: a check does not hold.
        MalformedMessage: the chain or the attestation key is not what its encoding promises.
    """
    checklist.must(
        "pck chain",
        holds=quote.certification_type == PCK_CHAIN,
        found=f"certification data of type {quote.certification_type}",
        wanted="type 5: the whole chain, in the quote",
        trust=Trust.INSTANCE_IDENTITY,
        hint="set up the quoting service to put the pck chain into the quote (type 5)",
    )
    chain = parse_pck_chain(quote.certification_data)
    checklist.must(
        "pck chain",
        holds=chain.root == root,
        found=fingerprint(chain.root),
        wanted=f"{fingerprint(root)}: the pinned {common_name(root)}",
        trust=Trust.INSTANCE_IDENTITY,
        hint="it is signed by somebody who is not Intel",
    )
    verify_chain(checklist, (chain.leaf, chain.intermediate), root, name="pck chain", now=now)
    checklist.must(
        "pck certificate",
        holds=common_name(chain.leaf) == PCK_LEAF,
        found=common_name(chain.leaf),
        wanted=PCK_LEAF,
        trust=Trust.INSTANCE_IDENTITY,
    )
    _must(
        checklist,
        "qe report signature",
        verifies(chain.leaf.public_key(), quote.qe_report_signature, quote.qe_report_raw),
        "the quoting enclave's report, signed by the platform's pck key",
    )
    bound = hashlib.sha256(quote.attestation_key + quote.qe_auth_data).digest() + bytes(32)
    _must(
        checklist,
        "qe report data",
        quote.qe_report.report_data == bound,
        "the attestation key in the quoting enclave's report",
    )
    key = parse_key(quote.attestation_key, "attestation key")
    _must(
        checklist,
        "quote signature",
        verifies(key, quote.signature, quote.signed),
        "header and body, signed by the attestation key",
    )
    return chain


def verify_endorsed(
    checklist: Checklist,
    question: Question,
    quote: Quote,
    chain: PckChain,
    root: x509.Certificate,
    lax: Sequence[str],
) -> VerifiedQuote:
    """Verify points 6 to 10 of the list above.

    Args:
        checklist: where the checks go.
        question: for the time and the collateral.
        quote: the quote.
        chain: what `verify_signatures` returned for it.
        root: the pinned root.
        lax: the library's messages about attributes that the caller has judged.

    Raises:
        EvidenceRefused: a check does not hold.
    """
    tee = "SGX" if isinstance(quote.body, EnclaveReport) else "TDX"
    endorsements = verify_collateral(checklist, question, tee, chain, root)
    _check_qe_identity(checklist, quote.qe_report, endorsements.identity)
    if tee == "TDX":
        _check_module(checklist, quote, endorsements)
    tcb = _find_level(checklist, quote, chain, endorsements)
    verified = VerifiedQuote(
        quote=quote, chain=chain, endorsements=endorsements, tcb=tcb, root=root
    )
    check_library(checklist, question.now, verified, lax)
    return verified


def _must(checklist: Checklist, name: str, holds: bool, wanted: str) -> None:
    checklist.must(
        name,
        holds=holds,
        found="verifies" if holds else "does not verify",
        wanted=wanted,
        trust=Trust.INSTANCE_IDENTITY,
        hint=_DAMAGED,
    )


def _check_qe_identity(checklist: Checklist, report: EnclaveReport, identity: QeIdentity) -> None:
    compared = {
        "mrsigner": report.mrsigner == identity.mrsigner,
        "isvprodid": report.isv_prod_id == identity.isv_prod_id,
        "miscselect": _masked(report.misc_select, identity.misc_select_mask)
        == _masked(identity.misc_select, identity.misc_select_mask),
        "attributes": _masked(report.attributes, identity.attributes_mask)
        == _masked(identity.attributes, identity.attributes_mask),
    }
    wrong = [name for name, same in compared.items() if not same]
    checklist.must(
        "qe identity",
        holds=not wrong,
        found=f"differs in {', '.join(wrong)}" if wrong else "as Intel's",
        wanted="the quoting enclave that Intel published",
        trust=Trust.HARDWARE,
        hint="the quote was not made by Intel's quoting enclave",
    )


def _check_module(checklist: Checklist, quote: Quote, endorsements: Endorsements) -> None:
    td, module = quote.td, module_of(quote.td, endorsements.tcb_info)
    if module is None:
        problem = f"module version {td.tee_tcb_svn[1]} is not listed"
    elif td.mrsignerseam != module.mrsigner:
        problem = f"mrsignerseam is {td.mrsignerseam.hex()}"
    else:
        # Outside the mask nothing is known, so nothing may be set there.
        allowed = _masked(module.attributes, module.attributes_mask)
        problem = "" if td.seam_attributes == allowed else f"attributes {td.seam_attributes.hex()}"
    checklist.must(
        "tdx module",
        holds=not problem,
        found=problem or "as Intel's",
        wanted="a tdx module that tcb info lists, with its signer and attributes",
        trust=Trust.HARDWARE,
        hint="the td runs under a module that Intel did not make for production",
    )


def _masked(value: bytes, mask: bytes) -> bytes:
    return bytes(v & m for v, m in zip(value, mask, strict=True))


def _find_level(
    checklist: Checklist, quote: Quote, chain: PckChain, endorsements: Endorsements
) -> TcbStatus:
    try:
        tcb = find_tcb_status(quote, chain.extension, endorsements.tcb_info, endorsements.identity)
    except NoLevel as error:
        checklist.refuse(
            "tcb level",
            found=str(error),
            wanted="a level of Intel's tcb info",
            trust=Trust.HARDWARE,
            hint="its firmware is older than anything that Intel vouches for: update it",
        )
    checklist.must(
        "tcb level",
        holds=REVOKED not in (tcb.status, tcb.current, tcb.qe),
        found=f"{tcb.status}, level of {tcb.date}",
        wanted="a level of Intel's tcb info that is not revoked",
        trust=Trust.HARDWARE,
        hint="Intel says that the keys of such platforms are known to others; no exception exists",
    )
    return tcb
