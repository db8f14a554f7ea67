"""What Intel's Provisioning Certification Service has for an SGX or TDX quote.

TCB info and the quoting enclave's identity are signed JSON, whose issuer chain is in a header and
is kept beside the document.

Source: Intel PCS API, version 4.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote

from fedenclave.attestation.intel.bundle import (
    ROOT_CRL,
    issuer_name,
    pck_crl_name,
    qe_identity_name,
    tcb_info_name,
)
from fedenclave.attestation.intel.pck import parse_pck_chain
from fedenclave.attestation.intel.quote import SGX_TEE, TDX_TEE, parse_quote
from fedenclave.vendors import readable
from fedenclave.vendors.download import DownloadFailed, Response
from fedenclave.vendors.readable import check_readable
from fedenclave.vendors.request import CollateralRequest, Files, saved_as

SERVICE = "https://api.trustedservices.intel.com"
ROOT_CRL_URL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
_KINDS = {"SGX": ((3,), SGX_TEE), "TDX": ((4, 5), TDX_TEE)}
_TCB_CHAIN, _IDENTITY_CHAIN = "tcb-info-issuer-chain", "sgx-enclave-identity-issuer-chain"


def requests_for(quote: bytes, tee: str) -> list[CollateralRequest]:
    """Return what a verifier of `quote` needs.

    Args:
        quote: the quote, with its PCK certificate chain.
        tee: `SGX` or `TDX`.

    Raises:
        MalformedMessage: it is no quote, or holds no PCK chain.
    """
    versions, type_ = _KINDS[tee]
    chain = parse_pck_chain(parse_quote(quote, versions, type_).certification_data)
    fmspc, part = chain.extension.fmspc, tee.lower()
    return [
        CollateralRequest(url=ROOT_CRL_URL, files=saved_as(ROOT_CRL, readable.crl)),
        CollateralRequest(
            url=f"{SERVICE}/sgx/certification/v4/pckcrl?ca={chain.ca}&encoding=der",
            files=saved_as(pck_crl_name(chain.ca), readable.crl),
        ),
        CollateralRequest(
            url=f"{SERVICE}/{part}/certification/v4/tcb?fmspc={fmspc.hex().upper()}",
            files=_with_chain(tcb_info_name(tee, fmspc), _TCB_CHAIN),
        ),
        CollateralRequest(
            url=f"{SERVICE}/{part}/certification/v4/qe/identity",
            files=_with_chain(qe_identity_name(tee), _IDENTITY_CHAIN),
        ),
    ]


def _with_chain(name: str, header: str) -> Callable[[Response], Files]:
    def files(response: Response) -> Files:
        chain = response.headers.get(header)
        if chain is None:
            raise DownloadFailed(
                f"Intel's service sent no header {header} with {name}",
                hint="does a proxy on the way take headers off?",
            )
        issuers = unquote(chain).encode()
        check_readable(name, response.body, readable.json_object)
        check_readable(issuer_name(name), issuers, readable.certificates)
        return {name: response.body, issuer_name(name): issuers}

    return files
