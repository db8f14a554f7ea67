"""Software components of an Arm platform: what was measured, in the order of measuring; pins.

A policy lists every component, in the order in which the platform reports them. One more, one less,
or another order is refused.

Source: RFC 9783, section 4.4.1 (PSA); draft-ffm-rats-cca-token-03, "Software Components" (CCA).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fedenclave.attestation.arm.claims import HASH_SIZES, ClaimSet
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.pins import (
    ANY,
    take_hexes,
    take_hexes_or_any,
    take_texts_or_any,
)
from fedenclave.attestation.result import Trust
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.toml_table import Table

ABSENT = "absent"
MAX_COMPONENTS = 64
_TYPE, _VALUE, _VERSION, _SIGNER, _DESCRIPTION = 1, 2, 4, 5, 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One measured component; `kind`, `version` and `description` are `absent` if not there."""

    kind: str
    value: bytes
    version: str
    signer: bytes
    description: str

    def shown(self) -> dict[str, object]:
        """Return it as claims, by the names of RFC 9783."""
        return {
            "measurement-type": self.kind,
            "measurement-value": self.value.hex(),
            "version": self.version,
            "signer-id": self.signer.hex(),
            "measurement-description": self.description,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentPin:
    """What one component must be; None stands for any."""

    kind: str
    values: tuple[bytes, ...]
    signers: tuple[bytes, ...] | None
    versions: tuple[str, ...] | None

    def accepts(self, component: Component) -> bool:
        """Return whether `component` is this one."""
        return (
            component.kind == self.kind
            and component.value in self.values
            and (self.signers is None or component.signer in self.signers)
            and (self.versions is None or component.version in self.versions)
        )

    def __str__(self) -> str:
        """Return it for a message."""
        values = " or ".join(value.hex() for value in self.values)
        signers = ANY if self.signers is None else " or ".join(s.hex() for s in self.signers)
        versions = ANY if self.versions is None else " or ".join(self.versions)
        return f"{self.kind}, value {values}, signer {signers}, version {versions}"


def take_components(claims: ClaimSet, label: int) -> tuple[Component, ...]:
    """Return the components in claim `label`, at least one.

    Raises:
        MalformedMessage: one of them is not as the specification says.
    """
    items = claims.take_list(label, "software components", 1, MAX_COMPONENTS)
    return tuple(_parse(item, f"software component {i}") for i, item in enumerate(items, 1))


def _parse(item: Any, what: str) -> Component:
    if type(item) is not dict:
        raise MalformedMessage(f"{what} is no map")
    fields = ClaimSet(item, what)

    def text(label: int, name: str) -> str:
        return fields.take_text(label, name) if fields.has(label) else ABSENT

    component = Component(
        kind=text(_TYPE, "measurement type"),
        value=fields.take_bytes(_VALUE, "measurement value", HASH_SIZES),
        version=text(_VERSION, "version"),
        signer=fields.take_bytes(_SIGNER, "signer id", HASH_SIZES),
        description=text(_DESCRIPTION, "measurement description"),
    )
    if fields.unknown:
        raise MalformedMessage(f"{what} has unknown attributes: {', '.join(fields.unknown)[:100]}")
    return component


def read_component_pins(table: Table) -> tuple[ComponentPin, ...]:
    """Return the pins in the array of tables `components`, at least one."""
    pins = []
    for entry in table.take_tables("components"):
        pins.append(
            ComponentPin(
                kind=entry.take_text("type"),
                values=take_hexes(entry, "values", sizes=HASH_SIZES),
                signers=take_hexes_or_any(entry, "signers", sizes=HASH_SIZES),
                versions=take_texts_or_any(entry, "versions"),
            )
        )
        entry.finish()
    return tuple(pins)


def check_components(
    checklist: Checklist, components: Sequence[Component], pins: Sequence[ComponentPin]
) -> None:
    """Check that the components are the pinned ones, one by one and no more."""
    checklist.want(
        "components",
        holds=len(components) == len(pins),
        found=f"{len(components)}: {', '.join(component.kind for component in components)}",
        wanted=f"{len(pins)}: {', '.join(pin.kind for pin in pins)}",
        trust=Trust.EXECUTABLES,
        hint="the policy lists every component that the platform reports, in its order",
    )
    for number, (component, pin) in enumerate(zip(components, pins, strict=False), 1):
        checklist.want(
            f"component {number}",
            holds=pin.accepts(component),
            found=f"{component.kind}, value {component.value.hex()}, signer "
            f"{component.signer.hex()}, version {component.version}",
            wanted=pin,
            trust=Trust.EXECUTABLES,
            hint="the platform runs firmware that the federation did not approve",
        )
