"""What an evidence format is: names of its parts, its policy, its appraiser, its inspector.

Every format's module defines one `FORMAT`, and `formats.py` lists them all.

What a module promises:
  * Whatever bytes come in, `appraise` returns claims, or raises `EvidenceRefused` or
    `MalformedMessage`; never another error. Parsing is strict: lengths, versions, reserved fields,
    trailing bytes.
  * It reads no file and no clock, and asks no network: everything is in the question.
  * It makes every check through the checklist, in the order: structure, signatures and chain,
    collateral, binding, policy.
  * A field, a status or an algorithm that it does not know is a refusal, never a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.collateral import Collateral
from fedenclave.attestation.result import Claims
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.toml_table import Table

Parts = Mapping[str, bytes]
"""The vendor's bytes by the name of the part; only names that the format knows."""

P = TypeVar("P")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What an appraisal is to find out.

    Attributes:
        bound: exactly the bytes that the format's binding field must hold (`Format.bind` of the
            64 bytes of report data, or what an operator gave with `--nonce`).
        now: Unix seconds at which everything must be valid.
        freshness_seconds: greatest age of evidence that carries its own time.
        collateral: the bundle.
        collateral_max_age_seconds: greatest age of collateral.
        report_data: the 64 bytes behind `bound`, which GPUs beside the CPU must bind too; empty
            for evidence that FedEnclave did not make, where no GPU can be asked for.
    """

    bound: bytes
    now: int
    freshness_seconds: int
    collateral: Collateral
    collateral_max_age_seconds: int
    report_data: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format(Generic[P]):
    """One evidence format.

    Attributes:
        name: as in `[attestation.<name>]` of a manifest.
        title: as a person knows it.
        source: the document that defines it, with its number and version.
        required: names of the parts that must be there.
        optional: names of the parts that may be there.
        exceptions: names of what a policy may let pass.
        identifiers: every kind that `Claims.identifiers` can report.
        levels: every security version that `Claims.levels` can report.
        always: names of the checks that are made whatever the policy says.
        template: the policy's table in TOML, commented, to be filled in.
        read_policy: parse the table (`exceptions` is taken already); it must not call `finish`.
        bind: what the binding field must hold for 64 bytes of report data.
        appraise: verify and appraise; see the module's docstring.
        inspect: the claims without any check, for people; raises `MalformedMessage`.
        recognise: the parts in a file as this format's tools write it; None if it is another's.
    """

    name: str
    title: str
    source: str
    required: frozenset[str]
    optional: frozenset[str] = frozenset()
    exceptions: frozenset[str] = frozenset()
    identifiers: frozenset[str] = frozenset({"certificate", "measurement"})
    levels: frozenset[str] = frozenset()
    always: frozenset[str]
    template: str
    read_policy: Callable[[Table], P]
    bind: Callable[[bytes], bytes]
    appraise: Callable[[Parts, P, Question, Checklist], Claims]
    inspect: Callable[[Parts], Mapping[str, object]]
    recognise: Callable[[bytes], Parts | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatPolicy:
    """A format's part of the policy, parsed.

    `gpu` is what GPUs beside the CPU must be; None where the evidence may not hold any.
    """

    format: Format[Any]
    exceptions: frozenset[str]
    pins: Any
    gpu: Any = None


def read_format_policy(format_: Format[Any], table: Table) -> FormatPolicy:
    """Return the policy in the table `[attestation.<format>]`.

    Raises:
        ConfigurationError: a pin is missing, unknown or wrong.
    """
    exceptions = frozenset(table.take_texts("exceptions"))
    unknown = exceptions - format_.exceptions
    if unknown:
        raise ConfigurationError(
            f"{table.where} exceptions names {', '.join(sorted(unknown))[:200]}",
            hint=f"{format_.name} knows: {', '.join(sorted(format_.exceptions)) or 'none'}",
        )
    pins = format_.read_policy(table)
    table.finish()
    return FormatPolicy(format=format_, exceptions=exceptions, pins=pins)


def same_bytes(report_data: bytes) -> bytes:
    """Return `report_data` itself: for formats whose binding field has 64 bytes."""
    return report_data
