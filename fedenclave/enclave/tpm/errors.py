"""The one error of everything in this package, and what a TPM's response codes mean.

Source: TPM 2.0 Library, Part 2, section 6.6 (TPM_RC).
"""

from __future__ import annotations

from fedenclave.protocol.errors import FedEnclaveError

# Format-zero codes and warnings.
INITIALIZE = 0x100
FAILURE = 0x101
DISABLED = 0x120
COMMAND_CODE = 0x143
NV_UNINITIALIZED = 0x14A
NV_SPACE = 0x14B
OBJECT_MEMORY = 0x902
SESSION_MEMORY = 0x903
SESSION_HANDLES = 0x905
OBJECT_HANDLES = 0x906
YIELDED = 0x908
TESTING = 0x90A
NV_RATE = 0x920
LOCKOUT = 0x921
RETRY = 0x922

# Format-one codes: the number alone, without the parameter, handle or session it speaks of.
HIERARCHY = 0x085
HANDLE = 0x08B
AUTH_FAIL = 0x08E
POLICY_FAIL = 0x09D
INTEGRITY = 0x09F
TICKET = 0x0A0
BAD_AUTH = 0x0A2
CURVE = 0x0A6

TRY_AGAIN = frozenset({YIELDED, TESTING, NV_RATE, RETRY})
"""The TPM has done nothing yet and wants the command once more."""

_FORMAT_ONE = 0x080
_FORMAT_ONE_NUMBER = 0x03F
_FORMAT_ZERO = 0xD7F
"""Error number, version, vendor and severity: what is left is reserved."""

_AUTHORISATION_SET = "its hierarchies must have empty authorisation values; clear them, for "
_AUTHORISATION_SET += "example with `tpm2_changeauth`"
_MEMORY = "another program left something loaded; use the kernel's resource manager, /dev/tpmrm0"
_MEANINGS = {
    INITIALIZE: ("not started", "the firmware has not sent TPM2_Startup"),
    FAILURE: ("in failure mode", "only a power cycle, or its maker, can help"),
    DISABLED: ("hierarchy disabled", "enable the hierarchies in the machine's firmware"),
    COMMAND_CODE: ("command not implemented", "is it a TPM 2.0?"),
    NV_UNINITIALIZED: ("never written", ""),
    NV_SPACE: ("no space left in NV memory", "remove indices that nothing uses"),
    OBJECT_MEMORY: ("no room for another object", _MEMORY),
    SESSION_MEMORY: ("no room for another session", _MEMORY),
    SESSION_HANDLES: ("no room for another session", _MEMORY),
    OBJECT_HANDLES: ("no room for another object", _MEMORY),
    LOCKOUT: ("locked out after wrong authorisations", "`tpm2_dictionarylockout -c` ends it"),
    HIERARCHY: ("hierarchy disabled", "enable the hierarchies in the machine's firmware"),
    HANDLE: ("nothing has this handle", ""),
    AUTH_FAIL: ("authorisation refused", _AUTHORISATION_SET),
    BAD_AUTH: ("authorisation refused", _AUTHORISATION_SET),
    POLICY_FAIL: ("policy not satisfied", ""),
    INTEGRITY: ("integrity check failed", "these bytes are another TPM's, or were changed"),
    TICKET: ("ticket refused", "these bytes are another TPM's, or were changed"),
    CURVE: ("curve not supported", "the TPM must know NIST P-256"),
}


class TpmError(FedEnclaveError):
    """The TPM cannot be reached, refuses, or answers with what is no answer.

    `code` is the response code without what it speaks of, or 0 where there is none.
    """

    def __init__(self, message: str, *, hint: str = "", code: int = 0) -> None:
        """Keep the code beside the message."""
        super().__init__(message, hint=hint)
        self.code = code


def number(code: int) -> int:
    """Return a response code without the parameter, handle or session that it speaks of."""
    if code & _FORMAT_ONE:
        return _FORMAT_ONE | (code & _FORMAT_ONE_NUMBER)
    return code & _FORMAT_ZERO


def refused(command: str, code: int) -> TpmError:
    """Return the error for a command that the TPM answered with `code`, which is not 0."""
    meaning, hint = _MEANINGS.get(number(code), ("refused", ""))
    return TpmError(
        f"the tpm answers {command} with {code:#x}: {meaning}", hint=hint, code=number(code)
    )
