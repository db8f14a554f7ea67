"""What a manifest pins of a TPM: the table `[attestation.tpm]`.

Every pin is there; one that is not used says so in words (`["none"]`, `"any"`), so that a
reviewer reads what is accepted, and nothing is left out by mistake.

Rules:
  * At least one of PCR 0 to 7 is pinned by value. Firmware extends them before it starts anything,
    and closes each with a separator; every other register is zero until software fills it, so that
    whoever starts a system of his own can give it any history. That this one is PCR 4, and that it
    says something, is seen in evidence only: measured_boot.py.
  * PCR 16 and 23 are not pinned by value: software can also reset them.
  * PCR 17 to 22 may be, and do not count: only a dynamic launch (Intel TXT, AMD SKINIT) resets
    them, and without one they hold nothing but ones.

Source: TCG PC Client Platform Firmware Profile 1.06, section 3.3.4 (PCR usage, separators); TCG PC
Client Platform TPM Profile 1.05 (initial values of PCRs, and from which locality each is reset).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fedenclave.attestation.event_log import LAST_REGISTER
from fedenclave.attestation.pins import take_hex, take_hexes, take_hexes_or_any
from fedenclave.protocol.activation import NAME_SIZES
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.signing import PublicKey, key_from_text
from fedenclave.protocol.toml_table import Table

NONE = "none"
UNMEASURED_BOOT = "unmeasured-boot"
EXCEPTIONS = frozenset({UNMEASURED_BOOT})
SECURE_BOOT_ON, SECURE_BOOT_ANY = "on", "any"
FIRMWARE_REGISTERS, RESETTABLE_REGISTERS = range(8), (16, 23)
_PCR_SIZE = 32
_MAX_ACTIVATORS = 64
_INDEX = re.compile(r"0|[1-9][0-9]?")

TEMPLATE = """\
# tpm: a TPM 2.0 of the machine, or of a virtual machine. A TPM says what was started, and that the
# key is in it; it does not encrypt memory: whoever owns the machine can read it. Use it for
# machines whose operator you trust not to, or under another TEE.
[attestation.tpm]
# Names of the attestation keys (AK) that are accepted, in hex: 000b and a SHA-256. The operator
# gets it on the machine: `fedenclave attest tpm keys`. Before you list one, challenge it
# (credential activation, fedenclave/attestation/tpm/README.md). ["none"] if keys are known by their
# TPM alone.
aks = ["000b0000000000000000000000000000000000000000000000000000000000000000"]
# How many of the members below must have signed that they challenged this AK, under which EK
# certificate; 0 if that is not asked. What is asked for here and in `aks` must hold both.
activated_by = 0
# The members' keys, each "ed25519:..." as in [[members]]; ["none"] if activated_by = 0.
activators = ["none"]
# SHA-256 of the DER of the TPM vendors' root certificates, under which the EK certificate must be;
# the certificates lie in the bundle, tpm/ek-roots/*.pem. ["none"] if activated_by = 0.
ek_roots = ["none"]
# What `fedenclave measure` says of the image's code, without `sha256:`. It is extended once into
# PCR 11, which was zero: PCR 11 = SHA-256(32 zero bytes, measurement). ["none"] if
# [attestation.tpm.pcrs] pins the code otherwise.
measurements = ["0000000000000000000000000000000000000000000000000000000000000000"]
# The TPM's firmware version, 16 hex digits as a quote's claims show it; ["any"] for all.
firmware_versions = ["any"]
# "on": an event log must be there, replay to the quoted PCRs, and begin PCR 7 with SecureBoot = 1.
# "any": secure boot is not looked at (a pin of PCR 7 says as much).
secure_boot = "on"
# Authenticode SHA-256 digests of all that firmware may start: boot loaders, kernels (everything
# that PCR 4 is extended with). Needs the event log. ["any"] for all.
boot_applications = ["any"]
# Name of the NV index with the monotonic counter, which must be certified by the same AK for the
# same nonce; "none" if no counter is asked for. FedEnclave's own is called, in every TPM,
# 000bff0c7662fed51ca0cca780725bc0c3353502dc884b58d30131817983ab79595e
counter_name = "none"
# What may pass although it is wrong; the result is then a warning. "unmeasured-boot": registers
# that do not say what was started, as those of a software TPM, to which no firmware measures.
exceptions = []
# The registers that must be quoted, and their values in the SHA-256 bank; ["any"] for a register
# that must be quoted with any value. From the operator: `tpm2_pcrread sha256:0,2,4,7,8,9`.
# 0: firmware. 2: code of devices. 4: boot loader and kernel. 7: secure boot. 8 and 9: command line
# and initial file system, where GRUB starts the kernel (a kernel that firmware starts by itself
# leaves 8 at zero). Leave none of them out: what is not pinned, the operator chooses.
# 4 must have a value here, or boot_applications its digests: no other register says what was
# started. One of 0 to 7 must have a value in any case, as software can fill all others; 16 and 23
# must have none, as software can reset them.
[attestation.tpm.pcrs]
0 = ["0000000000000000000000000000000000000000000000000000000000000000"]
2 = ["0000000000000000000000000000000000000000000000000000000000000000"]
4 = ["0000000000000000000000000000000000000000000000000000000000000000"]
7 = ["0000000000000000000000000000000000000000000000000000000000000000"]
8 = ["0000000000000000000000000000000000000000000000000000000000000000"]
9 = ["0000000000000000000000000000000000000000000000000000000000000000"]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationPins:
    """How attestation keys are accepted that the policy does not list."""

    wanted: int
    activators: tuple[PublicKey, ...]
    ek_roots: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TpmPins:
    """The table, parsed. None means what the table says as `none` or `any`."""

    aks: tuple[bytes, ...] | None
    activation: ActivationPins | None
    measurements: tuple[bytes, ...] | None
    firmware_versions: tuple[bytes, ...] | None
    secure_boot: bool
    boot_applications: tuple[bytes, ...] | None
    counter_name: bytes | None
    pcrs: Mapping[int, tuple[bytes, ...] | None]

    @property
    def needs_event_log(self) -> bool:
        """Whether a pin can be judged only with an event log."""
        return self.secure_boot or self.boot_applications is not None


def read_policy(table: Table) -> TpmPins:
    """Return the pins.

    Raises:
        ConfigurationError: one is missing, wrong, or contradicts another.
    """
    pins = TpmPins(
        aks=_hexes_or_none(table, "aks", NAME_SIZES),
        activation=_take_activation(table),
        measurements=_hexes_or_none(table, "measurements", (_PCR_SIZE,)),
        firmware_versions=take_hexes_or_any(table, "firmware_versions", sizes=(8,)),
        secure_boot=table.take_choice("secure_boot", (SECURE_BOOT_ON, SECURE_BOOT_ANY))
        == SECURE_BOOT_ON,
        boot_applications=take_hexes_or_any(table, "boot_applications", sizes=(_PCR_SIZE,)),
        counter_name=_take_counter(table),
        pcrs=take_pcrs(table),
    )
    if pins.aks is None and pins.activation is None:
        raise ConfigurationError(
            f"{table.where} accepts the key of any tpm, or of none",
            hint="list attestation keys in aks, or set activated_by, activators and ek_roots",
        )
    return pins


def _take_activation(table: Table) -> ActivationPins | None:
    wanted = table.take_int("activated_by", low=0, high=_MAX_ACTIVATORS)
    roots = _hexes_or_none(table, "ek_roots", (32,))
    texts = table.take_texts("activators")
    try:
        keys = () if texts == (NONE,) else tuple(key_from_text(text) for text in texts)
    except MalformedMessage as error:
        raise ConfigurationError(f"{table.where} activators: {error.message}") from error
    if wanted == 0 and roots is None and texts == (NONE,):
        return None
    if wanted == 0 or roots is None or not keys:
        raise ConfigurationError(
            f"{table.where} sets some of activated_by, activators and ek_roots",
            hint='set all three, or activated_by = 0 and the others ["none"]',
        )
    if len(set(keys)) != len(keys) or not wanted <= len(keys) <= _MAX_ACTIVATORS:
        raise ConfigurationError(
            f"{table.where} activators has {len(keys)} keys ({len(set(keys))} of them different), "
            f"want {wanted} to {_MAX_ACTIVATORS}, each once"
        )
    return ActivationPins(wanted=wanted, activators=keys, ek_roots=roots)


def _take_counter(table: Table) -> bytes | None:
    text = table.take_text("counter_name")
    if text == NONE:
        return None
    return take_hex(Table({"counter_name": text}, table.where), "counter_name", sizes=NAME_SIZES)


def take_pcrs(table: Table) -> dict[int, tuple[bytes, ...] | None]:
    """Return the pins of registers, the table `pcrs`: by index, None for a register with any value.

    Raises:
        ConfigurationError: one is wrong, or software alone could fill all that are pinned by value.
    """
    inner = table.take_table("pcrs")
    pcrs: dict[int, tuple[bytes, ...] | None] = {}
    for key in inner.names():
        if _INDEX.fullmatch(key) is None or int(key) > LAST_REGISTER:
            raise ConfigurationError(f"{inner.where} has pcr {key[:40]!r}, want 0 to 23")
        pcrs[int(key)] = take_hexes_or_any(inner, key, sizes=(_PCR_SIZE,))
    valued = {index for index, values in pcrs.items() if values is not None}
    if resettable := valued.intersection(RESETTABLE_REGISTERS):
        raise ConfigurationError(
            f"{inner.where} pins values of pcr {sorted(resettable)}, which software can reset",
            hint="such a pin proves nothing: whoever started the machine can give it any value",
        )
    if not valued.intersection(FIRMWARE_REGISTERS):
        raise ConfigurationError(
            f"{inner.where} pins the value of none of pcr 0 to 7",
            hint="software can fill every other register by itself, so nothing says what was "
            "started; pin 0, 2, 4, 7, 8 and 9",
        )
    return dict(sorted(pcrs.items()))


def _hexes_or_none(table: Table, key: str, sizes: tuple[int, ...]) -> tuple[bytes, ...] | None:
    texts = table.take_texts(key)
    if texts == (NONE,):
        return None
    return take_hexes(Table({key: list(texts)}, table.where), key, sizes=sizes)
