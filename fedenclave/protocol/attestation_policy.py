"""What evidence the members accept: the manifest's table `[attestation]`.

SPEC.md, sections 9.5 and 10.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fedenclave.protocol.digests import Digest, from_text
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.evidence import HARDWARE_FORMATS, INSECURE
from fedenclave.protocol.toml_table import Table

_WEEK, _YEAR = 7 * 24 * 3600, 366 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationPolicy:
    """What evidence the members accept.

    Attributes:
        freshness_seconds: greatest age of evidence.
        insecure: the measurements of development mode; empty where it is not accepted.
        formats: the pins of each TEE's format by its name, plain. The enclave does not judge
            evidence: `fedenclave.attestation.policy` reads them, as strictly as all of this.
        collateral_max_age_seconds: greatest age of vendors' collateral; 0 without such a format.
        revocations: whether a current list of revocations, signed by the members, is needed.
    """

    freshness_seconds: int
    insecure: tuple[Digest, ...]
    formats: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    collateral_max_age_seconds: int = 0
    revocations: bool = False

    @property
    def accepted(self) -> tuple[str, ...]:
        """The names of the formats that are accepted, `insecure` first."""
        return (*((INSECURE,) if self.insecure else ()), *self.formats)


def read_attestation(table: Table, known: Sequence[str] = HARDWARE_FORMATS) -> AttestationPolicy:
    """Return the policy in the table `[attestation]`; see `AttestationPolicy`.

    Args:
        table: the table.
        known: names of the formats it may pin, besides `insecure`.

    Raises:
        ConfigurationError: a key is missing, unknown or wrong, or no format is named.
    """
    freshness = table.take_int("freshness_seconds", low=1, high=_WEEK)
    insecure: tuple[Digest, ...] = ()
    if "insecure" in table:
        pins = table.take_table("insecure")
        insecure = tuple(from_text(text) for text in pins.take_texts("measurements"))
        pins.finish()
        if not insecure:
            raise ConfigurationError(
                "manifest [attestation.insecure] pins no measurement",
                hint="remove the table to refuse development mode",
            )
    named = [name for name in known if name in table]
    formats = {name: table.take_plain(name) for name in named}
    if not insecure and not formats:
        raise ConfigurationError(
            "manifest [attestation] accepts no evidence: it pins no measurement of any format",
            hint="`fedenclave attest policy template` writes a table for each: "
            + ", ".join((INSECURE, *HARDWARE_FORMATS)),
        )
    max_age, revocations = 0, False
    if formats:
        max_age = table.take_int("collateral_max_age_seconds", low=1, high=_YEAR)
        revocations = table.take_choice("revocations", ("required", "none")) == "required"
    table.finish()
    return AttestationPolicy(
        freshness_seconds=freshness,
        insecure=insecure,
        formats=formats,
        collateral_max_age_seconds=max_age,
        revocations=revocations,
    )
