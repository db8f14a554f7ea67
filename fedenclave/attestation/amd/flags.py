"""The bits of a guest's policy and of its platform: names, and what a policy wants of each.

Sources: AMD 56860 revision 1.58, table 9 (guest policy) and table 23 (PLATFORM_INFO). Bit 6 of
PLATFORM_INFO came with AMD-SB-3016 (CVE-2023-20585).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.toml_table import Table

MUST_BE_ONE, MIGRATION_AGENT, DEBUG = 17, 18, 19

GUEST_POLICY: Mapping[str, int] = {
    "smt": 16,
    "single_socket": 20,
    "cxl": 21,
    "mem_aes_256_xts": 22,
    "rapl_disabled": 23,
    "ciphertext_hiding": 24,
    "page_swap_disabled": 25,
}
"""Bits that a policy pins. Debugging and migration agents are not among them: they have checks of
their own."""

PLATFORM: Mapping[str, int] = {
    "smt": 0,
    "tsme": 1,
    "ecc": 2,
    "rapl_disabled": 3,
    "ciphertext_hiding": 4,
    "alias_check_complete": 5,
    "iommu_write_safe": 6,
    "tio": 7,
}

_POLICY_BITS, _PLATFORM_BITS = 26, 8


class Wish(StrEnum):
    """What a policy wants of a bit."""

    REQUIRED = "required"
    FORBIDDEN = "forbidden"
    ANY = "any"

    def holds(self, on: bool) -> bool:
        """Return whether a bit that is `on` satisfies it."""
        return self is Wish.ANY or (self is Wish.REQUIRED) == on


def is_on(word: int, bit: int) -> bool:
    """Return whether `bit` of `word` is 1."""
    return bool(word >> bit & 1)


def policy_abi(policy: int) -> tuple[int, int]:
    """Return the least ABI version (major, minor) that the guest demands of its firmware."""
    return policy >> 8 & 0xFF, policy & 0xFF


def read_wishes(table: Table, bits: Mapping[str, int]) -> dict[str, Wish]:
    """Return the wish for each of `bits`; the table must name them all and no other.

    Raises:
        ConfigurationError: one is missing, unknown or no wish.
    """
    choices = tuple(wish.value for wish in Wish)
    wishes = {name: Wish(table.take_choice(name, choices)) for name in bits}
    table.finish()
    return wishes


def check_guest_policy(policy: int) -> None:
    """Refuse reserved bits.

    Raises:
        MalformedMessage: bit 17 is not 1, or an unknown bit is.
    """
    if not is_on(policy, MUST_BE_ONE):
        raise MalformedMessage(f"guest policy is 0x{policy:x}, want bit {MUST_BE_ONE} to be 1")
    if policy >> _POLICY_BITS:
        raise MalformedMessage(f"guest policy has unknown bits: 0x{policy:x}")


def check_platform_info(info: int) -> None:
    """Refuse bits that this version cannot judge.

    Raises:
        MalformedMessage: an unknown bit is 1.
    """
    if info >> _PLATFORM_BITS:
        raise MalformedMessage(f"platform info has unknown bits: 0x{info:x}")
