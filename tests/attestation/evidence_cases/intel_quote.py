"""What sgx/ and tdx/ of the evidence folder have in common: quotes, and their collateral."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from fedenclave.attestation.format import Parts
from fedenclave.attestation.intel import sgx, tdx
from fedenclave.attestation.intel.import_collateral import split_collateral
from fedenclave.attestation.intel.quote import SGX_TEE, parse_quote

SGX_QUOTE = "sgx/phala/sgx_quote"
SGX_COLLATERAL = "sgx/phala/sgx_quote_collateral.json"
TDX_QUOTE, TDX_COLLATERAL = "tdx/phala/tdx_quote", "tdx/phala/tdx_quote_collateral.json"
SPR_QUOTE = "tdx/gotdx/tdx_prod_quote_SPR_E4.dat"


def read(folder: Path, name: str) -> bytes:
    data = (folder / name).read_bytes()
    if name.endswith((".hex", ".txt")):
        return bytes.fromhex(data.decode().strip().removeprefix("0x"))
    return data


def quote_part(name: str) -> Callable[[Path], Parts]:
    return lambda folder: {"quote": read(folder, name)}


def collateral(name: str, **changes: str) -> Callable[[Path], Mapping[str, bytes]]:
    """The collateral of one file, with some of its files replaced by others of the folder."""

    def bundle(folder: Path) -> Mapping[str, bytes]:
        files = split_collateral((folder / name).read_bytes())
        for suffix, other in changes.items():
            (found,) = [each for each in files if each.endswith(SUFFIXES[suffix])]
            files[found] = (folder / other).read_bytes()
        return files

    return bundle


SUFFIXES = {
    "tcb_info": "00a067110000.json",
    "tdx_tcb_info": "90c06f000000.json",
    "qe_identity": "qe-identity.json",
}


def reported(name: str, tee: int) -> Callable[[Path], bytes]:
    """The report data that is in the quote: for cases that are about something else."""
    versions = sgx.VERSIONS if tee == SGX_TEE else tdx.VERSIONS

    def bound(folder: Path) -> bytes:
        data = read(folder, name)
        if name == SPR_QUOTE:
            data = data[:SPR_SIZE]
        return parse_quote(data, versions, tee).body.report_data

    return bound


SPR_SIZE = 4935
"""go-tdx-guest wrote a text behind this quote, to see whether its verifier minds."""
