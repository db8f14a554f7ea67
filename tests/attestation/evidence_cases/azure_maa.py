"""Azure Attestation: recordings of the live service in July 2021, and one token of 2023."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from fedenclave.attestation.azure.maa import FORMAT, TOKEN, jwks_name
from fedenclave.attestation.format import Parts
from fedenclave.attestation.jws import base64url, parse_token
from tests.attestation import fake_azure_attestation
from tests.attestation.cases import Case, seconds

_FOLDER = "azure-maa/"
_AAD = "https://pylarryoattestationaad.wus.attest.azure.net"
_ISOLATED = "https://pylarryoattestationiso.wus.attest.azure.net"
_SHARED = "https://sharedwus.wus.attest.azure.net"
_ISSUERS = (_AAD, _ISOLATED, _SHARED)
_POLICY = """
issuers = [ISSUERS]
policy_hashes = ["z0FRjKS0ssQTNur1V6BV8WIrh9M3fzgTo0EfHRvapWU", "HASH"]
exceptions = []
[sgx]
binding = "runtime-data"
mrenclaves = ["b779202618becb636768e5d902f28d524222735fafb539ea9ba07c3fc171a1c2"]
mrsigners = ["2c1a44952ae8207135c6c29b75b8c029372ee94b677e15c20bd42340f10d41aa"]
product_id = 1
minimum_svn = 1
""".replace("ISSUERS", ", ".join(f'"{issuer}"' for issuer in _ISSUERS)).replace(
    "HASH", "bROrN897ZfWmWY2V0FLUlu3uwk5xatGnKYHn3zBbSlw"
)
_KEYS = "test_attest_open_enclave.certs_sharedwus"
_DAY, _AFTER = "2021-07-01T20:15:00", "2021-07-02T12:00:00"
_FIRST = "test_attest_open_enclave.fakeresource.sgx.0"

# The SDK's name of each recording, how many tokens it has, and which of them are unsigned.
_RECORDINGS: tuple[tuple[str, int, tuple[int, ...]], ...] = (
    ("async.test_attest_sgx_enclave.fakeresource", 4, ()),
    ("async.test_attest_sgx_enclave.sharedwus", 2, ()),
    ("async.test_shared_attest_open_enclave.fakeresource", 4, ()),
    ("async.test_shared_attest_open_enclave.sharedwus", 2, ()),
    ("test_attest_open_enclave.fakeresource", 6, (2, 5)),
    ("test_attest_open_enclave.sharedwus", 3, (2,)),
    ("test_attest_sgx_enclave.fakeresource", 6, ()),
    ("test_attest_sgx_enclave.sharedwus", 3, ()),
)
_KEY_SETS = (
    "async.test_aad_getsigningcertificatesasync.certs_fakeresource",
    "async.test_attest_sgx_enclave.certs_fakeresource",
    "async.test_attest_sgx_enclave.certs_sharedwus",
    "async.test_isolated_getsigningcertificatesasync.certs_fakeresource",
    "async.test_shared_attest_open_enclave.certs_fakeresource",
    "async.test_shared_attest_open_enclave.certs_sharedwus",
    "async.test_shared_getsigningcertificatesasync.certs_sharedwus",
    "async.test_tpm_attestation.certs_fakeresource",
    "test_aad_getsigningcertificates.certs_fakeresource",
    "test_attest_open_enclave.certs_fakeresource",
    "test_attest_open_enclave.certs_sharedwus",
    "test_attest_sgx_enclave.certs_fakeresource",
    "test_attest_sgx_enclave.certs_sharedwus",
    "test_isolated_getsigningcertificates.certs_fakeresource",
    "test_shared_getsigningcertificates.certs_sharedwus",
    "test_tpm_attestation.certs_fakeresource",
)


def _token(name: str) -> Callable[[Path], Parts]:
    return lambda folder: {TOKEN: (folder / _FOLDER / f"{name}.jwt").read_bytes()}


def _key_sets(name: str) -> Callable[[Path], Mapping[str, bytes]]:
    """Return a bundle in which every issuer has this key set: they shared their keys."""

    def read(folder: Path) -> Mapping[str, bytes]:
        data = (folder / _FOLDER / f"{name}.jwks.json").read_bytes()
        return {jwks_name(issuer): data for issuer in _ISSUERS}

    return read


def _held_data(name: str) -> Callable[[Path], bytes]:
    """Return the runtime data of the request to which the token is the answer."""

    def read(folder: Path) -> bytes:
        request = json.loads((folder / _FOLDER / f"{name}.request.json").read_bytes())
        return base64url(request["runtimeData"]["data"].rstrip("=").encode(), "runtime data")

    return read


def _quoted(name: str) -> Callable[[Path], bytes]:
    """Return the report data that the token itself quotes."""

    def read(folder: Path) -> bytes:
        token = parse_token(_token(name)(folder)[TOKEN], "token")
        return token.claims.hexadecimal("x-ms-sgx-report-data", 64)

    return read


def _case(
    about: str,
    name: str = _FIRST,
    refused: str = "",
    *,
    at: str = _DAY,
    keys: str | None = _KEYS,
    policy: str = _POLICY,
    bound: str | Callable[[Path], bytes] | None = None,
    freshness_seconds: int = 600,
    exceptions_used: bool = False,
) -> Case:
    rows = [f"{_FOLDER}{name}.jwt"]
    if keys is not None:
        rows.append(f"{_FOLDER}{keys}.jwks.json")
    if bound is None:
        rows.append(f"{_FOLDER}{name}.request.json")
    return Case(
        name=f"{about}: {name}",
        rows=tuple(rows),
        format=FORMAT,
        parts=_token(name),
        policy=policy,
        bound=_held_data(name) if bound is None else bound,
        at=at,
        refused=refused,
        exceptions_used=exceptions_used,
        collateral=None if keys is None else _key_sets(keys),
        freshness_seconds=freshness_seconds,
        mutate=(TOKEN,) if about == "signed and fresh" and name == _FIRST else (),
    )


def _recorded() -> list[Case]:
    cases = []
    for recording, count, unsigned in _RECORDINGS:
        for number in range(count):
            name = f"{recording}.sgx.{number}"
            if number in unsigned:
                cases.append(_case("of a draft policy", name, "signature algorithm"))
                continue
            cases.append(_case("signed and fresh", name))
            cases.append(_case("expired", name, "token validity", at=_AFTER))
    return cases


_VM = "cvm-guest-attestation.sharedweu.azurevm"
_VM_POLICY = """
issuers = ["https://sharedweu.weu.attest.azure.net", "https://sharedwus.wus.attest.azure.net"]
policy_hashes = ["any"]
exceptions = ["unattested-guest"]
[azurevm]
os_types = ["Windows"]
vm_ids = ["any"]
[azurevm.sevsnpvm]
launch_measurements = [LAUNCH]
host_data = ["any"]
id_key_digests = ["any"]
author_key_digests = ["any"]
vmpl = 0
smt = true
minimum_bootloader_svn = 3
minimum_tee_svn = 0
minimum_snpfw_svn = 8
minimum_microcode_svn = 115
minimum_guest_svn = 0
compliance = ["azure-compliant-cvm"]
""".replace(
    "LAUNCH",
    '"8962535933f5c4b429ec41d6550c187c163aa76f3be1f8d750a272a9d8995023'
    'e8286a2e431a96c36087ac46d4188676"',
)


def _sharedweu_keys(folder: Path) -> Mapping[str, bytes]:
    data = (folder / _FOLDER / f"{_KEYS}.jwks.json").read_bytes()
    return {jwks_name("https://sharedweu.weu.attest.azure.net"): data}


def _signed_by_the_fake(folder: Path) -> Parts:
    """Return the real claims of the virtual machine, under a key that is at hand."""
    token = parse_token(_token(_VM)(folder)[TOKEN].strip(), "token")
    return {TOKEN: fake_azure_attestation.token(dict(token.claims.values))}


def _fake_keys(folder: Path) -> Mapping[str, bytes]:
    del folder
    return {
        jwks_name("https://sharedweu.weu.attest.azure.net"): fake_azure_attestation.key_set(
            first=seconds("2023-01-01")
        )
    }


def _virtual_machine(
    about: str, refused: str = "", *, policy: str = _VM_POLICY, bound: bytes = b"ADE0101"
) -> Case:
    return Case(
        name=f"the claims of a real virtual machine, signed by a fake service: {about}",
        rows=(f"{_FOLDER}{_VM}.jwt",),
        format=FORMAT,
        parts=_signed_by_the_fake,
        policy=policy,
        bound=bound.hex(),
        at=_VM_TIME,
        refused=refused,
        exceptions_used=not refused,
        collateral=_fake_keys,
    )


_VM_TIME = "2023-03-30T10:55:00"
CASES = [
    *_recorded(),
    *(_case(f"by the key of {keys}", keys=keys) for keys in _KEY_SETS),
    _case("for another nonce", refused="report data", bound="00" * 64),
    _case(
        "by the report data itself",
        policy=_POLICY.replace('"runtime-data"', '"report-data"'),
        bound=_quoted(_FIRST),
    ),
    _case("older than the policy allows", refused="token age", at="2021-07-01T21:00:00"),
    _case("before it was made", refused="token validity", at="2021-07-01T20:13:00"),
    _case("without its key set", refused="collateral", keys=None),
    _case(
        "for another enclave",
        refused="mrenclave",
        policy=_POLICY.replace('"b779', '"b778'),
    ),
    _case("for another signer", refused="mrsigner", policy=_POLICY.replace('"2c1a', '"2c1b')),
    _case("for another product", refused="product id", policy=_POLICY.replace("id = 1", "id = 2")),
    _case("for a newer enclave", refused="svn", policy=_POLICY.replace("svn = 1", "svn = 2")),
    _case(
        "by an issuer that the policy does not name",
        refused="issuer",
        policy=_POLICY.replace(f'"{_AAD}", ', ""),
    ),
    _case(
        "under another policy of the provider",
        refused="policy hash",
        policy=_POLICY.replace("z0FRjKS0", "z0FRjKS1"),
    ),
    Case(
        name="a virtual machine's, without a key set",
        rows=(f"{_FOLDER}{_VM}.jwt",),
        format=FORMAT,
        parts=lambda folder: {TOKEN: _token(_VM)(folder)[TOKEN].strip()},
        policy=_VM_POLICY,
        bound=b"ADE0101".hex(),
        at=_VM_TIME,
        refused="collateral",
    ),
    Case(
        name="a virtual machine's, with another issuer's key set",
        rows=(f"{_FOLDER}{_VM}.jwt",),
        format=FORMAT,
        parts=lambda folder: {TOKEN: _token(_VM)(folder)[TOKEN].strip()},
        policy=_VM_POLICY,
        bound=b"ADE0101".hex(),
        at=_VM_TIME,
        collateral=_sharedweu_keys,
        refused="signing key",
    ),
    Case(
        name="a virtual machine's, with the line's end of its file",
        rows=(f"{_FOLDER}{_VM}.jwt",),
        format=FORMAT,
        parts=_token(_VM),
        policy=_VM_POLICY,
        bound=b"ADE0101".hex(),
        at=_VM_TIME,
        refused="structure",
    ),
    _virtual_machine("as they are"),
    _virtual_machine(
        "where the code that asked must be measured",
        "guest",
        policy=_VM_POLICY.replace('"unattested-guest"', ""),
    ),
    _virtual_machine("another nonce", "report data", bound=b"ADE0102"),
    _virtual_machine("Linux wanted", "os type", policy=_VM_POLICY.replace("Windows", "Linux")),
    _virtual_machine(
        "newer firmware wanted",
        "snpfw svn",
        policy=_VM_POLICY.replace("snpfw_svn = 8", "snpfw_svn = 9"),
    ),
    _virtual_machine(
        "another paravisor wanted",
        "launch measurement",
        policy=_VM_POLICY.replace('"8962', '"8963'),
    ),
]
