"""Split collateral as dcap-qvl and Phala's PCCS keep it, one JSON object, into a bundle's files.

It verifies nothing; that is done whenever the files are used. The PCK CRL's issuer chain is left
out, as every quote brings it.

Source: dcap-qvl 0.7, `QuoteCollateralV3`: binary fields are hex, JSON documents are texts.
"""

from __future__ import annotations

from fedenclave.attestation.crl import parse_crl
from fedenclave.attestation.intel.bundle import (
    ROOT_CRL,
    issuer_name,
    pck_crl_name,
    qe_identity_name,
    tcb_info_name,
)
from fedenclave.attestation.intel.pck import ca_of
from fedenclave.attestation.intel.signed_json import parse_signed_json
from fedenclave.attestation.intel.tcb_info import read_qe_identity, read_tcb_info
from fedenclave.attestation.strict_json import JsonObject, parse_object
from fedenclave.protocol.errors import MalformedMessage

_TEES = ("SGX", "TDX")


def split_collateral(data: bytes) -> dict[str, bytes]:
    """Return the bundle's files by name.

    Raises:
        MalformedMessage: it is no such collateral, or a document in it is not Intel's.
    """
    fields = parse_object(data, "collateral")
    info = _document(fields, "tcb_info", "tcbInfo")
    identity = _document(fields, "qe_identity", "enclaveIdentity")
    parsed = parse_signed_json(info, "tcbInfo", "tcb info")
    tee = parsed.fields.text("id")
    if tee not in _TEES:
        raise MalformedMessage(f"tcb info is for {tee[:20]!r}, want {' or '.join(_TEES)}")
    info_name = tcb_info_name(tee, read_tcb_info(parsed, tee).fmspc)
    identity_name = qe_identity_name(tee)
    read_qe_identity(parse_signed_json(identity, "enclaveIdentity", "enclave identity"), tee)
    root_crl, pck_crl = _binary(fields, "root_ca_crl"), _binary(fields, "pck_crl")
    parse_crl(root_crl, "root ca crl")
    return {
        ROOT_CRL: root_crl,
        pck_crl_name(ca_of(parse_crl(pck_crl, "pck crl").issuer)): pck_crl,
        info_name: info,
        issuer_name(info_name): fields.text("tcb_info_issuer_chain").encode(),
        identity_name: identity,
        issuer_name(identity_name): fields.text("qe_identity_issuer_chain").encode(),
    }


def _document(fields: JsonObject, key: str, name: str) -> bytes:
    signature = _binary(fields, f"{key}_signature").hex()
    return f'{{"{name}":{fields.text(key)},"signature":"{signature}"}}'.encode()


def _binary(fields: JsonObject, key: str) -> bytes:
    return fields.hexadecimal(key, len(fields.text(key)) // 2)
