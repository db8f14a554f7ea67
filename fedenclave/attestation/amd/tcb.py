"""TCB_VERSION: the security versions of everything below the guest, by product.

Source: AMD 56860 revision 1.58, section 2.2, tables 3 (up to Genoa) and 4 (from Turin).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fedenclave.attestation.amd.products import LINES, Product
from fedenclave.protocol.errors import MalformedMessage

TCB_SIZE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Tcb:
    """Security versions of one product's components, each 0 to 255."""

    product: Product
    versions: Mapping[str, int]

    def __str__(self) -> str:
        """Return them as people read them."""
        return ", ".join(f"{name} {version}" for name, version in self.versions.items())

    def reaches(self, floor: Tcb) -> bool:
        """Return whether every component is at least as new as in `floor` of the same product."""
        return self.product is floor.product and all(
            self.versions[name] >= least for name, least in floor.versions.items()
        )


def parse_tcb(raw: bytes, product: Product, field: str) -> Tcb:
    """Return what the 8 bytes of TCB_VERSION mean on `product`.

    Raises:
        MalformedMessage: a reserved byte is not zero, so they are laid out in another way.
    """
    places = LINES[product].components
    if any(value for place, value in enumerate(raw) if place not in places.values()):
        raise MalformedMessage(
            f"{field} is {raw.hex()}: a byte that {product} reserves is not zero"
        )
    return Tcb(product=product, versions={name: raw[place] for name, place in places.items()})
