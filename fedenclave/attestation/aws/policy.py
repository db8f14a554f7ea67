"""Read the policy `[attestation.nitro]`: what an AWS Nitro enclave must be.

Source: "Where to get an enclave's measurements", AWS Nitro Enclaves User Guide (meaning of the
registers).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fedenclave.attestation.pins import ANY, take_hexes, take_hexes_or_any, take_texts_or_any
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.toml_table import Table

PCR_SIZE = 48
"""SHA-384, the only digest that the document defines."""

IMAGE_PCRS = (0, 1, 2)
"""Enclave image, kernel and boot ramdisk, application: they say which code runs."""

NAMED_PCRS = (3, 4, 8)
"""IAM role of the parent instance, id of the parent instance, signer of the image."""

BIND_FIELDS = ("user_data", "nonce", "public_key")
_OTHERS = ("zero", ANY)
_INDEX = re.compile(r"[0-9]|[12][0-9]|3[01]")
_ZEROS = "0" * 2 * PCR_SIZE
TEMPLATE = f"""\
# nitro: AWS Nitro Enclaves.
[attestation.nitro]
bind = "user_data"  # field with the report data: "user_data", "nonce" or "public_key"
instances = ["any"]  # parent instances such as "i-0123456789abcdef0"; ["any"] accepts all
exceptions = []  # may name "debug": PCR 0, 1, 2 are zero, and nothing protects the enclave

# Registers, 96 hex digits each, as `nitro-cli build-enclave` prints PCR0, PCR1, PCR2 and PCR8.
# More indices may follow, each with a list. "others" says what all registers that are not named
# must be: "zero" or "any".
[attestation.nitro.pcrs]
0 = ["{_ZEROS}"]  # the image
1 = ["{_ZEROS}"]  # its kernel
2 = ["{_ZEROS}"]  # its application
3 = ["any"]  # IAM role of the parent instance
4 = ["any"]  # id of the parent instance
8 = ["any"]  # certificate that signed the image; zero if nobody signed it
others = "zero"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NitroPins:
    """The policy; None stands for any."""

    bind: str
    instances: tuple[str, ...] | None
    pcrs: Mapping[int, tuple[bytes, ...] | None]
    others_zero: bool


def read_policy(table: Table) -> NitroPins:
    """Return the pins."""
    bind = table.take_choice("bind", BIND_FIELDS)
    instances = take_texts_or_any(table, "instances")
    registers = table.take_table("pcrs")
    pcrs: dict[int, tuple[bytes, ...] | None] = {}
    for index in IMAGE_PCRS:
        pcrs[index] = take_hexes(registers, str(index), sizes=(PCR_SIZE,))
    others_zero = registers.take_choice("others", _OTHERS) == "zero"
    more = [key for key in registers.names() if _INDEX.fullmatch(key)]
    for key in (*map(str, NAMED_PCRS), *more):
        if int(key) not in pcrs:
            pcrs[int(key)] = take_hexes_or_any(registers, key, sizes=(PCR_SIZE,))
    registers.finish()
    if not all(name.startswith("i-") for name in instances or ()):
        raise ConfigurationError(
            f'{table.where} instances has something that is no instance id, want "i-..." or ["any"]'
        )
    return NitroPins(
        bind=bind,
        instances=instances,
        pcrs=pcrs,
        others_zero=others_zero,
    )
