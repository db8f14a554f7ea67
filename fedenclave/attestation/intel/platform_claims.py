"""What is claimed of an Intel platform, SGX or TDX alike: claims, identifiers, levels."""

from __future__ import annotations

from fedenclave.attestation.intel.pck import PckChain, parse_pck_chain
from fedenclave.attestation.intel.quote import PCK_CHAIN, Quote
from fedenclave.attestation.intel.verified import VerifiedQuote

SGX_TYPES = {0: "standard", 1: "scalable", 2: "scalable with integrity"}

IDENTIFIERS = frozenset(
    {"certificate", "chip-id", "fmspc", "measurement", "platform-instance-id", "qe-mrenclave"}
)
"""What a revocation can name on every Intel platform; `chip-id` is the PPID."""

LEVELS = frozenset(
    {
        "microcode",
        "late-microcode",
        "pce-svn",
        "qe-isv-svn",
        "tcb-evaluation-data-number",
    }
)
"""Security versions of every Intel platform: the first two are SGX TCB components 1 and 2."""


def chain_claims(chain: PckChain) -> dict[str, object]:
    """Return what the PCK certificate says of the platform."""
    platform = chain.extension
    claims: dict[str, object] = {
        "ueid": platform.ppid.hex(),
        "hwmodel": platform.fmspc.hex(),
        "ppid": platform.ppid.hex(),
        "fmspc": platform.fmspc.hex(),
        "sgx-type": SGX_TYPES[platform.sgx_type],
        "pck-ca": chain.ca,
        "pck-cpu-svn": platform.cpu_svn.hex(),
        "pck-pce-svn": platform.pce_svn,
    }
    if platform.platform_instance_id is not None:
        claims["platform-instance-id"] = platform.platform_instance_id.hex()
    return claims


def unverified_platform(quote: Quote) -> dict[str, object]:
    """Return what the quote's PCK certificate claims, without any check."""
    if quote.certification_type != PCK_CHAIN:
        return {"certification-data-type": quote.certification_type}
    chain = parse_pck_chain(quote.certification_data)
    return {**chain_claims(chain), "qe-isv-svn": quote.qe_report.isv_svn}


def platform_claims(verified: VerifiedQuote) -> dict[str, object]:
    """Return what is known of the platform of a verified quote."""
    return {
        **chain_claims(verified.chain),
        "tcb-status": verified.tcb.status,
        "tcb-status-current": verified.tcb.current,
        "tcb-status-qe": verified.tcb.qe,
        "tcb-date": verified.tcb.date,
        "advisory-ids": list(verified.tcb.advisories),
        "tcb-evaluation-data-number": verified.evaluation_number,
    }


def platform_identifiers(verified: VerifiedQuote) -> dict[str, tuple[str, ...]]:
    """Return what a revocation can name: certificates, machine, model, quoting enclave."""
    platform = verified.chain.extension
    identifiers = {
        "certificate": verified.certificates,
        "chip-id": (platform.ppid.hex(),),
        "fmspc": (platform.fmspc.hex(),),
        "qe-mrenclave": (verified.quote.qe_report.mrenclave.hex(),),
    }
    if platform.platform_instance_id is not None:
        identifiers["platform-instance-id"] = (platform.platform_instance_id.hex(),)
    return identifiers


def platform_levels(verified: VerifiedQuote) -> dict[str, int]:
    """Return the platform's security versions, by the names in `LEVELS`."""
    platform = verified.chain.extension
    return {
        "microcode": platform.cpu_svn[0],
        "late-microcode": platform.cpu_svn[1],
        "pce-svn": platform.pce_svn,
        "qe-isv-svn": verified.quote.qe_report.isv_svn,
        "tcb-evaluation-data-number": verified.evaluation_number,
    }
