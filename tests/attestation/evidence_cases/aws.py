"""Real attestation documents of Nitro enclaves: every row of SOURCES.md that has a verdict.

They come wrapped in three ways, which are taken off here: dstack's record (SCALE: two bytes, then a
length), a certificate's alternative name (hex, Evervault), and base64.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fedenclave.attestation.aws.document import parse_document
from fedenclave.attestation.aws.nitro import DOCUMENT, FORMAT
from fedenclave.attestation.format import Parts
from tests.attestation.cases import Case

_DSTACK, _EVERVAULT, _VERACRUZ = "nitro/dstack", "nitro/evervault", "nitro/veracruz"
_CERTIFICATE = "non-debug-cert-containing-attestation-document-18-1-23"
ZERO = "0" * 96


def raw(row: str) -> Callable[[Path], Parts]:
    return lambda folder: {DOCUMENT: (folder / row).read_bytes()}


def scale(row: str) -> Callable[[Path], Parts]:
    def read(folder: Path) -> Parts:
        data = (folder / row).read_bytes()
        # A compact integer of two bytes: the lower two bits say so, the others are the length.
        return {DOCUMENT: data[4 : 4 + (int.from_bytes(data[2:4], "little") >> 2)]}

    return read


def certificate(folder: Path, row: str) -> x509.Certificate:
    data = (folder / row).read_bytes()
    pem = data.startswith(b"-----")
    return x509.load_pem_x509_certificate(data) if pem else x509.load_der_x509_certificate(data)


def in_name(row: str) -> Callable[[Path], Parts]:
    def read(folder: Path) -> Parts:
        names = certificate(folder, row).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
        longest = max((str(name.value) for name in names.value), key=len)
        return {DOCUMENT: bytes.fromhex(longest.split(".")[0])}

    return read


def public_key(row: str) -> Callable[[Path], bytes]:
    """Evervault binds the key of the certificate that carries the document."""

    def read(folder: Path) -> bytes:
        key = certificate(folder, row).public_key()
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    return read


def in_base64(row: str) -> Callable[[Path], Parts]:
    return lambda folder: {DOCUMENT: base64.b64decode((folder / row).read_bytes())}


def nonce_of(row: str) -> Callable[[Path], bytes]:
    """The nonce of 256 bytes is known from nowhere else."""
    return lambda folder: parse_document((folder / row).read_bytes()).nonce or b""


def policy(instance: str, *pcrs: str, **changes: str) -> str:
    """Return the policy for PCR 0, 1, 2, 3, 4 and 8; values of `changes` are TOML."""
    registers = zip((0, 1, 2, 3, 4, 8), pcrs, strict=True)
    top = {"bind": '"user_data"', "instances": f'["{instance}"]', "exceptions": "[]"} | changes
    lines = [f"{key} = {value}" for key, value in top.items()]
    lines += ["[pcrs]", *(f'{index} = ["{value}"]' for index, value in registers)]
    return "\n".join([*lines, 'others = "zero"'])


_DSTACK_PCRS = (
    "eb7d0dab08ff41546d7e5659aee883af7b32bb2e58e46815b719f9f7bfae7b880188a10d86317e6509923740526cf74a",
    "0343b056cd8485ca7890ddd833476d78460aed2aa161548e4e26bedf321726696257d623e8805f3f605946b3d8b0c6aa",
    "d7b0a76788c1be24898bd148117ea1239578ba0e72f5d87a33a6c6476026675b6f996940f062e0e3f0b5edd2ddf78811",
    ZERO,
    "7b3574ad9b7e88ec8335e8ce967315fac77218441e97eea9795de704d7f2678d0b298ecda39b544c1689669f48cba5e8",
    ZERO,
)
_QVL_PCRS = (
    "5cb702954321826d7939d6da829a940d787fcf32357beb8eae1ddf33c28c17d36f3ac3ba6828fdf7edeed02889702da6",
    _DSTACK_PCRS[1],
    "743ea12db9aba9440a8197f7ac9aeda43cfbb1587473ff7577415ac5be116bc026dfa836db6713930474d1aa0d06b049",
    *_DSTACK_PCRS[3:],
)
_BETA_PCRS = (
    "f4d48b81a460c9916d1e685119074bf24660afd3e34fae9fca0a0d28d9d5599936332687e6f66fc890ac8cf150142d8b",
    "bcdf05fefccaa8e55bf2c8d6dee9e79bbff31e34bf28a99aa19e6b29c37ee80b214a414b7607236edf26fcb78654e63f",
    "d8f114da658de5481f8d9ec73907feb553560787522f705c92d7d96beed8e15e2aa611984e098c576832c292e8dc469a",
    "4a9329d69c836267b18abbf9f4a38889124490453419e426818626348d21f989dc930b1562682a9082887454e53425aa",
    "1f442c86d494a88185642086d904ed89f62fb66ee9997d7b1a4f040faab3bba4244c768a584e5778195b3afc715637c6",
    "8790eb3cce6c83d07e84b126dc61ca923333d6f66615c4a79157de48c5ab2418bdc60746ea7b7afbff03a1c6210201cb",
)
_CERTIFICATE_PCRS = (
    "d265a83faa7b4fa0d73b82b6d06253e894445922937d0ee5a74fe4891da9817611a71e71b98e5329232902de3cf419af",
    _BETA_PCRS[1],
    "e4f634d24ad83b7f6e49fe283bafdb220f6252fb4a278a858e19d15b7cd0f263b9168ed0bacefb4444266df9f9a77f24",
    "ae9d5fad927d895b8d926d676617262fce1bf8bc659770179121ad62ad35046f2631701be548c57426521f2fbe63fcb0",
    "bb22382784496191b9dbc35f22cffc9337e9da036d29561069e04f14a2e445c1bb6c74375d7f920bd1767f0ca7e57b93",
    "97c5395a83c0d6a04d53ff962663c714c178c24500bf97f78456ed3721d922cf3f940614da4bb90107c439bc4a1443ca",
)
_VERACRUZ_PCRS = (
    "22f9e1c949208da55eb01b9b9fc88f87454f77ba133f0d82320b509621c92482152a99d0a12335b97178c02d6f977d01",
    _BETA_PCRS[1],
    "00943ea859140fed74e1025fe41aedb38780eae5656b3f9ef9b4b0e6111350315544db3efcda05725108f72b2ab141f7",
    ZERO,
    "4554042339e6a1ddfac89db7da58231d5619073729344333aff055429abeec6b006f81b19d1176001b8291f885283106",
    ZERO,
)
_DEBUG_PCRS = (
    ZERO,
    ZERO,
    ZERO,
    _BETA_PCRS[3],
    "615fa5b1a8838d392d8e54aacc3d9ac0db87d63cb826516c4cc94307c986fe465b29f3f54a55a2f121265528ae0aa6a7",
    ZERO,
)

_DSTACK_ROW = f"{_DSTACK}/nitro_attestation.bin"
_DSTACK_POLICY = policy("i-0827e799ec9232d44", *_DSTACK_PCRS)
_DSTACK_BOUND = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" + "00" * 32
_DSTACK_AT = "2025-12-25T16:04:30"
_VERACRUZ_ROW = f"{_VERACRUZ}/aws_nitro_document.cbor"
_VERACRUZ_POLICY = policy("i-04fd167167daacf3b", *_VERACRUZ_PCRS)
_VERACRUZ_BOUND = "7c37108079b3e8a36d8a7970de1d6d4ff1461e0e35d9557c4d789df5e0576620"
_VERACRUZ_AT = "2022-11-09T22:52:30"
_BETA_ROW = f"{_EVERVAULT}/beta_valid-attestation-doc-bytes"
_DEBUG_ROW = f"{_EVERVAULT}/beta_debug-mode-attestation-doc-bytes"
_NAME_ROW = f"{_EVERVAULT}/beta_{_CERTIFICATE}-der.crt"
_NAME_POLICY = policy("i-0ec0e572c8263d8ff", *_CERTIFICATE_PCRS)
_NAME_AT = "2023-01-18T13:07:30"

CASES: list[Case] = [
    Case(
        name="dstack's enclave, with a payload of indefinite length",
        rows=(_DSTACK_ROW,),
        format=FORMAT,
        parts=scale(_DSTACK_ROW),
        policy=_DSTACK_POLICY,
        bound=_DSTACK_BOUND,
        at=_DSTACK_AT,
        mutate=(DOCUMENT,),
    ),
    Case(
        name="dstack's enclave in debug mode",
        rows=(f"{_DSTACK}/nitro_attestation_dbg.bin",),
        format=FORMAT,
        parts=scale(f"{_DSTACK}/nitro_attestation_dbg.bin"),
        policy=policy("i-0fd3fdaad4e904e69", *_DSTACK_PCRS),
        bound="00" * 64,
        at="2025-12-25T08:21",
        refused="debug",
    ),
    Case(
        name="dstack's other enclave",
        rows=(f"{_DSTACK}/nsm-qvl_nitro_attestation.bin",),
        format=FORMAT,
        parts=scale(f"{_DSTACK}/nsm-qvl_nitro_attestation.bin"),
        policy=policy("i-0827e799ec9232d44", *_QVL_PCRS),
        bound="00" * 64,
        at="2025-12-25T13:16",
        mutate=(DOCUMENT,),
    ),
    Case(
        name="Evervault's enclave, bound by its nonce",
        rows=(_BETA_ROW,),
        format=FORMAT,
        parts=raw(_BETA_ROW),
        policy=policy("i-020b6af9246d90e92", *_BETA_PCRS, bind='"nonce"'),
        bound=nonce_of(_BETA_ROW),
        at="2022-10-13T08:58:30",
        mutate=(DOCUMENT,),
    ),
    Case(
        name="Evervault's enclave has no user data, and that equals no binding",
        rows=(_BETA_ROW,),
        format=FORMAT,
        parts=raw(_BETA_ROW),
        policy=policy("i-020b6af9246d90e92", *_BETA_PCRS),
        bound="",
        at="2022-10-13T08:58:30",
        refused="report data",
        found="user_data is absent",
    ),
    Case(
        name="Evervault's enclave in debug mode",
        rows=(_DEBUG_ROW,),
        format=FORMAT,
        parts=raw(_DEBUG_ROW),
        policy=policy("i-03ad7cdb817437eeb", *_DEBUG_PCRS),
        bound=b"hello, world!".hex(),
        at="2022-10-12T13:50:30",
        refused="debug",
    ),
    Case(
        name="Evervault's enclave in debug mode, where the policy says so",
        rows=(_DEBUG_ROW,),
        format=FORMAT,
        parts=raw(_DEBUG_ROW),
        policy=policy("i-03ad7cdb817437eeb", *_DEBUG_PCRS, exceptions='["debug"]'),
        bound=b"hello, world!".hex(),
        at="2022-10-12T13:50:30",
        exceptions_used=True,
    ),
    Case(
        name="a document in a certificate, which binds the certificate's key",
        rows=(_NAME_ROW,),
        format=FORMAT,
        parts=in_name(_NAME_ROW),
        policy=_NAME_POLICY,
        bound=public_key(_NAME_ROW),
        at=_NAME_AT,
        mutate=(DOCUMENT,),
    ),
    Case(
        name="the same in PEM",
        rows=(f"{_EVERVAULT}/beta_{_CERTIFICATE}.pem",),
        format=FORMAT,
        parts=in_name(f"{_EVERVAULT}/beta_{_CERTIFICATE}.pem"),
        policy=_NAME_POLICY,
        bound=public_key(f"{_EVERVAULT}/beta_{_CERTIFICATE}.pem"),
        at=_NAME_AT,
    ),
    Case(
        name="the same with Evervault's incorrect registers",
        rows=(_NAME_ROW,),
        format=FORMAT,
        parts=in_name(_NAME_ROW),
        policy=policy("i-0ec0e572c8263d8ff", *[ZERO] * 6),
        bound=public_key(_NAME_ROW),
        at=_NAME_AT,
        refused="pcr 0",
        found=_CERTIFICATE_PCRS[0],
    ),
    Case(
        name="the same for the key of another certificate",
        rows=(_NAME_ROW, f"{_EVERVAULT}/valid-certificate.der"),
        format=FORMAT,
        parts=in_name(_NAME_ROW),
        policy=_NAME_POLICY,
        bound=public_key(f"{_EVERVAULT}/valid-certificate.der"),
        at=_NAME_AT,
        refused="report data",
    ),
    Case(
        name="a debug document in a certificate",
        rows=(f"{_EVERVAULT}/beta_debug-mode-cert-containing-attestation-doc-18-1-23.pem",),
        format=FORMAT,
        parts=in_name(f"{_EVERVAULT}/beta_debug-mode-cert-containing-attestation-doc-18-1-23.pem"),
        policy=policy("i-06e1ffc9a8410edb1", *_CERTIFICATE_PCRS),
        bound=public_key(
            f"{_EVERVAULT}/beta_debug-mode-cert-containing-attestation-doc-18-1-23.pem"
        ),
        at="2023-01-18T15:11",
        refused="debug",
    ),
    Case(
        name="a debug document in base64, which binds a certificate's key",
        rows=(f"{_EVERVAULT}/valid-attestation-doc-base64", f"{_EVERVAULT}/valid-certificate.der"),
        format=FORMAT,
        parts=in_base64(f"{_EVERVAULT}/valid-attestation-doc-base64"),
        policy=policy("i-0918f6c55e3b61d89", *_CERTIFICATE_PCRS),
        bound=public_key(f"{_EVERVAULT}/valid-certificate.der"),
        at="2023-09-18T15:04",
        refused="debug",
    ),
    Case(
        name="Veracruz' enclave",
        rows=(_VERACRUZ_ROW,),
        format=FORMAT,
        parts=raw(_VERACRUZ_ROW),
        policy=_VERACRUZ_POLICY,
        bound=_VERACRUZ_BOUND,
        at=_VERACRUZ_AT,
        mutate=(DOCUMENT,),
    ),
    Case(
        name="Veracruz' enclave with a signature of another document",
        rows=(f"{_VERACRUZ}/aws_nitro_document_bad_sig.cbor",),
        format=FORMAT,
        parts=raw(f"{_VERACRUZ}/aws_nitro_document_bad_sig.cbor"),
        policy=_VERACRUZ_POLICY,
        bound=_VERACRUZ_BOUND,
        at=_VERACRUZ_AT,
        refused="signature",
    ),
    Case(
        name="a document is bound to one nonce",
        rows=(_VERACRUZ_ROW,),
        format=FORMAT,
        parts=raw(_VERACRUZ_ROW),
        policy=_VERACRUZ_POLICY,
        bound="00" * 32,
        at=_VERACRUZ_AT,
        refused="report data",
        found=_VERACRUZ_BOUND,
    ),
    Case(
        name="a document is old after ten minutes",
        rows=(_VERACRUZ_ROW,),
        format=FORMAT,
        parts=raw(_VERACRUZ_ROW),
        policy=_VERACRUZ_POLICY,
        bound=_VERACRUZ_BOUND,
        at="2022-11-09T23:03",
        refused="age",
    ),
    Case(
        name="a leaf lives for three hours, whatever the freshness",
        rows=(_VERACRUZ_ROW,),
        format=FORMAT,
        parts=raw(_VERACRUZ_ROW),
        policy=_VERACRUZ_POLICY,
        bound=_VERACRUZ_BOUND,
        at="2022-11-10T01:53",
        freshness_seconds=1_000_000_000,
        refused="certificate chain validity",
    ),
    Case(
        name="a document of today is not accepted years later",
        rows=(_DSTACK_ROW,),
        format=FORMAT,
        parts=scale(_DSTACK_ROW),
        policy=_DSTACK_POLICY,
        bound=_DSTACK_BOUND,
        at="2027-12-25",
        freshness_seconds=1_000_000_000,
        refused="certificate chain validity",
    ),
    Case(
        name="one image is not another",
        rows=(_DSTACK_ROW,),
        format=FORMAT,
        parts=scale(_DSTACK_ROW),
        policy=policy("i-0827e799ec9232d44", *_QVL_PCRS),
        bound=_DSTACK_BOUND,
        at=_DSTACK_AT,
        refused="pcr 0",
    ),
    Case(
        name="one instance is not another",
        rows=(_DSTACK_ROW,),
        format=FORMAT,
        parts=scale(_DSTACK_ROW),
        policy=policy("i-0fd3fdaad4e904e69", *_DSTACK_PCRS),
        bound=_DSTACK_BOUND,
        at=_DSTACK_AT,
        refused="instance",
        found="i-0827e799ec9232d44",
    ),
]
