"""Read the pins of every format that a manifest names, strictly.

SPEC.md, section 9.5.
"""

from __future__ import annotations

from dataclasses import replace

from fedenclave.attestation import insecure
from fedenclave.attestation.format import FormatPolicy, read_format_policy
from fedenclave.attestation.formats import ALL_FORMATS
from fedenclave.attestation.nvidia.policy import read_gpu_policy
from fedenclave.protocol.attestation_policy import AttestationPolicy, read_attestation
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.evidence import INSECURE
from fedenclave.protocol.toml_table import Table, parse

HEAD = """\
# What evidence the members accept from the aggregator. Nothing here has a default.
[attestation]
freshness_seconds = 600  # evidence, or a client's nonce, older than this is refused
collateral_max_age_seconds = 2592000  # vendors' collateral older than 30 days is refused
revocations = "none"  # or "required": a current list that the members signed
"""
"""The head of every policy that names a TEE."""


def read_policies(policy: AttestationPolicy) -> dict[str, FormatPolicy]:
    """Return the parsed pins by format.

    Raises:
        ConfigurationError: a pin is missing, unknown or wrong, or this version cannot appraise the
            format.
    """
    policies = {}
    if policy.insecure:
        policies[INSECURE] = FormatPolicy(
            format=insecure.FORMAT, exceptions=frozenset(), pins=policy.insecure
        )
    for name, values in policy.formats.items():
        format_ = ALL_FORMATS.get(name)
        if format_ is None:
            raise ConfigurationError(
                f"policy pins evidence of format {name}, which this version cannot appraise",
                hint="this version appraises: " + ", ".join(ALL_FORMATS),
            )
        table = Table(dict(values), f"policy [attestation.{name}]")
        has_gpu = "gpu" in table
        gpu = read_gpu_policy(table.take_table("gpu")) if has_gpu else None
        policies[name] = replace(read_format_policy(format_, table), gpu=gpu)
    return policies


def read_policy_file(source: bytes) -> AttestationPolicy:
    """Return the policy of a manifest, or of a file with the table `[attestation]` alone.

    What else a manifest holds is not looked at here.

    Raises:
        ConfigurationError: the table, or a format's, is not as it must be.
    """
    top = parse(source, "policy")
    if "attestation" not in top:
        raise ConfigurationError(
            "policy has no table [attestation]",
            hint="give a federation.toml, or a file that holds its [attestation] tables",
        )
    known = [name for name in ALL_FORMATS if name != INSECURE]
    try:
        policy = read_attestation(top.take_table("attestation"), known)
    except MalformedMessage as error:
        raise ConfigurationError(f"policy: {error.message}") from error
    read_policies(policy)
    return policy
