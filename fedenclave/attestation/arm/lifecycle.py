"""Judge the security lifecycle of an Arm platform: secured, or in which other state.

A claim of 16 bits: the upper byte is the state, the lower byte is the implementation's own.

Source: RFC 9783, section 4.3.1 (PSA); draft-ffm-rats-cca-token-03, "Security Lifecycle" (CCA): the
same numbers, other names.
"""

from __future__ import annotations

from collections.abc import Mapping

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.result import Trust

MAX_LIFECYCLE = 0xFFFF
SECURED = "secured"


def states(prefix: str) -> Mapping[int, str]:
    """Return the states by upper byte; `prefix` is what the root of trust is called."""
    return {
        0x00: "unknown",
        0x10: "assembly-and-test",
        0x20: f"{prefix}-provisioning",
        0x30: SECURED,
        0x40: f"non-{prefix}-debug",
        0x50: f"recoverable-{prefix}-debug",
        0x60: "decommissioned",
    }


def exceptions(prefix: str) -> frozenset[str]:
    """Return the states that a policy may let pass: the two debug states."""
    return frozenset(state for state in states(prefix).values() if state.endswith("-debug"))


def state_of(lifecycle: int, prefix: str) -> str:
    """Return the state's name, or `undefined`."""
    return states(prefix).get(lifecycle >> 8, "undefined")


def debug_status(lifecycle: int, prefix: str) -> str:
    """Return `dbgstat` (RFC 9711, section 4.2.9)."""
    return "enabled" if state_of(lifecycle, prefix) != SECURED else "disabled"


def check_lifecycle(checklist: Checklist, lifecycle: int, prefix: str) -> None:
    """Check that the platform is secured, or in a debug state that an exception names."""
    state = state_of(lifecycle, prefix)
    checklist.want(
        "lifecycle",
        holds=state == SECURED,
        found=f"{lifecycle:#06x} ({state})",
        wanted="0x3000 to 0x30ff (secured)",
        trust=Trust.CONFIGURATION,
        exception=state if state in exceptions(prefix) else "",
        hint="the platform can be debugged, or is not provisioned; its memory is not protected",
    )
