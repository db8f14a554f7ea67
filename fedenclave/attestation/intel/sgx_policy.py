"""What a policy says about an SGX enclave, and the comparison with its report.

The measurement alone says what code runs. The signer alone does not: all that it has signed would
do, so its ids must be pinned besides, and so must the version of what the loader passes in.

Source: Intel Software Developer's Manual, volume 3D, "enclave attributes", REPORT and key
separation and sharing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.claimed_tcb import TCB_EXCEPTIONS
from fedenclave.attestation.intel import tcb_policy
from fedenclave.attestation.intel.quote import EnclaveReport
from fedenclave.attestation.pins import (
    take_hex,
    take_hexes,
    take_hexes_or_any,
    take_texts_or_any,
)
from fedenclave.attestation.result import Trust
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.toml_table import Table

INIT, DEBUG, MODE64 = 1 << 0, 1 << 1, 1 << 2
"""Bits of the enclave's attribute flags."""

_SVN = re.compile(r"0|[1-9][0-9]{0,4}")
ALWAYS = frozenset(
    {
        "mode",
        "mrenclave",
        "mrsigner",
        "isv prod id",
        "isv svn",
        "isv ext prod id",
        "isv family id",
        "config id",
        "config svn",
        "flags",
        "xfrm",
        "misc select",
    }
)
"""Names of the checks that `check_enclave` always makes."""

EXCEPTIONS = frozenset({"debug"}) | {
    name for name in TCB_EXCEPTIONS if not name.startswith("td-relaunch")
}
TEMPLATE = f"""\
# sgx: an enclave's DCAP quote.
[attestation.sgx]
# The enclave's measurement, 64 hex digits: `MRENCLAVE` of `gramine-sgx-sigstruct-view` or
# `sgx_sign dump`. Or ["any"], and then the signer must be pinned.
mrenclave = ["{"00" * 32}"]
# SHA-256 of the signer's RSA modulus, 64 hex digits: `MRSIGNER` there. Or ["any"].
mrsigner = ["any"]
# Product id and least security version, as the signer wrote them into the enclave.
isv_prod_id = 0
min_isv_svn = 0
# The signer's further ids (key separation and sharing), 32 hex digits each; zeros: none. ["any"]
# only where mrenclave is pinned: a signer's other products have other ids.
isv_ext_prod_id = ["{"00" * 16}"]
isv_family_id = ["{"00" * 16}"]
# What the loader passes in (key separation and sharing), 128 hex digits; zeros: nothing.
config_id = "{"00" * 64}"
# Its version, which the loader passes in with it, in decimal; ["any"] only where mrenclave is
# pinned.
config_svn = ["0"]
# Attribute flags as in the quote, 16 hex digits: 05 is initialised and 64-bit, 85 the same with
# key separation and sharing.
flags = ["0500000000000000"]
# Processor extensions that the enclave may use (XFRM), 16 hex digits each; or ["any"].
xfrm = ["any"]
# Extensions of saved state (MISCSELECT), 8 hex digits each.
misc_select = ["00000000"]
{tcb_policy.TEMPLATE}\
{
    tcb_policy.exceptions_template(
        "debug: the host can read the enclave's memory, for tests only.", EXCEPTIONS
    )
}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SgxPins:
    """The policy; None stands for `["any"]`."""

    mrenclave: tuple[bytes, ...] | None
    mrsigner: tuple[bytes, ...] | None
    isv_prod_id: int
    min_isv_svn: int
    isv_ext_prod_id: tuple[bytes, ...] | None
    isv_family_id: tuple[bytes, ...] | None
    config_id: bytes
    config_svn: tuple[int, ...] | None
    flags: tuple[bytes, ...]
    xfrm: tuple[bytes, ...] | None
    misc_select: tuple[bytes, ...]
    tcb: tcb_policy.TcbPins


def read_policy(table: Table) -> SgxPins:
    """Return the pins.

    Raises:
        ConfigurationError: one is missing or wrong, neither enclave nor signer is pinned, or only
            the signer is and one of its ids, which tell its enclaves apart, is not.
    """
    pins = SgxPins(
        mrenclave=take_hexes_or_any(table, "mrenclave", sizes=(32,)),
        mrsigner=take_hexes_or_any(table, "mrsigner", sizes=(32,)),
        isv_prod_id=table.take_int("isv_prod_id", low=0, high=2**16 - 1),
        min_isv_svn=table.take_int("min_isv_svn", low=0, high=2**16 - 1),
        isv_ext_prod_id=take_hexes_or_any(table, "isv_ext_prod_id", sizes=(16,)),
        isv_family_id=take_hexes_or_any(table, "isv_family_id", sizes=(16,)),
        config_id=take_hex(table, "config_id", sizes=(64,)),
        config_svn=_take_config_svn(table),
        flags=take_hexes(table, "flags", sizes=(8,)),
        xfrm=take_hexes_or_any(table, "xfrm", sizes=(8,)),
        misc_select=take_hexes(table, "misc_select", sizes=(4,)),
        tcb=tcb_policy.take_tcb_pins(table),
    )
    if pins.mrenclave is None and pins.mrsigner is None:
        raise ConfigurationError(
            f"{table.where} accepts any mrenclave and any mrsigner, want one of them pinned",
            hint="without both, every enclave of anybody would do",
        )
    told_apart = {
        "isv_ext_prod_id": pins.isv_ext_prod_id,
        "isv_family_id": pins.isv_family_id,
        "config_svn": pins.config_svn,
    }
    unpinned = [name for name, values in told_apart.items() if values is None]
    if pins.mrenclave is None and unpinned:
        raise ConfigurationError(
            f"{table.where} accepts any mrenclave and any {' and '.join(unpinned)}, want values",
            hint="by the signer alone, every other enclave of that signer would do",
        )
    return pins


def _take_config_svn(table: Table) -> tuple[int, ...] | None:
    texts = take_texts_or_any(table, "config_svn", may_be_empty=True)
    if texts is None:
        return None
    if not texts or not all(_SVN.fullmatch(text) and int(text) < 2**16 for text in texts):
        raise ConfigurationError(
            f"{table.where} config_svn is {' '.join(texts)[:100]!r}, want numbers from 0 to 65535 "
            'as texts, or ["any"] to accept all'
        )
    return tuple(int(text) for text in texts)


def check_enclave(checklist: Checklist, enclave: EnclaveReport, pins: SgxPins) -> None:
    """Compare a verified enclave's report with the policy."""
    running = INIT | MODE64
    checklist.want(
        "mode",
        holds=enclave.flags & running == running,
        found=f"flags {enclave.flags:#x}",
        wanted="initialised, and 64-bit",
        trust=Trust.CONFIGURATION,
    )
    _want(checklist, "mrenclave", enclave.mrenclave, pins.mrenclave, Trust.EXECUTABLES)
    _want(checklist, "mrsigner", enclave.mrsigner, pins.mrsigner, Trust.EXECUTABLES)
    checklist.want(
        "isv prod id",
        holds=enclave.isv_prod_id == pins.isv_prod_id,
        found=enclave.isv_prod_id,
        wanted=pins.isv_prod_id,
        trust=Trust.EXECUTABLES,
    )
    checklist.want(
        "isv svn",
        holds=enclave.isv_svn >= pins.min_isv_svn,
        found=enclave.isv_svn,
        wanted=f"at least {pins.min_isv_svn}",
        trust=Trust.EXECUTABLES,
        hint="the enclave is older than the policy accepts",
    )
    flags = enclave.attributes[:8]
    _want(
        checklist,
        "isv ext prod id",
        enclave.isv_ext_prod_id,
        pins.isv_ext_prod_id,
        Trust.EXECUTABLES,
    )
    _want(checklist, "isv family id", enclave.isv_family_id, pins.isv_family_id, Trust.EXECUTABLES)
    _want(checklist, "config id", enclave.config_id, (pins.config_id,), Trust.CONFIGURATION)
    svns = pins.config_svn
    checklist.want(
        "config svn",
        holds=svns is None or enclave.config_svn in svns,
        found=enclave.config_svn,
        wanted="any" if svns is None else " or ".join(map(str, svns)),
        trust=Trust.CONFIGURATION,
    )
    _want(checklist, "flags", flags, pins.flags, Trust.CONFIGURATION)
    _want(checklist, "xfrm", enclave.xfrm, pins.xfrm, Trust.CONFIGURATION)
    _want(checklist, "misc select", enclave.misc_select, pins.misc_select, Trust.CONFIGURATION)


def _want(
    checklist: Checklist, name: str, found: bytes, pins: tuple[bytes, ...] | None, trust: Trust
) -> None:
    checklist.want(
        name,
        holds=pins is None or found in pins,
        found=found,
        wanted="any" if pins is None else " or ".join(pin.hex() for pin in pins),
        trust=trust,
        hint="it is not what the policy pins in [attestation.sgx]",
    )
