"""What a TPM's evidence says, as claims: after appraisal, or (`inspect`) before any check."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fedenclave.attestation.boot_facts import (
    BOOT_APPLICATIONS_PCR,
    BOOT_VARIABLES_PCR,
    SECURE_BOOT_PCR,
    boot_applications,
    boot_variables,
    secure_boot,
)
from fedenclave.attestation.event_log import Event
from fedenclave.attestation.result import Claims
from fedenclave.attestation.tpm.endorsement import Endorsement
from fedenclave.attestation.tpm.key import TpmKey, attribute_names
from fedenclave.attestation.tpm.quote import Attest, CertifiedNv
from fedenclave.attestation.tpm.registers import BANK

LEVEL = "firmware-version"


def claims_of(
    *,
    ak: TpmKey,
    quote: Attest,
    values: Mapping[int, bytes],
    measurement: bytes,
    endorsement: Endorsement | None,
    events: Sequence[Event] | None,
    counter: Attest | None,
) -> Claims:
    """Return the claims of verified evidence.

    Args:
        ak: the key that signed.
        quote: what it signed.
        values: the quoted registers of the SHA-256 bank.
        measurement: what identifies the code.
        endorsement: the EK certificate, where the policy asks for one.
        events: a log that replays to `values`, if there is one.
        counter: the certified counter, if there is one.
    """
    claims = {**key_claims(ak), **quote_claims(quote), "measurements": [measurement.hex()]}
    claims["pcrs"] = register_claims(values)
    identifiers: dict[str, tuple[str, ...]] = {
        "measurement": (measurement.hex(),),
        "attestation-key": (ak.name.hex(),),
    }
    if endorsement is not None:
        claims |= {f"tpm-{what}": name for what, name in endorsement.tpm.items()}
        spki = endorsement.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        identifiers["chip-id"] = (hashlib.sha256(spki).hexdigest(),)
        identifiers["certificate"] = endorsement.fingerprints
    if events is not None:
        claims |= log_claims(events, values)
    if counter is not None:
        claims |= counter_claims(counter)
    return Claims(claims=claims, identifiers=identifiers, levels={LEVEL: quote.firmware_version})


def key_claims(ak: TpmKey) -> dict[str, object]:
    """Return what the key says of itself."""
    return {
        "attestation-key": ak.name.hex(),
        "attestation-key-attributes": attribute_names(ak.attributes),
    }


def quote_claims(quote: Attest) -> dict[str, object]:
    """Return what a quote says besides its registers."""
    return {
        "report-data": quote.extra_data.hex(),
        "qualified-signer": quote.signer.hex(),
        LEVEL: f"{quote.firmware_version:016x}",
        "clock": quote.clock,
        "clock-safe": quote.safe,
        "reset-count": quote.reset_count,
        "restart-count": quote.restart_count,
    }


def register_claims(values: Mapping[int, bytes]) -> dict[str, str]:
    """Return registers by index, in hex."""
    return {str(index): value.hex() for index, value in values.items()}


def log_claims(events: Sequence[Event], values: Mapping[int, bytes]) -> dict[str, object]:
    """Return what the log says about registers that `values` has."""
    claims: dict[str, object] = {}
    if SECURE_BOOT_PCR in values:
        on = secure_boot(events, BANK)
        claims["secure-boot"] = "unknown" if on is None else on
    if BOOT_APPLICATIONS_PCR in values:
        claims["boot-applications"] = [d.hex() for d in boot_applications(events, BANK)]
    if BOOT_VARIABLES_PCR in values:
        claims["boot-variables"] = [
            {"vendor": str(v.vendor), "name": v.name, "value": v.value.hex()}
            for v in boot_variables(events, BANK)
        ]
    return claims


def counter_claims(counter: Attest) -> dict[str, object]:
    """Return the certified counter."""
    body = counter.body
    if not isinstance(body, CertifiedNv):
        return {}
    return {
        "counter": int.from_bytes(body.contents, "big"),
        "counter-name": body.index_name.hex(),
    }
