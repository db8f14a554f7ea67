"""One error tree, cut by whose fault it is.

Rules:
  * A message says what, got, want, in lower case; the hint says what to do next.
  * No message carries a key, a parameter or an example count.
  * Across the enclave's edge goes only a member of a closed enum, never an exception's text.
  * A caller's own bug stays a ValueError or TypeError.
  * A message is one line of printable characters, whatever a peer's bytes put into it: it goes to
    terminals and logs, where other characters could forge lines or hide some.
"""

from __future__ import annotations

from enum import StrEnum


def printable(text: str) -> str:
    """Return `text` with everything that does not print written as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class FedEnclaveError(Exception):
    """Base of every error that a user or a peer can cause."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        """Keep `message` (what, got, want) and `hint` (what to do next) apart."""
        self.message, self.hint = printable(message), printable(hint)
        super().__init__(self.message)

    def __str__(self) -> str:
        """Return the message, and the hint in brackets where there is one."""
        return f"{self.message} (hint: {self.hint})" if self.hint else self.message


class MalformedMessage(FedEnclaveError):
    """A peer's bytes do not decode. Nothing was changed by them."""


class ConfigurationError(FedEnclaveError):
    """A file or option that the user wrote cannot be used."""


class EnclaveRefused(FedEnclaveError):
    """The client refuses this enclave, announcement or model, and sends nothing."""


class Reason(StrEnum):
    """Why the enclave refuses one update. Closed: a reason never carries a value (T13)."""

    MALFORMED = "malformed"
    UNKNOWN_CLIENT = "unknown-client"
    BAD_SIGNATURE = "bad-signature"
    WRONG_FEDERATION = "wrong-federation"
    WRONG_MANIFEST = "wrong-manifest"
    WRONG_ROUND = "wrong-round"
    WRONG_BASE_MODEL = "wrong-base-model"
    WRONG_SCHEMA = "wrong-schema"
    NOT_IN_COHORT = "not-in-cohort"
    REPLAYED = "replayed"
    ENCLAVE_OLDER_THAN_CLIENT = "enclave-older-than-client"
    WRONG_LENGTH = "wrong-length"
    CANNOT_OPEN = "cannot-open"
    BAD_NUM_EXAMPLES = "bad-num-examples"
    BAD_METRIC = "bad-metric"
    NOT_FINITE = "not-finite"
    OVER_MAX_ABS = "over-max-abs"
    OVER_NORM = "over-norm"
    CHANGED_AFTER_ADMISSION = "changed-after-admission"


class Refusal(StrEnum):
    """Why the enclave refuses a request of its host. Closed."""

    MALFORMED = "malformed-request"
    WRONG_STATE = "wrong-state"
    MANIFEST = "manifest-unusable"
    NOT_APPROVED = "manifest-not-approved"
    WRONG_MODEL = "wrong-model"
    UNKNOWN_CLIENT = "cohort-names-an-unknown-client"
    COHORT_TOO_SMALL = "cohort-below-min-cohort"
    DIFFERENCING = "cohort-too-close-to-an-earlier-release"
    RULE = "rule-unusable"
    NOT_A_PEER = "not-a-peer"
    PEER_MESSAGE = "peer-message-unusable"
    SET_ASIDE = "update-set-aside"
    STORAGE = "storage-unreadable"
    KEYS = "released-keys-unusable"
    STATE = "state-unusable"
    ROLLED_BACK = "state-rolled-back"
    ATTESTATION = "attestation-unavailable"
    INTERNAL = "internal"


class UpdateRejected(FedEnclaveError):
    """The enclave refuses one update; the round goes on."""

    def __init__(self, reason: Reason) -> None:
        """Keep the closed reason; it is the whole message."""
        super().__init__(f"update rejected: {reason.value}")
        self.reason = reason


class RequestRefused(FedEnclaveError):
    """The enclave cannot do what its host asked, now or ever. Its state is as before."""

    def __init__(self, refusal: Refusal, *, hint: str = "") -> None:
        """Keep the closed refusal; it is the whole message."""
        super().__init__(f"enclave refused the request: {refusal.value}", hint=hint)
        self.refusal = refusal
