"""Appraise what an Azure Attestation token claims about a whole virtual machine, type `azurevm`.

Azure's agent in the guest sends the vTPM's quote and boot log, and the hardware's report, to the
service, which says what it found in them. It gives no register's value, so nothing here tells which
program runs: what is pinned is the paravisor, the machine, and that its boot was not tampered with.
So a policy must name the exception `unattested-guest`. The format azure-vm has the registers.

Source: as maa_policy.py; Azure/confidential-computing-cvm-guest-attestation for the claims
`x-ms-azurevm-*`.
"""

from __future__ import annotations

import base64
import binascii

from fedenclave.attestation.azure.maa_claims import (
    ALWAYS_BY_TYPE,
    DEBUG,
    RUNTIME,
    TYPE,
    appraise_snp,
    appraise_tdx,
    check_flag,
    check_guest,
    choose,
)
from fedenclave.attestation.azure.maa_policy import TdxPins, VmPins
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.result import Claims, Trust
from fedenclave.attestation.strict_json import JsonObject
from fedenclave.protocol.errors import MalformedMessage

ISOLATION, VM_ID = "x-ms-isolation-tee", "vm-id"
BOOT_KEYS, TEST_SIGNING = "boot-keys", "test-signing"
EXCEPTIONS = frozenset({BOOT_KEYS, TEST_SIGNING})
_PREFIX = "x-ms-azurevm-"
_BOOT_FLAGS = {
    "bootdebug-enabled": (False, DEBUG),
    "kerneldebug-enabled": (False, DEBUG),
    "hypervisordebug-enabled": (False, DEBUG),
    "debuggersdisabled": (True, DEBUG),
    "testsigning-enabled": (False, TEST_SIGNING),
    "flightsigning-enabled": (False, TEST_SIGNING),
    "dbvalidated": (True, BOOT_KEYS),
    "dbxvalidated": (True, BOOT_KEYS),
    "default-securebootkeysvalidated": (True, BOOT_KEYS),
}
"""What a token says of the boot: what it must say, and the exception for what it says instead."""
ALWAYS = frozenset(
    {
        "isolation tee",
        "secureboot",
        *(f"{_PREFIX}{name}" for name in _BOOT_FLAGS),
        "os type",
        "vm id",
    }
)
"""Names of the checks that are made of every virtual machine, besides those of its TEE."""


def appraise_vm(checklist: Checklist, claims: JsonObject, pins: VmPins, bound: bytes) -> Claims:
    """Return the claims about a virtual machine, and about the TEE that it runs in."""
    _check_nonce(checklist, claims, bound)
    check_guest(checklist, measured=False)
    tee = claims.table(ISOLATION)
    kind = tee.text(TYPE)
    chosen = choose(checklist, "isolation tee", pins.tee, kind)
    check_flag(checklist, claims, "secureboot", wanted=True)
    for name, (wanted, exception) in _BOOT_FLAGS.items():
        check_flag(checklist, claims, f"{_PREFIX}{name}", wanted=wanted, exception=exception)
    system, vm = claims.text(f"{_PREFIX}ostype"), claims.text(f"{_PREFIX}vmid")
    for name, found, accepted in (("os type", system, pins.os_types), ("vm id", vm, pins.vm_ids)):
        checklist.want(
            name,
            holds=accepted is None or found in accepted,
            found=found,
            wanted="any" if accepted is None else " or ".join(accepted),
            trust=Trust.INSTANCE_IDENTITY,
            hint="it is another machine than the policy accepts",
        )
    if isinstance(chosen, TdxPins):
        inner = appraise_tdx(checklist, tee, chosen, bound)
    else:
        inner = appraise_snp(checklist, tee, chosen, bound)
    checklist.check_made(ALWAYS_BY_TYPE[kind])
    return Claims(
        claims={**inner.claims, "isolation-tee": kind, "os-type": system, "vm-id": vm},
        identifiers={**inner.identifiers, "vm-id": (vm,)},
        levels=inner.levels,
    )


def _check_nonce(checklist: Checklist, claims: JsonObject, bound: bytes) -> None:
    text = claims.table(RUNTIME).table("client-payload").text("nonce")
    try:
        nonce = base64.b64decode(text.encode(), validate=True)
    except binascii.Error as error:
        raise MalformedMessage(f"{claims.what} has a nonce that is not base64") from error
    checklist.want(
        "report data",
        holds=nonce == bound,
        found=nonce.decode(errors="backslashreplace"),
        wanted=bound.decode(errors="backslashreplace"),
        trust=Trust.INSTANCE_IDENTITY,
        hint="it is for another nonce, key or manifest: old, or made for somebody else; nothing "
        "was sent",
    )
