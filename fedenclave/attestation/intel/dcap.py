"""Around dcap-qvl: the library that verifies DCAP quotes and reads Intel's certificate extension.

The library is asked for the whole verification, signatures to TCB status, with the root and the
time as arguments and no policy of its own (`claims_only`), and what it says is compared with what
verify.py found. Everything that it can raise becomes a message.

Source: dcap-qvl 0.7, `_dcap_qvl.pyi`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dcap_qvl import (  # type: ignore[import-untyped]
    QuoteCollateralV3,
    QuotePolicy,
    QuoteVerifier,
    parse_pck_extension_from_pem,
)

from fedenclave.protocol.errors import MalformedMessage

_PANIC = "PanicException"
"""Of pyo3: a BaseException without a module that could be imported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PckExtension:
    """What the SGX extension of a PCK certificate says of the platform.

    Attributes:
        ppid: platform provisioning id, 16 bytes: one for each processor package, for ever.
        platform_instance_id: 16 bytes that change when the platform's keys are made anew; None
            for single-package platforms (Processor CA).
        cpu_svn: SVNs of the 16 SGX TCB components.
        sgx_type: 0 standard, 1 scalable, 2 scalable with memory integrity.
    """

    ppid: bytes
    platform_instance_id: bytes | None
    cpu_svn: bytes
    pce_svn: int
    pce_id: bytes
    fmspc: bytes
    sgx_type: int


class LibraryRefused(Exception):
    """The library refuses the quote or its collateral; the text says why."""


def parse_pck_extension(pem: bytes) -> PckExtension:
    """Return what the SGX extension of the certificate in `pem` says.

    Raises:
        MalformedMessage: the extension is missing, or a field of it is missing or wrong.
    """
    try:
        found = _guarded(parse_pck_extension_from_pem, pem)
        instance = found.platform_instance_id
        extension = PckExtension(
            ppid=bytes(found.ppid),
            platform_instance_id=None if instance is None else bytes(instance),
            cpu_svn=bytes(found.cpu_svn),
            pce_svn=int(found.pce_svn),
            pce_id=bytes(found.pce_id),
            fmspc=bytes(found.fmspc),
            sgx_type=int(found.sgx_type),
        )
    except LibraryRefused as error:
        raise MalformedMessage("pck certificate has no sgx extension that can be read") from error
    sizes = {"ppid": (extension.ppid, 16), "pceid": (extension.pce_id, 2)}
    if instance is not None:
        sizes["platform instance id"] = (bytes(instance), 16)
    for name, (value, size) in sizes.items():
        if len(value) != size:
            raise MalformedMessage(f"pck certificate has a {name} of {len(value)} bytes")
    if extension.sgx_type not in (0, 1, 2):
        raise MalformedMessage(f"pck certificate has sgx type {extension.sgx_type}, want 0, 1 or 2")
    return extension


def verify_by_library(
    quote: bytes, collateral: Mapping[str, str | bytes], now: int, root: bytes
) -> Mapping[str, Any]:
    """Return the library's claims for a quote that it accepts.

    Args:
        quote: without anything after its end.
        collateral: the arguments of `QuoteCollateralV3`.
        now: Unix seconds.
        root: DER of the pinned root.

    Raises:
        LibraryRefused: it does not accept it.
    """
    given = _guarded(QuoteCollateralV3, **collateral)
    policy = _guarded(QuotePolicy.claims_only, now)
    verifier = _guarded(QuoteVerifier, root)
    claims = json.loads(_guarded(verifier.verify_with_policy, quote, given, now, policy).to_json())
    if not isinstance(claims, dict):
        raise LibraryRefused("its claims are no table")
    return claims


def _guarded(call: Any, *args: Any, **kwargs: Any) -> Any:
    """Return what the library's `call` returns, and let none of its errors through."""
    try:
        return call(*args, **kwargs)
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:
        raise LibraryRefused(str(error).removeprefix("Verification failed: ")[:200]) from error
    except BaseException as error:
        # A panic of the library's code; anything else (an interrupt) is not ours to stop.
        if type(error).__name__ != _PANIC:
            raise
        raise LibraryRefused("it panicked") from error
