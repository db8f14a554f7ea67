"""What a verifier needs besides a given piece of evidence, and whom to ask for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fedenclave.attestation.azure.hcl import parse_hcl_report
from fedenclave.attestation.detect import Detected
from fedenclave.attestation.nvidia.gpu import CERTIFICATES, REPORT, split_gpu_parts
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.vendors import amd, intel, nvidia, tokens
from fedenclave.vendors.request import CollateralRequest

Parts = Mapping[str, bytes]

NOTHING_TO_FETCH = {
    "nitro": "its chain is in the document, and its root in this program",
    "psa": "device keys come from the device's maker: README of fedenclave/attestation",
    "cca": "platform keys come from the platform's maker: README of fedenclave/attestation",
    "tpm": "ek roots come from the tpm's maker: README of fedenclave/attestation",
    "azure-maa": "name the provider that the policy pins: --issuer https://...",
    "insecure": "nobody vouches for development evidence",
}


def _azure_vm(parts: Parts) -> list[CollateralRequest]:
    if "td-quote" in parts:
        return intel.requests_for(parts["td-quote"], "TDX")
    return amd.requests_for(parse_hcl_report(parts["hcl-report"]).hardware)


_BY_FORMAT: Mapping[str, Callable[[Parts], list[CollateralRequest]]] = {
    "sgx": lambda parts: intel.requests_for(parts["quote"], "SGX"),
    "tdx": lambda parts: intel.requests_for(parts["quote"], "TDX"),
    "azure-vm": _azure_vm,
    "sev-snp": lambda parts: amd.requests_for(parts["report"]),
    "confidential-space": lambda parts: tokens.google_requests(),
    "nvidia-gpu": lambda parts: nvidia.requests_for(parts["report"], parts["certificates"]),
}


def requests_for(evidence: Detected) -> list[CollateralRequest]:
    """Return what to ask for `evidence`.

    Raises:
        ConfigurationError: there is nothing to fetch for its format, or it does not decode.
    """
    parts, gpus = split_gpu_parts(evidence.parts)
    name = evidence.format.name
    try:
        requests = _BY_FORMAT[name](parts) if name in _BY_FORMAT else []
        for report in sorted(each for each in gpus if each.startswith(REPORT)):
            certificates = gpus.get(report.replace(REPORT, CERTIFICATES), b"")
            requests += nvidia.requests_for(gpus[report], certificates)
    except (MalformedMessage, KeyError) as error:
        raise ConfigurationError(
            f"evidence of format {name} does not decode: {error}",
            hint="fedenclave attest inspect says more",
        ) from error
    if not requests:
        why = NOTHING_TO_FETCH.get(name, "this version knows no vendor's service for it")
        raise ConfigurationError(f"there is nothing to fetch for evidence of format {name}: {why}")
    return requests


def requests_for_issuers(issuers: Sequence[str]) -> list[CollateralRequest]:
    """Return what to ask Azure's attestation providers; `issuers` are their URLs."""
    return [request for issuer in issuers for request in tokens.azure_requests(issuer)]
