"""The policy for Confidential Space tokens: its pins, and their table in TOML.

Source: Google Cloud, "Attestation token claims" (reference of Confidential Space), which lists the
values of `hwmodel`, `support_attributes` and `restart_policy`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fedenclave.attestation.pins import take_some_texts, take_texts_or_any
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.toml_table import Table

PKI, OIDC = "PKI", "OIDC"
CRL, NONE = "crl", "none"
HARDWARE = ("GCP_AMD_SEV", "GCP_AMD_SEV_ES", "GCP_INTEL_TDX")
"""`GCP_SHIELDED_VM` is left out: its memory is not encrypted."""
SUPPORT = ("LATEST", "STABLE", "USABLE")
RESTART = ("Always", "OnFailure", "Never")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_VERSION = re.compile(r"(?:20)?(?:2[2-9]|[3-9][0-9])(?:0[1-9]|1[0-2])[0-9]{2}")
"""Year (images exist since 2022), month, and number within the month."""

TEMPLATE = """\
# Google Confidential Space: a token in which Google Cloud says what runs in a Confidential VM.
[attestation.confidential-space]
# Kinds of token: "PKI" (verified offline to Google's root, the better choice), "OIDC" (needs the
# JWKS in the collateral bundle), or both.
token_types = ["PKI"]
# "crl": Google's root must not have revoked the intermediate (needs the list in the collateral
# bundle). "none": PKI tokens are accepted without that list.
revocation = "crl"
# `audience` of the token request: what FedEnclave's own attester asks for.
audiences = ["fedenclave"]
# Digest of the aggregator's container image, as `docker push` or the registry shows it.
image_digests = ["sha256:0000000000000000000000000000000000000000000000000000000000000000"]
# "GCP_INTEL_TDX", "GCP_AMD_SEV_ES", "GCP_AMD_SEV": the VM's --confidential-compute-type.
hardware = ["GCP_INTEL_TDX"]
# The VM image must have every one of these: "LATEST", "STABLE", "USABLE".
support_attributes = ["STABLE"]
# Least version of the VM image: year, month and number, two digits each, as its name ends.
minimum_swversion = "250800"
# The container's whole command line, `args` of the token; or ["any"].
args = ["/usr/local/bin/aggregator"]
# What may replace the image's CMD: [] for nothing, the very list, or ["any"].
cmd_override = []
# Environment variables that the operator may set, each as "NAME=value"; [] for none; or ["any"].
env_override = []
# "Never", "OnFailure", "Always".
restart_policies = ["Never"]
# Whether Google may collect the VM's memory usage.
memory_monitoring = false
# Projects, zones and service accounts that may run it; or ["any"].
projects = ["any"]
zones = ["any"]
service_accounts = ["any"]
# "debug": an image with SSH for its operator. "unsupported-image": without the attributes above.
# "tcb-out-of-date" and others (attestation/google/README.md): an Intel TDX machine that is not up
# to date.
exceptions = []
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """What the policy accepts; None is the literal `["any"]`."""

    token_types: tuple[str, ...]
    revocation: str
    audiences: tuple[str, ...]
    image_digests: tuple[str, ...]
    hardware: tuple[str, ...]
    support_attributes: tuple[str, ...]
    minimum_swversion: int
    args: tuple[str, ...] | None
    cmd_override: tuple[str, ...] | None
    env_override: tuple[str, ...] | None
    restart_policies: tuple[str, ...]
    memory_monitoring: bool
    projects: tuple[str, ...] | None
    zones: tuple[str, ...] | None
    service_accounts: tuple[str, ...] | None


def read_policy(table: Table) -> Pins:
    """Return the pins of the table `[attestation.confidential-space]`.

    Raises:
        ConfigurationError: one is missing or wrong.
    """
    return Pins(
        token_types=_take_choices(table, "token_types", (PKI, OIDC)),
        revocation=table.take_choice("revocation", (CRL, NONE)),
        audiences=take_some_texts(table, "audiences"),
        image_digests=_take_digests(table),
        hardware=_take_choices(table, "hardware", HARDWARE),
        support_attributes=_take_choices(table, "support_attributes", SUPPORT),
        minimum_swversion=_take_version(table),
        args=take_texts_or_any(table, "args", may_be_empty=True),
        cmd_override=take_texts_or_any(table, "cmd_override", may_be_empty=True),
        env_override=take_texts_or_any(table, "env_override", may_be_empty=True),
        restart_policies=_take_choices(table, "restart_policies", RESTART),
        memory_monitoring=table.take_bool("memory_monitoring"),
        projects=take_texts_or_any(table, "projects"),
        zones=take_texts_or_any(table, "zones"),
        service_accounts=take_texts_or_any(table, "service_accounts"),
    )


def version_number(text: str) -> int | None:
    """Return an image version as a number that orders, None if `text` is none.

    Google documents YYYYMM and a counter, and writes YYMM and a counter ("250800"): both are read.
    A bare YYYYMM ("202508") would be read as a month 25 of 2020, which is lower than any: it is no
    version.
    """
    return int(text) % 1_000_000 if _VERSION.fullmatch(text) else None


def _take_version(table: Table) -> int:
    text = table.take_text("minimum_swversion")
    number = version_number(text)
    if number is None:
        raise ConfigurationError(
            f"{table.where} minimum_swversion is {text[:40]!r}, want year, month and "
            "number of the image, such as 250800"
        )
    return number


def _take_digests(table: Table) -> tuple[str, ...]:
    texts = take_some_texts(table, "image_digests")
    for text in texts:
        if not _DIGEST.fullmatch(text):
            raise ConfigurationError(
                f"{table.where} image_digests has {text[:100]!r}, want sha256: and 64 lower-case "
                "hex digits"
            )
    return texts


def _take_choices(table: Table, key: str, choices: tuple[str, ...]) -> tuple[str, ...]:
    texts = take_some_texts(table, key)
    for text in texts:
        if text not in choices:
            raise ConfigurationError(
                f"{table.where} {key} has {text[:80]!r}, want {' or '.join(map(repr, choices))}"
            )
    return texts
