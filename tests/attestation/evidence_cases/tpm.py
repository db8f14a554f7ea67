"""Real TPM quotes: keylime's, by RSASSA, and one of trustee's, of a software TPM.

Keylime's is of PCR 15 and 16 alone, which software fills as it likes: it is never affirmed,
whatever a policy pins. That all its signatures and digests hold is seen by what fails first.
Trustee's is of registers that no firmware has touched: at best a warning, by its exception.

Neither comes with the key's TPMT_PUBLIC, only with its PEM or DER: one with the attributes of an
attestation key is written around it here.
"""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

from fedenclave.attestation.format import Parts
from fedenclave.attestation.tpm.quote_format import FORMAT
from tests.attestation.cases import Case
from tests.attestation.tpm_structures import public_area

_KEYLIME, _TRUSTEE = "tpm/keylime/", "tpm/trustee/tpm_evidence.json"
_ROWS = tuple(_KEYLIME + n for n in ("quote.out", "quotepcr.out", "quotesig.out", "akpub.pem"))
_NONCE = "db1db298db6d60e6385b7231743e9c3056a18003"
_TRUSTEE_NONCE = (
    "a04182b506878d4f29b91ee606a71a0d3361ccf1b22db20c98adcaa537bea393ef0e41a18b3569ab678f1497fbc5c120"
    "00000000000000000000000000000000"
)
_AK = "000b2d3fb7830f6cb214fac7d7cb213a21a0609148c4505927db61287e1e80322336"
_EK = "000be565c0bfe89b1b1d2d2f9f30f047b0f5cf27a80562d85cfbafda80821cf516ae"
_TRUSTEE_AK = "000b17d80d7ab737fd9aae07dcb7e19f2a256718bc536fd38ace10b1adabd2d37699"
_POLICY = """\
exceptions = []
aks = ["{ak}"]
activated_by = 0
activators = ["none"]
ek_roots = ["none"]
measurements = ["none"]
firmware_versions = ["{firmware}"]
secure_boot = "any"
boot_applications = ["any"]
counter_name = "none"
[pcrs]
{pcrs}
"""


def _area(key: Any) -> bytes:
    assert isinstance(key, RSAPublicKey)
    return public_area(key)


def _keylime(folder: Path, *, ak: str = "akpub.pem") -> Parts:
    def read(name: str) -> bytes:
        return (folder / _KEYLIME / name).read_bytes()

    return {
        "quote": read("quote.out"),
        "signature": read("quotesig.out"),
        "pcrs": _registers(read("quotepcr.out")),
        "ak": _area(load_pem_public_key(read(ak))),
    }


def _registers(dump: bytes) -> bytes:
    """Return the values in a dump of the tpm2-tools: C structures, little-endian.

    A TPML_PCR_SELECTION of 16 selections of 8 bytes, a count, and TPML_DIGESTs: a count and eight
    times a size and 64 bytes.
    """
    (count,) = struct.unpack_from("<I", dump, 4 + 16 * 8 + 4)
    at = 4 + 16 * 8 + 8
    return b"".join(dump[at + 66 * i + 2 :][:32] for i in range(count))


def _trustee(folder: Path) -> Parts:
    evidence = json.loads((folder / _TRUSTEE).read_bytes())
    quote = evidence["tpm_quote"]
    return {
        "quote": base64.b64decode(quote["message"]),
        "signature": base64.b64decode(quote["signature"]),
        "pcrs": b"".join(map(bytes.fromhex, quote["pcrs"])),
        "ak": _area(load_der_public_key(base64.b64decode(evidence["ak_public"]))),
    }


def _policy(ak: str, firmware: str, **pcrs: str) -> str:
    lines = (f'{index.removeprefix("pcr")} = ["{value}"]' for index, value in pcrs.items())
    return _POLICY.format(ak=ak, firmware=firmware, pcrs="\n".join(lines))


_KEYLIME_POLICY = _policy(_AK, "2016051100162800", pcr4="00" * 32, pcr15="00" * 32, pcr16="any")
_STRICT_POLICY = _policy(_TRUSTEE_AK, "2019102300163636", pcr4="00" * 32, pcr17="ff" * 32)
_TRUSTEE_POLICY = _STRICT_POLICY.replace("exceptions = []", 'exceptions = ["unmeasured-boot"]')
_PARTS = ("quote", "signature", "pcrs", "ak")


def _keylime_case(
    name: str, refused: str = "", *, rows: tuple[str, ...] = (), **fields: Any
) -> Case:
    return Case(
        **{
            "name": f"keylime's quote, {name}",
            "rows": rows or _ROWS,
            "format": FORMAT,
            "parts": _keylime,
            "policy": _KEYLIME_POLICY,
            "bound": _NONCE,
            "at": "2026-01-01",
            "refused": refused,
            **fields,
        }
    )


CASES: list[Case] = [
    _keylime_case("of registers that say nothing of the boot", "pcr 4", found="not quoted"),
    _keylime_case(
        "said to be by its endorsement key",
        "signature",
        rows=(*_ROWS[:3], _KEYLIME + "ekpub.pem"),
        parts=lambda folder: _keylime(folder, ak="ekpub.pem"),
        policy=_KEYLIME_POLICY.replace(_AK, _EK),
    ),
    _keylime_case("by a key that nobody listed", "ak", policy=_KEYLIME_POLICY.replace(_AK, _EK)),
    _keylime_case("for another nonce", "report data", bound="00" * 20),
    _keylime_case(
        "with other firmware pinned",
        "firmware version",
        policy=_KEYLIME_POLICY.replace("2016051100162800", "2016051100162801"),
    ),
    Case(
        name="trustee's quote of all registers",
        rows=(_TRUSTEE,),
        format=FORMAT,
        parts=_trustee,
        policy=_TRUSTEE_POLICY,
        bound=_TRUSTEE_NONCE,
        at="2026-01-01",
        exceptions_used=True,
        mutate=_PARTS,
    ),
    *(
        Case(
            name=f"trustee's quote of all registers, {about}",
            rows=(_TRUSTEE,),
            format=FORMAT,
            parts=_trustee,
            policy=policy,
            bound=_TRUSTEE_NONCE,
            at="2026-01-01",
            refused=refused,
            found=found,
        )
        for about, policy, refused, found in (
            (
                "with another value pinned",
                _TRUSTEE_POLICY.replace("ff" * 32, "11" * 32),
                "pcr 17",
                "ff" * 32,
            ),
            ("without the exception", _STRICT_POLICY, "measured boot", "pcr 4: all zeros"),
            (
                "with a measurement pinned",
                _TRUSTEE_POLICY.replace('["none"]\nfirmware', f'["{"11" * 32}"]\nfirmware'),
                "measurement",
                "00" * 32,
            ),
        )
    ),
    Case(
        name="trustee's quote for another nonce",
        rows=(_TRUSTEE,),
        format=FORMAT,
        parts=_trustee,
        policy=_TRUSTEE_POLICY,
        bound="00" * 64,
        at="2026-01-01",
        refused="report data",
    ),
]
