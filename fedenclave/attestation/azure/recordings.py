"""Recognise the evidence of Azure confidential VMs in files of other tools.

Known are the NV index by itself (a report that begins with HCLA), and the JSON in which attesters
of the Confidential Containers project put it, in all three of its versions.

That JSON always has 24 registers, whatever the quote selects; those that it does not select are
left out here, because nothing vouches for them.

Source: confidential-containers/trustee, deps/verifier, az-snp-vtpm and az-tdx-vtpm. Version 0 has
lists of numbers, versions 1 and 2 have base64 and hex.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from fedenclave.attestation.azure.hcl import SIGNATURE, parse_hcl_report
from fedenclave.attestation.format import Parts
from fedenclave.attestation.strict_json import JsonObject, parse_object
from fedenclave.attestation.tpm.quote import Quoted, parse_attest
from fedenclave.protocol.errors import MalformedMessage

_PCR_SIZE, _PCR_COUNT = 32, 24


def recognise(data: bytes) -> Parts | None:
    """Return the parts in a file; a report alone gives the part `hcl-report` alone."""
    try:
        if data.startswith(SIGNATURE):
            parse_hcl_report(data)
            return {"hcl-report": data}
        if data.lstrip()[:1] == b"{":
            return _of_trustee(parse_object(data, "evidence"))
    except MalformedMessage:
        return None
    return None


def _of_trustee(evidence: JsonObject) -> Parts:
    quote = evidence.table("quote" if "quote" in evidence else "tpm_quote")
    report = _bytes(evidence, "report" if "report" in evidence else "hcl_report")
    parse_hcl_report(report)
    message = _bytes(quote, "message")
    parts = {
        "hcl-report": report,
        "tpm-quote": message,
        "tpm-signature": _bytes(quote, "signature"),
        "tpm-pcrs": _selected(message, _registers(quote)),
    }
    if "td_quote" in evidence:
        parts["td-quote"] = _bytes(evidence, "td_quote")
    if "vcek" in evidence:
        text = evidence.text("vcek")
        pem = text.startswith("-----BEGIN")
        parts["certificates"] = text.encode() if pem else _decode(text, "vcek")
    return parts


def _selected(message: bytes, registers: Sequence[bytes]) -> bytes:
    body = parse_attest(message, "quote").body
    if not isinstance(body, Quoted) or len(body.selections) != 1:
        raise MalformedMessage("quote is not over the registers of one bank")
    return b"".join(registers[index] for index in body.selections[0].indices)


def _registers(quote: JsonObject) -> list[bytes]:
    values = quote.values.get("pcrs")
    if not isinstance(values, list) or len(values) != _PCR_COUNT:
        raise MalformedMessage(f"quote has no list of {_PCR_COUNT} pcrs")
    registers = [_bytes(JsonObject({"pcr": value}, "quote"), "pcr") for value in values]
    if any(len(register) != _PCR_SIZE for register in registers):
        raise MalformedMessage(f"quote has a pcr that is not of {_PCR_SIZE} bytes")
    return registers


def _bytes(owner: JsonObject, key: str) -> bytes:
    """Return bytes that are written as a list of numbers, in hex, or in base64."""
    value = owner.values.get(key)
    if isinstance(value, list):
        if not all(type(item) is int and 0 <= item <= 0xFF for item in value):
            raise MalformedMessage(f"{owner.what} has {key} that is no list of bytes")
        return bytes(value)
    return _decode(owner.text(key), key)


def _decode(text: str, what: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        pass
    try:
        # Both alphabets occur, with and without padding.
        plain = text.translate(str.maketrans("-_", "+/")).rstrip("=")
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedMessage(f"{what} is neither hex nor base64") from error
