"""Intel's TCB status as a token says it, where a vendor's service has judged the quote.

Only `UpToDate` passes by itself. Each other status is an exception of its own, which a policy must
name; `Revoked`, and a status that is not listed here, pass by none.

Source: Intel PCS API version 4, TCB info, `tcbStatus`.
"""

from __future__ import annotations

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.result import Trust

UP_TO_DATE = "UpToDate"
EXCEPTION_OF = {
    "SWHardeningNeeded": "tcb-sw-hardening-needed",
    "ConfigurationNeeded": "tcb-configuration-needed",
    "ConfigurationAndSWHardeningNeeded": "tcb-configuration-and-sw-hardening-needed",
    "OutOfDate": "tcb-out-of-date",
    "OutOfDateConfigurationNeeded": "tcb-out-of-date-configuration-needed",
    "TDRelaunchAdvised": "td-relaunch-advised",
    "TDRelaunchAdvisedConfigurationNeeded": "td-relaunch-advised-configuration-needed",
}
TCB_EXCEPTIONS = frozenset(EXCEPTION_OF.values())


def check_tcb_status(checklist: Checklist, status: str) -> None:
    """Check that Intel calls the machine's TCB up to date."""
    exception = EXCEPTION_OF.get(status, "")
    checklist.want(
        "tcb status",
        holds=status == UP_TO_DATE,
        found=status,
        wanted=UP_TO_DATE,
        trust=Trust.HARDWARE,
        hint="the operator must update the machine's firmware"
        + (f"; or the policy excepts {exception}" if exception else ""),
        exception=exception,
    )
